//! `valmis version`

use anyhow::Result;

use super::{Exit, Output};
use crate::artifacts;
use crate::telemetry::VERSION;

/// Print the version of the program and of everything that is built into it.
#[derive(Debug, clap::Args)]
pub(super) struct Version {}

pub(super) fn run(out: &mut Output) -> Result<Exit> {
    out.line(&format!("valmis {VERSION}"))?;
    let profile = if cfg!(debug_assertions) { ", unoptimized" } else { "" };
    out.line(&format!("built for {}-{}{profile}", std::env::consts::ARCH, std::env::consts::OS))?;
    for (kind, artifacts) in [("rules", artifacts::rules()), ("dashboards", artifacts::dashboards())] {
        for artifact in artifacts {
            out.line(&format!("{kind}/{} {}", artifact.name, artifact.version))?;
        }
    }
    Ok(Exit::Fine)
}
