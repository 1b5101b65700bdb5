//! The ledger: a running valmis says what happened to alerts and why, and so does its folder afterwards.

use serde_json::Value;
use valmis::model::{Labels, Sample};

use crate::real::alertmanager::Alertmanager;
use crate::real::remote_write::send;
use crate::real::valmis::{COMMON, NO_DISK, Valmis, command};
use crate::real::webhook::Webhook;
use crate::real::{eventually, http, turn};

const RULES: &str = r#"
groups:
  - name: g
    interval: 1s
    rules:
      - alert: Down
        expr: up{job="app"} == 0 and on(instance) info > 1
        for: 2s
        labels: {severity: page}
"#;

async fn write(valmis: &Valmis, up: f64) {
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let series =
        |name, instance| Labels::from_pairs([("__name__", name), ("job", "app"), ("instance", instance)]);
    let samples = [
        Sample::new(series("up", "a.b:1"), now, up),
        Sample::new(series("up", "other"), now, 1.0),
        Sample::new(Labels::from_pairs([("__name__", "info"), ("instance", "a.b:1")]), now, 7.5),
    ];
    send(valmis.address, &samples).await;
}

/// The steps of an alert that the ledger knows, oldest first.
fn steps(ledger: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entries = ledger["entries"].as_array().unwrap().iter().rev();
    entries.map(|entry| (text(&entry["from"]), text(&entry["to"]))).collect()
}

async fn until(valmis: &Valmis, phase: &str, up: f64) -> Value {
    eventually(phase, async || {
        write(valmis, up).await;
        let ledger = valmis.json("/api/v1/ledger?alert=Down").await["data"].take();
        let last = ledger["entries"][0]["to"].clone();
        if last == phase { Ok(ledger) } else { Err(ledger.to_string()) }
    })
    .await
}

/// Runs `valmis why` in the folder of a valmis: its exit code and what it prints.
async fn why(valmis: &Valmis, args: &[&str]) -> (Option<i32>, String) {
    let mut command = command(&valmis.file(""));
    command.arg("why").args(args);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn the_ledger_says_what_happened_to_an_alert_and_by_what_it_was_decided() {
    let webhook = Webhook::start().await;
    let Some(alertmanager) = Alertmanager::start(&webhook).await else { return };
    let _turn = turn().await;
    let receiver = "storage: {remote_write_receiver: true}\nexternal_labels: {cluster: test}\n";
    let am = format!("alertmanagers: [{{url: 'http://{}'}}]\n", alertmanager.address);
    let rules = [("g.yaml".to_owned(), RULES.to_owned())];
    let mut valmis = Valmis::start_with(&format!("{COMMON}{NO_DISK}{receiver}{am}"), &rules).await;

    let ledger = until(&valmis, "firing", 0.0).await;
    let firing = &ledger["entries"][0];
    assert_eq!(firing["labels"]["instance"], "a.b:1");
    assert_eq!(firing["value"], "0");
    assert!(firing["why"].as_str().unwrap().starts_with("the condition has held for 2"), "{firing}");
    assert!(firing["file"].as_str().unwrap().ends_with("rules/g.yaml") && firing["line"] == 6, "{firing}");
    // Of the series that the selectors find only those of the instance that is down; `info` has no job.
    let evidence = serde_json::json!([
        {"selector": "up{job=\"app\"}", "more": false,
         "samples": [{"series": "up{instance=\"a.b:1\", job=\"app\"}", "value": "0"}]},
        {"selector": "info", "more": false,
         "samples": [{"series": "info{instance=\"a.b:1\"}", "value": "7.5"}]},
    ]);
    assert_eq!(firing["evidence"], evidence);

    // Its fingerprint is Alertmanager's.
    let fingerprint = firing["fingerprint"].as_str().unwrap().to_owned();
    let url = format!("http://{}/api/v2/alerts", alertmanager.address);
    eventually("the alert at Alertmanager", async || {
        let all: Vec<Value> = http().get(&url).send().await.unwrap().json().await.unwrap();
        if all.iter().any(|alert| alert["fingerprint"] == fingerprint.as_str()) {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await;

    let ledger = until(&valmis, "resolved", 1.0).await;
    let expected = [("", "pending"), ("pending", "firing"), ("firing", "resolved")];
    let expected = expected.map(|(from, to)| (from.to_owned(), to.to_owned()));
    assert_eq!(steps(&ledger), expected);
    let (status, page) = valmis.get(&format!("/ledger?fingerprint={fingerprint}")).await;
    assert!(status.is_success() && page.contains("a.b:1") && page.contains("resolved"), "{page}");
    let (status, body) = valmis.get("/api/v1/ledger?fingerprint=x").await;
    assert!(status == 400 && body.contains("bad_data"), "{body}");

    // Asked by name while it runs, by fingerprint after it was killed.
    let url = format!("http://{}", valmis.address);
    let (code, served) = why(&valmis, &["Down", "--url", &url]).await;
    assert!(code == Some(0) && served.contains("firing -> resolved"), "{served}");
    assert_eq!(why(&valmis, &["Up", "--url", &url]).await, (Some(1), String::new()));
    let (code, running) = why(&valmis, &["--data-dir", "valmis-data"]).await;
    assert_eq!((code, running.as_str()), (Some(2), ""), "the file is in use");
    valmis.kill_9();
    assert_eq!(why(&valmis, &[&fingerprint, "--data-dir", "valmis-data"]).await, (Some(0), served));
}
