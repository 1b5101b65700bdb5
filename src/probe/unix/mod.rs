//! The probe of Unix sockets: as the TCP probe, over a local socket, with blackbox exporter's metrics.

use std::path::{Path, PathBuf};

use super::TargetError;
use super::dialog::{QueryResponse, TlsStart};
use super::tls::TlsConfig;
use crate::clock::SharedClock;

/// How to look at a server on this machine. Source: blackbox exporter `CONFIGURATION.md`,
/// `<unix_probe>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnixConfig {
    /// What is said on the connection; if nothing is, connecting is all.
    pub query_response: Vec<QueryResponse>,
    /// When TLS begins.
    pub tls_start: TlsStart,
    /// How to talk TLS, wherever it begins. Without `server_name` the server is to be `localhost`.
    pub tls: TlsConfig,
}

/// Looks at one Unix socket.
pub struct UnixProber {
    config: UnixConfig,
    path: PathBuf,
    clock: SharedClock,
}

impl UnixProber {
    /// A prober of the socket with the absolute path `target`. The clock says which certificates are
    /// expired.
    pub fn new(config: UnixConfig, target: &str, clock: SharedClock) -> Result<Self, TargetError> {
        let path = Path::new(target);
        if !path.is_absolute() || target.contains('\0') {
            return Err(TargetError::Path(target.to_owned()));
        }
        Ok(Self { config, path: path.to_owned(), clock })
    }
}
