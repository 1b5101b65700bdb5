//! Options about TLS.

use std::path::PathBuf;

use crate::client::TlsConfig;

/// Whom to trust.
#[derive(Debug, clap::Args)]
pub(super) struct Trust {
    /// Accept a certificate that cannot be verified.
    #[arg(long)]
    insecure: bool,
    /// Trust the authorities in this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Trust {
    pub(super) fn config(&self) -> TlsConfig {
        TlsConfig {
            insecure_skip_verify: self.insecure,
            ca_file: self.ca_file.clone(),
            ..TlsConfig::default()
        }
    }
}
