//! Clients whose certificates and trust anchors are in files, which are renewed while the process runs.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::Client;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};
use xxhash_rust::xxh64::Xxh64;

use super::{ClientError, TlsConfig};

/// How soon after one look at the files the next request that fails leads to another.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// An HTTP client that is built anew when the files that it was built from have changed. All clones are
/// the same client. Connections that work are left alone: files are looked at when a request has failed,
/// and at a reload.
#[derive(Clone)]
pub struct RenewingClient(Arc<Shared>);

struct Shared {
    tls: TlsConfig,
    build: Box<dyn Fn() -> Result<Client, ClientError> + Send + Sync>,
    current: ArcSwap<Built>,
    /// When the files were last looked at; locked by whoever looks.
    looked: Arc<Mutex<Option<Instant>>>,
}

struct Built {
    client: Client,
    /// The hash of what was in the files.
    files: u64,
}

impl RenewingClient {
    /// The client that `build` makes from the files of `tls`; reads them.
    pub fn new(
        tls: &TlsConfig,
        build: impl Fn() -> Result<Client, ClientError> + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        // Before they are read: a change in between is one that is still to be noticed.
        let files = contents(tls);
        let current = ArcSwap::from_pointee(Built { client: build()?, files });
        let (tls, build, looked) = (tls.clone(), Box::new(build), Arc::default());
        Ok(Self(Arc::new(Shared { tls, build, current, looked })))
    }

    /// The client as it is now.
    pub fn current(&self) -> Client {
        self.0.current.load().client.clone()
    }

    /// Looks whether the files have changed; if they cannot be used, the client stays what it is. Reads
    /// the files.
    pub fn look_again(&self) -> Result<(), ClientError> {
        let Shared { tls, build, current, .. } = &*self.0;
        let files = contents(tls);
        if files != current.load().files {
            current.store(Arc::new(Built { client: build()?, files }));
            info!("Certificates in files have changed; new connections use them");
        }
        Ok(())
    }

    /// Notes that a request has failed, which a renewed file may put right: has somebody look at them
    /// unless that was just done. Nobody waits for it: the next request is made with what was found.
    pub fn failed(&self) {
        if self.0.tls.files().next().is_none() {
            return;
        }
        // One at a time: a folder that hangs takes one thread.
        let Ok(mut looked) = self.0.looked.clone().try_lock_owned() else { return };
        if looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return;
        }
        *looked = Some(Instant::now());
        let client = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(fault) = client.look_again() {
                warn!(%fault, "Certificates in files have changed and cannot be used");
            }
            drop(looked);
        });
    }
}

impl fmt::Debug for RenewingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenewingClient").field("tls", &self.0.tls).finish_non_exhaustive()
    }
}

/// The hash of what is in the files; of one that cannot be read, that it cannot.
fn contents(tls: &TlsConfig) -> u64 {
    let mut hash = Xxh64::new(0);
    for path in tls.files() {
        match fs::read(path) {
            Ok(bytes) => {
                hash.update(&bytes.len().to_le_bytes());
                hash.update(&bytes);
            }
            Err(_) => hash.update(&usize::MAX.to_le_bytes()),
        }
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A client that depends on this file and cannot be built while there is none, and how often it was
    /// built.
    fn client(file: &Path) -> (Result<RenewingClient, ClientError>, Arc<AtomicUsize>) {
        let tls = TlsConfig { ca_file: Some(file.to_owned()), ..TlsConfig::default() };
        let built = Arc::new(AtomicUsize::new(0));
        let (counter, config) = (built.clone(), tls.clone());
        let client = RenewingClient::new(&tls, move || {
            if !config.files().all(Path::exists) {
                config.client_config()?;
            }
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(Client::new())
        });
        (client, built)
    }

    #[test]
    fn a_client_is_built_anew_only_when_its_files_have_changed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("ca.pem");
        assert!(client(&file).0.is_err(), "there is no file yet");
        fs::write(&file, "one").expect("written");
        let (client, built) = client(&file);
        let client = client.expect("usable");
        let check = |expected| {
            client.look_again().expect("usable");
            assert_eq!(built.load(Ordering::SeqCst), expected);
        };
        check(1);
        fs::write(&file, "two").expect("written");
        check(2);
        check(2);
        fs::remove_file(&file).expect("it is there");
        assert!(client.look_again().is_err());
        fs::write(&file, "two").expect("written");
        check(2);
    }

    #[tokio::test]
    async fn a_failed_request_has_the_files_looked_at_once_in_a_while() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("ca.pem");
        fs::write(&file, "one").expect("written");
        let (client, built) = client(&file);
        let client = client.expect("usable");
        client.failed();
        // Whoever looks has ended.
        drop(client.0.looked.lock().await);
        fs::write(&file, "two").expect("written");
        client.failed();
        drop(client.0.looked.lock().await);
        assert_eq!(built.load(Ordering::SeqCst), 1, "they were just looked at");
        *client.0.looked.lock().await = None;
        client.failed();
        drop(client.0.looked.lock().await);
        assert_eq!(built.load(Ordering::SeqCst), 2);
    }
}
