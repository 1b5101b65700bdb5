//! Heartbeats: sent for as long as the whole chain works, and missed when they do not come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::any;

use crate::real::alertmanager::Alertmanager;
use crate::real::valmis::{COMMON, NO_DISK, Valmis};
use crate::real::webhook::Webhook;
use crate::real::{eventually, serve, turn};

/// Counts requests that are as they should be.
async fn listener() -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let receive = async move |method: Method, headers: HeaderMap| {
        if method == Method::POST && headers.get("x-key").is_some_and(|key| key == "k3y") {
            counter.fetch_add(1, Ordering::SeqCst);
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        }
    };
    let router = Router::new().route("/s3cret", any(receive));
    (format!("http://{}/s3cret", serve(router).await), count)
}

/// Waits until it is withheld for this reason, and checks that none is sent then.
async fn check_withheld(valmis: &Valmis, count: &AtomicUsize, reason: &str) {
    let series = format!("valmis_heartbeat_withheld{{heartbeat=\"outside\",reason=\"{reason}\"}} 1");
    eventually(&series, async || {
        let (_, metrics) = valmis.get("/metrics").await;
        if metrics.lines().any(|line| line == series) { Ok(()) } else { Err(metrics) }
    })
    .await;
    let before = count.load(Ordering::SeqCst);
    for _ in 0..3 {
        let time = valmis.json("/api/v1/query?query=time()").await["data"]["result"][0].clone();
        eventually("another second", async || {
            let now = valmis.json("/api/v1/query?query=time()").await["data"]["result"][0].clone();
            if now.as_f64() >= time.as_f64().map(|time| time + 1.0) { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
    }
    assert_eq!(count.load(Ordering::SeqCst), before, "sent although: {reason}");
}

async fn wait_for_more(count: &AtomicUsize) {
    let before = count.load(Ordering::SeqCst);
    eventually("two more heartbeats", async || match count.load(Ordering::SeqCst) - before {
        0 | 1 => Err("none"),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_is_sent_only_while_rules_are_evaluated_and_deliveries_acknowledged() {
    let _turn = turn().await;
    let webhook = Webhook::start().await;
    let Some(mut alertmanager) = Alertmanager::start(&webhook).await else { return };
    let (url, count) = listener().await;
    // No rule that always fires: that alerts would be taken is proved without any.
    let rule = "groups: [{name: g, rules: [{alert: Never, expr: 'vector(1) > 2'}]}]\n";
    let start = |rules: &str| {
        format!(
            "evaluation_interval: 1s\nrules: [{rules}]\n{NO_DISK}alertmanagers: [{{url: 'http://{}', timeout: 1s}}]\n\
             heartbeat: [{{name: outside, url: '{url}', method: POST, interval: 1s, http_headers: {{X-Key: k3y}}}}]\n",
            alertmanager.address
        )
    };
    let (with, without) = (start("./rules/*.yaml"), start("./none/*.yaml"));
    let valmis = Valmis::start_with(&with, &[("rule.yaml".to_owned(), rule.to_owned())]).await;
    wait_for_more(&count).await;
    alertmanager.kill();
    check_withheld(&valmis, &count, "delivery").await;
    alertmanager.restart().await;
    wait_for_more(&count).await;
    valmis.configure(&without);
    assert_eq!(valmis.post("/-/reload").await.0, StatusCode::OK, "{}", valmis.log());
    check_withheld(&valmis, &count, "evaluation").await;
    valmis.configure(&with);
    assert_eq!(valmis.post("/-/reload").await.0, StatusCode::OK, "{}", valmis.log());
    wait_for_more(&count).await;
    // A group that is due in an hour takes the place of the only one.
    std::fs::write(valmis.file("rules/rule.yaml"), rule.replace("name: g", "name: slow, interval: 1h"))
        .unwrap();
    assert_eq!(valmis.post("/-/reload").await.0, StatusCode::OK, "{}", valmis.log());
    wait_for_more(&count).await;
    valmis.configure(&with.replace("k3y", "other"));
    assert_eq!(valmis.post("/-/reload").await.0, StatusCode::OK, "{}", valmis.log());
    check_withheld(&valmis, &count, "request").await;
    assert!(!valmis.log().contains("s3cret"), "{}", valmis.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_jobs_tell_survives_a_crash_and_strangers_leave_no_trace() {
    let configuration =
        format!("{COMMON}{NO_DISK}pings: [{{name: backup, period: 1d}}, {{name: sync, period: 1h}}]\n");
    let mut valmis = Valmis::start_with(&configuration, &[]).await;
    let told = async |valmis: &Valmis| -> Vec<String> {
        let (_, metrics) = valmis.get("/metrics").await;
        metrics.lines().filter(|line| line.starts_with("valmis_heartbeat_")).map(str::to_owned).collect()
    };
    let has = |lines: &[String], start: &str| lines.iter().any(|line| line.starts_with(start));
    let before = told(&valmis).await;
    assert!(!has(&before, "valmis_heartbeat_last_"), "nothing is 0 that never was: {before:?}");
    for (path, expected) in [
        ("/ping/backup/start", StatusCode::OK),
        ("/ping/backup", StatusCode::OK),
        ("/ping/sync/0", StatusCode::OK),
        ("/ping/sync/3", StatusCode::OK),
        ("/ping/sync/log", StatusCode::NOT_FOUND),
        ("/ping/stranger", StatusCode::NOT_FOUND),
        ("/ping/stranger/fail", StatusCode::NOT_FOUND),
        ("/ping/", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(valmis.get(path).await.0, expected, "{path}");
    }
    assert_eq!(valmis.post("/ping/backup").await, (StatusCode::OK, "OK\n".to_owned()));
    let before = told(&valmis).await;
    assert!(has(&before, "valmis_heartbeat_last_success_timestamp_seconds{name=\"backup\"} 1"), "{before:?}");
    assert!(has(&before, "valmis_heartbeat_last_failure_timestamp_seconds{name=\"sync\"} 1"), "{before:?}");
    assert!(has(&before, "valmis_heartbeat_failed{name=\"sync\"} 1"), "{before:?}");
    assert!(has(&before, "valmis_heartbeat_failed{name=\"backup\"} 0"), "{before:?}");
    assert!(!before.concat().contains("stranger"), "{before:?}");
    valmis.kill_9();
    valmis.restart().await;
    assert_eq!(told(&valmis).await, before);
}
