//! Who may have what probed.

use super::*;

const MODULES: &str = "
modules:
  http_2xx: {prober: http, timeout: 5s}
  http_login: {prober: http, timeout: 5s, http: {basic_auth: {username: u, password: p}}}
  tcp: {prober: tcp, timeout: 5s}
  dns: {prober: dns, timeout: 5s, dns: {query_name: a.example}}
  icmp: {prober: icmp, timeout: 5s}
  grpc: {prober: grpc, timeout: 5s}
  unix: {prober: unix, timeout: 5s}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_configuration_allows_is_probed() {
    let target = target().await;
    let allow = format!(
        "  allow:\n  - {{module: '*', targets: ['http://{target}/one']}}\n  - {{module: http_login, targets: \
         ['http://{target}/two']}}\n  - {{module: http_2xx, targets: ['http://{target}/host'], hostnames: \
         [foo.example.com]}}\n"
    );
    let probes = format!("probes: [{{name: three, module: http_2xx, target: 'http://{target}/three'}}]\n");
    let fixture = Fixture::start(MODULES, &allow, &probes).await;
    let check = async |module: &str, path: &str, hostname: Option<&str>, status: u16| {
        let url = format!("http://{target}{path}");
        let mut query = vec![("module", module), ("target", url.as_str())];
        query.extend(hostname.map(|name| ("hostname", name)));
        let said = fixture.probe(&query).await;
        assert_eq!(said.status.as_u16(), status, "{module} {path}: {}", said.text);
        assert!(status != 200 || said.value("probe_success") == Some(1.0), "{}", said.text);
    };
    check("http_2xx", "/one", None, 200).await;
    check("http_2xx", "/two", None, 403).await;
    // A module with credentials has to be named.
    check("http_login", "/one", None, 403).await;
    check("http_login", "/two", None, 200).await;
    check("http_2xx", "/three", None, 200).await;
    check("http_login", "/three", None, 403).await;
    // Why, is said.
    let refused = async |path: &str| {
        let url = format!("http://{target}{path}");
        fixture.probe(&[("module", "http_login"), ("target", &url)]).await.text
    };
    assert!(refused("/one").await.contains("the module has credentials"));
    assert!(refused("/three").await.contains("neither among the `probes` nor under `blackbox.allow`"));
    check("http_2xx", "/host", Some("foo.example.com"), 200).await;
    check("http_2xx", "/host", Some("bar.example.com"), 403).await;
    check("http_2xx", "/one", Some("foo.example.com"), 403).await;
    let (_, metrics) = fixture.valmis.get("/metrics").await;
    for line in [
        "valmis_blackbox_requests_refused_total{reason=\"target\"} 5",
        "valmis_blackbox_requests_refused_total{reason=\"hostname\"} 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
}

/// However an address is written, whatever asks for it, and wherever it comes from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_own_services_and_metadata_are_out_of_reach() {
    let target = target().await;
    let port = target.port();
    let fixture = Fixture::start(MODULES, "  allow: any\n", "").await;
    let forbidden = async |module: &str, host: &str| {
        let said = fixture.probe(&[("module", module), ("target", host), ("debug", "true")]).await;
        assert!(said.text.contains("\nprobe_success 0\n"), "{module} {host}: {}", said.text);
        assert!(said.text.contains("which may not be probed"), "{module} {host}: {}", said.text);
    };
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        forbidden("http_2xx", &format!("http://{host}:{port}/")).await;
        forbidden("tcp", &format!("{host}:{port}")).await;
        forbidden("grpc", &format!("{host}:{port}")).await;
        forbidden("dns", &format!("{host}:{port}")).await;
        forbidden("icmp", host).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_redirect_leads_out_of_reach() {
    let target = target().await;
    // Written down as what it is, this machine may be probed, but not what it leads to.
    let allow = format!("  allow: [{{module: http_2xx, targets: ['http://{target}/to*']}}]\n");
    let fixture = Fixture::start(MODULES, &allow, "").await;
    let probe = async |to: &str| {
        let url = format!("http://{target}/to?url={to}");
        fixture.probe(&[("module", "http_2xx"), ("target", &url), ("debug", "true")]).await.text
    };
    for to in [
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "//169.254.169.254/",
    ] {
        let text = probe(to).await;
        assert!(text.contains("\nprobe_http_redirects 1\n"), "{to}: {text}");
        assert!(
            text.contains("\nprobe_success 0\n") && text.contains("which may not be probed"),
            "{to}: {text}"
        );
    }
    let text = probe(&format!("http://{target}/fine")).await;
    assert!(text.contains("\nprobe_success 1\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_this_machine_are_for_those_who_are_allowed() {
    let allow =
        "  allow: [{module: unix, targets: [/run/nowhere/*.sock]}, {module: '*', targets: ['db:1']}]\n";
    let fixture = Fixture::start(MODULES, allow, "").await;
    let check = async |path: &str, status: u16| {
        let said = fixture.probe(&[("module", "unix"), ("target", path)]).await;
        assert_eq!(said.status.as_u16(), status, "{path}: {}", said.text);
    };
    check("/run/nowhere/app.sock", 200).await;
    check("/run/nowhere/../docker.sock", 403).await;
    check("/run/nowhere/x/app.sock", 403).await;
    check("/run/docker.sock", 403).await;
    check("db:1", 403).await;
}
