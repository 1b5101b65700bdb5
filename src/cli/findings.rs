//! How the commands that check files say what they found.

use std::io;

use super::{Exit, Output};
use crate::diag::{Diagnostic, Severity, to_github, to_json};

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

/// Prints findings, and after them, in the formats that people read, `summary`.
pub(super) fn print(
    out: &mut Output,
    format: Format,
    findings: &[Diagnostic],
    summary: &str,
) -> io::Result<()> {
    match format {
        Format::Json => return out.text(&to_json(findings)),
        Format::Text => findings.iter().try_for_each(|finding| out.line(&finding.to_string()))?,
        Format::Github => findings.iter().try_for_each(|finding| out.line(&to_github(finding)))?,
    }
    out.text(summary)
}

/// What the findings mean for the exit code: a warning does not make a file unusable, unless the user
/// wants it to.
pub(super) fn exit(findings: &[Diagnostic], strict: bool) -> Exit {
    let counts = |finding: &Diagnostic| strict || finding.severity == Severity::Error;
    if findings.iter().any(counts) { Exit::Findings } else { Exit::Fine }
}

/// `no faults found`, `2 errors`, `1 error, 3 warnings`.
pub(super) fn counted(findings: &[Diagnostic]) -> String {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let parts: Vec<String> = [(errors, "error"), (findings.len() - errors, "warning")]
        .into_iter()
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

    #[test]
    fn warnings_count_only_if_the_user_is_strict() {
        let (error, warning) = (Diagnostic::error("x", "x"), Diagnostic::warning("x", "x"));
        let check = |findings: &[Diagnostic], strict, expected, said: &str| {
            assert_eq!((exit(findings, strict), counted(findings).as_str()), (expected, said));
        };
        check(&[], true, Exit::Fine, "no faults found");
        check(std::slice::from_ref(&warning), false, Exit::Fine, "1 warning");
        check(std::slice::from_ref(&warning), true, Exit::Findings, "1 warning");
        check(&[warning.clone(), error, warning], false, Exit::Findings, "1 error, 2 warnings");
    }
}
