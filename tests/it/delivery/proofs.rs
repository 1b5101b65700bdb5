//! Nothing is lost, nothing is told twice, and nobody waits for somebody else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Faults, common};
use crate::real::alertmanager::Alertmanager;
use crate::real::valmis::Valmis;
use crate::real::webhook::Webhook;
use crate::real::{eventually, say, turn};

/// What a busy machine may add to the times that are promised.
const SLACK: Duration = Duration::from_secs(3);

/// Who was told how often, by status and thing.
fn told(webhook: &Webhook) -> BTreeMap<(String, usize), usize> {
    let mut told = BTreeMap::new();
    for one in webhook.all() {
        *told.entry((one.status.clone(), one.labels["thing"].parse().unwrap())).or_default() += 1;
    }
    told
}

/// Waits until exactly these have been told, each once.
async fn wait_for_each_once(webhook: &Webhook, firing: &[usize], resolved: &[usize]) {
    let with = |status: &'static str, things: &[usize]| {
        things.iter().map(|thing| ((status.to_owned(), *thing), 1)).collect::<Vec<_>>()
    };
    let expected = BTreeMap::from_iter([with("firing", firing), with("resolved", resolved)].concat());
    eventually("one notification of each", async || {
        let told = told(webhook);
        if told == expected { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

/// The value of a series on the page of metrics that has all of these texts in its name and labels.
fn figure(metrics: &str, name: &str, label: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(name) && line.contains(label))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn range(from: usize, to: usize) -> Vec<usize> {
    (from..to).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alertmanager_that_returns_is_told_everything_within_a_second() {
    let _turn = turn().await;
    let (webhook, faults) = (Webhook::start().await, Faults::start().await);
    let Some(mut alertmanager) = Alertmanager::start(&webhook).await else { return };
    let configuration = format!(
        "{}alertmanagers: [{{url: 'http://{}'}}]\n{}",
        common(),
        alertmanager.address,
        faults.configuration()
    );
    let valmis = Valmis::start_with(&configuration, &Faults::rules()).await;
    faults.set(0..30);
    wait_for_each_once(&webhook, &range(0, 30), &[]).await;
    alertmanager.terminate(&webhook).await;
    faults.set(15..45);
    eventually("the changes while Alertmanager is away", async || {
        let (_, metrics) = valmis.get("/metrics").await;
        // The 15 that ended, and the 30 that fire and are sent again in the meantime, and the watchdog.
        match figure(&metrics, "prometheus_notifications_queue_length", "") {
            Some(46.0) => Ok(()),
            other => Err(format!("{other:?} wait")),
        }
    })
    .await;
    alertmanager.restart().await;
    let back = Instant::now();
    wait_for_each_once(&webhook, &range(0, 45), &range(0, 15)).await;
    let last = webhook.all().into_iter().map(|one| one.received).max().unwrap();
    let delay = last.saturating_duration_since(back);
    say(&format!(
        "the last of 30 notifications came {:.2} s after Alertmanager was ready",
        delay.as_secs_f64()
    ));
    assert!(delay < Duration::from_secs(1) + SLACK, "{delay:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alertmanagers_that_do_not_answer_or_do_not_listen_delay_no_other() {
    let _turn = turn().await;
    let (webhook, faults) = (Webhook::start().await, Faults::start().await);
    let Some(alertmanager) = Alertmanager::start(&webhook).await else { return };
    // The kernel accepts connections in its stead, and nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = gone.local_addr().unwrap();
    drop(gone);
    let configuration = format!(
        "{}alertmanagers:\n- static_configs: [{{targets: ['{}', '{closed}', '{}']}}]\n{}",
        common(),
        silent.local_addr().unwrap(),
        alertmanager.address,
        faults.configuration()
    );
    let valmis = Valmis::start_with(&configuration, &Faults::rules()).await;
    for step in 1..=5 {
        faults.set(0..10 * step);
        wait_for_each_once(&webhook, &range(0, 10 * step), &[]).await;
    }
    faults.set([]);
    wait_for_each_once(&webhook, &range(0, 50), &range(0, 50)).await;
    let (_, metrics) = valmis.get("/metrics").await;
    let living = alertmanager.address.to_string();
    let lag = "valmis_notifications_delivery_lag_seconds";
    let count = figure(&metrics, &format!("{lag}_count"), &living).unwrap();
    let mean = figure(&metrics, &format!("{lag}_sum"), &living).unwrap() / count;
    say(&format!("beside two that are dead, {count} alerts were delivered after {mean:.3} s on average"));
    assert!(mean < 1.0, "{mean} s on average: something waits for something else");
    for (dead, what) in [(silent.local_addr().unwrap(), "silent"), (closed, "closed")] {
        let waiting = figure(&metrics, "prometheus_notifications_queue_length", &dead.to_string());
        assert_eq!(waiting, Some(51.0), "the newest state of each waits for the {what} one");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_alerts_at_once_are_delivered_in_bounded_memory() {
    const ALERTS: usize = 10_000;
    let _turn = turn().await;
    let (webhook, faults) = (Webhook::start().await, Faults::start().await);
    // One notification of all of them: this is not about the webhook.
    let Some(alertmanager) = Alertmanager::start_grouping(&webhook, "alertname").await else { return };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let configuration = format!(
        "{}alertmanagers: [{{url: 'http://{}'}}, {{url: 'http://{}'}}]\n{}",
        common(),
        alertmanager.address,
        silent.local_addr().unwrap(),
        faults.configuration()
    );
    let valmis = Valmis::start_with(&configuration, &Faults::rules()).await;
    webhook.wait_for("firing", "Watchdog").await;
    valmis.wait_two_evaluations().await;
    let before = valmis.peak_memory();
    let began = Instant::now();
    faults.set(0..ALERTS);
    let dropped = |metrics: &str, address: &dyn ToString| {
        figure(metrics, "prometheus_notifications_dropped_total", &address.to_string())
    };
    eventually("all alerts at Alertmanager", async || match alertmanager.count("Broken").await {
        ALERTS => Ok(()),
        other => Err(format!("{other} alerts")),
    })
    .await;
    let took = began.elapsed();
    let (_, metrics) = valmis.get("/metrics").await;
    let grown = (valmis.peak_memory() - before) as f64 / f64::from(1 << 20);
    say(&format!(
        "{ALERTS} alerts at once: at Alertmanager after {:.1} s, {grown:.0} MiB more memory, with another outbox full",
        took.as_secs_f64()
    ));
    assert_eq!(dropped(&metrics, &alertmanager.address), Some(0.0));
    assert_eq!(dropped(&metrics, &silent.local_addr().unwrap()), Some(0.0));
    assert!(grown < 150.0, "{grown} MiB");
    faults.set([]);
    eventually("the end of all alerts at Alertmanager", async || match alertmanager.count("Broken").await {
        0 => Ok(()),
        other => Err(format!("{other} alerts")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_with_the_same_rules_tell_of_each_incident_once() {
    let _turn = turn().await;
    let (webhook, faults) = (Webhook::start().await, Faults::start().await);
    let Some(alertmanager) = Alertmanager::start(&webhook).await else { return };
    let configuration = |replica| {
        format!(
            "{}external_labels: {{replica: {replica}}}\nalert_relabel_configs: [{{regex: replica, action: labeldrop}}]\n\
             alertmanagers: [{{url: 'http://{}'}}]\n{}",
            common(),
            alertmanager.address,
            faults.configuration()
        )
    };
    let one = Valmis::start_with(&configuration("a"), &Faults::rules()).await;
    let mut other = Valmis::start_with(&configuration("b"), &Faults::rules()).await;
    webhook.wait_for("firing", "Watchdog").await;
    for incident in 0..4 {
        faults.set([incident]);
        wait_for_each_once(&webhook, &range(0, incident + 1), &range(0, incident)).await;
        other.wait_for_alert("firing", "Broken").await;
        if incident % 2 == 1 {
            // In the middle of an incident one of them is gone for a moment.
            other.kill_9();
            other.restart().await;
            other.wait_for_alert("firing", "Broken").await;
            // What it scrapes it has seen again: otherwise it could not see the end of it.
            other.wait_two_evaluations().await;
        }
        faults.set([]);
        one.wait_for_end("Broken").await;
        other.wait_for_end("Broken").await;
        wait_for_each_once(&webhook, &range(0, incident + 1), &range(0, incident + 1)).await;
    }
    // Both have something to say again after five seconds; Alertmanager has heard all of it.
    one.wait_two_evaluations().await;
    other.wait_two_evaluations().await;
    alertmanager.flush(&webhook).await;
    wait_for_each_once(&webhook, &range(0, 4), &range(0, 4)).await;
}
