//! Reports of tests: for people, as JSON, and as JUnit's XML.

use std::fmt::Write;

use serde::Serialize;

use super::compare::Difference;
use super::coverage::Coverage;
use super::mutate::{Mutant, Mutation};
use super::run::{Failure, FileReport, TestReport};
use crate::diag::Diagnostic;
use crate::model::LineColumn;

/// How differences look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// What was expected, then what came out.
    #[default]
    Both,
    /// Line by line: `-` expected only, `+` came out only.
    Diff,
}

/// All that is to be reported.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The files.
    pub files: Vec<FileReport>,
    /// What the tests have never shown, if that was asked for.
    pub coverage: Option<Coverage>,
    /// What the tests do not notice, if that was asked for.
    pub mutation: Option<Mutation>,
}

impl Report {
    /// Whether everything is as expected.
    pub fn passed(&self) -> bool {
        self.files.iter().all(FileReport::passed)
    }

    /// For people: each file with its verdict, each failure with its place.
    pub fn to_text(&self, style: Style) -> String {
        let mut text = String::new();
        for file in &self.files {
            write_file(&mut text, file, style);
        }
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "{}", summary(&self.files));
        if let Some(coverage) = &self.coverage {
            let gaps = coverage.gaps();
            let (firing, all) = (coverage.firing(), counted(coverage.rules.len(), "alert"));
            let _ = writeln!(text, "coverage: {firing} of {all} seen firing, {}", counted(gaps.len(), "gap"));
            for (file, place, what) in gaps {
                let _ = writeln!(text, "  {file}:{place}: {what}");
            }
        }
        if let Some(mutation) = &self.mutation {
            let (killed, all) = (mutation.killed(), counted(mutation.mutants.len(), "change"));
            let rate = mutation.kill_rate().map(|rate| format!(" ({:.1} %)", rate * 100.0));
            let _ = writeln!(text, "mutation: {killed} of {all} noticed{}", rate.unwrap_or_default());
            for Mutant { file, place, alert, before, after, .. } in mutation.survivors() {
                let _ = writeln!(
                    text,
                    "  {file}:{place}: alert `{alert}`: no test fails if `{before}` becomes `{after}`"
                );
            }
        }
        text
    }

    /// As a JSON object.
    pub fn to_json(&self) -> String {
        let wire = Wire {
            passed: self.passed(),
            files: self.files.iter().map(WireFile::new).collect(),
            coverage: self.coverage.as_ref().map(WireCoverage::new),
            mutation: self.mutation.as_ref().map(WireMutation::new),
        };
        serde_json::to_string_pretty(&wire).expect("texts and numbers are always JSON") + "\n"
    }

    /// As JUnit's XML, with the elements that promtool writes.
    /// Source: Prometheus 3.14 `util/junitxml/junitxml.go`.
    pub fn to_junit(&self) -> String {
        junit(&self.files)
    }
}

fn write_file(text: &mut String, report: &FileReport, style: Style) {
    let verdict = if report.passed() { "ok  " } else { "FAIL" };
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "{verdict} {} ({})", report.file, counted(report.tests.len(), "test"));
    for finding in &report.findings {
        let _ = writeln!(text, "  {}", finding.to_string().replace('\n', "\n  "));
    }
    for test in &report.tests {
        for failure in &test.failures {
            let _ = writeln!(text, "  {}:{}: {}: {}", report.file, failure.place, test.name, failure.what);
            let difference = failure.difference.iter().flat_map(|difference| lines(difference, style));
            difference.for_each(|line| text.extend(["    ", &line, "\n"]));
        }
        if let Some(dump) = &test.dump {
            let _ = writeln!(text, "  all series of {} after {:?}:", test.name, test.took);
            dump.lines().for_each(|line| text.extend(["    ", line, "\n"]));
        }
    }
}

fn summary(reports: &[FileReport]) -> String {
    let tests = || reports.iter().flat_map(|report| &report.tests);
    let failed = tests().filter(|test| !test.failures.is_empty()).count();
    let broken = reports.iter().filter(|report| report.broken).count();
    let faults = [(failed, "failed"), (broken, "of the files cannot be used")];
    let faults = faults.iter().filter(|(count, _)| *count > 0);
    let faults: Vec<_> = faults.map(|(count, what)| format!("{count} {what}")).collect();
    let verdict = if faults.is_empty() { "all passed".to_owned() } else { faults.join(", ") };
    format!("{}, {}: {verdict}", counted(reports.len(), "file"), counted(tests().count(), "test"))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn lines(difference: &Difference, style: Style) -> Vec<String> {
    match style {
        Style::Diff => diff(&difference.expected, &difference.got),
        Style::Both => {
            let part = |title: &str, lines: &[String]| {
                let head = if lines.is_empty() { format!("{title}: nothing") } else { format!("{title}:") };
                std::iter::once(head).chain(lines.iter().map(|line| format!("  {line}"))).collect::<Vec<_>>()
            };
            [part("expected", &difference.expected), part("got", &difference.got)].concat()
        }
    }
}

/// The shortest way from one list of lines to another, as their longest common subsequence has it.
fn diff(expected: &[String], got: &[String]) -> Vec<String> {
    // `common[i][j]`: how many lines the rests from `i` and `j` on have in common.
    let mut common = vec![vec![0_usize; got.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..got.len()).rev() {
            common[i][j] = if expected[i] == got[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < expected.len() || j < got.len() {
        if i < expected.len() && j < got.len() && expected[i] == got[j] {
            lines.push(format!("  {}", expected[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == got.len() || i < expected.len() && common[i + 1][j] >= common[i][j + 1] {
            lines.push(format!("- {}", expected[i]));
            i += 1;
        } else {
            lines.push(format!("+ {}", got[j]));
            j += 1;
        }
    }
    lines
}

#[derive(Serialize)]
struct Wire<'a> {
    passed: bool,
    files: Vec<WireFile<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<WireCoverage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mutation: Option<WireMutation<'a>>,
}

#[derive(Serialize)]
struct WireFile<'a> {
    file: &'a str,
    passed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<String>,
    tests: Vec<WireTest<'a>>,
}

#[derive(Serialize)]
struct WireTest<'a> {
    name: &'a str,
    line: usize,
    passed: bool,
    duration_seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<WireFailure<'a>>,
}

#[derive(Serialize)]
struct WireFailure<'a> {
    line: usize,
    column: usize,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    got: Option<&'a [String]>,
}

#[derive(Serialize)]
struct WireCoverage<'a> {
    alerts: usize,
    alerts_seen_firing: usize,
    gaps: Vec<WireGap<'a>>,
}

#[derive(Serialize)]
struct WireGap<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    what: String,
}

#[derive(Serialize)]
struct WireMutation<'a> {
    changes: usize,
    noticed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    kill_rate: Option<f64>,
    survivors: Vec<WireMutant<'a>>,
}

#[derive(Serialize)]
struct WireMutant<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    alert: &'a str,
    before: &'a str,
    after: &'a str,
}

