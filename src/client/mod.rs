//! What every connection to another server needs: trust, credentials, deadlines.
//!
//! Scrapes, notifications, remote queries and probes are told in the same terms whom to trust and how
//! to prove who they are.

mod auth;
mod http;
mod lookups;
mod renewing;
mod tls;
mod verify;

use std::time::Duration;

use reqwest::Method;

pub use auth::{HttpAuth, SecretSource};
pub use http::{Header, HttpConfig, Proxy, redirected_to, root_cause, status_of};
pub use lookups::{Lookups, UnderWay};
pub use renewing::RenewingClient;
pub use tls::{ClientCertificate, TlsConfig, TlsError, install_crypto_provider, system_certificates};
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

/// An HTTP client for what is read, that trusts as `tls` says, without credentials; see
/// [`HttpConfig::client`].
pub fn http_client(tls: &TlsConfig, timeout: Duration) -> Result<reqwest::Client, ClientError> {
    HttpConfig { tls: tls.clone(), ..HttpConfig::default() }.client(&Method::GET, timeout)
}
