//! Alertmanagers that are found in files, and that are reached by TLS with a certificate, by logging in, and
//! by a proxy.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

use super::{common, watchdog};
use crate::real::alertmanager::Alertmanager;
use crate::real::gate::{Gate, PREFIX};
use crate::real::valmis::Valmis;
use crate::real::webhook::Webhook;
use crate::real::{eventually, turn};
use crate::servers::{Authority, Identity, params, write};

/// The configuration of a server that lets in whom this authority knows.
fn mutual(authority: &Authority) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let Identity { chain, key, .. } = authority.sign(&params("gate", &["gate.example"]));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap()
}

fn write_client(folder: &TempDir, authority: &Authority) {
    let client = authority.sign(&params("valmis", &["valmis.example"]));
    write(folder.path(), "client.pem", &client.pem);
    write(folder.path(), "client.key", client.key.serialize_pem());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alertmanager_behind_tls_login_and_prefix_is_reached() {
    let _turn = turn().await;
    let webhook = Webhook::start().await;
    let Some(alertmanager) = Alertmanager::start(&webhook).await else { return };
    let (known, unknown) = (Authority::root("Known", 2120), Authority::root("Unknown", 2120));
    let gate = Gate::start(alertmanager.address, Some(mutual(&known))).await;
    let folder = TempDir::new().unwrap();
    write(folder.path(), "ca.pem", &known.pem);
    write(folder.path(), "password", "pa55word\n");
    write(folder.path(), "tenant", "team-a\n");
    // Not the certificate that the gate wants to see, as yet.
    write_client(&folder, &unknown);
    let path = folder.path().display();
    let configuration = format!(
        "{}alertmanagers:
- scheme: https
  path_prefix: {PREFIX}/
  api_version: v2
  static_configs: [{{targets: ['{}']}}]
  tls_config: {{ca_file: {path}/ca.pem, cert_file: {path}/client.pem, key_file: {path}/client.key,
    server_name: gate.example}}
  basic_auth: {{username: valmis, password_file: {path}/password}}
  http_headers: {{X-Scope-OrgID: {{files: [{path}/tenant]}}, X-More: {{values: [one, two]}}}}
",
        common(),
        gate.address
    );
    let valmis = Valmis::start_with(&configuration, &watchdog()).await;
    eventually("failed delivery", async || {
        let (_, metrics) = valmis.get("/metrics").await;
        let failed = |line: &str| {
            let value = line.strip_prefix("prometheus_notifications_errors_total{")?.split_once("} ")?.1;
            Some(value != "0")
        };
        if metrics.lines().find_map(failed) == Some(true) { Ok(()) } else { Err(metrics) }
    })
    .await;
    assert_eq!(gate.heads(), Vec::<String>::new());
    // A renewed certificate counts without a reload.
    write_client(&folder, &known);
    webhook.wait_for("firing", "Watchdog").await;
    let head = &gate.heads()[0];
    assert!(head.starts_with(&format!("POST {PREFIX}/api/v2/alerts HTTP/1.1\r\n")), "{head}");
    // The base64 form of `valmis:pa55word`.
    for line in [
        "authorization: Basic dmFsbWlzOnBhNTV3b3Jk",
        "x-scope-orgid: team-a",
        "x-more: one",
        "x-more: two",
        "content-type: application/json",
    ] {
        assert!(head.lines().any(|one| one == line), "no `{line}` in {head}");
    }
    let shown = valmis.json("/api/v1/alertmanagers").await;
    let url = format!("https://{}{PREFIX}/api/v2/alerts", gate.address);
    assert_eq!(shown["data"]["activeAlertmanagers"], serde_json::json!([{"url": url}]));
    for text in [valmis.log(), valmis.get("/api/v1/status/config").await.1, valmis.get("/metrics").await.1] {
        assert!(!text.contains("pa55word") && !text.contains("dmFsbWlz"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alertmanager_is_reached_through_a_proxy() {
    let _turn = turn().await;
    let webhook = Webhook::start().await;
    let Some(alertmanager) = Alertmanager::start(&webhook).await else { return };
    let proxy = Gate::start(alertmanager.address, None).await;
    // A name that nobody but the proxy can know.
    let configuration = format!(
        "{}alertmanagers: [{{url: 'http://am.invalid:9093', proxy_url: 'http://me:s3cret@{}'}}]\n",
        common(),
        proxy.address
    );
    let valmis = Valmis::start_with(&configuration, &watchdog()).await;
    webhook.wait_for("firing", "Watchdog").await;
    let head = &proxy.heads()[0];
    assert!(head.starts_with("POST http://am.invalid:9093/api/v2/alerts HTTP/1.1\r\n"), "{head}");
    // The base64 form of `me:s3cret`.
    assert!(head.contains("proxy-authorization: Basic bWU6czNjcmV0\r\n"), "{head}");
    assert!(!valmis.log().contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alertmanagers_are_found_in_files_and_relabelled() {
    let _turn = turn().await;
    let (first, second) = (Webhook::start().await, Webhook::start().await);
    let (Some(one), Some(two)) = (Alertmanager::start(&first).await, Alertmanager::start(&second).await)
    else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let targets = |address| {
        format!(
            r#"[{{"targets": ["{address}"]}}, {{"targets": ["127.0.0.1:1"], "labels": {{"use": "no"}}}}]"#
        )
    };
    let file = write(folder.path(), "am.json", targets(one.address));
    let configuration = format!(
        "{}alertmanagers:
- file_sd_configs: [{{files: ['{}/*.json'], refresh_interval: 100ms}}]
  relabel_configs: [{{source_labels: [use], regex: no, action: drop}}]
",
        common(),
        folder.path().display()
    );
    let valmis = Valmis::start_with(&configuration, &watchdog()).await;
    first.wait_for("firing", "Watchdog").await;
    let shown = async || valmis.json("/api/v1/alertmanagers").await["data"].take();
    let expected = |address| {
        serde_json::json!({
            "activeAlertmanagers": [{"url": format!("http://{address}/api/v2/alerts")}],
            "droppedAlertmanagers": [{"url": "http://127.0.0.1:1/api/v2/alerts"}],
        })
    };
    assert_eq!(shown().await, expected(one.address));
    std::fs::write(&file, targets(two.address)).unwrap();
    second.wait_for("firing", "Watchdog").await;
    assert_eq!(shown().await, expected(two.address));
}
