//! Whom a probe trusts: certificate authorities, and certificates that are trusted by themselves.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::OnceCell;

use super::config::{origin, pem};
use crate::client::{Lookups, SecretSource, system_certificates};
use crate::probe::outcome::waiting_here;
use crate::probe::small_file::{self, FileError, FileIdentity};
use crate::probe::x509::Certificate;

/// How many trust stores are kept. Configurations name few.
const MAX_STORES: usize = 32;

/// How long a file is taken to be the one that it was. To look takes a thread, since a file system may hang;
/// that is a tenth of a probe over TLS (`cargo bench --bench blackbox`).
const UNCHANGED_FOR: Duration = Duration::from_secs(1);

/// A trust store and what it was made of.
struct Cached {
    source: SecretSource,
    /// Which file it was, if it was one, and when that was seen.
    file: Option<(FileIdentity, Instant)>,
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
        static LOADS: LazyLock<Lookups<(), Arc<TrustStore>>> = LazyLock::new(|| Lookups::new(1));
        let load = || async {
            let load = |(): &()| Arc::new(Self::of(system_certificates().iter().cloned()));
            let loaded = waiting_here("reading the machine's certificates", LOADS.look_up((), load)).await;
            // The runtime gives up blocking work only when it shuts down.
            loaded.unwrap_or_else(|_| Arc::new(Self::of([])))
        };
        NATIVE.get_or_init(load).await.clone()
    }

    /// The certificates of a PEM text. A file is read once and then anew when it changed, so that a
    /// renewed one counts within a second.
    pub(super) async fn from_pem(source: &SecretSource) -> Result<Arc<Self>, TrustError> {
        static STORES: Mutex<Vec<Cached>> = Mutex::new(Vec::new());
        let stores = || STORES.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |(_, seen): &(FileIdentity, Instant)| seen.elapsed() < UNCHANGED_FOR;
        let fresh = |cached: &&Cached| cached.source == *source && cached.file.as_ref().is_none_or(is_fresh);
        if let Some(cached) = stores().iter().find(fresh) {
            return Ok(cached.store.clone());
        }
        let file = match source {
            SecretSource::Value(_) => None,
            SecretSource::File(path) => {
                let seen = Instant::now();
                Some((small_file::identify(path).await?, seen))
            }
        };
        if let Some(cached) = stores().iter_mut().find(|cached| cached.source == *source)
            && let (Some(known), Some(now)) = (&mut cached.file, &file)
            && known.0 == now.0
        {
            known.1 = now.1;
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
        stores.push(Cached { source: source.clone(), file, store: store.clone() });
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(name: &str) -> rcgen::Certificate {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_file_is_read_once_and_again_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let source = SecretSource::File(file.clone());
        let (old, new) = (certificate("old.example"), certificate("new.example"));
        std::fs::write(&file, old.pem()).unwrap();
        let store = TrustStore::from_pem(&source).await.unwrap();
        assert!(store.contains(old.der()));
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(15)).await;
            assert!(Arc::ptr_eq(&store, &TrustStore::from_pem(&source).await.unwrap()));
        }
        std::fs::write(&file, new.pem()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !TrustStore::from_pem(&source).await.unwrap().contains(new.der()) {
            assert!(Instant::now() < deadline, "the file changed long ago");
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        std::fs::remove_file(&file).unwrap();
        while TrustStore::from_pem(&source).await.is_ok() {
            assert!(Instant::now() < deadline, "the file is gone");
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
}
