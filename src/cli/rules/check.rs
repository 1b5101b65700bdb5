//! `valmis rules check`

use anyhow::Result;

use crate::app::rules::bundled;
use crate::cli::findings::{self, Format, count, counted};
use crate::cli::{Exit, Output};
use crate::diag::Severity;
use crate::promql::Features;
use crate::rulefmt::{self, Loaded};

/// Report everything that is wrong with rule files.
///
/// Reads Prometheus rule files and PrometheusRule manifests, and checks what Prometheus checks:
/// structure, names, expressions with their types, templates. The exit code is 1 if there is an error.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Files, folders (all `.yml` and `.yaml` files below), or quoted patterns such as 'rules/*.yaml'
    /// [default: the bundled rules]
    files: Vec<String>,
    /// How findings are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Let warnings count as errors.
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(args: &Check, out: &mut Output) -> Result<Exit> {
    let mut loaded =
        if args.files.is_empty() { bundled() } else { rulefmt::load(&args.files, Features::default()) };
    // A server may wait for files to come; who names files to be checked has mistyped them.
    for finding in loaded.findings.iter_mut().filter(|finding| finding.code == "no-rule-files") {
        finding.severity = Severity::Error;
    }
    let summary = format!("{}: {}\n", read(&loaded), counted(&loaded.findings));
    findings::print(out, args.format, &loaded.findings, &summary)?;
    Ok(findings::exit(&loaded.findings, args.strict))
}

/// What was read; how many groups and rules only if none was left out for its faults.
fn read(loaded: &Loaded) -> String {
    let files = count(loaded.read, "file");
    if loaded.findings.iter().any(|finding| finding.severity == Severity::Error) {
        return files;
    }
    let groups: Vec<_> = loaded.files.iter().flat_map(|file| &file.groups).collect();
    let rules = groups.iter().map(|group| group.rules.len()).sum();
    format!("{files}, {}, {}", count(groups.len(), "group"), count(rules, "rule"))
}
