//! `valmis config check`

use std::path::PathBuf;

use anyhow::Result;

use super::{Exit, Output, environment};
use crate::config;

/// Work with configuration files.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Config {
    /// Report everything that is wrong with configuration files.
    Check {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

pub(super) fn run(command: &Config, out: &mut Output) -> Result<Exit> {
    let Config::Check { files } = command;
    let mut exit = Exit::Fine;
    for file in files {
        match config::load(file, &environment) {
            Ok(_) => out.line(&format!("{}: no faults found", file.display()))?,
            Err(findings) => {
                for finding in findings {
                    out.line(&finding.to_string())?;
                }
                exit = Exit::Findings;
            }
        }
    }
    Ok(exit)
}
