//! A web configuration with everything that it names, read from disk.

use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use xxhash_rust::xxh64::Xxh64;

use super::config::WebConfig;
use super::read::read;
use super::tls;
use crate::diag::{Diagnostic, Severity};

/// The largest file that is read. A machine's whole trust store is about 0.2 MiB.
const MAX_BYTES: u64 = 1 << 20;

/// A web configuration that can be put in force.
#[derive(Debug)]
pub struct Loaded {
    /// What the file says.
    pub config: WebConfig,
    /// How TLS is spoken; none: plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// Equal if the file and all that it names are.
    pub(super) fingerprint: u64,
}

/// Reads the file at `path` and the files that it names; or everything that is wrong with them. Blocks.
pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let name = path.display().to_string();
    let mut hasher = Xxh64::new(0);
    let mut contents = |path: &Path| {
        let bytes = contents(path)?;
        bytes.hash(&mut hasher);
        Ok(bytes)
    };
    let unreadable = |error: io::Error| {
        let message = format!("cannot read the web configuration: {error}");
        vec![Diagnostic::error("unreadable-file", message).at(&name, None)]
    };
    let text = contents(path).map_err(unreadable)?;
    let text = String::from_utf8(text).map_err(|error| unreadable(io::Error::other(error.utf8_error())))?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let (config, mut findings) = read(&name, &text, folder);
    let mut tls = None;
    if let Some(settings) = &config.tls {
        match tls::server_config(settings, &mut contents) {
            Ok(config) => tls = Some(config),
            Err(faults) => findings.extend(
                faults
                    .into_iter()
                    .map(|(place, message)| Diagnostic::error("bad-tls", message).at(&name, Some(place))),
            ),
        }
    }
    findings.sort_by_key(|finding| finding.place);
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    Ok(Loaded { config, tls, warnings: findings, fingerprint: hasher.finish() })
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before opening: opening a named pipe would wait for a writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}
