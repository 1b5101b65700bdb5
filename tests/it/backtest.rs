//! `valmis rules backtest` over the samples of a real Prometheus, beside what `valmis rules test` says of the
//! same samples.

use std::fmt::Write;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;
use valmis::model::{Labels, Sample, stale_nan};

use crate::real::prometheus::Prometheus;
use crate::real::remote_write::send;
use crate::real::valmis::command;
use crate::real::{missing, turn};
use crate::servers::write;

const MINUTE: i64 = 60_000;

/// How long the history is, in minutes.
const LENGTH: i64 = 12 * 60;

const RULES: &str = r#"
groups:
  - name: g
    interval: 1m
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
      - alert: Down
        expr: up == 0
        for: 3m
        keep_firing_for: 2m
        labels: {severity: page}
        annotations: {summary: "{{ $labels.instance }} is {{ $value }}"}
      - alert: Few
        expr: avg_over_time(job:up:sum[5m]) < 2.3
      - alert: Gone
        expr: absent(up{instance="c"})
        for: 2m
"#;

/// What a series has in a minute.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Value(f64),
    /// A marker that it has ended.
    End,
    Nothing,
}

/// Three targets: one goes down for different lengths of time, one flaps, one vanishes and comes back.
fn value(instance: &str, minute: i64) -> At {
    match instance {
        "a" => At::Value(f64::from(u8::from(minute % 97 >= minute / 60))),
        "b" => At::Value(f64::from(u8::from(minute % 16 >= 5 || minute > 200))),
        _ => match minute % 120 {
            60 => At::End,
            61..=63 => At::Nothing,
            100 if minute > 300 => At::End,
            101..=112 if minute > 300 => At::Nothing,
            _ => At::Value(1.0),
        },
    }
}

fn labels(instance: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("job", "app"), ("instance", instance)])
}

/// Writes the history, an hour in each request.
async fn fill(prometheus: &Prometheus, start: i64) {
    let minutes: Vec<i64> = (0..=LENGTH).collect();
    for hour in minutes.chunks(60) {
        let mut samples = Vec::new();
        for minute in hour {
            for instance in ["a", "b", "c"] {
                let value = match value(instance, *minute) {
                    At::Value(value) => value,
                    At::End => stale_nan(),
                    At::Nothing => continue,
                };
                samples.push(Sample::new(labels(instance), start + minute * MINUTE, value));
            }
        }
        send(prometheus.address, &samples).await;
    }
}

/// The same history as a test of rules.
fn test_file(incidents: &[(String, String, i64, Option<i64>)]) -> String {
    let mut text =
        "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n"
            .to_owned();
    for instance in ["a", "b", "c"] {
        let values = (0..=LENGTH).map(|minute| match value(instance, minute) {
            At::Value(value) => value.to_string(),
            At::End => "stale".to_owned(),
            At::Nothing => "_".to_owned(),
        });
        let values: Vec<_> = values.collect();
        let series = format!("up{{job=\"app\", instance=\"{instance}\"}}");
        let _ = writeln!(text, "      - {{series: '{series}', values: '{}'}}", values.join(" "));
    }
    text.push_str("    alert_rule_test:\n");
    for alert in ["Down", "Few", "Gone"] {
        for minute in 0..=LENGTH {
            let firing = incidents.iter().filter(|(name, _, from, to)| {
                name == alert && *from <= minute && to.is_none_or(|to| minute < to)
            });
            let firing: Vec<_> = firing.map(|(_, labels, ..)| format!("{{exp_labels: {labels}}}")).collect();
            let _ = writeln!(
                text,
                "      - {{eval_time: {minute}m, alertname: {alert}, exp_alerts: [{}]}}",
                firing.join(", ")
            );
        }
    }
    text
}

async fn valmis(folder: &Path, args: &[&str]) -> Output {
    let mut command = command(folder);
    command.args(args);
    tokio::task::spawn_blocking(move || command.output().expect("valmis can be started")).await.unwrap()
}

