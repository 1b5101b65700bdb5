//! The probes of TCP, Unix sockets, DNS, ICMP, gRPC and of a WebSocket against real servers on this machine, good and
//! hostile ones.

mod dns;
mod grpc;
mod icmp;
mod resolver;
mod starttls;
pub(crate) mod tcp;
mod unix;
mod websocket;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_rustls::TlsAcceptor;
use valmis::client::SecretSource;
use valmis::probe::tls::TlsConfig;
use valmis::probe::{MetricMetadata, ProbeOutcome, Prober};

use crate::servers::{Authority, assert_well_formed, params, probe_within, value, write};

/// More than any probe of a willing server needs, however busy the machine is.
const PLENTY: Duration = Duration::from_secs(20);

/// What a probe of an unwilling server is given, and how much later it must have ended.
const LITTLE: Duration = Duration::from_millis(400);
const SLACK: Duration = Duration::from_secs(5);

async fn run(prober: &dyn Prober, metadata: &[&[MetricMetadata]]) -> ProbeOutcome {
    run_within(PLENTY, prober, metadata).await
}

async fn run_within(allowed: Duration, prober: &dyn Prober, metadata: &[&[MetricMetadata]]) -> ProbeOutcome {
    let started = Instant::now();
    let outcome = probe_within(prober, allowed).await;
    assert!(started.elapsed() < allowed + SLACK, "{:?}", started.elapsed());
    assert_well_formed(&outcome, metadata);
    let success = value(&outcome, "probe_success", &[]);
    assert_eq!(success, Some(f64::from(u8::from(outcome.result.is_ok()))));
    outcome
}

/// Whether the probe succeeded, or the kind of its failure.
fn kind(outcome: &ProbeOutcome) -> &'static str {
    outcome.result.as_ref().map_or_else(|failure| failure.kind, |()| "ok")
}

fn assert_values(outcome: &ProbeOutcome, expected: &[(&str, f64)]) {
    for (name, expected) in expected {
        let found = value(outcome, name, &[]);
        assert_eq!(found, Some(*expected), "{name}: {:?} {:?}", outcome.result, outcome.log);
    }
}

/// Servers in TLS called `localhost`, and who trusts them.
struct Trusted {
    acceptor: TlsAcceptor,
    _folder: TempDir,
    ca_file: PathBuf,
}

impl Trusted {
    fn new() -> Self {
        Self::speaking(&[])
    }

    /// Servers that agree to one of these protocols.
    fn speaking(alpn: &[&str]) -> Self {
        let authority = Authority::root("root", 2030);
        let identity = authority.sign(&params("localhost", &["localhost"]));
        let folder = tempfile::tempdir().unwrap();
        let ca_file = write(folder.path(), "ca.pem", &authority.pem);
        let mut config = identity.server_config();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), _folder: folder, ca_file }
    }

    fn tls(&self) -> TlsConfig {
        TlsConfig { ca: Some(SecretSource::File(self.ca_file.clone())), ..TlsConfig::default() }
    }
}

/// 2026-12-31, when the certificates of servers end.
const END_OF_2026: f64 = 1_798_675_200.0;

/// Reads what a client is to say; panics if it says something else.
async fn hear(stream: &mut (impl AsyncRead + Unpin), expected: impl AsRef<[u8]>) {
    let expected = expected.as_ref();
    let mut said = vec![0; expected.len()];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(said.escape_ascii().to_string(), expected.escape_ascii().to_string());
}
