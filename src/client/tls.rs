//! Whom to trust.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use super::verify::{Demand, Verifier};

/// How to make sure of the other side of a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsConfig {
    /// Whether a certificate that cannot be verified is accepted.
    pub insecure_skip_verify: bool,
    /// Trust anchors in PEM instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The name that the certificate must bear instead of the host's.
    pub server_name: Option<String>,
    /// How this side identifies itself, to a server that asks for it.
    pub client_certificate: Option<ClientCertificate>,
}

/// A client certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// The certificate, and those that sign it, in PEM.
    pub cert_file: PathBuf,
    /// Its private key in PEM.
    pub key_file: PathBuf,
}

/// Why trust settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with trust anchors cannot be read.
    #[error("cannot read the trust anchors in `{path}`: {reason}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The client certificate or its key cannot be used.
    #[error("cannot use the client certificate in `{path}`: {reason}")]
    ClientCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a name that a certificate can bear.
    #[error("`{0}` is not a server name")]
    ServerName(String),
    /// rustls cannot work with these settings.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

/// Makes the cryptography of the process that of aws-lc. Every binary and test calls it first; calling
/// it again changes nothing.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

impl TlsConfig {
    /// The files that are read for it.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let own = self.client_certificate.iter().flat_map(|own| [&own.cert_file, &own.key_file]);
        self.ca_file.iter().chain(own).map(PathBuf::as_path)
    }

    /// The trust anchors: those of the file, or else the system's.
    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let Some(path) = &self.ca_file else { return Ok(system_roots()) };
        let fault = |reason: String| TlsError::CaFile { path: path.clone(), reason };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))? {
            let certificate = certificate.map_err(|error| fault(error.to_string()))?;
            roots.add(certificate).map_err(|error| fault(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(fault("it holds no certificate".to_owned()));
        }
        Ok(Arc::new(roots))
    }

    /// Settings for rustls. With a `server_name` the certificate is verified against that name; the name
    /// that is sent to the server stays the connection's.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        install_crypto_provider();
        let provider = CryptoProvider::get_default().expect("installed above").clone();
        let verifier: Arc<dyn ServerCertVerifier> = if self.insecure_skip_verify {
            Verifier::new(Demand::Nothing, provider)
        } else {
            let inner = WebPkiServerVerifier::builder_with_provider(self.roots()?, provider.clone())
                .build()
                .map_err(|error| TlsError::Setup(error.to_string()))?;
            match &self.server_name {
                None => inner,
                Some(name) => {
                    let name =
                        ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name.clone()))?;
                    Verifier::new(Demand::Name(inner, name), provider)
                }
            }
        };
        let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier);
        match &self.client_certificate {
            None => Ok(builder.with_no_client_auth()),
            Some(files) => files.authenticate(builder),
        }
    }
}

impl ClientCertificate {
    fn authenticate(
        &self,
        builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig, TlsError> {
        let fault = |path: &Path, reason: &dyn Display| TlsError::ClientCertificate {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.cert_file)
            .and_then(Iterator::collect)
            .map_err(|error| fault(&self.cert_file, &error))?;
        let key =
            PrivateKeyDer::from_pem_file(&self.key_file).map_err(|error| fault(&self.key_file, &error))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| fault(&self.cert_file, &error))
    }
}

/// The certificates that the system trusts, read once per process: the first call blocks. There are none
/// on a system without any; then nobody is trusted.
pub fn system_certificates() -> &'static [CertificateDer<'static>] {
    static CERTIFICATES: LazyLock<Vec<CertificateDer<'static>>> =
        LazyLock::new(|| rustls_native_certs::load_native_certs().certs);
    &CERTIFICATES
}

/// The system's trust anchors.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system_certificates().iter().cloned());
        Arc::new(roots)
    });
    ROOTS.clone()
}