#[tokio::test]
async fn a_backtest_finds_the_incidents_that_a_test_of_rules_expects() {
    let Some(prometheus) = crate::real::prometheus::versions().pop() else {
        return missing("Prometheus");
    };
    let _turn = turn().await;
    let prometheus = Prometheus::receiver(&prometheus, &[]).await;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let start = (now / MINUTE - LENGTH - 10) * MINUTE;
    fill(&prometheus, start).await;

    let folder = TempDir::with_prefix("valmis-backtest-").unwrap();
    // Annotations are compared by tests of rules too; here it is about times.
    let without_texts = RULES.lines().filter(|line| !line.contains("annotations")).collect::<Vec<_>>();
    write(folder.path(), "rules.yml", without_texts.join("\n"));
    write(folder.path(), "silent.yml", "groups: [{name: g, rules: [{alert: S, expr: vector(1) > 2}]}]");
    let url = format!("http://{}", prometheus.address);
    let until = format!("{}", (start + LENGTH * MINUTE) / 1000);
    let args = ["rules", "backtest", "rules.yml", "--old", "silent.yml", "--source", &url, "--since", "12h"];
    let args = [&args[..], &["--until", &until, "--warm-up", "1s", "--format", "json"]].concat();
    let output = valmis(folder.path(), &args).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let minute = |at: &Value| {
        let at: jiff::Timestamp = at.as_str()?.parse().expect("an instant");
        Some((at.as_millisecond() - start) / MINUTE)
    };
    let incidents = report["comparison"]["only_new"].as_array().unwrap().iter().map(|incident| {
        let mut labels = incident["labels"].clone();
        let name = labels["alertname"].take().as_str().unwrap().to_owned();
        labels.as_object_mut().unwrap().remove("alertname");
        (name, labels.to_string(), minute(&incident["fired_at"]).unwrap(), minute(&incident["resolved_at"]))
    });
    let incidents: Vec<_> = incidents.collect();
    let count = |name: &str| incidents.iter().filter(|(alert, ..)| alert == name).count();
    assert!(count("Down") > 10 && count("Few") > 5 && count("Gone") > 5, "{incidents:?}");
    for rule in report["new"]["rules"].as_array().unwrap() {
        assert_eq!(rule["incidents"], count(rule["alert"].as_str().unwrap()), "{rule}");
    }

    write(folder.path(), "test.yml", test_file(&incidents));
    let output = valmis(folder.path(), &["rules", "test", "--diff", "test.yml"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));

    // For people, with the same rules as old ones: nothing differs.
    write(folder.path(), "with_texts.yml", RULES);
    let args = ["rules", "backtest", "with_texts.yml", "--old", "rules.yml", "--source", &url];
    let args = [&args[..], &["--since", "6h", "--until", &until]].concat();
    let output = valmis(folder.path(), &args).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(" 0 only in the old rules, 0 only in the new rules"), "{text}");
    assert!(text.contains("noisiest"), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_and_rules_that_cannot_be_read_are_told_apart() {
    let folder = TempDir::with_prefix("valmis-backtest-").unwrap();
    write(folder.path(), "good.yml", "groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]");
    write(folder.path(), "bad.yml", "groups: [{name: g, rules: [{alert: A, expr: upp(}]}]");
    let check = async |args: &[&str], code: i32, expected: &str| {
        let args = [&["rules", "backtest"], args].concat();
        let output = valmis(folder.path(), &args).await;
        let shown = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8_lossy(&shown);
        assert_eq!(output.status.code(), Some(code), "{shown}");
        assert!(shown.contains(expected), "{shown}");
    };
    check(&["bad.yml"], 1, "bad.yml:1:").await;
    check(&["good.yml", "--old", "bad.yml"], 1, "bad.yml:1:").await;
    check(&["good.yml", "--source", "http://127.0.0.1:9"], 2, "no samples of `{__name__=\"up\"}[").await;
    check(&["good.yml", "--data-dir", "."], 2, "no data folder").await;
}
