//! One evaluation of alerting rules with many alerts, and reading rule files.

use divan::{Bencher, black_box, counter::ItemsCount};
use std::sync::Arc;

use valmis::model::Labels;
use valmis::promql::{self, Features};
use valmis::rulefmt::Instructions;
use valmis::rules::{ActiveAlerts, AlertingRule, Candidate, Evidence};

fn main() {
    divan::main();
}

fn rule() -> AlertingRule {
    AlertingRule {
        name: "Down".to_owned(),
        expr: Arc::new(promql::parse("up == 0").expect("a valid expression")),
        hold_ms: 300_000,
        keep_firing_ms: 0,
        interval_ms: 60_000,
        resend_delay_ms: 60_000,
        query_offset_ms: 0,
        limit: 0,
        error_hold_ms: 3_600_000,
        common_labels: Labels::empty(),
        generator_url: String::new(),
        instructions: Instructions::default(),
    }
}

fn candidates(count: usize) -> Vec<Candidate> {
    let candidate = |number: usize| Candidate {
        labels: Labels::from_pairs([
            ("alertname", "Down"),
            ("instance", &format!("host-{number}:9100")),
            ("job", "node"),
            ("severity", "page"),
        ]),
        annotations: Labels::from_pairs([("summary", format!("host-{number} is down"))]),
        value: 0.0,
    };
    (0..count).map(candidate).collect()
}

/// A rule whose alerts go on firing.
#[divan::bench(args = [1, 100, 10_000])]
fn step(bencher: Bencher<'_, '_>, alerts: usize) {
    let (rule, result) = (rule(), candidates(alerts));
    let mut active = ActiveAlerts::default();
    let mut at = 0;
    bencher.counter(ItemsCount::new(alerts)).bench_local(|| {
        at += rule.interval_ms;
        rule.step(&mut active, at, black_box(&result), &Evidence::default())
    });
}

/// A rule without alerts, as almost all rules are almost always.
#[divan::bench]
fn step_without_alerts(bencher: Bencher<'_, '_>) {
    let rule = rule();
    let mut active = ActiveAlerts::default();
    bencher.bench_local(|| rule.step(&mut active, black_box(60_000), &[], &Evidence::default()));
}

/// A file of 1,000 rules.
#[divan::bench]
fn read_rule_file(bencher: Bencher<'_, '_>) {
    let rule = "  - alert: Down\n    expr: |\n      sum by (job) (rate(errors_total{job=\"a\"}[5m])) > 0.1\n    for: 5m\n    \
                labels: {severity: page}\n    annotations:\n      summary: 'too many errors'\n";
    let text = format!("groups:\n- name: g\n  rules:\n{}", rule.repeat(1_000));
    bencher
        .counter(ItemsCount::new(1_000_usize))
        .bench(|| valmis::rulefmt::parse("rules.yml", black_box(&text), Features::default()));
}
