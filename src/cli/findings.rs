//! How the commands that check files say what they found.

use std::io;

use super::{Exit, Output};
use crate::diag::{Diagnostic, Severity, excerpt, to_github, to_json};
use crate::model::Span;
use crate::rulefmt::SourceText;

/// How findings look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// `file:line:column: message`, for people and editors.
    #[default]
    Text,
    /// One JSON array of all findings.
    Json,
    /// Annotations that GitHub shows beside the lines of a pull request.
    Github,
}

/// The least severity that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Shown {
    /// Errors.
    Error,
    /// Errors and warnings.
    Warning,
    /// Everything.
    #[default]
    Info,
}

impl Shown {
    pub(super) fn shows(self, severity: Severity) -> bool {
        severity
            <= match self {
                Self::Error => Severity::Error,
                Self::Warning => Severity::Warning,
                Self::Info => Severity::Info,
            }
    }
}

/// The least severity that makes a command fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum FailOn {
    /// Errors: a warning does not make a file unusable.
    #[default]
    Error,
    /// Errors and warnings.
    Warning,
    /// Any finding.
    Info,
    /// Nothing.
    Never,
}

impl FailOn {
    /// Only errors, or warnings too.
    pub(super) fn strict(strict: bool) -> Self {
        if strict { Self::Warning } else { Self::Error }
    }

    fn counts(self, severity: Severity) -> bool {
        match self {
            Self::Error => Shown::Error.shows(severity),
            Self::Warning => Shown::Warning.shows(severity),
            Self::Info => true,
            Self::Never => false,
        }
    }
}

/// How much of a long line is shown.
const SHOWN_CHARS: usize = 120;

/// Prints findings, and after them, in the formats that people read, `summary`. Of `sources` the line
/// that a finding is about is shown, with a mark under the part that it means.
pub(super) fn print(
    out: &mut Output,
    format: Format,
    findings: &[Diagnostic],
    sources: &[SourceText],
    summary: &str,
) -> io::Result<()> {
    match format {
        Format::Json => return out.text(&to_json(findings)),
        Format::Text => findings.iter().try_for_each(|finding| out.line(&text(finding, sources)))?,
        Format::Github => findings.iter().try_for_each(|finding| out.line(&to_github(finding)))?,
    }
    out.text(summary)
}

/// A finding; if it is about a part of a line, with its code and that part.
fn text(finding: &Diagnostic, sources: &[SourceText]) -> String {
    let Some(marked) = marked(finding, sources) else { return finding.to_string() };
    let message = Diagnostic { hint: None, ..finding.clone() }.to_string();
    let hint = finding.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
    format!("{message} [{}]\n{marked}{hint}", finding.code)
}

fn marked(finding: &Diagnostic, sources: &[SourceText]) -> Option<String> {
    let (place, end) = (finding.place?, finding.end?);
    let source = sources.iter().find(|source| source.name == finding.file)?;
    let line = source.text.lines().nth(place.line - 1)?;
    let start = place.column - 1;
    let end = if end.line == place.line { end.column - 1 } else { line.len() };
    let (before, part, after) = (line.get(..start)?.trim_start(), line.get(start..end)?, &line[end..]);
    // Of what stands before and after a part, a half each of what it leaves over.
    let part: String = part.chars().take(SHOWN_CHARS).collect();
    let around = (SHOWN_CHARS - part.chars().count()) / 2;
    let skipped = before.chars().count().saturating_sub(around);
    let before: String =
        if skipped > 0 { "…" } else { "" }.chars().chain(before.chars().skip(skipped)).collect();
    let more = if after.chars().count() > around { "…" } else { "" };
    let after: String = after.chars().take(around).collect();
    let span = Span::new(before.len(), before.len() + part.len());
    Some(excerpt(&format!("{before}{part}{after}{more}"), span))
}

/// What the findings mean for the exit code.
pub(super) fn exit(findings: &[Diagnostic], fail_on: FailOn) -> Exit {
    if findings.iter().any(|finding| fail_on.counts(finding.severity)) { Exit::Findings } else { Exit::Fine }
}

/// `no faults found`, `2 errors`, `1 error, 3 warnings`.
pub(super) fn counted(findings: &[Diagnostic]) -> String {
    let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let kinds = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Info, "info")];
    let parts: Vec<String> = kinds
        .into_iter()
        .map(|(severity, what)| (of(severity), what))
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| count(number, what))
        .collect();
    if parts.is_empty() { "no faults found".to_owned() } else { parts.join(", ") }
}

/// `1 file`, `2 files`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LineColumn;

    #[test]
    fn what_counts_is_what_the_user_wants_to_count() {
        let (error, warning) = (Diagnostic::error("x", "x"), Diagnostic::warning("x", "x"));
        let info = Diagnostic { severity: Severity::Info, ..warning.clone() };
        let check = |findings: &[Diagnostic], fail_on, expected, said: &str| {
            assert_eq!((exit(findings, fail_on), counted(findings).as_str()), (expected, said));
        };
        check(&[], FailOn::Info, Exit::Fine, "no faults found");
        check(std::slice::from_ref(&warning), FailOn::Error, Exit::Fine, "1 warning");
        check(std::slice::from_ref(&warning), FailOn::Warning, Exit::Findings, "1 warning");
        check(std::slice::from_ref(&info), FailOn::Warning, Exit::Fine, "1 info");
        check(std::slice::from_ref(&info), FailOn::Info, Exit::Findings, "1 info");
        let all = [warning.clone(), error, warning, info];
        check(&all, FailOn::Error, Exit::Findings, "1 error, 2 warnings, 1 info");
        check(&all, FailOn::Never, Exit::Fine, "1 error, 2 warnings, 1 info");
    }

    #[test]
    fn the_line_is_shown_with_a_mark_under_the_part_that_is_meant() {
        let text_of = |name: &str, text: &str| SourceText { name: name.to_owned(), text: text.to_owned() };
        let sources = [text_of("a.yaml", "groups:\n    expr: up > 1\n")];
        let place = LineColumn { line: 2, column: 11 };
        let finding = Diagnostic {
            end: Some(LineColumn { line: 2, column: 17 }),
            ..Diagnostic::warning("odd", "odd").at("a.yaml", Some(place)).hint("even")
        };
        let expected = "a.yaml:2:11: warning: odd [odd]\n  expr: up > 1\n        ^^^^^^\n  hint: even";
        assert_eq!(text(&finding, &sources), expected);
        assert_eq!(text(&finding, &[]), "a.yaml:2:11: warning: odd\n  hint: even");
        let long = [text_of("a.yaml", &format!("\n    expr: up > 1{}\n", " or up".repeat(30)))];
        let shown = text(&finding, &long);
        let line = shown.lines().nth(1).expect("a line of the file");
        assert!(line.starts_with("  expr: up > 1 or") && line.ends_with('…') && line.len() < 90, "{line}");
    }
}
