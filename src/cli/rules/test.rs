//! `valmis rules test`

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cli::{Exit, Output};
use crate::model::GoRegex;
use crate::ruletest::{self, Extras, Report, Selection, Style, Suite};

/// Run unit tests of rules: promtool's files, and more.
///
/// A test gives series and says which alerts and values rules must make of them, and when; see
/// docs/rule-tests.md. The exit code is 1 if a test fails or a file cannot be used.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Test {
    /// Files with tests.
    #[arg(required = true)]
    files: Vec<String>,
    /// Run only tests whose name matches this regular expression; may be given several times.
    #[arg(long, value_name = "REGEX", value_parser = pattern)]
    run: Vec<GoRegex>,
    /// Show differences line by line.
    #[arg(long)]
    diff: bool,
    /// Show all series of each test after its end.
    #[arg(long)]
    debug: bool,
    /// Say which alerts, branches of expressions and listed label values the tests have never shown.
    #[arg(long)]
    coverage: bool,
    /// Change thresholds, comparisons and `for` one after the other, and say which changes no test notices.
    #[arg(long)]
    mutate: bool,
    /// Write a report as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// How the report is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Let rule files have fields that are not known.
    #[arg(long)]
    ignore_unknown_fields: bool,
}

/// What a report is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

fn pattern(text: &str) -> Result<GoRegex> {
    GoRegex::new(text).with_context(|| format!("`{text}` is no regular expression"))
}

pub(super) fn run(args: &Test, out: &mut Output) -> Result<Exit> {
    let selection = Selection { run: args.run.clone(), ignore_unknown_fields: args.ignore_unknown_fields };
    let suites: Vec<Suite> = args.files.iter().map(|file| ruletest::load(file, &selection)).collect();
    let extras = Extras { dump: args.debug, coverage: args.coverage };
    let (files, coverage) =
        ruletest::run(&suites, extras).context("cannot start the threads that run tests")?;
    let mutation = args.mutate.then(|| ruletest::mutate(&suites, &files)).transpose();
    let mutation = mutation.context("cannot start the threads that run tests")?;
    let report = Report { files, coverage: args.coverage.then_some(coverage), mutation };
    if let Some(path) = &args.junit {
        std::fs::write(path, report.to_junit())
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let style = if args.diff { Style::Diff } else { Style::Both };
    out.text(&match args.format {
        Format::Text => report.to_text(style),
        Format::Json => report.to_json(),
    })?;
    Ok(if report.passed() { Exit::Fine } else { Exit::Findings })
}
