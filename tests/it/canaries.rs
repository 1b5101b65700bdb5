//! Secrets of the configuration: each one is unlike anything else, and is looked for wherever valmis says
//! something.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ::valmis::config::{self, Surroundings};
use ::valmis::listener;
use axum::Router;
use axum::http::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use tempfile::TempDir;

use crate::real::valmis::{COMMON, NO_DISK, Valmis, command};
use crate::real::{eventually, http, serve};
use crate::servers::{Authority, params};

/// A port on which nobody listens: whatever is asked of it fails at once.
const NOBODY: &str = "127.0.0.1:1";

/// Every key of the configuration that holds a secret. Each secret begins with `canary`.
const CONFIGURATION: &str = r"
web: {config_file: FOLDER/web.yml}
apps:
  - {name: one, url: 'http://NOBODY/', metrics: 'http://NOBODY/metrics', interval: 1s, method: POST,
     headers: {X-Api-Key: canary-app-header}, body: canary-app-body,
     basic_auth: {username: u, password: canary-app-password}}
  - {name: two, url: 'http://NOBODY/two', metrics: 'http://NOBODY/metrics', interval: 1s, bearer_token: canary-app-bearer}
  - {name: three, url: 'http://NOBODY/three', interval: 1s, bearer_token_file: FOLDER/token}
  - {name: four, url: 'http://NOBODY/four', interval: 1s, authorization: {type: Key, credentials: canary-app-credentials}}
  - {name: five, url: 'http://NOBODY/five', interval: 1s, bearer_token_env: CANARY}
postgres:
  - {name: uri, dsn: 'postgres://u:canary-dsn-uri@NOBODY/db', interval: 1s}
  - {name: pairs, dsn: 'host=127.0.0.2 port=1 user=u password=canary-dsn-pairs', interval: 1s}
  - {name: beside, dsn: 'postgres://u@127.0.0.3:1/db', password: canary-postgres-password, interval: 1s}
redis:
  - {name: cache, address: 'NOBODY', password: canary-redis-password, interval: 1s}
certificates:
  - {name: keystore, file: FOLDER/keystore.p12, password: canary-keystore-password, interval: 1s}
blackbox:
  config_file: FOLDER/blackbox.yml
  allow: any
  reach: {loopback: true}
probes:
  - {name: a, module: headers, target: 'http://NOBODY/', interval: 1s}
  - {name: b, module: bearer, target: 'http://NOBODY/', interval: 1s}
  - {name: c, module: oauth, target: 'http://NOBODY/', interval: 1s}
  - {name: d, module: proxied, target: 'http://NOBODY/', interval: 1s}
scrapes:
  - {job: first, targets: ['NOBODY'], interval: 1s, timeout: 1s, basic_auth: {username: u, password: canary-scrape-password}}
  - {job: second, targets: ['NOBODY'], interval: 1s, timeout: 1s, authorization: {credentials: canary-scrape-credentials}}
sources:
  - name: remote
    url: http://NOBODY/
    timeout: 1s
    basic_auth: {username: u, password: canary-source-password}
    http_headers: {X-Token: {secrets: [canary-source-header]}}
    proxy_url: http://u:canary-source-proxy@NOBODY
    remote_write: {url: 'http://NOBODY/write', bearer_token: canary-write-bearer}
alertmanagers:
  - url: http://NOBODY/
    timeout: 1s
    basic_auth: {username: u, password: canary-alertmanager-password}
    http_headers: {X-Token: canary-alertmanager-header}
    proxy_url: http://u:canary-alertmanager-proxy@NOBODY
heartbeat:
  - {name: told, url: 'http://NOBODY/canary-heartbeat-url', interval: 1s, timeout: 1s,
     bearer_token: canary-heartbeat-bearer, http_headers: {X-Token: canary-heartbeat-header}, tied_to: []}
";

