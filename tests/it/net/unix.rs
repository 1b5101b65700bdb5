//! Servers behind local sockets; the rows of blackbox exporter's `prober/unix_test.go`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::getuid;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use valmis::probe::ProbeOutcome;
use valmis::probe::dialog::{QueryResponse, TlsStart};
use valmis::probe::unix::{METADATA, UnixConfig, UnixProber};

use super::tcp::{line, send, starttls};
use super::{END_OF_2026, LITTLE, Trusted, assert_values, hear, kind, run, run_within};
use crate::servers::clock;

fn prober(query_response: Vec<QueryResponse>, path: &Path) -> UnixProber {
    let config = UnixConfig { query_response, ..UnixConfig::default() };
    UnixProber::new(config, path.to_str().unwrap(), clock()).unwrap()
}

async fn ask(query_response: Vec<QueryResponse>, path: &Path) -> ProbeOutcome {
    run(&prober(query_response, path), METADATA).await
}

#[tokio::test]
async fn a_dialog_may_be_held_over_a_local_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                hear(&mut stream, "PING\n").await;
                stream.write_all(b"+PONG\r\n").await.unwrap();
            });
        }
    });
    let outcome = ask(vec![send("PING"), line(r"^\+PONG$")], &path).await;
    assert_eq!(outcome.result, Ok(()));
    assert_values(&outcome, &[("probe_failed_due_to_regex", 0.0), ("probe_failed_due_to_bytes", 0.0)]);
    let outcome = ask(vec![send("PING"), line("^-ERR")], &path).await;
    assert_eq!(kind(&outcome), "expect");
    assert_values(&outcome, &[("probe_failed_due_to_regex", 1.0)]);
}

#[tokio::test]
async fn a_socket_nobody_listens_at_is_not_as_it_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sock");
    assert_eq!(kind(&ask(Vec::new(), &path).await), "connect");
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(kind(&ask(Vec::new(), &path).await), "connect");
    let listener = UnixListener::bind(folder.path().join("silent.sock")).unwrap();
    assert_eq!(ask(Vec::new(), &folder.path().join("silent.sock")).await.result, Ok(()));
    let silent = prober(vec![line("x")], &folder.path().join("silent.sock"));
    assert_eq!(kind(&run_within(LITTLE, &silent, METADATA).await), "timeout");
    drop(listener);
    for target in ["server.sock", "", "/a\0b"] {
        assert!(UnixProber::new(UnixConfig::default(), target, clock()).is_err(), "{target}");
    }
}

#[tokio::test]
async fn a_socket_that_may_not_be_opened_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = ask(Vec::new(), &path).await;
    // Nothing is forbidden to root.
    if !getuid().is_root() {
        assert_eq!(kind(&outcome), "permission");
        assert!(outcome.result.unwrap_err().unknown);
    } else {
        assert_eq!(outcome.result, Ok(()));
    }
}

#[tokio::test]
async fn tls_over_a_local_socket_is_with_localhost() {
    let trusted = Trusted::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let acceptor = trusted.acceptor.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                stream.write_all(b"hello\n").await.unwrap();
            });
        }
    });
    for (tls_start, steps) in
        [(TlsStart::Immediately, vec![line("hello")]), (TlsStart::Dialog, vec![starttls(), line("hello")])]
    {
        let config = UnixConfig { query_response: steps, tls_start, tls: trusted.tls() };
        let prober = UnixProber::new(config, path.to_str().unwrap(), clock()).unwrap();
        let outcome = run(&prober, METADATA).await;
        assert_eq!(outcome.result, Ok(()));
        assert_values(&outcome, &[("probe_ssl_earliest_cert_expiry", END_OF_2026)]);
    }
}
