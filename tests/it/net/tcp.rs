//! The rows of blackbox exporter's `prober/tcp_test.go`, and servers that mean no good.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use valmis::probe::dialog::{Expect, QueryResponse, TlsStart};
use valmis::probe::tcp::{METADATA, TcpConfig, TcpProber};
use valmis::probe::{AddressPolicy, IpProtocol, Pattern, ProbeOutcome};

use super::{END_OF_2026, LITTLE, PLENTY, Trusted, assert_values, hear, kind, run_within};
use crate::servers::{clock, listen, value};

pub(crate) fn line(pattern: &str) -> QueryResponse {
    let expect = Expect::Line { pattern: Pattern::new(pattern).unwrap(), labels: Vec::new() };
    QueryResponse { expect: Some(expect), ..QueryResponse::default() }
}

pub(crate) fn send(text: &str) -> QueryResponse {
    QueryResponse { send: text.into(), ..QueryResponse::default() }
}

pub(super) fn starttls() -> QueryResponse {
    QueryResponse { starttls: true, ..QueryResponse::default() }
}

fn bytes(expected: &[u8]) -> QueryResponse {
    QueryResponse { expect: Some(Expect::Bytes(expected.to_vec())), ..QueryResponse::default() }
}

fn dialog(query_response: Vec<QueryResponse>) -> TcpConfig {
    TcpConfig { query_response, ..TcpConfig::default() }
}

async fn ask(config: TcpConfig, target: &str) -> ProbeOutcome {
    run_within(PLENTY, &TcpProber::new(config, target, clock()).unwrap(), METADATA).await
}

async fn ask_within_little(config: TcpConfig, target: SocketAddr) -> ProbeOutcome {
    let prober = TcpProber::new(config, &target.to_string(), clock()).unwrap();
    run_within(LITTLE, &prober, METADATA).await
}

async fn say(mut stream: TcpStream, text: impl AsRef<[u8]>) {
    stream.write_all(text.as_ref()).await.unwrap();
}

/// Says all of a text again and again, for as long as somebody listens.
async fn repeat(mut stream: TcpStream, text: &[u8]) {
    while stream.write_all(text).await.is_ok() {}
}

#[tokio::test]
async fn connecting_is_enough_if_nothing_else_is_asked_for() {
    let open = listen(|stream| async { drop(stream) }).await;
    let outcome = ask(TcpConfig::default(), &open.to_string()).await;
    assert_eq!(outcome.result, Ok(()));
    assert_values(&outcome, &[("probe_ip_protocol", 4.0), ("probe_failed_due_to_regex", 0.0)]);
    assert_eq!(value(&outcome, "probe_ssl_earliest_cert_expiry", &[]), None);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = ask(TcpConfig::default(), &closed.to_string()).await;
    assert_eq!(kind(&outcome), "connect");
    assert_values(&outcome, &[("probe_ip_protocol", 4.0)]);
}

#[tokio::test]
async fn the_version_of_ip_is_the_preferred_one() {
    let Ok(listener) = TcpListener::bind("[::]:0").await else { return };
    let target = format!("localhost:{}", listener.local_addr().unwrap().port());
    for (preferred, expected) in [(IpProtocol::Ip4, 4.0), (IpProtocol::Ip6, 6.0)] {
        let addresses = AddressPolicy { preferred, fallback: false, ..AddressPolicy::default() };
        let outcome = ask(TcpConfig { addresses, ..TcpConfig::default() }, &target).await;
        if kind(&outcome) == "resolve" {
            // There are machines on which `localhost` has one address.
            continue;
        }
        assert_eq!(outcome.result, Ok(()));
        assert_values(&outcome, &[("probe_ip_protocol", expected)]);
    }
}

#[tokio::test]
async fn tls_is_for_the_name_of_the_target_or_of_the_configuration() {
    let trusted = Trusted::new();
    let acceptor = trusted.acceptor.clone();
    let address = listen(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                // Neither the line nor TLS is ended.
                stream.write_all(b"Hello World!").await.unwrap();
            }
        }
    })
    .await;
    let named = format!("localhost:{}", address.port());
    let numbered = address.to_string();
    let given = Some("localhost".to_owned());
    for (target, server_name, expected) in
        [(&numbered, None, "certificate"), (&named, None, "ok"), (&numbered, given, "ok")]
    {
        let mut config = dialog(vec![line("^Hello")]);
        config.tls_start = TlsStart::Immediately;
        config.tls = trusted.tls();
        config.tls.server_name = server_name;
        let outcome = ask(config, target).await;
        assert_eq!(kind(&outcome), expected, "{target}: {:?}", outcome.result);
        // Also of a certificate that is not good.
        assert_values(&outcome, &[("probe_ssl_earliest_cert_expiry", END_OF_2026)]);
        assert_eq!(value(&outcome, "probe_tls_version_info", &[("version", "TLS 1.3")]), Some(1.0));
        if expected == "ok" {
            let end = ("probe_ssl_last_chain_expiry_timestamp_seconds", END_OF_2026);
            assert_values(&outcome, &[end, ("probe_ssl_last_chain_info", 1.0)]);
        }
    }
}

