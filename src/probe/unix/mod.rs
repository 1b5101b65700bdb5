//! The probe of Unix sockets: as the TCP probe, over a local socket, with blackbox exporter's metrics.

use std::io;
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::UnixStream;

use super::dialog::{self, QueryResponse, Talk, TlsStart, TlsTerms};
use super::outcome::{self, observe};
use super::tls::{self, TlsConfig};
use super::{Deadline, MetricMetadata, ProbeFailure, ProbeOutcome, Prober, TargetError};
use crate::clock::SharedClock;

/// The metrics of the prober of Unix sockets.
pub const METADATA: &[&[MetricMetadata]] = &[outcome::METADATA, dialog::METADATA, tls::METADATA];

/// What a server behind a local socket is called if nothing else is said.
const LOCAL_NAME: &str = "localhost";

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

impl UnixProber {
    async fn look(&self, talk: &mut Talk) -> Result<(), ProbeFailure> {
        let Self { config, path, clock } = self;
        talk.course.begin("connecting");
        let stream = UnixStream::connect(path).await.map_err(|error| failure(path, &error))?;
        talk.course.note(format!("connected to {}", path.display()));
        let terms = TlsTerms { config: &config.tls, host: LOCAL_NAME, clock };
        talk.hold(stream, &config.query_response, config.tls_start, &terms).await
    }
}

/// A socket that this process may not open says nothing of the server behind it.
fn failure(path: &Path, error: &io::Error) -> ProbeFailure {
    let path = path.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        let reason = format!("permission denied connecting to unix socket `{path}`: {error}");
        return ProbeFailure::unknown("permission", reason);
    }
    ProbeFailure::new("connect", format!("cannot connect to `{path}`: {error}"))
}

impl Prober for UnixProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        observe(deadline, Talk::default(), async move |talk: &mut Talk| self.look(talk).await).boxed()
    }
}
