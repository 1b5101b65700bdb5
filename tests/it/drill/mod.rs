//! Drills through a real Alertmanager: what gets through, and what does not.

mod fake;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::real::alertmanager::Alertmanager;
use crate::real::valmis::{COMMON, NO_DISK, Valmis, command};
use crate::real::webhook::Webhook;
use crate::real::{eventually, turn};
use crate::servers::write;

const RULES: &str = "groups: [{name: g, rules: [{alert: Down, expr: up == 0, labels: {severity: page}}]}]";

/// Runs a drill with this configuration: its exit code and its report.
async fn drill(configuration: &str, args: &[&str]) -> (Option<i32>, Value) {
    let folder = TempDir::with_prefix("valmis-drill-").unwrap();
    write(folder.path(), "valmis.yaml", format!("rules: [rules.yml]\n{configuration}"));
    write(folder.path(), "rules.yml", RULES);
    let mut command = command(folder.path());
    command.args(["drill", "alert", "Down", "--config", "valmis.yaml", "--format", "json"]).args(args);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code(), report)
}

/// A route by severity and nothing to wait for.
fn routes(receivers: &Value) -> Value {
    json!({
        "route": {
            "receiver": "nobody",
            "group_by": ["..."],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1h",
            "routes": [{"receiver": "people", "matchers": ["severity=\"page\""]}],
        },
        "receivers": [{"name": "nobody"}, {"name": "people", "webhook_configs": receivers}],
    })
}

fn of(alertmanager: &Alertmanager) -> String {
    format!("alertmanagers: [{{url: 'http://{}'}}]\n", alertmanager.address)
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_drill_goes_through_a_real_alertmanager_and_is_resolved() {
    let webhook = Webhook::start().await;
    let echo = free_address();
    let receivers = json!([
        {"url": format!("http://{}/", webhook.address), "send_resolved": true},
        {"url": format!("http://{echo}/"), "send_resolved": false},
    ]);
    let Some(alertmanager) = Alertmanager::start_with(&routes(&receivers)).await else { return };
    let _turn = turn().await;
    let configuration = format!("external_labels: {{cluster: c}}\n{}", of(&alertmanager));
    let (code, report) = drill(&configuration, &["--echo", &echo, "--label", "team=t"]).await;
    assert_eq!((code, &report["passed"]), (Some(0), &json!(true)), "{report}");
    assert_eq!(report["alertmanagers"][0]["receivers"], json!(["people"]));
    assert_eq!(report["alertmanagers"][0]["working_integrations"], json!(["webhook"]));
    let took = report["page_path_seconds"].as_f64().unwrap();
    assert!(took < 20.0 && report["echoed_after_seconds"] == took, "{report}");

    let resolved = webhook.wait_for("resolved", "Down").await;
    let label = |name: &str| resolved.labels[name].as_str();
    assert_eq!((label("valmis_drill"), label("severity"), label("team")), ("true", "page", "t"));
    assert_eq!(label("cluster"), "c");
}

#[tokio::test]
async fn a_drill_fails_if_an_integration_fails_or_nobody_is_to_be_told() {
    let refusing = free_address();
    let receivers = json!([{"url": format!("http://{refusing}/")}]);
    let Some(alertmanager) = Alertmanager::start_with(&routes(&receivers)).await else { return };
    let _turn = turn().await;
    // What Alertmanager counts is about all alerts: the one that fails comes last.
    let (code, report) = drill(&of(&alertmanager), &["--timeout", "2s", "--label", "severity=info"]).await;
    assert_eq!((code, &report["failures"][0]["stage"]), (Some(1), &json!("notification")), "{report}");
    assert_eq!(report["alertmanagers"][0]["receivers"], json!(["nobody"]));

    let dropped = "alert_relabel_configs: [{source_labels: [severity], regex: page, action: drop}]\n";
    let (code, report) = drill(&format!("{}{dropped}", of(&alertmanager)), &["--timeout", "2s"]).await;
    assert_eq!((code, &report["failures"][0]["stage"]), (Some(1), &json!("relabelling")), "{report}");

    let (code, report) = drill(&of(&alertmanager), &["--timeout", "30s"]).await;
    assert_eq!((code, &report["failures"][0]["stage"]), (Some(1), &json!("integration")), "{report}");
    assert_eq!(report["alertmanagers"][0]["failing_integrations"], json!(["webhook"]));

    let away = format!("alertmanagers: [{{url: 'http://{refusing}'}}]\n");
    let (code, report) = drill(&away, &["--timeout", "2s"]).await;
    assert_eq!((code, &report["failures"][0]["stage"]), (Some(1), &json!("delivery")), "{report}");
}

#[tokio::test]
async fn scheduled_drills_measure_the_way_of_a_page_and_back() {
    let _turn = turn().await;
    let rules = [("g.yaml".to_owned(), RULES.to_owned())];
    let valmis = Valmis::start_with(&format!("{COMMON}{NO_DISK}"), &rules).await;
    let receivers = json!([{"url": format!("http://{}/drill/echo", valmis.address), "send_resolved": true}]);
    let Some(alertmanager) = Alertmanager::start_with(&routes(&receivers)).await else { return };
    let drills = "drills: [{alert: Down, interval: 2s, timeout: 2s, echo: true}]\n";
    valmis.configure(&format!("{COMMON}{NO_DISK}{drills}{}", of(&alertmanager)));
    let (status, answer) = valmis.post("/-/reload").await;
    assert!(status.is_success(), "{answer}");
    let page = eventually("a drill that got through", async || {
        let (_, page) = valmis.get("/metrics/valmis").await;
        if page.contains("valmis_page_path_seconds{drill=\"Down\"}") { Ok(page) } else { Err(page) }
    })
    .await;
    let line = page.lines().find(|line| line.starts_with("valmis_page_path_seconds{")).unwrap();
    let seconds: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(seconds > 0.0 && seconds < 2.5, "{line}");
    drop(alertmanager);
    eventually("a drill that did not get through", async || {
        let (_, page) = valmis.get("/metrics/valmis").await;
        let failed = "valmis_drill_failures_total{drill=\"Down\",stage=\"delivery\"} ";
        let count = page.lines().find_map(|line| line.strip_prefix(failed)?.parse::<f64>().ok());
        let gone = !page.contains("valmis_page_path_seconds{");
        if count.is_some_and(|count| count > 0.0) && gone { Ok(()) } else { Err(page) }
    })
    .await;
}
