//! A TLS server whose certificate can be replaced while it runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};

use ::valmis::clock::{Clock, SystemClock};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;

use crate::servers::{Identity, answer, listen, read_head};

pub(crate) struct TlsServer {
    pub(crate) address: SocketAddr,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// `None`: it hangs up.
    current: Arc<RwLock<Option<Arc<ServerConfig>>>>,
}

impl TlsServer {
    /// Starts one with a certificate that is valid for longer than anybody will run this test.
    pub(crate) async fn start() -> Self {
        let authority = new_authority();
        let current = Arc::new(RwLock::new(Some(certificate(&authority, VALID_UNTIL))));
        let served = current.clone();
        let address = listen(move |stream| {
            let config = served.read().unwrap().clone();
            async move {
                let Some(config) = config else { return };
                let acceptor = tokio_rustls::TlsAcceptor::from(config);
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
        self.serve(certificate(&self.authority, (2021, 1, 1)));
    }

    /// Serves a certificate that has this many days left.
    pub(crate) fn leave_days(&self, days: i64) {
        let last = SystemClock.now() + days * 24 * 3600 * 1000;
        let last = jiff::Timestamp::from_millisecond(last).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date();
        let [month, day] = [last.month(), last.day()].map(|number| u8::try_from(number).unwrap());
        self.serve(certificate(&self.authority, (last.year().into(), month, day)));
    }

    /// Serves a certificate of an authority that nobody knows.
    pub(crate) fn distrust(&self) {
        self.serve(certificate(&new_authority(), VALID_UNTIL));
    }

    /// Serves a certificate that is valid, and older than those of [`TlsServer::write_certificate`].
    pub(crate) fn fall_behind(&self) {
        self.serve(certificate(&self.authority, (VALID_UNTIL.0 - 1, 1, 1)));
    }

    /// Writes a certificate that ends when those of [`TlsServer::renew`] do to a file.
    pub(crate) fn write_certificate(&self, file: &Path) {
        std::fs::write(file, identity(&self.authority, VALID_UNTIL).pem).unwrap();
    }

    /// Hangs up on everybody.
    pub(crate) fn hang_up(&self) {
        *self.current.write().unwrap() = None;
    }

    /// Serves a valid certificate again.
    pub(crate) fn renew(&self) {
        self.serve(certificate(&self.authority, VALID_UNTIL));
    }

    fn serve(&self, config: Arc<ServerConfig>) {
        *self.current.write().unwrap() = Some(config);
    }

    /// Writes the certificate of its authority to a file.
    pub(crate) fn write_authority(&self, file: &Path) {
        std::fs::write(file, self.authority.pem()).unwrap();
    }
}

/// Year, month and day.
const VALID_UNTIL: (i32, u8, u8) = (2120, 1, 1);

fn new_authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Test authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn certificate(authority: &CertifiedIssuer<'static, KeyPair>, until: (i32, u8, u8)) -> Arc<ServerConfig> {
    Arc::new(identity(authority, until).server_config())
}

fn identity(authority: &CertifiedIssuer<'static, KeyPair>, until: (i32, u8, u8)) -> Identity {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Identity { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
}
