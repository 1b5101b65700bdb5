//! Who may talk to valmis, and how: listeners, TLS, passwords, limits.
//!
//! What people write is the web configuration file of Prometheus' exporters (exporter-toolkit's
//! `--web.config.file`), accepted as it is. [`read()`] makes it a [`WebConfig`] and reports every fault;
//! [`load()`] adds what the files hold that it names; [`Access`] keeps that in force and up to date;
//! [`Server`] lets connections in through a [`Door`],
//! within [`Limits`].

mod access;
mod client_auth;
mod config;
mod curves;
mod door;
mod exchanges;
mod limits;
mod load;
mod metrics;
mod passwords;
mod rate;
mod read;
mod serve;
mod suites;
mod timed;
mod tls;

pub use access::{Access, ReloadError};
pub use config::{ClientAuth, Pem, PemSource, RateLimit, TlsSettings, WebConfig};
pub use door::Door;
pub use limits::Limits;
pub use load::{Loaded, load};
pub use metrics::Metrics;
pub use read::read;
pub use serve::Server;
