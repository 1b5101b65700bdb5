//! What a web configuration file says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use rustls::crypto::SupportedKxGroup;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::model::{LineColumn, Secret};

/// A web configuration file. The default is that of an empty one: everybody may talk in plain HTTP.
#[derive(Debug, Clone, Default)]
pub struct WebConfig {
    /// TLS; none: plain HTTP.
    pub tls: Option<TlsSettings>,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Users with the bcrypt hashes of their passwords; none: everybody may ask.
    pub users: BTreeMap<String, Secret>,
    /// How many requests are answered.
    pub rate_limit: Option<RateLimit>,
}

/// How TLS is spoken.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// The certificate, and those that sign it.
    pub cert: Pem,
    /// Its key.
    pub key: Pem,
    /// Who signs certificates of clients; none: whom the system trusts.
    pub client_ca: Option<Pem>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// The alternative names of which a client's certificate must bear one.
    pub client_allowed_sans: Option<BTreeSet<String>>,
    /// The versions of TLS.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// The cipher suites, in order of preference.
    pub cipher_suites: Vec<SupportedCipherSuite>,
    /// Whether that order counts, and not the client's.
    pub prefer_server_cipher_suites: bool,
    /// Groups for the key exchange, in order of preference; empty: those of rustls, and P-521.
    pub curves: Vec<&'static dyn SupportedKxGroup>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// Something in PEM, and the place of the key that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pem {
    /// Where in the configuration it is named.
    pub place: LineColumn,
    /// Where it is.
    pub source: PemSource,
}

/// Where something in PEM is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PemSource {
    /// In the configuration itself.
    Inline(Secret),
    /// In a file.
    File(PathBuf),
}

/// What is asked of clients. The names are those of Go's `tls.ClientAuthType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// Nothing.
    #[default]
    NoClientCert,
    /// A certificate, which may be missing and is not verified.
    RequestClientCert,
    /// A certificate, which is not verified.
    RequireAnyClientCert,
    /// A certificate, which may be missing but is verified if it is there.
    VerifyClientCertIfGiven,
    /// A certificate that can be verified.
    RequireAndVerifyClientCert,
}

/// A token bucket: it begins full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The time after which there is another token.
    pub interval: Duration,
    /// How many tokens the bucket holds.
    pub burst: u32,
}
