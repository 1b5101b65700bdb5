//! `valmis init`: looks at the machine and writes a configuration for it.

mod render;
mod scan;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::{Exit, Output};

/// Look at this machine and write a commented configuration for it.
#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// The file to write.
    #[arg(default_value = "valmis.yaml")]
    file: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
    /// Write to standard output instead of a file.
    #[arg(long, conflicts_with_all = ["file", "force"])]
    stdout: bool,
}

pub(super) fn run(args: &Init, out: &mut Output) -> Result<Exit> {
    if !args.stdout && !args.force && args.file.exists() {
        bail!("`{}` exists already; `--force` replaces it", args.file.display());
    }
    let found = super::runtime()?.block_on(scan::machine());
    let text = render::configuration(&found);
    if args.stdout {
        out.text(&text)?;
        return Ok(Exit::Fine);
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let path = args.file.display();
    let mut file = options.open(&args.file).with_context(|| format!("cannot write `{path}`"))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write `{path}`"))?;
    for line in found.summary() {
        out.line(&line)?;
    }
    out.line(&format!(
        "wrote {path}; check it with `valmis config check {path}`, run it with `valmis serve --config {path}`"
    ))?;
    Ok(Exit::Fine)
}
