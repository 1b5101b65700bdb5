//! TLS handshakes that learn the server's certificates also, and especially, when they are no good.
//!
//! A usual client aborts at the first fault and knows nothing. This one lets the handshake go on, notes
//! the certificates and every fault, and leaves it to the caller to say nothing to a server that failed
//! verification.

mod config;
mod judged;
mod ocsp;
mod path;
mod served;
mod stream;
mod trust;
mod verdict;

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ProtocolVersion, SignatureScheme,
    SupportedCipherSuite,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use self::judged::Question;
use self::ocsp::Staple;
use self::stream::{Records, TlsStream};
use self::trust::TrustStore;
use super::MetricMetadata;
use super::ProbeFailure;
use super::outcome::Course;
use super::samples::SampleSet;
use super::small_file::FileError;
use super::x509::Certificate;
use crate::clock::SharedClock;

pub use self::config::{ClientIdentity, TlsConfig, TlsVersion, TlsVersionError, TlsVersions};
pub(super) use self::served::METADATA as SERVED_METADATA;
pub use self::trust::TrustError;
pub use self::verdict::{Verdict, VerifyReason};

/// The metrics of a TLS handshake.
pub(super) const METADATA: &[MetricMetadata] = &[
    ("probe_ssl_earliest_cert_expiry", "gauge", "Returns last SSL chain expiry in unixtime"),
    ("probe_ssl_last_chain_expiry_timestamp_seconds", "gauge", "Returns last SSL chain expiry in timestamp"),
    ("probe_ssl_last_chain_info", "gauge", "Contains SSL leaf certificate information"),
    ("probe_tls_version_info", "gauge", "Returns the TLS version used or NaN when unknown"),
    ("probe_tls_cipher_info", "gauge", "Returns the TLS cipher negotiated during handshake"),
    (
        "valmis_tls_verify_result",
        "gauge",
        "What verification of the server's certificate found: 1 for every reason that applies, and for ok if none does",
    ),
];

/// The cryptography of all probes. Ciphers with keys of 128 bits are offered first, as Go's `crypto/tls`
/// does, so that servers that let the client choose show the same `probe_tls_cipher_info` to both; their
/// hash is also the quicker one where the processor knows SHA-256.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(|suite| match suite.suite().as_str() {
            Some(name) if name.contains("AES_128") => 0,
            Some(name) if name.contains("AES_256") => 1,
            _ => 2,
        });
        Arc::new(provider)
    });
    &PROVIDER
}

