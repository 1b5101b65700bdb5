//! Servers that do not answer as they should.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

use super::rule;
use crate::real::tls_server::TlsServer;
use crate::real::valmis::{NO_DISK, Valmis};
use crate::real::{eventually, serve};

/// A vector with one element, whatever is asked.
const ONE: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"job":"x"},"value":[1,"1"]}]}}"#;

/// Answers the first `good` queries and then as `then` says.
async fn server<F, Fut>(good: usize, then: F) -> SocketAddr
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = (StatusCode, String)> + Send + 'static,
{
    let asked = Arc::new(AtomicUsize::new(0));
    let handler = post(async move || {
        let first = asked.fetch_add(1, Ordering::SeqCst) < good;
        if first { (StatusCode::OK, ONE.to_owned()) } else { then().await }
    });
    serve(Router::new().route("/api/v1/query", handler)).await
}

fn group(name: &str) -> (String, String) {
    let rules = format!(
        "groups:\n- name: {name}\n  interval: 1s\n  rules:\n  - {{alert: {name}, expr: x == 1}}\n  - {{record: \
         '{name}:r', expr: x}}\n"
    );
    (format!("{name}.yaml"), rules)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_fails_affects_only_its_own_groups_and_resolves_nothing() {
    let answer = async |status: u16, text: &str| {
        let (status, text) = (StatusCode::from_u16(status).unwrap(), text.to_owned());
        server(4, move || {
            let text = text.clone();
            async move { (status, text) }
        })
        .await
    };
    let tls = TlsServer::start().await;
    let hung = server(4, std::future::pending).await;
    let late = server(4, || async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        (StatusCode::OK, ONE.to_owned())
    })
    .await;
    // Name, address, what the rule's error says; all but the last one have answered before.
    let faults = [
        ("Hung", hung.to_string(), "query timed out"),
        ("Late", late.to_string(), "query timed out"),
        ("Unavailable", answer(503, "try later").await.to_string(), "503 Service Unavailable"),
        ("Garbage", answer(200, "<html>\u{0}").await.to_string(), "with no result"),
        (
            "WrongType",
            answer(200, r#"{"status":"success","data":{"resultType":"streams","result":[]}}"#)
                .await
                .to_string(),
            "with no result",
        ),
        (
            "WrongNumber",
            answer(200, &ONE.replace("\"1\"", "\"one\"")).await.to_string(),
            "a value that is no number",
        ),
        (
            "Partial",
            answer(200, &ONE.replace("\"status\"", "\"isPartial\":true,\"status\"")).await.to_string(),
            "from a part of its data only",
        ),
        ("Empty", answer(200, "").await.to_string(), "with no result"),
    ];
    let good = answer(200, ONE).await;
    let mut rules = vec![group("Local"), group("Good"), group("Untrusted")];
    rules.extend(faults.iter().map(|(name, ..)| group(name)));
    let configuration = format!("{NO_DISK}resend_delay: 1s\nrules:\n  - ./rules/Local.yaml\n");
    let (mut sources, mut entries) = (Vec::new(), Vec::new());
    let mut add = |name: &str, url: &str| {
        sources.push(format!("  - {{name: {name}, url: '{url}', timeout: 2s}}\n"));
        entries.push(format!("  - {{files: ./rules/{name}.yaml, source: {name}}}\n"));
    };
    add("Good", &format!("http://{good}"));
    add("Untrusted", &format!("https://localhost:{}", tls.address.port()));
    for (name, address, _) in &faults {
        add(name, &format!("http://{address}"));
    }
    let configuration = format!("{configuration}{}sources:\n{}", entries.concat(), sources.concat());
    let valmis = Valmis::start_with(&configuration, &rules).await;

    for (name, _, expected) in &faults {
        let seen = eventually(&format!("error of {name}"), async || {
            let rule = rule(&valmis, name).await;
            if rule["health"] == "err" { Ok(rule) } else { Err(format!("{rule:#}")) }
        })
        .await;
        assert!(seen["lastError"].as_str().unwrap().contains(expected), "{name}: {seen:#}");
        // It fired before, and an error is no end.
        assert_eq!(seen["state"], "firing", "{name}");
    }
    let untrusted = rule(&valmis, "Untrusted").await;
    let error = untrusted["lastError"].as_str().unwrap();
    assert!(error.contains("certificate"), "{error}");

    // The others go on in time.
    let began = Instant::now();
    valmis.wait_two_evaluations_of(&["Local", "Good"]).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    for name in ["Local", "Good"] {
        assert_eq!(rule(&valmis, name).await["health"], "ok");
    }
    let (_, metrics) = valmis.get("/metrics/valmis").await;
    for (source, up) in [("Good", 1), ("Hung", 0), ("Unavailable", 0)] {
        assert!(
            metrics.contains(&format!("valmis_source_up{{source=\"{source}\"}} {up}")),
            "{source}: {metrics}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_hangs_takes_the_time_of_one_query_from_a_group_of_many() {
    let hung = server(0, std::future::pending).await;
    let rules = (0..50).map(|number| format!("  - {{record: 'r{number}', expr: x}}\n"));
    let rules = rules.collect::<Vec<_>>().concat();
    let rules = format!("groups:\n- name: many\n  interval: 1s\n  rules:\n{rules}");
    let configuration = format!(
        "{NO_DISK}sources: [{{name: far, url: 'http://{hung}', timeout: 2s}}]
rules: [{{files: ./rules/many.yaml, source: far}}]\n"
    );
    let began = Instant::now();
    let valmis = Valmis::start_with(&configuration, &[("many.yaml".to_owned(), rules)]).await;
    eventually("the error of the last rule", async || {
        let rule = rule(&valmis, "r49").await;
        if rule["health"] == "err" { Ok(()) } else { Err(format!("{rule:#}")) }
    })
    .await;
    // One after the other they would take 100 s.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_headers_and_parameters_are_sent() {
    let (heard, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let handler = post(async move |headers: HeaderMap, body: Bytes| {
        heard.send((headers, String::from_utf8(body.to_vec()).unwrap())).unwrap();
        (StatusCode::OK, ONE)
    });
    let address = serve(Router::new().route("/prometheus/api/v1/query", handler)).await;
    let configuration = format!(
        "{NO_DISK}sources:
  - name: mimir
    url: http://{address}/prometheus/
    http_headers: {{X-Scope-OrgID: tenant}}
    basic_auth: {{username: me, password_file: secret}}
    params: {{dedup: 'true', partial_response: 'true'}}
rules: [{{files: ./rules/Mimir.yaml, source: mimir}}]\n"
    );
    let valmis = Valmis::start_with(&format!("{NO_DISK}rules: [./rules/*.yaml]\n"), &[group("Mimir")]).await;
    std::fs::write(valmis.file("secret"), "hunter2\n").unwrap();
    valmis.configure(&configuration);
    let (status, text) = valmis.post("/-/reload").await;
    assert!(status.is_success(), "{text}");
    // The rules of a group that do not need one another are asked for at once.
    let (headers, body) = loop {
        let (headers, body) = requests.recv().await.unwrap();
        if body.contains("%3D%3D") {
            break (headers, body);
        }
    };
    assert_eq!(headers["x-scope-orgid"], "tenant");
    assert_eq!(headers["authorization"], "Basic bWU6aHVudGVyMg==");
    for expected in
        ["query=x+%3D%3D+1", "dedup=true", "partial_response=true", "nocache=1", "timeout=30000ms"]
    {
        assert!(body.split('&').any(|pair| pair == expected), "{expected}: {body}");
    }
    assert_eq!(body.matches("partial_response").count(), 1);
    for page in ["/api/v1/status/config", "/", "/metrics"] {
        let (_, text) = valmis.get(page).await;
        assert!(!text.contains("hunter2") && !text.contains("tenant"), "{page}: {text}");
    }

    // A group whose source did not change is not disturbed by a reload.
    valmis.wait_for_alert("firing", "Mimir").await;
    let before = valmis.json("/api/v1/alerts").await;
    valmis.configure(
        &configuration.replace("NO_DISK", "").replace("rules:", "evaluation_interval: 15s\nrules:"),
    );
    assert!(valmis.post("/-/reload").await.0.is_success());
    assert_eq!(valmis.json("/api/v1/alerts").await, before);
}
