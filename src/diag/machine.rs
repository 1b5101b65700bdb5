//! Findings for programs: JSON, and GitHub's annotations.

use serde::Serialize;

use super::{Diagnostic, Severity};

/// A finding on the wire. Absent: what the finding does not have.
#[derive(Serialize)]
struct Wire<'a> {
    severity: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
}

impl Severity {
    /// `error`, `warning` or `info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// All findings as one JSON array, one finding a line.
pub fn to_json(findings: &[Diagnostic]) -> String {
    let objects: Vec<String> = findings
        .iter()
        .map(|finding| {
            let wire = Wire {
                severity: finding.severity.as_str(),
                code: finding.code,
                file: &finding.file,
                line: finding.place.map(|place| place.line),
                column: finding.place.map(|place| place.column),
                end_line: finding.end.map(|end| end.line),
                end_column: finding.end.map(|end| end.column),
                message: &finding.message,
                hint: finding.hint.as_deref(),
                fix: finding.fix.as_deref(),
            };
            serde_json::to_string(&wire).expect("texts and numbers are always JSON")
        })
        .collect();
    if objects.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", objects.join(",\n")) }
}

/// A finding as a workflow command: GitHub shows it beside the line in a pull request.
/// Source: GitHub's "Workflow commands for GitHub Actions", and the toolkit for the escapes.
pub fn to_github(finding: &Diagnostic) -> String {
    let file = Some(&finding.file).filter(|file| !file.is_empty());
    let properties = [
        file.map(|file| format!("file={}", property(file))),
        finding.place.map(|place| format!("line={},col={}", place.line, place.column)),
        // GitHub takes no columns for what extends over several lines.
        finding.place.zip(finding.end).and_then(|(place, end)| {
            (place.line == end.line).then(|| format!("endLine={},endColumn={}", end.line, end.column))
        }),
        Some(format!("title={}", finding.code)),
    ];
    let properties: Vec<String> = properties.into_iter().flatten().collect();
    let hint = finding.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    let text = data(&format!("{}{hint}", finding.message));
    let command = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    };
    format!("::{command} {}::{text}", properties.join(","))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LineColumn;

    fn findings() -> [Diagnostic; 2] {
        [
            Diagnostic::error("unknown-function", "unknown function `ratee`")
                .at("rules/a,b.yaml", Some(LineColumn { line: 14, column: 11 }))
                .hint("did you mean `rate`?"),
            Diagnostic::warning("odd", "100% \"odd\""),
        ]
    }

    #[test]
    fn json_has_what_the_finding_has() {
        insta::assert_snapshot!(to_json(&findings()), @r#"
        [
        {"severity":"error","code":"unknown-function","file":"rules/a,b.yaml","line":14,"column":11,"message":"unknown function `ratee`","hint":"did you mean `rate`?"},
        {"severity":"warning","code":"odd","message":"100% \"odd\""}
        ]
        "#);
        assert_eq!(to_json(&[]), "[]\n");
    }

    #[test]
    fn annotations_are_escaped_commands() {
        let [full, bare] = findings();
        insta::assert_snapshot!(to_github(&full), @"::error file=rules/a%2Cb.yaml,line=14,col=11,title=unknown-function::unknown function `ratee`%0Ahint: did you mean `rate`?");
        insta::assert_snapshot!(to_github(&bare), @r#"::warning title=odd::100%25 "odd""#);
    }
}