/// Why there is no TLS connection that may be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("trusted authorities: {0}")]
    Trust(#[from] TrustError),
    #[error("client certificate: {0}")]
    ClientFile(#[from] FileError),
    #[error("client certificate: {0}")]
    ClientCertificate(String),
    #[error("`{0}` cannot be a TLS server name")]
    ServerName(String),
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the certificate of `{name}` is not acceptable: {explanation}")]
    Verification { name: String, explanation: String },
}

impl From<TlsError> for ProbeFailure {
    fn from(error: TlsError) -> Self {
        let text = error.to_string();
        match error {
            TlsError::Trust(_)
            | TlsError::ClientFile(_)
            | TlsError::ClientCertificate(_)
            | TlsError::ServerName(_) => Self::unknown("tls_config", text),
            TlsError::Handshake(_) => Self::new("tls", text),
            TlsError::Verification { .. } => Self::new("certificate", text),
        }
    }
}

/// What a handshake learns, filled while it goes on, so that it survives a handshake that fails or hangs.
#[derive(Debug, Clone, Default)]
pub(super) struct Handshake(Arc<Mutex<HandshakeFacts>>);

/// What is known of the server.
#[derive(Debug, Clone, Default)]
pub(super) struct HandshakeFacts {
    /// The certificates as sent, leaf first; empty if the handshake did not get that far.
    pub(super) chain: Arc<[CertificateDer<'static>]>,
    /// Those of them that can be read, leaf first.
    pub(super) certificates: Arc<[Certificate]>,
    /// What is wrong with them.
    pub(super) verdict: Verdict,
    /// Whether an OCSP response came with them.
    pub(super) is_stapled: bool,
    /// What that says, if it can be read and is about the server's certificate.
    revocation: Option<Staple>,
    /// Version and cipher suite, if the handshake completed. QUIC does not tell the suite.
    session: Option<(ProtocolVersion, Option<SupportedCipherSuite>)>,
}

impl Handshake {
    /// What is known by now.
    pub(super) fn facts(&self) -> HandshakeFacts {
        self.lock().clone()
    }

    /// Says that the server is spoken to although its certificate is no good, if that is so.
    pub(super) fn note_doubts(&self, course: &mut Course) {
        let verdict = self.facts().verdict;
        if !verdict.is_ok() {
            course.note(format!("carrying on in spite of the certificate: {}", verdict.explain()));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HandshakeFacts> {
        // Facts are whole after each change, so those of a thread that panicked are good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that a handshake needs: made before a connection, since it reads files.
pub(super) struct PreparedTls {
    handshake: Handshake,
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
    insecure_skip_verify: bool,
}

impl PreparedTls {
    /// What the handshake learns, now or later.
    pub(super) fn handshake(&self) -> Handshake {
        self.handshake.clone()
    }

    /// Does the handshake over `stream`. A connection to a server that failed verification is given
    /// only with `insecure_skip_verify`.
    pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        stream: S,
    ) -> Result<TlsStream<S>, TlsError> {
        let connector = TlsConnector::from(self.client.clone());
        let connected = connector.connect(self.name.clone(), Records::new(stream)).await.map(TlsStream);
        if let Ok(stream) = &connected {
            let session = stream.session();
            let version = session.protocol_version();
            self.handshake.lock().session =
                version.map(|version| (version, session.negotiated_cipher_suite()));
        }
        self.judged()?;
        connected.map_err(TlsError::Handshake)
    }

    /// The same for QUIC, which does the handshake itself.
    pub(super) fn quic(&self) -> Result<Arc<QuicClientConfig>, TlsError> {
        let config = QuicClientConfig::try_from(self.client.clone());
        config.map(Arc::new).map_err(|error| TlsError::Handshake(io::Error::other(error)))
    }

    /// The name that the server is asked for.
    pub(super) fn name(&self) -> Cow<'_, str> {
        self.name.to_str()
    }

    /// Notes how a handshake of QUIC ended; that does not tell its cipher suite.
    pub(super) fn quic_ended(&self, completed: bool) -> Result<(), TlsError> {
        self.handshake.lock().session = completed.then_some((ProtocolVersion::TLSv1_3, None));
        self.judged()
    }

    /// Whether the server may be spoken to.
    fn judged(&self) -> Result<(), TlsError> {
        let facts = self.handshake.lock();
        if facts.verdict.is_ok() || self.insecure_skip_verify {
            return Ok(());
        }
        let name = self.name.to_str().into_owned();
        Err(TlsError::Verification { name, explanation: facts.verdict.explain() })
    }
}

impl TlsConfig {
    /// Gets ready for a handshake with the server called `host`, to which the application protocols
    /// `alpn` are offered.
    pub(super) async fn prepare(
        &self,
        host: &str,
        alpn: &[&str],
        clock: &SharedClock,
    ) -> Result<PreparedTls, TlsError> {
        let asked = self.server_name.as_deref().unwrap_or(host);
        let name =
            ServerName::try_from(asked.to_owned()).map_err(|_| TlsError::ServerName(asked.to_owned()))?;
        let trust = match &self.ca {
            Some(source) => TrustStore::from_pem(source).await?,
            None => TrustStore::native().await,
        };
        let handshake = Handshake::default();
        let verifier = RecordingVerifier {
            handshake: handshake.clone(),
            trust,
            // The client's certificate follows in the same handshake: it ends before that.
            abort_on_fault: self.client_certificate.is_some() && !self.insecure_skip_verify,
        };
        let time = Arc::new(ProbeTime(clock.clone()));
        let builder = ClientConfig::builder_with_details(provider().clone(), time)
            .with_protocol_versions(self.versions.supported())
            .expect("the provider supports TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut client = match &self.client_certificate {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = own.read().await?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| TlsError::ClientCertificate(error.to_string()))?
            }
        };
        client.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        // Each probe is a full handshake: a resumed one shows no certificates.
        client.resumption = rustls::client::Resumption::disabled();
        let insecure_skip_verify = self.insecure_skip_verify;
        Ok(PreparedTls { handshake, client: Arc::new(client), name, insecure_skip_verify })
    }
}

impl HandshakeFacts {
    /// Adds the samples. None of a certificate that was not seen.
    pub(super) fn emit(&self, samples: &mut SampleSet) {
        if let Some((version, suite)) = self.session {
            samples.labelled("probe_tls_version_info", &[("version", version_label(version))], 1.0);
            if let Some(suite) = suite {
                samples.labelled("probe_tls_cipher_info", &[("cipher", &cipher_label(suite))], 1.0);
            }
        }
        if self.chain.is_empty() {
            return;
        }
        let certificates = &self.certificates;
        if let Some(earliest) = certificates.iter().map(|certificate| certificate.not_after).min() {
            samples.gauge("probe_ssl_earliest_cert_expiry", earliest as f64);
        }
        if let Some(end) = self.verdict.chain_expiry {
            samples.gauge("probe_ssl_last_chain_expiry_timestamp_seconds", end as f64);
        }
        if let Some(leaf) = certificates.first() {
            let labels = [
                ("fingerprint_sha256", leaf.fingerprint_sha256.as_str()),
                ("subject", &leaf.subject.to_string()),
                ("issuer", &leaf.issuer.to_string()),
                ("subjectalternative", &leaf.dns_names.join(",")),
                ("serialnumber", &leaf.serial_hex),
            ];
            samples.labelled("probe_ssl_last_chain_info", &labels, 1.0);
        }
        let result = "valmis_tls_verify_result";
        samples.labelled(result, &[("reason", "ok")], f64::from(u8::from(self.verdict.is_ok())));
        for reason in VerifyReason::ALL {
            let applies = f64::from(u8::from(self.verdict.has(reason)));
            samples.labelled(result, &[("reason", reason.as_str())], applies);
        }
    }
}

/// As Go names versions. Source: blackbox exporter `prober/tls.go`, `getTLSVersion`.
fn version_label(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLS 1.2",
        ProtocolVersion::TLSv1_3 => "TLS 1.3",
        _ => "unknown",
    }
}

/// As IANA, and so Go, names cipher suites; rustls says `TLS13_` for those of TLS 1.3.
fn cipher_label(suite: SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or("unknown");
    name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
}

/// Notes and judges, and mostly lets pass: who uses the connection must look at the verdict first.
#[derive(Debug)]
struct RecordingVerifier {
    handshake: Handshake,
    trust: Arc<TrustStore>,
    abort_on_fault: bool,
}

impl RecordingVerifier {
    /// Notes a handshake signature that does not fit the certificate.
    fn note_signature(
        &self,
        result: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if let Err(error) = result {
            self.handshake.lock().verdict.add_error("handshake signature", &error);
            if self.abort_on_fault {
                return Err(error);
            }
        }
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = [end_entity].into_iter().chain(intermediates).cloned().collect();
        let question = Question { chain: &chain, name: server_name, staple, trust: &self.trust, now };
        let judged = question.answer();
        let abort = self.abort_on_fault && !judged.verdict.is_ok();
        let mut facts = self.handshake.lock();
        facts.chain = judged.chain;
        facts.certificates = judged.certificates;
        facts.verdict = judged.verdict;
        facts.is_stapled = !judged.staple.is_empty();
        facts.revocation = judged.revocation;
        if abort {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        self.note_signature(rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        self.note_signature(rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Lets rustls read valmis' clock.
struct ProbeTime(SharedClock);

impl std::fmt::Debug for ProbeTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProbeTime")
    }
}

impl TimeProvider for ProbeTime {
    fn current_time(&self) -> Option<UnixTime> {
        let now = u64::try_from(self.0.now()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(now)))
    }
}
