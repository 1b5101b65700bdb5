//! Debian's blackbox exporter and valmis with the same module file, asked for the same targets: the same
//! families, series and values, save for what is listed here with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::real::gate::Gate;
use crate::real::process::Process;
use crate::real::{cache, missing, turn};

const PROGRAM: &str = "bookworm/usr/bin/prometheus-blackbox-exporter";

/// Also what blackbox exporter 0.23 understands.
const MODULES: &str = r#"
modules:
  http_2xx: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4}}
  http_404: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4, valid_status_codes: [404]}}
  http_post: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4, method: POST, body: '{}'}}
  http_stay: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4, follow_redirects: false}}
  http_body:
    prober: http
    timeout: 5s
    http: {preferred_ip_protocol: ip4, fail_if_body_matches_regexp: [well]}
  http_header:
    prober: http
    timeout: 5s
    http:
      preferred_ip_protocol: ip4
      fail_if_header_not_matches: [{header: Content-Type, regexp: json}]
  https_insecure:
    prober: http
    timeout: 5s
    http: {preferred_ip_protocol: ip4, tls_config: {insecure_skip_verify: true}}
  https: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4}}
  tcp_connect: {prober: tcp, timeout: 5s, tcp: {preferred_ip_protocol: ip4}}
  banner:
    prober: tcp
    timeout: 5s
    tcp: {preferred_ip_protocol: ip4, query_response: [{expect: "^SSH-2.0-"}]}
  wrong_banner:
    prober: tcp
    timeout: 1s
    tcp: {preferred_ip_protocol: ip4, query_response: [{expect: "^220 "}]}
  icmp: {prober: icmp, timeout: 5s, icmp: {preferred_ip_protocol: ip4}}
"#;

/// Families that only valmis has, and why.
const ONLY_HERE: &[(&str, &str)] = &[
    ("valmis_probe_unknown", "whether a failure says anything of the target"),
    ("valmis_tls_", "every reason for which verification fails, apart from the facts"),
    ("ssl_", "the names of ssl_exporter for the same facts"),
    ("probe_timeout_seconds", "blackbox exporter has it on its main branch"),
    ("probe_tls_cipher_info", "blackbox exporter has it since 0.26"),
    ("probe_ssl_last_chain_info", "blackbox exporter has it for HTTP and TCP, not where verification failed"),
    ("probe_failed_due_to_cel", "blackbox exporter has it since 0.27"),
    ("probe_failed_due_to_bytes", "blackbox exporter has it since 0.28"),
    ("probe_ssl_earliest_cert_expiry", "facts are there also where verification failed"),
    ("probe_ssl_last_chain_expiry_timestamp_seconds", "facts are there also where verification failed"),
    ("probe_tls_version_info", "facts are there also where verification failed"),
    ("probe_icmp_reply_hop_limit", "a reply over loopback comes without it where a raw socket was used"),
];

/// Series whose values differ, and why.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("probe_http_ssl", "1 also where verification failed: it was TLS"),
    ("probe_ssl_last_chain_expiry_timestamp_seconds", "-62135596800 where nothing was verified"),
    ("probe_ssl_last_chain_info", "labels were added since"),
];

/// Times differ from probe to probe.
fn is_time(name: &str) -> bool {
    name.ends_with("_duration_seconds") || name == "probe_dns_lookup_time_seconds"
}

fn series(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(key, value)| (key.to_owned(), value.parse().unwrap()))
        .collect()
}

fn family(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

fn explained(list: &[(&str, &str)], name: &str) -> bool {
    list.iter().any(|(start, _)| name.starts_with(start))
}

/// What differs without a reason.
fn differences(theirs: &str, ours: &str) -> Vec<String> {
    let (their_series, our_series) = (series(theirs), series(ours));
    let mut found = Vec::new();
    for (key, value) in &their_series {
        let name = family(key);
        match our_series.get(key) {
            _ if explained(OTHER_VALUES, name) => {}
            None => found.push(format!("missing: {key} {value}")),
            Some(ours) if is_time(name) && (ours - value).abs() < 1.0 => {}
            Some(ours) if ours == value => {}
            Some(ours) => found.push(format!("{key}: {value} there, {ours} here")),
        }
    }
    for key in our_series.keys().filter(|key| !their_series.contains_key(*key)) {
        let name = family(key);
        if !explained(ONLY_HERE, name) && !explained(OTHER_VALUES, name) {
            found.push(format!("only here: {key}"));
        }
    }
    let types = |text: &str| -> BTreeSet<String> {
        text.lines().filter(|line| line.starts_with("# TYPE ")).map(ToOwned::to_owned).collect()
    };
    let (theirs, ours) = (types(theirs), types(ours));
    let unexplained = |line: &&String| !OTHER_VALUES.iter().any(|(name, _)| line.contains(name));
    found.extend(theirs.difference(&ours).filter(unexplained).map(|line| format!("missing: {line}")));
    found
}

async fn exporter(folder: &std::path::Path, modules: &std::path::Path) -> Option<(Process, SocketAddr)> {
    let program = cache().join(PROGRAM);
    if !program.exists() {
        missing(PROGRAM);
        return None;
    }
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", modules.display())).arg("--web.listen-address=127.0.0.1:0");
    let mut process = Process::start(&mut command, folder);
    let address = process
        .in_log("address of blackbox exporter", |line| {
            let rest = line.split("address=").nth(1)?;
            rest.split_whitespace().next()?.parse::<SocketAddr>().ok().filter(|address| address.port() != 0)
        })
        .await;
    Some((process, address))
}

async fn https() -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    Gate::start(target().await, Some(config)).await.address
}

/// A server that greets and waits.
async fn greeter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
                tokio::time::sleep(Duration::from_secs(30)).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_exporter_answers_the_same() {
    let _turn = turn().await;
    let folder = TempDir::with_prefix("beside-").unwrap();
    let fixture = Fixture::start(MODULES, OPEN, "").await;
    let Some((process, theirs)) = exporter(folder.path(), &fixture.module_file()).await else { return };
    let (web, tls, greeter) = (target().await, https().await, greeter().await);
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let cases = [
        ("http_2xx", format!("http://{web}/")),
        ("http_2xx", format!("{web}")),
        ("http_2xx", format!("http://{web}/to?url=/next")),
        ("http_2xx", format!("http://localhost:{}/", web.port())),
        ("http_2xx", format!("http://{closed}/")),
        ("http_404", format!("http://{web}/")),
        ("http_post", format!("http://{web}/")),
        ("http_stay", format!("http://{web}/to?url=/next")),
        ("http_body", format!("http://{web}/")),
        ("http_header", format!("http://{web}/")),
        ("https_insecure", format!("https://{tls}/")),
        ("https", format!("https://{tls}/")),
        ("tcp_connect", format!("{web}")),
        ("tcp_connect", format!("{closed}")),
        ("banner", format!("{greeter}")),
        ("wrong_banner", format!("{greeter}")),
        ("icmp", "127.0.0.1".to_owned()),
    ];
    let mut report = Vec::new();
    for (module, target) in &cases {
        let query = [("module", *module), ("target", target.as_str())];
        let there = http().get(format!("http://{theirs}/probe")).query(&query).send().await.unwrap();
        let there = there.text().await.unwrap();
        let here = fixture.probe(&query).await.text;
        let found = differences(&there, &here);
        report.extend(found.into_iter().map(|difference| format!("{module} {target}: {difference}")));
    }
    assert_eq!(report, Vec::<String>::new(), "{}", process.log());
}
