//! What this machine offers to watch. Only addresses of the machine itself are contacted.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a listening port may take to show what it is.
const PATIENCE: Duration = Duration::from_millis(800);

/// Where certificates usually lie.
const CERTIFICATE_PATTERNS: &[(&str, &str)] = &[
    ("/etc/valmis/tls", "*.pem"),
    ("/etc/letsencrypt/live", "*/fullchain.pem"),
    ("/etc/nginx/ssl", "*.crt"),
];

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) apps: Vec<App>,
    pub(super) postgres: Option<SocketAddr>,
    pub(super) tls_servers: Vec<SocketAddr>,
    pub(super) certificate_files: Vec<String>,
    pub(super) alertmanager: Option<SocketAddr>,
}

/// A port that speaks HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct App {
    pub(super) address: SocketAddr,
    /// A path that answers 200 and looks like a health check; else `/`.
    pub(super) health: &'static str,
    /// Whether `/metrics` serves Prometheus metrics.
    pub(super) metrics: bool,
}

impl Machine {
    /// What was found, a line each, for the terminal.
    pub(super) fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for app in &self.apps {
            let metrics = if app.metrics { ", with metrics" } else { "" };
            lines.push(format!("found HTTP on {}{}{metrics}", app.address, app.health));
        }
        lines.extend(self.postgres.map(|address| format!("found PostgreSQL on {address}")));
        lines.extend(self.tls_servers.iter().map(|address| format!("found TLS on {address}")));
        lines.extend(self.certificate_files.iter().map(|files| format!("found certificates in {files}")));
        lines.extend(self.alertmanager.map(|address| format!("found Alertmanager on {address}")));
        if lines.is_empty() {
            lines.push(
                "found no HTTP server, PostgreSQL, certificate or Alertmanager on this machine".to_owned(),
            );
        }
        lines
    }
}

/// What a port turned out to be.
enum Kind {
    Postgres,
    Alertmanager,
    Http(App),
    Tls,
}

/// Looks at the machine.
pub(super) async fn machine() -> Machine {
    let ports = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|table| listening(&table))
        .collect();
    let addresses = on_loopback(&ports);
    let kinds = join_all(addresses.iter().map(|address| identify(*address))).await;
    let mut machine = Machine::default();
    for (address, kind) in addresses.into_iter().zip(kinds) {
        match kind {
            Some(Kind::Postgres) => machine.postgres = machine.postgres.or(Some(address)),
            Some(Kind::Alertmanager) => machine.alertmanager = machine.alertmanager.or(Some(address)),
            Some(Kind::Http(app)) => machine.apps.push(app),
            Some(Kind::Tls) => machine.tls_servers.push(address),
            None => {}
        }
    }
    let patterns = CERTIFICATE_PATTERNS.iter();
    machine.certificate_files = patterns
        .filter(|(folder, pattern)| has_match(Path::new(folder), pattern))
        .map(|(folder, pattern)| format!("{folder}/{pattern}"))
        .collect();
    machine
}

/// The addresses of a kernel table that listen. Source: proc(5), `/proc/net/tcp`: state `0A`, addresses
/// in the byte order of the machine, word by word.
fn listening(table: &str) -> Vec<SocketAddr> {
    table.lines().skip(1).filter_map(listening_line).collect()
}