impl<'a> WireCoverage<'a> {
    fn new(coverage: &'a Coverage) -> Self {
        let gaps = coverage.gaps().into_iter();
        let gap = |(file, place, what): (&'a str, LineColumn, String)| WireGap {
            file,
            line: place.line,
            column: place.column,
            what,
        };
        Self {
            alerts: coverage.rules.len(),
            alerts_seen_firing: coverage.firing(),
            gaps: gaps.map(gap).collect(),
        }
    }
}

impl<'a> WireMutation<'a> {
    fn new(mutation: &'a Mutation) -> Self {
        let survivor = |mutant: &'a Mutant| WireMutant {
            file: &mutant.file,
            line: mutant.place.line,
            column: mutant.place.column,
            alert: &mutant.alert,
            before: &mutant.before,
            after: &mutant.after,
        };
        Self {
            changes: mutation.mutants.len(),
            noticed: mutation.killed(),
            kill_rate: mutation.kill_rate(),
            survivors: mutation.survivors().map(survivor).collect(),
        }
    }
}

impl<'a> WireFile<'a> {
    fn new(report: &'a FileReport) -> Self {
        Self {
            file: &report.file,
            passed: report.passed(),
            findings: report.findings.iter().map(Diagnostic::to_string).collect(),
            tests: report.tests.iter().map(WireTest::new).collect(),
        }
    }
}

impl<'a> WireTest<'a> {
    fn new(report: &'a TestReport) -> Self {
        let failures = report.failures.iter().map(|Failure { place, what, difference }| WireFailure {
            line: place.line,
            column: place.column,
            what,
            expected: difference.as_ref().map(|difference| difference.expected.as_slice()),
            got: difference.as_ref().map(|difference| difference.got.as_slice()),
        });
        Self {
            name: &report.name,
            line: report.place.line,
            passed: report.failures.is_empty(),
            duration_seconds: report.took.as_secs_f64(),
            failures: failures.collect(),
        }
    }
}

fn junit(reports: &[FileReport]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for report in reports {
        let failures: usize = report.tests.iter().map(|test| test.failures.len()).sum();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\" skipped=\"0\">",
            escaped(&report.file),
            report.tests.len(),
            usize::from(report.broken),
        );
        if report.broken {
            let findings: Vec<_> = report.findings.iter().map(Diagnostic::to_string).collect();
            let findings = escaped(&findings.join("\n"));
            let _ = writeln!(xml, "    <testcase name=\"file\"><error>{findings}</error></testcase>");
        }
        for test in &report.tests {
            let (name, seconds) = (escaped(&test.name), test.took.as_secs_f64());
            let _ = write!(xml, "    <testcase name=\"{name}\" time=\"{seconds:.3}\">");
            for failure in &test.failures {
                let difference =
                    failure.difference.iter().flat_map(|difference| lines(difference, Style::Both));
                let head = format!("{}:{}: {}", report.file, failure.place, failure.what);
                let text: Vec<_> = std::iter::once(head).chain(difference).collect();
                let _ = write!(xml, "<failure>{}</failure>", escaped(&text.join("\n")));
            }
            xml.push_str("</testcase>\n");
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// A text within XML; what XML cannot hold at all becomes the replacement character.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\n' | '\t' => xml.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                xml.push(char::REPLACEMENT_CHARACTER);
            }
            c => xml.push(c),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_what_is_common_once() {
        let check = |expected: &[&str], got: &[&str], lines: &[&str]| {
            let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
            assert_eq!(diff(&owned(expected), &owned(got)), lines);
        };
        check(&[], &[], &[]);
        check(&["a"], &[], &["- a"]);
        check(&[], &["a"], &["+ a"]);
        check(&["a", "b", "c"], &["a", "x", "c"], &["  a", "- b", "+ x", "  c"]);
        check(&["a", "b"], &["b", "c"], &["- a", "  b", "+ c"]);
    }

    #[test]
    fn texts_do_not_break_out_of_the_xml() {
        assert_eq!(escaped("a<b> & \"c\"\n\u{1b}"), "a&lt;b&gt; &amp; &quot;c&quot;\n\u{fffd}");
    }
}
