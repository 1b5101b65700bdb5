//! Whom a probe trusts: certificate authorities, and certificates that are trusted by themselves.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::OnceCell;

use super::config::{origin, pem};
use crate::client::{SecretSource, system_certificates};
use crate::probe::small_file::{self, FileError, FileIdentity};
use crate::probe::x509::Certificate;

/// How many trust stores are kept. Configurations name few.
const MAX_STORES: usize = 32;

/// A trust store and what it was made of.
struct Cached {
    source: SecretSource,
    /// Which file it was, if it was one.
    identity: Option<FileIdentity>,
    store: Arc<TrustStore>,
}

/// One trusted certificate.
#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) der: CertificateDer<'static>,
    pub(super) certificate: Certificate,
}

/// Certificates that are trusted: mostly of authorities.
#[derive(Debug)]
pub(super) struct TrustStore {
    /// All of them as rustls wants them.
    pub(super) roots: RootCertStore,
    /// All of them with their facts.
    anchors: Vec<Anchor>,
}

impl TrustStore {
    /// What the machine trusts, read once per process. Empty on a machine without certificates: then
    /// nothing is trusted.
    pub(super) async fn native() -> Arc<Self> {
        static NATIVE: OnceCell<Arc<TrustStore>> = OnceCell::const_new();
        let load = || async {
            let load = || Self::of(system_certificates().iter().cloned());
            // The runtime gives up blocking work only when it shuts down.
            Arc::new(tokio::task::spawn_blocking(load).await.unwrap_or_else(|_| Self::of([])))
        };
        NATIVE.get_or_init(load).await.clone()
    }

    /// The certificates of a PEM text. A file is read once and then anew when it changed, so that a
    /// renewed one counts at once.
    pub(super) async fn from_pem(source: &SecretSource) -> Result<Arc<Self>, TrustError> {
        static STORES: Mutex<Vec<Cached>> = Mutex::new(Vec::new());
        let stores = || STORES.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = match source {
            SecretSource::Value(_) => None,
            SecretSource::File(path) => Some(small_file::identify(path).await?),
        };
        let fits = |cached: &&Cached| cached.source == *source && cached.identity == identity;
        if let Some(cached) = stores().iter().find(fits) {
            return Ok(cached.store.clone());
        }
        let bytes = pem(source).await?;
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            certificates
                .push(certificate.map_err(|error| TrustError::Pem(origin(source), error.to_string()))?);
        }
        let store = Arc::new(Self::of(certificates));
        if store.anchors.is_empty() {
            return Err(TrustError::Empty(origin(source)));
        }
        let mut stores = stores();
        stores.retain(|cached| cached.source != *source);
        if stores.len() == MAX_STORES {
            stores.remove(0);
        }
        stores.push(Cached { source: source.clone(), identity, store: store.clone() });
        Ok(store)
    }

    /// Of these, the ones that can be read; a machine's store may hold some that nobody can.
    pub(super) fn of(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        let mut anchors = Vec::new();
        for der in certificates {
            let Ok(certificate) = Certificate::parse(&der) else { continue };
            if roots.add(der.clone()).is_ok() {
                anchors.push(Anchor { der, certificate });
            }
        }
        Self { roots, anchors }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Whether exactly this certificate is trusted, whoever signed it.
    pub(super) fn contains(&self, der: &CertificateDer<'_>) -> bool {
        self.anchors.iter().any(|anchor| anchor.der == *der)
    }

    /// The trusted certificates with this subject (in DER).
    pub(super) fn with_subject(&self, subject: &[u8]) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter().filter(move |anchor| anchor.certificate.subject.der == subject)
    }
}

/// Why there is nothing to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is not PEM.
    #[error("`{0}` is not PEM: {1}")]
    Pem(String, String),
    /// There is no certificate in it.
    #[error("`{0}` holds no certificate")]
    Empty(String),
}
