//! The endpoint itself: parameters, answers, refusals.

use std::fs;

use super::*;
use crate::real::eventually;

const MODULES: &str = "
modules:
  http_2xx:
    prober: http
    timeout: 10s
  http_login:
    prober: http
    http: {bearer_token: mysecret}
  http_vhost:
    prober: http
    http: {headers: {Host: foo.example.com.something}}
  tcp_connect:
    prober: tcp
    timeout: 5s
  tls_connect:
    prober: tcp
    tcp: {tls: true, preferred_ip_protocol: ip4, tls_config: {insecure_skip_verify: true}}
  dns_local: {prober: dns, timeout: 1s, dns: {query_name: a.example}}
  icmp: {prober: icmp, timeout: 1s}
  websocket: {prober: websocket}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_is_the_metrics_of_one_probe_and_no_others() {
    let target = target().await;
    let fixture = Fixture::start(MODULES, OPEN, "").await;
    let url = format!("http://{target}/");
    let said = fixture.probe(&[("target", &url)]).await;
    assert_eq!(said.status, StatusCode::OK);
    assert!(said.kind.starts_with("text/plain; version=0.0.4"), "{}", said.kind);
    assert_eq!(said.value("probe_success"), Some(1.0), "{}", said.text);
    assert_eq!(said.value("probe_timeout_seconds"), Some(10.0));
    assert_eq!(said.value("probe_http_status_code"), Some(200.0));
    assert!(said.value("probe_duration_seconds").is_some_and(|seconds| seconds > 0.0 && seconds < 10.0));
    for line in [
        "# HELP probe_success Displays whether or not the probe was a success",
        "# TYPE probe_success gauge",
        "# HELP probe_timeout_seconds Returns how long the probe timeout is in seconds",
    ] {
        assert!(said.text.contains(line), "{}", said.text);
    }
    let foreign = said.text.lines().find(|line| {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        !["probe_", "ssl_", "valmis_probe_unknown", "valmis_tls_"].iter().any(|own| name.starts_with(own))
    });
    assert_eq!(foreign, None);

    let openmetrics = [("accept", "application/openmetrics-text; version=1.0.0")];
    let said = fixture.ask("/probe", &[("target", &url), ("module", "http_2xx")], &openmetrics).await;
    assert!(said.kind.starts_with("application/openmetrics-text"), "{}", said.kind);
    assert!(said.text.ends_with("# EOF\n"));

    // `TestPrometheusTimeoutHTTP` of blackbox exporter.
    let hurry = [("x-prometheus-scrape-timeout-seconds", "1")];
    let said = fixture.ask("/probe", &[("target", &format!("http://{target}/slow"))], &hurry).await;
    assert_eq!((said.value("probe_success"), said.value("probe_timeout_seconds")), (Some(0.0), Some(0.5)));
    assert!(said.value("probe_duration_seconds").is_some_and(|seconds| seconds < 1.0), "{}", said.text);

    let said = fixture.probe(&[("target", &target.to_string()), ("module", "tcp_connect")]).await;
    assert_eq!(said.value("probe_success"), Some(1.0), "{}", said.text);
    // What is wrong with a target is a probe that fails, as in blackbox exporter.
    for (module, target) in [("http_2xx", "ftp://a"), ("tcp_connect", "nowhere"), ("websocket", "http://a")] {
        let said = fixture.probe(&[("target", target), ("module", module)]).await;
        assert_eq!((said.status, said.value("probe_success")), (StatusCode::OK, Some(0.0)), "{module}");
    }
    let said = fixture.probe(&[("target", "ws://127.0.0.1:1/"), ("module", "websocket")]).await;
    let found =
        ["probe_success", "probe_websocket_status_code", "probe_ip_protocol"].map(|name| said.value(name));
    assert_eq!(found, [Some(0.0), Some(0.0), Some(4.0)], "{}", said.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_probed_are_refused_in_blackbox_exporters_words() {
    let target = target().await;
    let fixture = Fixture::start(MODULES, OPEN, "").await;
    let url = format!("http://{target}/");
    let check = async |query: &[(&str, &str)], headers: &[(&str, &str)], status: u16, text: &str| {
        let said = fixture.ask("/probe", query, headers).await;
        assert_eq!(
            (said.status.as_u16(), said.text.starts_with(text)),
            (status, true),
            "{query:?}: {said:?}"
        );
    };
    check(&[], &[], 400, "Target parameter is missing\n").await;
    check(&[("module", "http_2xx"), ("target", "")], &[], 400, "Target parameter is missing\n").await;
    check(&[("module", "nope"), ("target", &url)], &[], 400, "Unknown module \"nope\"\n").await;
    let soon = [("x-prometheus-scrape-timeout-seconds", "soon")];
    check(&[("target", &url)], &soon, 500, "Failed to parse timeout from Prometheus header: ").await;
    check(
        &[("target", &url), ("module", "http_vhost"), ("hostname", "foo.example.com")],
        &[],
        400,
        "host header defined both in module configuration (foo.example.com.something) and with URL-parameter \
         'hostname' (foo.example.com)",
    )
    .await;
    let (_, metrics) = fixture.valmis.get("/metrics").await;
    for line in [
        "blackbox_module_unknown_total 1",
        "blackbox_exporter_config_last_reload_successful 1",
        "valmis_blackbox_requests_refused_total{reason=\"concurrency\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    assert!(metrics.contains("blackbox_exporter_config_last_reload_success_timestamp_seconds 1"));
    assert!(metrics.contains("blackbox_exporter_build_info{"));
}

// `TestHostnameParam` and `TestTCPHostnameParam` of blackbox exporter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostname_becomes_the_host_header_or_the_tls_server_name() {
    let target = target().await;
    let fixture = Fixture::start(MODULES, OPEN, "").await;
    let url = format!("http://{target}/host");
    let hostname = ("hostname", "foo.example.com");
    assert_eq!(fixture.probe(&[("target", &url)]).await.value("probe_success"), Some(0.0));
    let said = fixture.probe(&[("target", &url), hostname]).await;
    assert_eq!(said.value("probe_success"), Some(1.0), "{}", said.text);
    let address = target.to_string();
    let query = [("module", "tls_connect"), ("target", &address), hostname, ("debug", "true")];
    let said = fixture.probe(&query).await;
    assert!(said.text.contains("server_name: foo.example.com"), "{}", said.text);
}

// `TestURLDecoding` of blackbox exporter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_may_be_encoded_once_too_often() {
    let target = target().await;
    let fixture = Fixture::start(MODULES, OPEN, "").await;
    let port = target.port();
    for encoded in [
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1%253A{port}"),
        format!("http://127.0.0.1:{port}/api/v1%3Alatest"),
        format!("http%3A%2F%2F127.0.0.1%3A{port}%2Fpath"),
    ] {
        let said = fixture.ask(&format!("/probe?module=http_2xx&target={encoded}"), &[], &[]).await;
        assert_eq!(said.value("probe_success"), Some(1.0), "{encoded}: {}", said.text);
    }
}

// `TestPrometheusConfigSecretsHidden` and `TestDebugOutputSecretsHidden` of blackbox exporter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debug_output_shows_all_but_secrets() {
    let target = target().await;
    let allow = "  allow: [{module: http_login, targets: ['*']}]\n  reach: {loopback: true}\n";
    let fixture = Fixture::start(MODULES, allow, "").await;
    let url = format!("http://{target}/");
    let query = [("module", "http_login"), ("target", &url), ("debug", "true")];
    let said = fixture.probe(&query).await;
    assert!(said.kind.starts_with("text/plain"), "{}", said.kind);
    for expected in [
        "Logs for the probe:\n",
        "\n\n\nMetrics that would have been returned:\n",
        "\nprobe_success 1\n",
        "\n\n\nModule configuration:\n",
        "bearer_token: <secret>",
    ] {
        assert!(said.text.contains(expected), "no {expected:?} in {}", said.text);
    }
    let events = said.text.lines().skip(1).take_while(|line| !line.is_empty());
    let after = |line: &str| line.strip_prefix('[')?.split_once(" s] ")?.0.parse::<f64>().ok();
    let times: Option<Vec<f64>> = events.map(after).collect();
    let times = times.unwrap_or_else(|| panic!("an event has no time: {}", said.text));
    assert!(times.len() > 3 && times.is_sorted(), "{times:?}");
    let (_, log) = fixture.valmis.get("/logs?target=x").await;
    assert_eq!(log, "Probe target not found\n");
    let mut shown = vec![said.text, fixture.valmis.log()];
    let id = fixture.valmis.json("/api/v1/probes?module=http_login").await["data"][0]["id"].clone();
    for path in ["/config", "/probes", "/metrics", "/api/v1/status/config", "/readiness", "/"] {
        shown.push(fixture.valmis.get(path).await.1);
    }
    shown.push(fixture.valmis.get(&format!("/api/v1/probes/{id}")).await.1);
    shown.push(fixture.valmis.get(&format!("/logs?id={id}")).await.1);
    for page in &shown {
        assert!(!page.contains("mysecret"), "{page}");
    }
    assert!(shown[2].contains("  http_login:\n    prober: http\n"), "{}", shown[2]);
}

