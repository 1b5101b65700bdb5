//! The alerts of prometheus-mixin, and of a community pack, that are about rules and notifications: what
//! they look at is there, so that they can fire.

use std::collections::BTreeSet;
use std::fs;

use valmis::promql::{Expr, ExprKind, Features};
use valmis::rulefmt;

use crate::conformance::folder;
use crate::real::valmis::{NO_DISK, Valmis, quick_rules};
use crate::real::webhook::Webhook;
use crate::real::{eventually, say};

/// What the alerts of the mixin compare, without the comparison: where it is between two vectors, a
/// difference of both shows that their labels fit.
/// Source: Prometheus 3.14 `documentation/prometheus-mixin/alerts.libsonnet`, with the default settings.
const MIXIN: [(&str, &str); 9] = [
    (
        "PrometheusNotificationQueueRunningFull",
        r#"predict_linear(prometheus_notifications_queue_length{job="valmis"}[5m], 60 * 30)
           - min_over_time(prometheus_notifications_queue_capacity{job="valmis"}[5m])"#,
    ),
    (
        "PrometheusErrorSendingAlertsToSomeAlertmanagers",
        r#"rate(prometheus_notifications_errors_total{job="valmis"}[5m])
           / rate(prometheus_notifications_sent_total{job="valmis"}[5m]) * 100"#,
    ),
    (
        "PrometheusNotConnectedToAlertmanagers",
        r#"max_over_time(prometheus_notifications_alertmanagers_discovered{job="valmis"}[5m])"#,
    ),
    (
        "PrometheusNotIngestingSamples",
        r#"sum without (rule_group) (prometheus_rule_group_rules{job="valmis"})"#,
    ),
    ("PrometheusRuleFailures", r#"increase(prometheus_rule_evaluation_failures_total{job="valmis"}[5m])"#),
    (
        "PrometheusMissingRuleEvaluations",
        r#"increase(prometheus_rule_group_iterations_missed_total{job="valmis"}[5m])"#,
    ),
    (
        "PrometheusErrorSendingAlertsToAnyAlertmanager",
        r#"min without (alertmanager) (
             rate(prometheus_notifications_errors_total{job="valmis",alertmanager!~``}[5m])
             / rate(prometheus_notifications_sent_total{job="valmis",alertmanager!~``}[5m])) * 100"#,
    ),
    // Of dashboards and of Prometheus' own documentation.
    ("group duration", r#"prometheus_rule_group_duration_seconds{quantile="0.99"}"#),
    (
        "group durations",
        "prometheus_rule_group_last_rule_duration_sum_seconds - prometheus_rule_group_last_restore_duration_seconds",
    ),
];

/// The selectors of an expression that are about rules or notifications, as expressions of their own.
fn about_rules(expr: &Expr) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    expr.walk(&mut |part| {
        let selector = match &part.kind {
            ExprKind::Vector(selector) => selector,
            ExprKind::Matrix(matrix) => &matrix.selector,
            _ => return,
        };
        let name = selector.name.as_deref().unwrap_or_default();
        if name.starts_with("prometheus_rule_") || name.starts_with("prometheus_notifications_") {
            found.insert(name.to_owned());
        }
    });
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_alerts_about_rules_and_notifications_look_at_is_there() {
    let webhook = Webhook::start().await;
    let configuration = format!(
        "{NO_DISK}evaluation_interval: 1s\nalertmanagers: [{{url: 'http://{}'}}]\nrules: [./rules/*.yaml]\n",
        webhook.address
    );
    let valmis = Valmis::start_with(&configuration, &quick_rules()).await;
    let finds = async |what: &str, query: &str| {
        eventually(what, async || {
            let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
            let answer = valmis.json(&format!("/api/v1/query?query={query}")).await;
            let found = answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty());
            if found { Ok(()) } else { Err(format!("{answer:#}")) }
        })
        .await;
    };
    for (alert, query) in MIXIN {
        finds(alert, query).await;
    }

    let pack = "rules-corpus/awesome-prometheus-alerts/prometheus-self-monitoring/embedded-exporter.yml";
    let Some(file) = folder().map(|folder| folder.join(pack)).filter(|file| file.exists()) else {
        say(&format!("skipped: {pack} is not there"));
        return;
    };
    let (files, findings) = rulefmt::parse(pack, &fs::read_to_string(file).unwrap(), Features::default());
    assert!(files.len() == 1, "{findings:?}");
    let rules = files.iter().flat_map(|file| &file.groups).flat_map(|group| group.rules.iter());
    let names: BTreeSet<String> = rules.flat_map(|rule| about_rules(&rule.expr)).collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        finds(&name, &name).await;
    }
}
