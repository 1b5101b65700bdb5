//! `valmis config check`

use std::path::PathBuf;

use anyhow::Result;

use super::findings::{self, FailOn, Format};
use super::{Exit, Output, environment};
use crate::config;
use crate::diag::Diagnostic;
use crate::listener;
use crate::rulefmt;

/// Work with configuration files.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Config {
    /// Report everything that is wrong with configuration files and the rule files that they name.
    ///
    /// Nothing is started and nothing is connected to. Variables of the environment that a file names
    /// have to be set. The exit code is 1 if there is an error.
    Check {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How findings are printed.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Let warnings count as errors.
        #[arg(long)]
        strict: bool,
    },
}

pub(super) fn run(command: &Config, out: &mut Output) -> Result<Exit> {
    let Config::Check { files, format, strict } = command;
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut summary = Vec::new();
    for file in files {
        let (config, mut findings) = config::examine(file, &environment);
        // What is wrong with it is among the findings already; what is doubtful is no fault.
        let web = config.web.config_file.as_deref().map(listener::load);
        findings.extend(web.and_then(Result::ok).map(|loaded| loaded.warnings).unwrap_or_default());
        let loaded = rulefmt::load(&config.rules.files, config.features);
        findings.extend(loaded.findings);
        findings.extend(config.rules.assign(&loaded.files).1);
        if findings.is_empty() {
            summary.push(format!("{}: no faults found\n", file.display()));
        }
        found.extend(findings);
    }
    findings::print(out, *format, &found, &[], &summary.concat())?;
    Ok(findings::exit(&found, FailOn::strict(*strict)))
}
