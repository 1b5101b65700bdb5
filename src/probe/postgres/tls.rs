//! TLS towards PostgreSQL with libpq's notions of what is verified.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::dsn::{Dsn, RootCertificates, SslMode};
use crate::client::{Demand, Verifier, system_certificates};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// A PEM file cannot be read.
    #[error("`{}`: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PemError,
    },
    /// There is nobody to trust.
    #[error("`{0}` holds no usable certificate authority")]
    NoRoots(String),
    /// The client certificate and its key do not fit.
    #[error("client certificate: {0}")]
    ClientCertificate(rustls::Error),
    /// No verifier can be made of the authorities.
    #[error("certificate authorities: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// The client's side of TLS as the connection string asks for it. Reads files.
pub(super) fn client_config(dsn: &Dsn) -> Result<ClientConfig, TlsSetupError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match dsn.sslmode {
        SslMode::Disable | SslMode::Prefer | SslMode::Require => {
            // `require` asks for encryption alone.
            Verifier::new(Demand::Nothing, Arc::clone(&provider))
        }
        mode => {
            let roots = Arc::new(load_roots(&dsn.sslrootcert)?);
            let full = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
            if mode == SslMode::VerifyFull {
                full
            } else {
                Verifier::new(Demand::AnyName(full), Arc::clone(&provider))
            }
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &dsn.client_certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = load_certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|source| TlsSetupError::Pem { path: key.clone(), source })?;
            builder.with_client_auth_cert(chain, key).map_err(TlsSetupError::ClientCertificate)?
        }
    };
    if dsn.direct_tls {
        // PostgreSQL 17 demands it where TLS begins unannounced.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(config)
}

fn load_roots(roots: &RootCertificates) -> Result<RootCertStore, TlsSetupError> {
    let mut store = RootCertStore::empty();
    let name = match roots {
        RootCertificates::File(path) => {
            store.add_parsable_certificates(load_certificates(path)?);
            path.display().to_string()
        }
        RootCertificates::System => {
            store.add_parsable_certificates(system_certificates().iter().cloned());
            "system".to_owned()
        }
    };
    if store.is_empty() { Err(TlsSetupError::NoRoots(name)) } else { Ok(store) }
}

fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| TlsSetupError::Pem { path: path.to_owned(), source })
}

/// Makes the TLS handshake and notes how far it got, so that a failure can name its layer.
pub(super) struct Handshake<S>
where
    MakeRustlsConnect: MakeTlsConnect<S>,
{
    inner: <MakeRustlsConnect as MakeTlsConnect<S>>::TlsConnect,
    done: Arc<AtomicBool>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handshake<S> {
    /// A handshake with `host` that sets `done` once it has succeeded.
    pub(super) fn new(config: ClientConfig, host: &str, done: Arc<AtomicBool>) -> Self {
        let Ok(inner) = MakeTlsConnect::<S>::make_tls_connect(&mut MakeRustlsConnect::new(config), host);
        Self { inner, done }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake<S> {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<S>>::Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Stream>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let handshake = self.inner.connect(stream);
        Box::pin(async move {
            let stream = handshake.await?;
            self.done.store(true, Ordering::Relaxed);
            Ok(stream)
        })
    }
}