#[tokio::test]
async fn a_dialog_may_go_on_in_tls() {
    let trusted = Trusted::new();
    let acceptor = trusted.acceptor.clone();
    let quit = Arc::new(Notify::new());
    let heard = quit.clone();
    let address = listen(move |mut stream| {
        let (acceptor, heard) = (acceptor.clone(), heard.clone());
        async move {
            stream.write_all(b"220 ESMTP StartTLS pseudo-server\n").await.unwrap();
            hear(&mut stream, "EHLO tls.prober\n").await;
            stream.write_all(b"250-pseudo-server.example.net\n250-STARTTLS\n250 DSN\n").await.unwrap();
            hear(&mut stream, "STARTTLS\n").await;
            stream.write_all(b"220 2.0.0 Ready to start TLS\n").await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            hear(&mut stream, "EHLO tls.prober\n").await;
            stream.write_all(b"250-AUTH\n250 DSN\n").await.unwrap();
            hear(&mut stream, "QUIT\n").await;
            heard.notify_one();
        }
    })
    .await;
    let mut config = dialog(vec![
        line("^220.*ESMTP.*$"),
        send("EHLO tls.prober"),
        line("^250-STARTTLS"),
        send("STARTTLS"),
        line("^220"),
        starttls(),
        send("EHLO tls.prober"),
        line("^250-AUTH"),
        send("QUIT"),
    ]);
    config.tls = trusted.tls();
    let outcome = ask(config, &format!("localhost:{}", address.port())).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    assert_values(&outcome, &[("probe_ssl_earliest_cert_expiry", END_OF_2026)]);
    quit.notified().await;
}

