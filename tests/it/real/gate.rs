//! What stands before an Alertmanager where it is not reached directly: a gateway with TLS, or a proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use url::Url;

use super::http;
use crate::servers::{answer, listen, read_head};

/// The prefix that it takes off paths.
pub(crate) const PREFIX: &str = "/behind/gate";

/// Passes requests on, and remembers their heads.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    /// Before the server at `behind`, with TLS or without.
    pub(crate) async fn start(behind: SocketAddr, tls: Option<ServerConfig>) -> Self {
        let acceptor = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        let heads = Arc::new(Mutex::default());
        let seen = heads.clone();
        let address = listen(move |stream| {
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            async move {
                match acceptor {
                    None => pass(stream, behind, &seen).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            pass(stream, behind, &seen).await;
                        }
                    }
                }
            }
        })
        .await;
        Self { address, heads }
    }

    /// The heads of all requests, names of headers in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Passes one request on.
async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    behind: SocketAddr,
    seen: &Mutex<Vec<String>>,
) {
    let head = read_head(&mut stream).await;
    let Some(target) = head.split(' ').nth(1) else { return };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    // A proxy is told the whole URL.
    let path = Url::parse(target).map_or_else(|_| target.to_owned(), |url| url.path().to_owned());
    let path = path.strip_prefix(PREFIX).unwrap_or(&path);
    let request = http().post(format!("http://{behind}{path}")).header("content-type", "application/json");
    // Before anybody can have heard of it.
    seen.lock().unwrap().push(head.clone());
    let status = request.body(body).send().await.unwrap().status();
    let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    answer(&mut stream, response).await;
}
