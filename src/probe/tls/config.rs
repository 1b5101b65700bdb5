//! How a probe talks TLS, and whom it trusts.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{SupportedProtocolVersion, version};

use super::TlsError;
use crate::client::{self, SecretSource};
use crate::probe::small_file::{self, FileError};

/// How to talk TLS to a target, and whom to trust.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Carry on with a server whose certificate failed verification. What is wrong is reported all the
    /// same.
    pub insecure_skip_verify: bool,
    /// Trust these certificates (in PEM) instead of the machine's. A file is read anew within a second once it
    /// changed.
    pub ca: Option<SecretSource>,
    /// The name to ask the server for and to expect in its certificate, instead of the target's host.
    pub server_name: Option<String>,
    /// How to identify to the server. Never shown to one that failed verification.
    pub client_certificate: Option<ClientIdentity>,
    /// The versions to speak.
    pub versions: TlsVersions,
}

/// A client certificate and its key, in PEM. Files are read for each probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, and those that sign it.
    pub cert: SecretSource,
    /// Its private key.
    pub key: SecretSource,
}

impl From<client::ClientCertificate> for ClientIdentity {
    fn from(files: client::ClientCertificate) -> Self {
        Self { cert: SecretSource::File(files.cert_file), key: SecretSource::File(files.key_file) }
    }
}

impl From<client::TlsConfig> for TlsConfig {
    fn from(tls: client::TlsConfig) -> Self {
        let client::TlsConfig { insecure_skip_verify, ca_file, server_name, client_certificate } = tls;
        Self {
            insecure_skip_verify,
            ca: ca_file.map(SecretSource::File),
            server_name,
            client_certificate: client_certificate.map(ClientIdentity::from),
            versions: TlsVersions::default(),
        }
    }
}

/// A version of TLS that can be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// The versions of TLS to speak: an interval that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsVersions {
    min: TlsVersion,
    max: TlsVersion,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self { min: TlsVersion::Tls12, max: TlsVersion::Tls13 }
    }
}

/// Why two texts are not an interval of versions of TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsVersionError {
    /// No version has this name. The words are those of Prometheus' `common/config`.
    #[error("unknown TLS version: {0}")]
    Unknown(String),
    /// Nothing that may be spoken is left.
    #[error("`max_version: {0}` leaves nothing: TLS before 1.2 is not spoken")]
    TooOld(String),
    /// The wrong way round.
    #[error("`min_version` is newer than `max_version`")]
    Crossed,
}

impl TlsVersions {
    /// From `min` to `max`, or `None` if that is nothing.
    pub fn new(min: TlsVersion, max: TlsVersion) -> Option<Self> {
        (min <= max).then_some(Self { min, max })
    }

    /// Reads `min_version` and `max_version` as they are written in Prometheus' `tls_config`: `TLS10` to
    /// `TLS13`. A minimum before TLS 1.2 is TLS 1.2, since older ones are not spoken; a maximum before
    /// that cannot be kept to.
    pub fn parse(min: Option<&str>, max: Option<&str>) -> Result<Self, TlsVersionError> {
        let read = |text: &str| match text {
            "TLS10" | "TLS11" => Ok(None),
            "TLS12" => Ok(Some(TlsVersion::Tls12)),
            "TLS13" => Ok(Some(TlsVersion::Tls13)),
            other => Err(TlsVersionError::Unknown(other.to_owned())),
        };
        let all = Self::default();
        let min = min.map(read).transpose()?.flatten().unwrap_or(all.min);
        let max = match max {
            None => all.max,
            Some(text) => read(text)?.ok_or_else(|| TlsVersionError::TooOld(text.to_owned()))?,
        };
        Self::new(min, max).ok_or(TlsVersionError::Crossed)
    }

    /// Those of them that QUIC can use: TLS 1.3, if that is among them. Source: RFC 9001, section 4.2.
    pub(in crate::probe) fn for_quic(self) -> Option<Self> {
        Self::new(TlsVersion::Tls13, self.max)
    }

    /// The versions as rustls wants them.
    pub(super) fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        static OLD: [&SupportedProtocolVersion; 1] = [&version::TLS12];
        static NEW: [&SupportedProtocolVersion; 1] = [&version::TLS13];
        match (self.min, self.max) {
            (TlsVersion::Tls12, TlsVersion::Tls12) => &OLD,
            (TlsVersion::Tls12, TlsVersion::Tls13) => rustls::ALL_VERSIONS,
            (TlsVersion::Tls13, _) => &NEW,
        }
    }
}

/// The PEM text of `source`.
pub(super) async fn pem(source: &SecretSource) -> Result<Vec<u8>, FileError> {
    match source {
        SecretSource::Value(text) => Ok(text.expose().as_bytes().to_vec()),
        SecretSource::File(path) => small_file::read(path).await,
    }
}

/// Where a PEM text comes from, for people.
pub(super) fn origin(source: &SecretSource) -> String {
    match source {
        SecretSource::Value(_) => "the configuration".to_owned(),
        SecretSource::File(path) => path.display().to_string(),
    }
}

impl ClientIdentity {
    /// Certificates and key as they are now.
    pub(super) async fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let malformed = |source: &SecretSource, error: rustls::pki_types::pem::Error| {
            TlsError::ClientCertificate(format!("`{}`: {error}", origin(source)))
        };
        let chain = pem(&self.cert).await?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let key = PrivateKeyDer::from_pem_slice(&pem(&self.key).await?);
        Ok((
            chain.map_err(|error| malformed(&self.cert, error))?,
            key.map_err(|error| malformed(&self.key, error))?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_an_interval_of_those_that_are_spoken() {
        use TlsVersion::{Tls12, Tls13};
        let check = |min: &str, max: &str, expected: Result<(TlsVersion, TlsVersion), &str>| {
            let given = |text: &'static str| (!text.is_empty()).then_some(text);
            let (min, max) = (min.to_owned().leak(), max.to_owned().leak());
            let found = TlsVersions::parse(given(min), given(max));
            let found = found.map(|versions| (versions.min, versions.max)).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{min} {max}");
        };
        check("", "", Ok((Tls12, Tls13)));
        check("TLS10", "", Ok((Tls12, Tls13)));
        check("TLS13", "", Ok((Tls13, Tls13)));
        check("TLS11", "TLS12", Ok((Tls12, Tls12)));
        check("", "TLS11", Err("`max_version: TLS11` leaves nothing: TLS before 1.2 is not spoken"));
        check("TLS13", "TLS12", Err("`min_version` is newer than `max_version`"));
        check("tls13", "", Err("unknown TLS version: tls13"));
    }
}
