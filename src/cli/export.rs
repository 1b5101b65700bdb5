//! What the commands that hand bundled files out have in common.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Output;
use crate::artifacts::Artifact;
use crate::diag::closest;

/// The artifacts with these names; all if there are no names.
pub(super) fn chosen<'a>(all: &'a [Artifact], names: &[String], what: &str) -> Result<Vec<&'a Artifact>> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    names
        .iter()
        .map(|name| match all.iter().find(|artifact| artifact.name == name) {
            Some(artifact) => Ok(artifact),
            None => {
                let known: Vec<&str> = all.iter().map(|artifact| artifact.name).collect();
                match closest(name, known.iter().copied()) {
                    Some(meant) => bail!("there is no {what} `{name}`; did you mean `{meant}`?"),
                    None => bail!("there is no {what} `{name}`; there are {}", known.join(", ")),
                }
            }
        })
        .collect()
}

/// Writes each text into a file of its name in `folder`, which is made if need be. Files that are there
/// already are replaced.
pub(super) fn write(
    out: &mut Output,
    folder: &Path,
    extension: &str,
    texts: &[(&str, String)],
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    for (name, text) in texts {
        let path = folder.join(format!("{name}.{extension}"));
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        out.line(&format!("wrote {}", path.display()))?;
    }
    Ok(())
}
