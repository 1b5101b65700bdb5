//! `valmis explain`

use anyhow::{Result, bail};

use super::{Exit, Output};
use crate::diag::closest;
use crate::lint::{self, Lint};

/// Say what a lint of `valmis rules check` finds, why, and what to do.
///
/// Without a name all lints are listed.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The lint's name, as findings show it in brackets.
    lint: Option<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON array.
    Json,
    /// All lints as a page of documentation.
    Markdown,
}

pub(super) fn run(args: &Explain, out: &mut Output) -> Result<Exit> {
    let chosen = args.lint.as_deref().map(find).transpose()?;
    let text = match (args.format, chosen) {
        (Format::Text, Some(lint)) => lint::explain(lint),
        (Format::Text, None) => lint::list(),
        (Format::Json, Some(lint)) => lint::to_json([lint]),
        (Format::Json, None) => lint::to_json(lint::all().iter().copied()),
        (Format::Markdown, _) => lint::to_markdown(),
    };
    out.text(&text)?;
    Ok(Exit::Fine)
}

fn find(name: &str) -> Result<&'static Lint> {
    if let Some(lint) = lint::all().iter().find(|lint| lint.name == name) {
        return Ok(lint);
    }
    match closest(name, lint::all().iter().map(|lint| lint.name)) {
        Some(found) => bail!("there is no lint `{name}`; did you mean `{found}`?"),
        None => bail!("there is no lint `{name}`; `valmis explain` lists all"),
    }
}
