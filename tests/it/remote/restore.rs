//! States that only `ALERTS_FOR_STATE` knows: those that a Prometheus has left behind.

use serde_json::Value;
use valmis::clock::{Clock, SystemClock};
use valmis::model::{Labels, Sample, stale_nan};

use super::{Server, rule};
use crate::real::prometheus::versions;
use crate::real::valmis::{NO_DISK, Valmis};
use crate::real::{eventually, missing, turn};

const RULES: &str = "
groups:
- name: g
  interval: 1s
  rules:
  - {alert: Down, expr: up == 0, for: 20m, labels: {severity: page}}
";

const SECOND: i64 = 1000;

/// `ALERTS_FOR_STATE` of an instance from `active_ago` to `last_ago` seconds ago, each second, and perhaps
/// its end a second later.
fn states(now: i64, instance: &str, active_ago: i64, last_ago: i64, ended: bool) -> Vec<Sample> {
    let labels = Labels::from_pairs([
        ("__name__", "ALERTS_FOR_STATE"),
        ("alertname", "Down"),
        ("instance", instance),
        ("job", "backend"),
        ("severity", "page"),
    ]);
    let since = (now / SECOND - active_ago) as f64;
    let first = active_ago.min(last_ago + 30);
    let mut samples: Vec<Sample> =
        (last_ago..=first).rev().map(|ago| Sample::new(labels.clone(), now - ago * SECOND, since)).collect();
    if ended {
        samples.push(Sample::new(labels, now - (last_ago - 1) * SECOND, stale_nan()));
    }
    samples
}

fn instance(alert: &Value) -> (String, (String, i64)) {
    let active_at: jiff::Timestamp = alert["activeAt"].as_str().unwrap().parse().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&alert["labels"]["instance"]), (text(&alert["state"]), active_at.as_second()))
}

async fn states_are_restored_from(server: Server) {
    let now = SystemClock.now();
    let up = |instance: &str| {
        let labels = [("__name__", "up"), ("job", "backend"), ("instance", instance)];
        Sample::new(Labels::from_pairs(labels), now, 0.0)
    };
    for instance in ["firing", "pending", "ended", "new"] {
        server.write(&[up(instance)]).await;
    }
    server.write(&states(now, "firing", 1500, 60, false)).await;
    server.write(&states(now, "pending", 300, 60, false)).await;
    server.write(&states(now, "ended", 1500, 60, true)).await;
    server.write(&states(now, "recovered", 1500, 60, false)).await;
    eventually("samples", async || match server.query("ALERTS_FOR_STATE").await {
        // Of the one that had ended there is no current value.
        Some(found) if found.len() == 3 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let configuration = format!(
        "{NO_DISK}sources: [{{name: far, url: '{}'}}]\nrules: [{{files: ./rules/far.yaml, source: far}}]\n",
        server.url()
    );
    let mut valmis = Valmis::start_with(&configuration, &[("far.yaml".to_owned(), RULES.to_owned())]).await;
    let alerts = async |valmis: &Valmis| {
        eventually("four alerts", async || {
            let answer = valmis.json("/api/v1/alerts").await;
            let alerts = answer["data"]["alerts"].as_array().unwrap();
            if alerts.len() == 4 {
                Ok(alerts.iter().map(instance).collect::<std::collections::BTreeMap<_, _>>())
            } else {
                Err(format!("{answer:#}\n{}", valmis.log()))
            }
        })
        .await
    };
    let found = alerts(&valmis).await;
    let began = SystemClock.now() / SECOND;
    assert_eq!(found["firing"], ("firing".to_owned(), now / SECOND - 1500), "{found:?}");
    // The minute of the outage and what has passed since then does not count.
    let (state, since) = &found["pending"];
    let shifted = now / SECOND - 240;
    assert_eq!(state, "pending");
    assert!((shifted..=shifted + (began - now / SECOND)).contains(since), "{found:?} {now}");
    for name in ["ended", "new"] {
        assert!(found[name].0 == "pending" && found[name].1 >= now / SECOND, "{found:?}");
    }
    assert_eq!(rule(&valmis, "Down").await["state"], "firing");
    let (_, metrics) = valmis.get("/metrics/valmis").await;
    let line =
        metrics.lines().find(|line| line.starts_with("prometheus_rule_group_last_restore_duration_seconds{"));
    let seconds: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(seconds > 0.0, "{line:?}");

    // From now on the own state counts, whatever the server says.
    for instance in ["pending", "new"] {
        server.write(&states(SystemClock.now(), instance, 1800, 0, false)).await;
    }
    valmis.kill_9();
    valmis.restart().await;
    let after = alerts(&valmis).await;
    for (name, (state, since)) in &found {
        // Time without evaluations moves those that wait.
        assert!(after[name].0 == *state && after[name].1 >= *since, "{found:?} and then {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_that_a_prometheus_has_are_taken_over_and_never_put_above_the_own() {
    let _turn = turn().await;
    let versions = versions();
    if versions.is_empty() {
        missing("prometheus");
    }
    for programs in versions {
        states_are_restored_from(Server::prometheus(&programs).await).await;
    }
}
