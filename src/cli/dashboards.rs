//! `valmis dashboards export`

use std::path::PathBuf;

use anyhow::Result;

use super::export::{chosen, write};
use super::{Exit, Output};
use crate::artifacts;

/// Work with the bundled Grafana dashboards.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Dashboards {
    /// Print or write the dashboards, for Grafana to import or to be provisioned with.
    ///
    /// Without `--output` they are printed, one JSON document after the other.
    Export {
        /// Which dashboards [default: all]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Write one file each into this folder.
        #[arg(long, short, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
}

pub(super) fn run(command: &Dashboards, out: &mut Output) -> Result<Exit> {
    let Dashboards::Export { names, output } = command;
    let files = chosen(artifacts::dashboards(), names, "dashboard")?;
    match output {
        Some(folder) => {
            let texts: Vec<_> = files.iter().map(|file| (file.name, file.text.to_owned())).collect();
            write(out, folder, "json", &texts)?;
        }
        None => files.iter().try_for_each(|file| out.text(file.text))?,
    }
    Ok(Exit::Fine)
}