#[tokio::test]
async fn a_line_is_looked_for_until_the_server_ends() {
    let irc =
        || dialog(vec![send("NICK prober"), send("USER prober prober prober :prober"), line("^:[^ ]+ 001")]);
    for (answer, expected, regex) in [
        (":ircd.localhost 001 prober :Welcome to IRC!\n", "ok", 0.0),
        ("ERROR: Your IP address has been blacklisted.\n", "expect", 1.0),
    ] {
        let address = listen(move |mut stream| async move {
            let greeting = b":ircd.localhost NOTICE AUTH :*** Looking up your hostname...\n";
            stream.write_all(greeting).await.unwrap();
            hear(&mut stream, "NICK prober\nUSER prober prober prober :prober\n").await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let outcome = ask(irc(), &address.to_string()).await;
        assert_eq!(kind(&outcome), expected, "{:?}", outcome.log);
        assert_values(&outcome, &[("probe_failed_due_to_regex", regex)]);
    }
}

#[tokio::test]
async fn what_matched_may_be_sent_back_and_shown() {
    let address = listen(|mut stream| async move {
        stream.write_all(b"SSH-2.0-OpenSSH_6.9p1 Debian-2\n").await.unwrap();
        hear(&mut stream, "CONFIRM OpenSSH_6.9p1\n").await;
        stream.write_all(b"fine\r\n").await.unwrap();
    })
    .await;
    let labels = [("ssh_version", "${1}"), ("ssh_comments", "on ${2}"), ("other", "$3")];
    let expect = Expect::Line {
        pattern: Pattern::new("^SSH-2.0-([^ -]+)(?: (.*))?$").unwrap(),
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
    };
    let first = QueryResponse { expect: Some(expect), send: b"CONFIRM ${1}".to_vec(), starttls: false };
    let outcome = ask(dialog(vec![first, line("^fine$")]), &address.to_string()).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    assert_values(&outcome, &[("probe_failed_due_to_regex", 0.0)]);
    let labels = [("ssh_version", "OpenSSH_6.9p1"), ("ssh_comments", "on Debian-2"), ("other", "")];
    assert_eq!(value(&outcome, "probe_expect_info", &labels), Some(1.0));
    assert!(!outcome.log.iter().any(|event| event.contains("CONFIRM")), "what is sent may be a secret");
}

#[tokio::test]
async fn bytes_are_expected_as_they_are() {
    for (said, steps, expected, failed) in [
        (b"not-a-line".as_slice(), vec![bytes(b"not-a-line")], "ok", 0.0),
        (b"something-else", vec![bytes(b"not-a-line")], "expect", 1.0),
        (b"not", vec![bytes(b"not-a-line")], "connection", 0.0),
        // After a line, and in pieces: both are lost on blackbox exporter.
        (b"line\nnot-a-line", vec![line("line"), bytes(b"not-"), bytes(b"a-line")], "ok", 0.0),
        (b"\xff\x00\n", vec![line("^.\\x00$")], "ok", 0.0),
    ] {
        let address = listen(move |stream| say(stream, said)).await;
        let outcome = ask(dialog(steps), &address.to_string()).await;
        assert_eq!(kind(&outcome), expected, "{said:?}: {:?}", outcome.result);
        assert_values(&outcome, &[("probe_failed_due_to_regex", 0.0), ("probe_failed_due_to_bytes", failed)]);
    }
}

#[tokio::test]
async fn a_newline_follows_lines_only() {
    let address = listen(|mut stream| async move {
        hear(&mut stream, b"\x00\xff").await;
        hear(&mut stream, b"text\n").await;
        stream.write_all(b"good\n").await.unwrap();
    })
    .await;
    let binary = QueryResponse { send: b"\x00\xff".to_vec(), ..QueryResponse::default() };
    let outcome = ask(dialog(vec![binary, send("text"), line("good")]), &address.to_string()).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
}

#[tokio::test]
async fn hostile_servers_are_left_in_time() {
    let silent = listen(|stream| async move {
        stream.readable().await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let outcome = ask_within_little(dialog(vec![line("x")]), silent).await;
    let expected = "out of time after 0.400 s, while waiting for a line that matches `x`";
    assert_eq!(outcome.result.as_ref().unwrap_err().reason, expected);
    assert_values(&outcome, &[("probe_failed_due_to_regex", 0.0)]);
    let tls = TcpConfig { tls_start: TlsStart::Immediately, ..TcpConfig::default() };
    assert_eq!(kind(&ask_within_little(tls.clone(), silent).await), "timeout");

    let resetting = listen(|stream| async move {
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_eq!(kind(&ask(dialog(vec![line("x")]), &resetting.to_string()).await), "connection");

    let endless_line = listen(|stream| repeat(stream, &[b'x'; 4096])).await;
    let outcome = ask(dialog(vec![line("y")]), &endless_line.to_string()).await;
    assert_eq!(kind(&outcome), "answer");

    let endless_lines = listen(|stream| repeat(stream, b"xxxxxxx\n")).await;
    let outcome = ask_within_little(dialog(vec![line("y")]), endless_lines).await;
    assert_eq!(kind(&outcome), "timeout");
    assert!(outcome.log.len() < 300, "{} events", outcome.log.len());

    let no_tls = listen(|stream| say(stream, "220 this is no TLS at all\n")).await;
    let outcome = ask(tls, &no_tls.to_string()).await;
    assert_eq!(kind(&outcome), "tls");
    assert_eq!(value(&outcome, "probe_ssl_earliest_cert_expiry", &[]), None);
}

#[tokio::test]
async fn plain_text_that_would_count_as_said_in_tls_is_noticed() {
    let address = listen(|stream| say(stream, "220 go ahead\r\n250 injected\r\n")).await;
    let outcome = ask(dialog(vec![line("^220"), starttls(), line("^250")]), &address.to_string()).await;
    assert_eq!(kind(&outcome), "starttls");
    let expected = "the server sent 14 bytes in plain text where TLS was to begin";
    assert_eq!(outcome.result.unwrap_err().reason, expected);
}

#[tokio::test]
async fn a_probe_comes_from_the_configured_address() {
    let address = listen(|mut stream| async move {
        let from = stream.peer_addr().unwrap().ip();
        stream.write_all(format!("{from}\n").as_bytes()).await.unwrap();
    })
    .await;
    let mut config = dialog(vec![line("^127.0.0.9$")]);
    config.source = Some("127.0.0.9".parse().unwrap());
    assert_eq!(ask(config.clone(), &address.to_string()).await.result, Ok(()));
    config.source = Some("::1".parse().unwrap());
    assert_eq!(kind(&ask(config, &address.to_string()).await), "resolve");
}