const MODULES: &str = r"
modules:
  headers:
    prober: http
    timeout: 1s
    http:
      headers: {X-Api-Key: canary-module-header, Authorization: canary-module-authorization}
      basic_auth: {username: u, password: canary-module-password}
  bearer: {prober: http, timeout: 1s, http: {authorization: {credentials: canary-module-credentials}}}
  oauth:
    prober: http
    timeout: 1s
    http:
      oauth2: {client_id: id, client_secret: canary-module-client, token_url: 'http://NOBODY/token',
               endpoint_params: {secret: canary-module-parameter}}
  proxied:
    prober: http
    timeout: 1s
    http: {proxy_url: 'http://u:canary-module-proxy@NOBODY', proxy_connect_header: {X-Token: [canary-module-connect]}}
  bare: {prober: http, timeout: 1s, http: {proxy_url: 'u:canary-module-bare@NOBODY'}}
  tcp: {prober: tcp, timeout: 1s, tcp: {query_response: [{send: canary-module-send}]}}
";

/// The pages that show something.
const PAGES: [&str; 42] = [
    "/probe?module=bare&target=http://u:canary-target@127.0.0.1:1/&debug=true",
    "/probe?module=bare&target=u:canary-target@127.0.0.1:1&debug=true",
    "/probe?module=headers&target=http://u:canary-target@127.0.0.1:1/&debug=true",
    "/probe?module=tcp&target=u:canary-target@127.0.0.1:1&debug=true",
    "/",
    "/metrics",
    "/metrics/valmis",
    "/metrics/blackbox",
    "/metrics/postgres",
    "/metrics/redis",
    "/readiness",
    "/probes",
    "/logs",
    "/config",
    "/ledger",
    "/graph",
    "/runbooks",
    "/health",
    "/ready",
    "/probe?module=headers&target=http://127.0.0.1:1/&debug=true",
    "/probe?module=bearer&target=http://127.0.0.1:1/&debug=true",
    "/probe?module=oauth&target=http://127.0.0.1:1/&debug=true",
    "/probe?module=proxied&target=http://127.0.0.1:1/&debug=true",
    "/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D",
    "/api/v1/series?match%5B%5D=%7B__name__%3D~%22.%2B%22%7D",
    "/api/v1/labels",
    "/api/v1/rules",
    "/api/v1/alerts",
    "/api/v1/alertmanagers",
    "/api/v1/ledger",
    "/api/v1/probes",
    "/api/v1/targets",
    "/api/v1/targets/metadata",
    "/api/v1/scrape_pools",
    "/api/v1/metadata",
    "/api/v1/features",
    "/api/v1/notifications",
    "/api/v1/status/buildinfo",
    "/api/v1/status/config",
    "/api/v1/status/flags",
    "/api/v1/status/runtimeinfo",
    "/api/v1/status/tsdb",
];

/// A folder with all files that the configuration names.
struct Planted {
    folder: TempDir,
    configuration: String,
    /// What must not be seen anywhere.
    canaries: Vec<String>,
}

impl Planted {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut server = params("localhost", &["localhost"]);
        server.not_after = rcgen::date_time_ymd(2035, 1, 1);
        let server = Authority::root("Tests", 2035).sign(&server);
        let key = server.key.serialize_pem();
        let hash = bcrypt::hash("secret", 4).unwrap();
        let indented = |pem: &str| pem.replace('\n', "\n    ");
        let web = format!(
            "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\nbasic_auth_users:\n  ann: {hash}\n",
            indented(server.pem.trim_end()),
            indented(key.trim_end())
        );
        let here =
            |text: &str| text.replace("FOLDER", folder.path().to_str().unwrap()).replace("NOBODY", NOBODY);
        fs::write(folder.path().join("web.yml"), web).unwrap();
        fs::write(folder.path().join("token"), "canary-token-file\n").unwrap();
        fs::write(folder.path().join("blackbox.yml"), here(MODULES)).unwrap();
        let configuration = here(CONFIGURATION);

