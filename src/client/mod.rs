//! What every connection to another server needs: trust, credentials, deadlines.
//!
//! Scrapes, notifications, remote queries and probes are told in the same terms whom to trust and how
//! to prove who they are.

mod auth;
mod tls;
mod verify;

use std::time::Duration;

pub use auth::{HttpAuth, SecretSource};
pub use tls::{TlsConfig, TlsError, install_crypto_provider};
pub use verify::{Demand, Verifier};

/// How valmis presents itself to other servers.
pub const USER_AGENT: &str = concat!("valmis/", env!("CARGO_PKG_VERSION"));

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The trust settings cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP library refused the settings.
    #[error("cannot set up an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// An HTTP client whose every request ends within `timeout`. It follows no proxy settings of the
/// environment: what a configuration does not say does not happen.
pub fn http_client(tls: &TlsConfig, timeout: Duration) -> Result<reqwest::Client, ClientError> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.client_config()?)
        .user_agent(USER_AGENT)
        .timeout(timeout)
        .connect_timeout(timeout)
        .no_proxy()
        .build()?;
    Ok(client)
}