fn listening_line(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    if state != "0A" {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = (0..address.len() / 8)
        .map(|word| u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok())
        .collect::<Option<Vec<_>>>()?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// One loopback address for each port that can be reached through loopback, IPv4 before IPv6.
fn on_loopback(listening: &BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
    let reachable = |address: &&SocketAddr| address.ip().is_loopback() || address.ip().is_unspecified();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    // A set of addresses is ordered IPv4 first.
    for address in listening.iter().filter(reachable) {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip @ IpAddr::V4(_) => ip,
        };
        if seen.insert(address.port()) {
            found.push(SocketAddr::new(ip, address.port()));
        }
    }
    found.sort_by_key(SocketAddr::port);
    found
}

async fn identify(address: SocketAddr) -> Option<Kind> {
    // PostgreSQL answers an SSLRequest with one byte. Source: PostgreSQL documentation, "SSL Session
    // Encryption". Nothing else understands it, and an HTTP server answers it with an error.
    let ssl_request = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    if matches!(exchange(address, &ssl_request, 1).await.as_deref(), Some(b"S" | b"N")) {
        return Some(Kind::Postgres);
    }
    if get(address, "/api/v2/status")
        .await
        .is_some_and(|(status, body)| status == 200 && body.contains("\"cluster\""))
    {
        return Some(Kind::Alertmanager);
    }
    if let Some((status, body)) = get(address, "/").await {
        if status == 400 && body.contains("HTTPS") {
            return Some(Kind::Tls);
        }
        let mut health = "/";
        for path in ["/health", "/healthz", "/-/healthy", "/ready"] {
            if get(address, path).await.is_some_and(|(status, _)| status == 200) {
                health = path;
                break;
            }
        }
        let build = get(address, "/api/v1/status/buildinfo").await;
        if build.is_some_and(|(_, body)| body.contains(r#""application":"valmis""#)) {
            // It watches itself without being told to.
            return None;
        }
        let metrics = get(address, "/metrics").await;
        let metrics = metrics.is_some_and(|(status, body)| status == 200 && body.contains("# TYPE "));
        return Some(Kind::Http(App { address, health, metrics }));
    }
    // The beginning of a TLS handshake that offers nothing: any TLS server answers with an alert, whose
    // record begins with 21.
    let hello = [22, 3, 1, 0, 4, 1, 0, 0, 0];
    match exchange(address, &hello, 1).await.as_deref() {
        Some([21]) => Some(Kind::Tls),
        _ => None,
    }
}

/// Sends bytes and returns the first `limit` bytes of what comes back.
async fn exchange(address: SocketAddr, request: &[u8], limit: u64) -> Option<Vec<u8>> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(request).await.ok()?;
        let mut answer = Vec::new();
        // A connection that is reset after a complete answer has still answered.
        let _ = stream.take(limit).read_to_end(&mut answer).await;
        (!answer.is_empty()).then_some(answer)
    };
    timeout(PATIENCE, talk).await.ok().flatten()
}

/// Status and the beginning of the answer.
async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = exchange(address, request.as_bytes(), 16 << 10).await?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.strip_prefix("HTTP/1.")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((status, text))
}

/// Whether a folder holds a file that a pattern of one or two parts names, such as `*/fullchain.pem`.
fn has_match(folder: &Path, pattern: &str) -> bool {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    match pattern.split_once('/') {
        Some((_, file)) => entries(folder).iter().any(|entry| entry.join(file).is_file()),
        None => {
            let suffix = pattern.trim_start_matches('*');
            entries(folder).iter().any(|entry| entry.to_string_lossy().ends_with(suffix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_addresses_are_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st\n\
             0: 0100007F:1F90 00000000:0000 0A 0\n\
             1: 0100007F:1F91 0100007F:9999 01 0\n\
             2: 00000000:2382 00000000:0000 0A 0\n";
        let found: Vec<String> = listening(table).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.1:8080", "0.0.0.0:9090"]);
        let table6 = "header\n 0: 00000000000000000000000001000000:0050 0:0 0A 0\n";
        assert_eq!(listening(table6)[0].to_string(), "[::1]:80");
    }

    #[test]
    fn each_port_is_looked_at_once_through_loopback() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let all = ["[::]:80", "0.0.0.0:80", "127.0.0.1:22", "[::1]:9", "192.0.2.1:443"];
        let all: BTreeSet<_> = all.map(address).into();
        let found: Vec<String> = on_loopback(&all).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["[::1]:9", "127.0.0.1:22", "127.0.0.1:80"]);
    }

    #[tokio::test]
    async fn an_http_server_is_recognised_with_its_health_and_metrics() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = axum::Router::new()
            .route("/healthz", axum::routing::get(|| async { "fine" }))
            .route("/metrics", axum::routing::get(|| async { "# TYPE a gauge\na 1\n" }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let Some(Kind::Http(app)) = identify(address).await else { panic!("not recognised") };
        assert_eq!(app, App { address, health: "/healthz", metrics: true });
    }
}
