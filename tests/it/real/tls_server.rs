//! A TLS server whose certificate can be replaced while it runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;

use crate::servers::{Identity, answer, listen, read_head};

pub(crate) struct TlsServer {
    pub(crate) address: SocketAddr,
    authority: CertifiedIssuer<'static, KeyPair>,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl TlsServer {
    /// Starts one with a certificate that is valid for longer than anybody will run this test.
    pub(crate) async fn start() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let current = Arc::new(RwLock::new(certificate(&authority, VALID)));
        let served = current.clone();
        let address = listen(move |stream| {
            let acceptor = tokio_rustls::TlsAcceptor::from(served.read().unwrap().clone());
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if !read_head(&mut stream).await.is_empty() {
                    answer(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
            }
        })
        .await;
        Self { address, authority, current }
    }

    /// Serves a certificate that has expired, from the next connection on.
    pub(crate) fn expire(&self) {
        *self.current.write().unwrap() = certificate(&self.authority, EXPIRED);
    }

    /// Serves a valid one again.
    pub(crate) fn renew(&self) {
        *self.current.write().unwrap() = certificate(&self.authority, VALID);
    }

    /// Writes the certificate of its authority to a file.
    pub(crate) fn write_authority(&self, file: &Path) {
        std::fs::write(file, self.authority.pem()).unwrap();
    }
}

/// First and last year.
const VALID: (i32, i32) = (2020, 2120);
const EXPIRED: (i32, i32) = (2020, 2021);

fn certificate(authority: &CertifiedIssuer<'static, KeyPair>, (from, to): (i32, i32)) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let identity = Identity { chain: vec![certificate.der().clone()], pem: certificate.pem(), key };
    Arc::new(identity.server_config())
}
