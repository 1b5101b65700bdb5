//! Servers that go on in TLS when they are asked to by their own protocol.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use valmis::client::SecretSource;
use valmis::probe::certificate::{SERVED_METADATA, ServedCertificateConfig, TlsProber};
use valmis::probe::dialog::{Expect, QueryResponse, TlsStart};
use valmis::probe::tcp::{METADATA, TcpConfig, TcpProber};
use valmis::probe::tls::TlsConfig;
use valmis::probe::unix::{self, UnixConfig, UnixProber};
use valmis::probe::{ProbeOutcome, StartTls};

use super::tcp::starttls;
use super::{END_OF_2026, LITTLE, Trusted, assert_values, hear, kind, run, run_within};
use crate::real::postgres::Cluster;
use crate::servers::{clock, listen, value};

/// What is said until TLS begins: what the client has to say (all of it), and what the server says then.
type Script = &'static [(&'static [u8], &'static [u8])];

const LDAP_REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
const MYSQL_REQUEST: &[u8] =
    b"\x20\0\0\x01\0\x8a\0\0\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const XMPP_OPEN: &[u8] = b"<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// The dialog with a server that agrees.
fn willing(protocol: StartTls) -> Script {
    match protocol {
        StartTls::Postgres => &[(b"\0\0\0\x08\x04\xd2\x16\x2f", b"S")],
        StartTls::Smtp => &[
            (b"", b"220-mail.example ESMTP\r\n220 ready\r\n"),
            (b"EHLO valmis\r\n", b"250-mail.example\r\n250-SIZE 1000\r\n250-starttls\r\n250 HELP\r\n"),
            (b"STARTTLS\r\n", b"220 go ahead\r\n"),
        ],
        StartTls::Lmtp => &[
            (b"", b"220 mail.example LMTP\r\n"),
            (b"LHLO valmis\r\n", b"250-mail.example\r\n250 STARTTLS\r\n"),
            (b"STARTTLS\r\n", b"220 go ahead\r\n"),
        ],
        StartTls::Imap => &[
            (b"", b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
            (b"a1 STARTTLS\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK begin\r\n"),
        ],
        StartTls::Pop3 => &[(b"", b"+OK ready\r\n"), (b"STLS\r\n", b"+OK begin\r\n")],
        StartTls::Ftp => &[
            (b"", b"220-Welcome\r\n  to this server\r\n220 ready\r\n"),
            (b"AUTH TLS\r\n", b"234 begin\r\n"),
        ],
        StartTls::Ldap => {
            &[(LDAP_REQUEST, b"\x30\x84\0\0\0\x10\x02\x01\x01\x78\x84\0\0\0\x07\x0a\x01\x00\x04\0\x04\0")]
        }
        StartTls::Mysql => &[
            (b"", b"\x2c\0\0\0\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xcf\x15\0\0\0\0\0\0\0\0\0\0rest\0"),
            (MYSQL_REQUEST, b""),
        ],
        StartTls::Xmpp => &[
            (
                XMPP_OPEN,
                b"<?xml version='1.0'?><stream:stream id='1' version='1.0'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
            ),
            (
                b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
                b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            ),
        ],
    }
}

/// The dialog with a server that does not, and why TLS does not begin.
fn unwilling(protocol: StartTls) -> (Script, &'static str) {
    match protocol {
        StartTls::Postgres => (&[(b"\0\0\0\x08\x04\xd2\x16\x2f", b"N")], "the server does not offer TLS"),
        StartTls::Smtp => (
            &[(b"", b"220 ready\r\n"), (b"EHLO valmis\r\n", b"250-mail.example\r\n250 HELP\r\n")],
            "the server does not offer TLS",
        ),
        StartTls::Lmtp => (&[(b"", b"554 go away\r\n")], r"the server said `554 go away`, 220 was expected"),
        StartTls::Imap => (
            &[(b"", b"* OK ready\r\n"), (b"a1 STARTTLS\r\n", b"a1 BAD what\r\n")],
            "the server refuses TLS: `a1 BAD what`",
        ),
        StartTls::Pop3 => (
            &[(b"", b"+OK ready\r\n"), (b"STLS\r\n", b"-ERR what\r\n")],
            "the server refuses TLS: `-ERR what`",
        ),
        StartTls::Ftp => {
            (&[(b"", b"220 ready\r\n"), (b"AUTH TLS\r\n", b"534 no\r\n")], "the server refuses TLS: `534 no`")
        }
        StartTls::Ldap => (
            &[(LDAP_REQUEST, b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\0\x04\0")],
            "the server refuses TLS: LDAP result 52",
        ),
        StartTls::Mysql => (
            &[(b"", b"\x16\0\0\0\x0a5.1\0\x08\0\0\0abcdefgh\0\xff\xf7rest")],
            "the server does not offer TLS",
        ),
        StartTls::Xmpp => (
            &[(XMPP_OPEN, b"<stream:stream><stream:features></stream:features>")],
            "the server does not offer TLS",
        ),
    }
}

async fn play(stream: &mut TcpStream, script: Script) {
    for (heard, said) in script {
        hear(stream, heard).await;
        stream.write_all(said).await.unwrap();
    }
}

fn prober(protocol: StartTls, trusted: &Trusted, target: &str) -> TcpProber {
    let config =
        TcpConfig { tls_start: TlsStart::Protocol(protocol), tls: trusted.tls(), ..TcpConfig::default() };
    TcpProber::new(config, target, clock()).unwrap()
}

async fn ask(protocol: StartTls, trusted: &Trusted, port: u16) -> ProbeOutcome {
    run(&prober(protocol, trusted, &format!("localhost:{port}")), METADATA).await
}

/// A server that agrees to TLS and shows its certificate.
async fn willing_server(protocol: StartTls, trusted: &Trusted) -> SocketAddr {
    let acceptor = trusted.acceptor.clone();
    listen(move |mut stream| {
        let acceptor = acceptor.clone();
        async move {
            play(&mut stream, willing(protocol)).await;
            drop(acceptor.accept(stream).await);
        }
    })
    .await
}

#[tokio::test]
async fn each_protocol_leads_to_the_certificate() {
    let trusted = Trusted::new();
    for protocol in StartTls::ALL {
        let address = willing_server(protocol, &trusted).await;
        let outcome = ask(protocol, &trusted, address.port()).await;
        assert_eq!(outcome.result, Ok(()), "{protocol:?}: {:?}", outcome.log);
        assert_values(&outcome, &[("probe_ssl_earliest_cert_expiry", END_OF_2026)]);
    }
}

#[tokio::test]
async fn the_certificate_probe_asks_by_the_scheme_of_its_url() {
    let trusted = Trusted::new();
    for protocol in StartTls::ALL {
        let address = willing_server(protocol, &trusted).await;
        let url = format!("{}://localhost:{}", protocol.as_str(), address.port());
        let mut config = ServedCertificateConfig::parse(&url).unwrap();
        config.tls = trusted.tls();
        let outcome = run(&TlsProber::new(config, clock()), SERVED_METADATA).await;
        assert_eq!(outcome.result, Ok(()), "{url}: {:?}", outcome.log);
        let labels = [("subject_CN", "localhost"), ("chain_position", "0")];
        assert_eq!(value(&outcome, "x509_cert_not_after", &labels), Some(END_OF_2026), "{url}");
    }
}

#[tokio::test]
async fn a_real_postgresql_shows_its_certificate() {
    let Some(cluster) = Cluster::start("").await else { return };
    let mut config = TcpConfig {
        tls_start: TlsStart::Protocol(StartTls::Postgres),
        tls: TlsConfig { ca: Some(SecretSource::File(cluster.authority())), ..TlsConfig::default() },
        ..TcpConfig::default()
    };
    let target = format!("localhost:{}", cluster.port);
    let outcome = run(&TcpProber::new(config.clone(), &target, clock()).unwrap(), METADATA).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    assert!(value(&outcome, "probe_ssl_earliest_cert_expiry", &[]).is_some());
    // As the module `postgresql` of blackbox exporter's example says it byte by byte.
    let ask = QueryResponse { send: b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec(), ..QueryResponse::default() };
    let expect = QueryResponse { expect: Some(Expect::Bytes(b"S".to_vec())), ..QueryResponse::default() };
    config.tls_start = TlsStart::Dialog;
    config.query_response = vec![ask, expect, starttls()];
    let outcome = run(&TcpProber::new(config, &target, clock()).unwrap(), METADATA).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);

    let local = UnixConfig { tls_start: TlsStart::Protocol(StartTls::Postgres), ..UnixConfig::default() };
    let socket = format!("{}/.s.PGSQL.{}", cluster.socket_folder(), cluster.port);
    let outcome = run(&UnixProber::new(local, &socket, clock()).unwrap(), unix::METADATA).await;
    assert_eq!(outcome.result.unwrap_err().reason, "the server does not offer TLS");
}

#[tokio::test]
async fn a_server_that_does_not_offer_tls_says_so() {
    let trusted = Trusted::new();
    for protocol in StartTls::ALL {
        let (script, expected) = unwilling(protocol);
        let address = listen(move |mut stream| async move { play(&mut stream, script).await }).await;
        let outcome = ask(protocol, &trusted, address.port()).await;
        assert_eq!(kind(&outcome), "starttls", "{protocol:?}: {:?}", outcome.result);
        assert_eq!(outcome.result.as_ref().unwrap_err().reason, expected, "{protocol:?}");
        assert_eq!(value(&outcome, "probe_ssl_earliest_cert_expiry", &[]), None);
    }
}

#[tokio::test]
async fn servers_that_speak_otherwise_are_left_in_time() {
    let trusted = Trusted::new();
    for protocol in StartTls::ALL {
        let closing = listen(|stream| async { drop(stream) }).await;
        let outcome = ask(protocol, &trusted, closing.port()).await;
        assert!(matches!(kind(&outcome), "starttls" | "connection"), "{protocol:?}: {:?}", outcome.result);
        let silent = listen(|stream| async move {
            stream.readable().await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let prober = prober(protocol, &trusted, &format!("localhost:{}", silent.port()));
        let outcome = run_within(LITTLE, &prober, METADATA).await;
        assert_eq!(kind(&outcome), "timeout", "{protocol:?}");
        for said in ["x", "220-more\r\n", "* OK\r\n", "+OK\r\n", "\u{0}", "0\u{7f}", "0\u{2}xx"] {
            let endless =
                listen(
                    move |mut stream| async move { while stream.write_all(said.as_bytes()).await.is_ok() {} },
                )
                .await;
            let outcome = ask(protocol, &trusted, endless.port()).await;
            let kind = kind(&outcome);
            assert!(
                matches!(kind, "starttls" | "answer" | "connection" | "tls"),
                "{protocol:?} {said:?}: {:?}",
                outcome.result
            );
        }
    }
}
