//! The same rules over each kind of server.

use std::sync::Arc;

use super::{Job, Server, rule};
use crate::real::prometheus::versions;
use crate::real::valmis::{NO_DISK, Valmis};
use crate::real::victoria::Victoria;
use crate::real::{eventually, missing, turn};

/// A recording rule, alerts that read what it records, what they are and what the server has.
const RULES: &str = "
groups:
- name: chain
  interval: 1s
  rules:
  - {record: 'job:up:sum', expr: sum by (job) (up)}
  - {alert: InstanceDown, expr: 'job:up:sum < 2', for: 2s, labels: {severity: page}}
  - {record: 'job:down:alerts', expr: 'sum by (alertname) (ALERTS{alertstate=\"firing\"})'}
  - {record: 'instance:up:share', expr: 'up / on (job) group_left job:up:sum'}
  - {record: 'instance:up:avg', expr: 'avg_over_time(up[5s]) unless on (job) job:up:sum > 100'}
  - {record: 'instance:up:twice', expr: 'up + up offset 1s'}
";

async fn rules_work_over(server: Server) {
    let server = Arc::new(server);
    let job = Job::start(&server);
    eventually("samples", async || match server.query("up").await {
        Some(found) if found.len() == 2 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let configuration = format!(
        "{NO_DISK}resend_delay: 5s
sources:
  - name: far
    url: {url}
    timeout: 5s
    remote_write: {url}/api/v1/write
rules:
  - {{files: ./rules/far.yaml, source: far}}
",
        url = server.url()
    );
    let valmis = Valmis::start_with(&configuration, &[("far.yaml".to_owned(), RULES.to_owned())]).await;
    let names = ["job:up:sum", "instance:up:share", "instance:up:avg", "instance:up:twice"];
    for name in names {
        eventually(name, async || {
            let rule = rule(&valmis, name).await;
            if rule["health"] == "ok" { Ok(()) } else { Err(format!("{rule:#}\n{}", valmis.log())) }
        })
        .await;
    }
    // What was recorded is at both ends.
    let own = valmis.json("/api/v1/query?query=job:up:sum").await;
    assert_eq!(own["data"]["result"][0]["metric"]["job"], "backend", "{own:#}");
    eventually("what was recorded, at the server", async || {
        let found = server.query("instance:up:share").await;
        let expected = ["a", "b"].map(|instance| {
            let labels = format!(r#"__name__="instance:up:share", instance="{instance}", job="backend""#);
            (format!("{{{labels}}}"), "0.5".to_owned())
        });
        if found.as_deref() == Some(&expected) { Ok(()) } else { Err(format!("{found:?}\n{}", valmis.log())) }
    })
    .await;

    job.set_down(true);
    let firing = valmis.wait_for_alert("firing", "InstanceDown").await;
    assert_eq!(firing["labels"]["job"], "backend");
    eventually("the alert, at the server", async || {
        let found = server.query(r#"ALERTS{alertname="InstanceDown",alertstate="firing"}"#).await;
        if found.as_ref().is_some_and(|found| found.len() == 1) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    eventually("what the rule after it saw", async || {
        let found = server.query("job:down:alerts").await;
        let expected =
            [(r#"{__name__="job:down:alerts", alertname="InstanceDown"}"#.to_owned(), "1".to_owned())];
        if found.as_deref() == Some(&expected) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;

    job.set_down(false);
    valmis.wait_for_end("InstanceDown").await;
    // Long before five minutes have passed: a staleness marker ends it.
    eventually("the end of the alert, at the server", async || {
        match server.query(r#"ALERTS{alertname="InstanceDown"}"#).await {
            Some(found) if found.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let (_, metrics) = valmis.get("/metrics/valmis").await;
    assert!(metrics.contains("valmis_source_up{source=\"far\"} 1"), "{metrics}");
    assert!(metrics.contains("valmis_write_back_samples_dropped_total{source=\"far\"} 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_evaluated_by_every_version_of_prometheus_and_written_back() {
    let _turn = turn().await;
    let versions = versions();
    if versions.is_empty() {
        missing("prometheus");
    }
    for programs in versions {
        rules_work_over(Server::prometheus(&programs).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_evaluated_by_victoria_metrics_and_written_back() {
    let _turn = turn().await;
    let Some(server) = Victoria::start().await else { return };
    rules_work_over(Server::Victoria(server)).await;
}
