//! Servers, certificates and look-ups that the tests of probes share.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use valmis::clock::{FixedClock, SharedClock};
use valmis::probe::{Deadline, ProbeOutcome, Prober};

/// Noon of 1 June 2026 in UTC: the time at which the tests take place.
pub(crate) const NOW_SECONDS: i64 = 1_780_315_200;

/// A clock that shows it.
pub(crate) fn clock() -> SharedClock {
    Arc::new(FixedClock::at(NOW_SECONDS * 1000))
}

/// Probes with plenty of time.
pub(crate) async fn probe(prober: &dyn Prober) -> ProbeOutcome {
    probe_within(prober, Duration::from_secs(20)).await
}

/// Probes with this much time.
pub(crate) async fn probe_within(prober: &dyn Prober, allowed: Duration) -> ProbeOutcome {
    prober.probe(Deadline::after(allowed)).await
}

/// The value of the only sample that has this name and these labels, whatever other labels it has.
pub(crate) fn value(outcome: &ProbeOutcome, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |sample: &&valmis::model::Sample| {
        sample.labels.metric_name() == name && labels.iter().all(|(n, v)| sample.labels.get(n) == *v)
    };
    let mut found = outcome.samples.iter().filter(fits);
    let first = found.next().map(|sample| sample.value);
    assert!(found.next().is_none(), "several samples of {name} {labels:?}: {:?}", outcome.samples);
    first
}

/// Checks that no series occurs twice, and that all have a type and a help text.
pub(crate) fn assert_well_formed(outcome: &ProbeOutcome, metadata: &[&[valmis::probe::MetricMetadata]]) {
    let mut seen = std::collections::HashSet::new();
    for sample in &outcome.samples {
        assert!(seen.insert(sample.labels.clone()), "{} occurs twice", sample.labels);
        let name = sample.labels.metric_name();
        assert!(metadata.concat().iter().any(|(known, ..)| *known == name), "{name} has no metadata");
        assert_eq!(sample.at, 0);
    }
}

/// An authority, or a certificate that calls itself one.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
}

/// Certificates with their key, for a server.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The first certificate.
    pub(crate) pem: String,
    pub(crate) key: KeyPair,
}

/// Parameters of a certificate that is valid throughout 2026.
pub(crate) fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 12, 31);
    params
}

impl Authority {
    /// An authority that signs itself, valid until `year` ends.
    pub(crate) fn root(common_name: &str, year: i32) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(common_name, year);
        let certificate = params.self_signed(&key).unwrap();
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// An authority below this one, valid until `year` ends.
    pub(crate) fn intermediate(&self, common_name: &str, year: i32) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(common_name, year);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    fn params(common_name: &str, year: i32) -> CertificateParams {
        let mut params = params(common_name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        params
    }

    /// A server's certificate from this authority.
    pub(crate) fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
    }
}

impl Identity {
    /// A certificate that signs itself.
    pub(crate) fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
    }

    /// The same, with another certificate after those it has.
    pub(crate) fn and(mut self, der: &CertificateDer<'static>) -> Self {
        self.chain.push(der.clone());
        self
    }

    /// A TLS server's configuration.
    pub(crate) fn server_config(self) -> ServerConfig {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain, key)
            .unwrap()
    }
}

/// Writes a file and gives its path.
pub(crate) fn write(folder: &Path, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, contents).unwrap();
    path
}

/// Serves every connection with `serve`, until the test ends.
pub(crate) async fn listen<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(tokio::net::TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// An HTTPS server that answers every request with `ok`.
pub(crate) struct HttpsServer {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl HttpsServer {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let address = listen(move |stream| {
            let (acceptor, counter) = (acceptor.clone(), counter.clone());
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if read_head(&mut stream).await.is_empty() {
                    return;
                }
                counter.fetch_add(1, Ordering::SeqCst);
                answer(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        })
        .await;
        Self { address, requests }
    }

    /// How many requests have come in.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Reads the head of a request; empty if the client has gone.
pub(crate) async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Sends bytes and ends the connection. A client that has gone does not matter.
pub(crate) async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, response: impl AsRef<[u8]>) {
    let _ = stream.write_all(response.as_ref()).await;
    let _ = stream.shutdown().await;
}
