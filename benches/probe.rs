//! How long a probe takes against a server in the same process: the reciprocal, times the cores, is what
//! one machine can do. Blackbox exporter 0.23 made 916 HTTP and 263 HTTPS probes a second on two cores.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use url::Url;
use valmis::client::SecretSource;
use valmis::clock::SystemClock;
use valmis::probe::http::{HttpConfig, HttpProber};
use valmis::probe::{Deadline, Prober};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));

/// How many probes run at once.
const CONCURRENT: usize = 16;

fn main() {
    divan::main();
}

/// Sixteen probes over plain HTTP.
#[divan::bench]
fn http(bencher: divan::Bencher<'_, '_>) {
    let address = RUNTIME.block_on(serve(None));
    measure(bencher, HttpConfig::new(url(&format!("http://{address}/"))));
}

/// Sixteen probes with a full TLS handshake each.
#[divan::bench]
fn https(bencher: divan::Bencher<'_, '_>) {
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate can be made");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificate.pem()).expect("a file can be written");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("key and certificate fit");
    let address = RUNTIME.block_on(serve(Some(TlsAcceptor::from(Arc::new(config)))));
    let mut config = HttpConfig::new(url(&format!("https://{address}/")));
    config.tls.ca = Some(SecretSource::File(ca_file));
    measure(bencher, config);
}

fn measure(bencher: divan::Bencher<'_, '_>, config: HttpConfig) {
    let prober = Arc::new(HttpProber::new(config, Arc::new(SystemClock)).expect("a target"));
    bencher.counter(divan::counter::ItemsCount::new(CONCURRENT)).bench(|| {
        RUNTIME.block_on(async {
            let tasks: Vec<_> = (0..CONCURRENT)
                .map(|_| {
                    let prober = prober.clone();
                    tokio::spawn(async move { prober.probe(Deadline::after(Duration::from_secs(30))).await })
                })
                .collect();
            for task in tasks {
                let outcome = task.await.expect("a probe does not panic");
                assert_eq!(outcome.result, Ok(()));
            }
        });
    });
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("a URL")
}

async fn serve(tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => answer(stream).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream).await;
                        }
                    }
                }
            });
        }
    });
    address
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut request = [0; 1024];
    // One read holds these small requests; a client that has gone is the probe's failure.
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let _ = stream.shutdown().await;
}