/// In every field that may hold a secret, with servers that refuse, redirect and fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_a_module_is_shown_anywhere_whatever_happens() {
    let target = target().await;
    let modules = format!(
        "
modules:
  basic: {{prober: http, timeout: 1s, http: {{basic_auth: {{username: u, password: canary}}, body: canary}}}}
  token: {{prober: http, timeout: 1s, http: {{authorization: {{type: Canary, credentials: canary}}}}}}
  bearer: {{prober: http, timeout: 1s, http: {{bearer_token: canary, headers: {{Cookie: canary, X-Key: canary}}}}}}
  headers: {{prober: http, timeout: 1s, http: {{http_headers: {{X-Key: {{secrets: [canary]}}}}}}}}
  oauth2:
    prober: http
    timeout: 1s
    http:
      oauth2:
        client_id: id
        client_secret: canary
        token_url: 'http://{target}/token'
        endpoint_params: {{password: canary}}
  proxy:
    prober: http
    timeout: 1s
    http:
      proxy_url: 'http://user:canary@127.0.0.1:1'
      proxy_connect_header: {{Proxy-Authorization: [canary]}}
  identity: {{prober: http, timeout: 1s, http: {{tls_config: {{cert: public, key: canary}}}}}}
  dialog: {{prober: tcp, timeout: 1s, tcp: {{query_response: [{{send: AUTH canary}}, {{expect: never}}]}}}}
  metadata: {{prober: grpc, timeout: 1s, grpc: {{metadata: {{authorization: [Bearer canary]}}}}}}
"
    );
    let names = ["basic", "token", "bearer", "headers", "oauth2", "proxy", "identity", "dialog", "metadata"];
    let entries: Vec<String> =
        names.iter().map(|name| format!("{{module: {name}, targets: ['*']}}")).collect();
    let allow = format!("  allow: [{}]\n  reach: {{loopback: true}}\n", entries.join(", "));
    let fixture = Fixture::start(&modules, &allow, "").await;
    let urls = [
        format!("http://{target}/"),
        format!("http://{target}/to?url=http://localhost:{}/", target.port()),
        format!("https://{target}/"),
        "http://127.0.0.1:1/".to_owned(),
    ];
    let mut shown = Vec::new();
    for name in names {
        let targets = match name {
            "dialog" | "metadata" => vec![target.to_string(), "127.0.0.1:1".to_owned()],
            _ => urls.to_vec(),
        };
        for target in targets {
            for debug in ["false", "true"] {
                let query = [("module", name), ("target", target.as_str()), ("debug", debug)];
                let said = fixture.probe(&query).await;
                assert_eq!(said.status, StatusCode::OK, "{}", said.text);
                shown.push(said.text);
            }
        }
    }
    for path in
        ["/config", "/probes", "/api/v1/probes", "/metrics", "/api/v1/status/config", "/readiness", "/"]
    {
        shown.push(fixture.valmis.get(path).await.1);
    }
    shown.push(fixture.valmis.log());
    for page in &shown {
        assert!(!page.contains("canary"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_modules_of_blackbox_exporters_examples_can_be_asked_for() {
    let shared =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/blackbox-config");
    let Ok(modules) = fs::read_to_string(shared.join("example.yml")) else {
        return crate::real::say("skipped: no conformance data");
    };
    let target = target().await;
    let names: Vec<&str> = modules
        .lines()
        .filter_map(|line| {
            line.strip_prefix("  ").filter(|rest| !rest.starts_with([' ', '#']))?.strip_suffix(':')
        })
        .collect();
    assert_eq!(names.len(), 27, "{names:?}");
    let entries: Vec<String> =
        names.iter().map(|name| format!("{{module: {name}, targets: ['*']}}")).collect();
    let allow = format!("  allow: [{}]\n  reach: {{loopback: true}}\n", entries.join(", "));
    let fixture = Fixture::start(&modules, &allow, "").await;
    let hurry = [("x-prometheus-scrape-timeout-seconds", "1")];
    for name in names {
        let text = match name {
            "icmp_example" => "127.0.0.1".to_owned(),
            "unix_socket_ping" => "/nowhere.sock".to_owned(),
            _ => target.to_string(),
        };
        let said = fixture.ask("/probe", &[("module", name), ("target", &text)], &hurry).await;
        assert_eq!(said.status, StatusCode::OK, "{name}: {}", said.text);
        // The others look for what is not there, or need a server of their own.
        let good = [
            "http_post_2xx",
            "http_basic_auth_example",
            "http_custom_ca_example",
            "tcp_connect_example",
            "icmp_example",
        ];
        let expected = good.contains(&name);
        assert_eq!(said.value("probe_success"), Some(f64::from(u8::from(expected))), "{name}: {}", said.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_probes_run_at_once_than_allowed() {
    let target = target().await;
    let one = format!("{OPEN}  max_concurrent_probes: 1\n");
    let fixture = Fixture::start(MODULES, &one, "").await;
    let slow = format!("http://{target}/slow");
    let quick = format!("http://{target}/");
    let patient = [("x-prometheus-scrape-timeout-seconds", "30")];
    let query = [("target", slow.as_str())];
    let first = async {
        // The quick one may be there first.
        while fixture.ask("/probe", &query, &patient).await.status == StatusCode::SERVICE_UNAVAILABLE {}
    };
    let second = async {
        eventually("refusal", async || {
            let said = fixture.probe(&[("target", &quick)]).await;
            if said.status == StatusCode::SERVICE_UNAVAILABLE { Ok(said.text) } else { Err(said.text) }
        })
        .await
    };
    // Whoever goes away makes room.
    let refused = tokio::select! {
        () = first => panic!("the slow one ended first"),
        refused = second => refused,
    };
    assert!(refused.starts_with("1 probes run already"), "{refused}");
    eventually("room", async || {
        let said = fixture.probe(&[("target", &quick)]).await;
        if said.value("probe_success") == Some(1.0) { Ok(()) } else { Err(said.text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_file_is_read_again_and_a_bad_one_changes_nothing() {
    let target = target().await;
    let fixture = Fixture::start("modules: {one: {prober: http}}\n", OPEN, "").await;
    let url = format!("http://{target}/");
    let known = async |module: &str| {
        fixture.probe(&[("target", &url), ("module", module)]).await.status == StatusCode::OK
    };
    fs::write(fixture.module_file(), "modules: {two: {prober: htpp}}\n").unwrap();
    let (status, text) = fixture.valmis.post("/-/reload").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text.contains("blackbox.yml:1:25: prober 'htpp' is not valid"), "{text}");
    assert!(known("one").await && !known("two").await);
    let (_, metrics) = fixture.valmis.get("/metrics").await;
    assert!(metrics.contains("blackbox_exporter_config_last_reload_successful 0\n"));
    fs::write(fixture.module_file(), "modules: {two: {prober: http}}\n").unwrap();
    assert_eq!(fixture.valmis.post("/-/reload").await.0, StatusCode::OK);
    assert!(known("two").await && !known("one").await);
    let (_, metrics) = fixture.valmis.get("/metrics").await;
    assert!(metrics.contains("blackbox_exporter_config_last_reload_successful 1\n"));
}