        let words = [CONFIGURATION, MODULES].concat();
        let words = words.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let mut canaries: Vec<String> =
            words.filter(|word| word.starts_with("canary-")).map(ToOwned::to_owned).collect();
        let elsewhere = ["canary-token-file", "canary-environment", "canary-target"];
        canaries.extend(elsewhere.map(ToOwned::to_owned));
        // As they stand in headers.
        let encoded = canaries.iter().map(|canary| BASE64_STANDARD.encode(format!("u:{canary}")));
        let encoded: Vec<String> = encoded.collect();
        canaries.extend(encoded);
        canaries.extend([key.lines().nth(1).unwrap().to_owned(), hash]);
        Self { folder, configuration, canaries }
    }

    #[track_caller]
    fn look(&self, place: &str, text: &str) {
        for canary in &self.canaries {
            if let Some(at) = text.find(canary.as_str()) {
                let begin = text.floor_char_boundary(at.saturating_sub(200));
                let end = text.floor_char_boundary((at + 200).min(text.len()));
                panic!("{place} shows `{canary}`:\n{}", &text[begin..end]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_seen_on_any_page_or_in_the_log() {
    let _turn = crate::real::turn().await;
    let planted = Planted::new();
    let configuration = format!("{COMMON}{NO_DISK}{}", planted.configuration);
    let environment = &[("CANARY", "canary-environment"), ("VALMIS_LOG", "debug")];
    let valmis = Valmis::start_in(&configuration, ("ann", "secret"), environment).await;
    // Until everything has failed at least once: probes, scrapes, deliveries, heartbeats.
    eventually("failures of all parts", async || {
        let (_, page) = valmis.get("/metrics").await;
        let counted = |name: &str| {
            page.lines()
                .any(|line| line.starts_with(name) && !line.ends_with(" 0") && !line.ends_with(" 0.0"))
        };
        let all = counted("prometheus_notifications_errors_total") && counted("valmis_heartbeat");
        if all { Ok(()) } else { Err(page) }
    })
    .await;
    valmis.wait_two_evaluations().await;
    for path in PAGES {
        let (status, text) = valmis.get(path).await;
        assert!(
            status != StatusCode::NOT_FOUND && status != StatusCode::BAD_GATEWAY,
            "{path}: {status}: {text}"
        );
        planted.look(path, &text);
    }
    let history = valmis.json("/api/v1/probes").await;
    let results = history["data"].as_array().expect("a list of results");
    assert!(results.iter().any(|one| one["module"] == "oauth"), "{history:#}");
    for id in results.iter().map(|one| one["id"].as_u64().expect("a number")) {
        let path = format!("/api/v1/probes/{id}");
        planted.look(&path, &valmis.get(&path).await.1);
    }
    // Somebody who does not know the password, and one who gives a secret.
    let url = format!("https://{}/", valmis.address);
    let answer = http().get(&url).basic_auth("u", Some("canary-app-password")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    planted.look("a refusal", &answer.text().await.unwrap());

    valmis.configure(&format!("{configuration}resend_delay: 0s\n"));
    let answer =
        http().post(format!("{url}-/reload")).basic_auth("ann", Some("secret")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    planted.look("/-/reload", &answer.text().await.unwrap());
    let log = valmis.log();
    assert!(log.contains("DEBUG"), "{log}");
    planted.look("the log", &log);
}

#[test]
fn no_secret_is_seen_in_the_debug_output_of_the_configuration() {
    let planted = Planted::new();
    let environment = |name: &str| (name == "CANARY").then(|| "canary-environment".to_owned());
    let surroundings = Surroundings { environment: &environment, folder: planted.folder.path() };
    let (config, findings) = config::read("valmis.yaml", &planted.configuration, &surroundings);
    assert_eq!(findings, []);
    planted.look("the configuration", &format!("{config:?}"));
    let web = listener::load(&planted.folder.path().join("web.yml")).unwrap();
    planted.look("the web configuration", &format!("{web:?}"));
}

/// Each secret in turn is damaged in several ways.
#[test]
fn no_secret_is_seen_in_what_config_check_says() {
    let planted = Planted::new();
    let folder = planted.folder.path();
    let plain = format!("{COMMON}{}", planted.configuration).replace("rules: [./rules/*.yaml]\n", "");
    assert_eq!(check(folder, &plain), (true, "valmis.yaml: no faults found\n".to_owned()));
    let words = planted.configuration.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let secrets: Vec<&str> = words.filter(|word| word.starts_with("canary-")).collect();
    assert!(secrets.len() > 20);
    let mut all_wrong = plain.clone();
    for secret in secrets {
        all_wrong = all_wrong.replace(secret, &format!("{secret}\\x"));
        // A list, a mapping and a second key instead of a text.
        for damaged in
            [format!("[{secret}]"), format!("{{a: {secret}}}"), format!("{secret}, more: {secret}")]
        {
            planted.look(secret, &check(folder, &plain.replace(secret, &damaged)).1);
        }
    }
    planted.look("all of them", &check(folder, &all_wrong).1);
    for (text, replaced) in [
        ("basic_auth: {username: u, password: canary-app-password}", "basic_auth: canary-app-password"),
        ("{type: Key, credentials: canary-app-credentials}", "canary-app-credentials"),
        ("{X-Api-Key: canary-app-header}", "canary-app-header"),
        ("{X-Token: {secrets: [canary-source-header]}}", "canary-source-header"),
        ("{secrets: [canary-source-header]}", "{secrets: canary-source-header}"),
        ("postgres://u:canary-dsn-uri@127.0.0.1:1/db", "postgres://u:canary-dsn-uri@127.0.0.1:x/db?y=z"),
        ("password=canary-dsn-pairs", "password=canary-dsn-pairs canary-dsn-uri"),
        ("http://u:canary-source-proxy@", "ftp://u:canary-source-proxy@"),
        ("http://127.0.0.1:1/canary-heartbeat-url", "127.0.0.1:1/canary-heartbeat-url"),
        ("url: 'http://127.0.0.1:1/'", "url: 'http://u:canary-app-bearer@127.0.0.1:1/'"),
    ] {
        let damaged = plain.replace(text, replaced);
        assert_ne!(damaged, plain, "{text}");
        let (fine, said) = check(folder, &damaged);
        assert!(!fine, "{replaced}");
        planted.look(replaced, &said);
    }
}

/// Whether `config check` finds the configuration in order, and what it says.
fn check(folder: &Path, configuration: &str) -> (bool, String) {
    fs::write(folder.join("valmis.yaml"), configuration).unwrap();
    let mut command = command(folder);
    let output =
        command.env("CANARY", "canary-environment").args(["config", "check", "valmis.yaml"]).output();
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// A page for who knows the token of this moment.
async fn guarded(token: Arc<Mutex<&'static str>>) -> SocketAddr {
    let page = async move |headers: HeaderMap| {
        let wanted = format!("Bearer {}", token.lock().unwrap());
        let right = headers.get("authorization").is_some_and(|given| *given == *wanted);
        if right { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
    };
    serve(Router::new().fallback(page)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_rotated_in_its_file_is_used_without_a_restart() {
    let _turn = crate::real::turn().await;
    let token = Arc::new(Mutex::new("first"));
    let address = guarded(token.clone()).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "first\n").unwrap();
    let app = format!(
        "{{name: guarded, url: 'http://{address}/', interval: 1s, bearer_token_file: '{}'}}",
        file.display()
    );
    let valmis = Valmis::start(&format!("{COMMON}{NO_DISK}apps: [{app}]\n")).await;
    let wait = async |state: &str| {
        eventually(state, async || {
            let component = valmis.component("app", "guarded").await;
            if component["state"] == state { Ok(()) } else { Err(format!("{component:#}")) }
        })
        .await;
    };
    wait("ready").await;
    *token.lock().unwrap() = "second";
    wait("not_ready").await;
    fs::write(&file, "second\n").unwrap();
    wait("ready").await;
}
