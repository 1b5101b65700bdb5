//! The rules of a community pack for the exporters that valmis stands in for: can they fire over what valmis
//! exports? Each gets the state that it looks for, made of real outcomes by changing values alone.

mod exported;
mod states;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;
use valmis::model::{Labels, Matcher};
use valmis::promql::{ExprKind, Features, parse_selector};
use valmis::rulefmt::{self, Rule, RuleKind};
use valmis::ruletest::{self, Extras, Selection};

use crate::conformance::folder;
use crate::tools::{checkout, variable};
use exported::Series;
use states::{Course, STATES, State, WRONG};

const PAGE: &str = "docs/community-rules.md";

/// The exporters' files in the pack.
const FILES: [(&str, &str); 5] = [
    ("Blackbox exporter", "blackbox/blackbox-exporter.yml"),
    ("SSL exporter", "ssl/tls/ribbybibby-ssl-exporter.yml"),
    ("PostgreSQL exporter", "postgresql/postgres-exporter.yml"),
    ("Node exporter", "host-and-hardware/node-exporter.yml"),
    ("Node exporter, ZFS", "zfs/node-exporter.yml"),
];

/// An alert with what is found out about it.
struct Judged {
    exporter: &'static str,
    alert: String,
    /// Why it should not be able to fire.
    reason: Option<String>,
    /// Whether it did in its broken state.
    fires: bool,
}

/// The selectors of an expression.
fn selectors(rule: &Rule) -> Vec<Vec<Matcher>> {
    let mut found = Vec::new();
    rule.expr.walk(&mut |part| match &part.kind {
        ExprKind::Vector(selector) => found.push(selector.matchers.clone()),
        ExprKind::Matrix(matrix) => found.push(matrix.selector.matchers.clone()),
        _ => {}
    });
    found
}

fn selects(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name())))
}

/// The metrics that an expression names and valmis does not export.
fn missing<'a>(selectors: &'a [Vec<Matcher>], exported: &Series) -> Vec<&'a str> {
    let absent = |matchers: &&Vec<Matcher>| !exported.keys().any(|labels| selects(matchers, labels));
    let name = |matchers: &'a Vec<Matcher>| matchers.iter().find(|m| m.name() == "__name__");
    let mut names: Vec<&str> = selectors.iter().filter(absent).filter_map(name).map(Matcher::value).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Samples come this far apart: as often as usual, unless that makes too many.
fn interval_seconds(state: &State) -> u32 {
    match state.minutes {
        ..=60 => 15,
        61..=1440 => 60,
        _ => 300,
    }
}

/// A course in the notation of tests of rules.
fn notation(course: Course, interval_seconds: u32, samples: u32) -> String {
    let half = samples / 2;
    let interval = f64::from(interval_seconds);
    match course {
        Course::Stays(value) => format!("{value}+0x{samples}"),
        Course::Moves(from, per_second) => format!("{from}{:+}x{samples}", per_second * interval),
        Course::Jumps(before, after) => format!("{before}+0x{half} {after}+0x{half}"),
        Course::Quickens(slow, fast) => {
            let middle = slow * interval * f64::from(half);
            format!("0+{}x{half} {middle}+{}x{half}", slow * interval, fast * interval)
        }
    }
}

/// The series of a broken state, as a test of rules takes them.
fn input(rule: &Rule, state: &State, exported: &Series) -> Vec<serde_json::Value> {
    let selectors = selectors(rule);
    let broken: Vec<(Vec<Matcher>, Course)> =
        state.broken.iter().map(|(text, course)| (parse_selector(text).unwrap(), *course)).collect();
    let interval = interval_seconds(state);
    let samples = state.minutes * 60 / interval;
    let selected = exported.iter().filter(|(labels, value)| {
        value.is_finite() && selectors.iter().any(|matchers| selects(matchers, labels))
    });
    let line = |(labels, value): (&Labels, &f64)| {
        let course = broken.iter().find(|(matchers, _)| selects(matchers, labels));
        let course = course.map_or(Course::Stays(*value), |(_, course)| *course);
        json!({"series": labels.to_string(), "values": notation(course, interval, samples)})
    };
    selected.map(line).collect()
}

/// Whether an alert fires at any time of its broken state, judged by the code that evaluates rules.
fn fires(rule: &Rule, state: &State, exported: &Series) -> bool {
    let RuleKind::Alerting { alert, hold_ms, .. } = &rule.kind else { panic!("{} is no alert", rule.name()) };
    let folder = tempfile::tempdir().unwrap();
    let (rules_file, test_file) = (folder.path().join("rules.yml"), folder.path().join("test.yml"));
    let rule_alone = json!({"alert": alert, "expr": rule.expr.to_string(), "for": format!("{hold_ms}ms")});
    let rules = json!({"groups": [{"name": "community", "rules": [rule_alone]}]});
    let interval = format!("{}s", interval_seconds(state));
    let whole = format!("{}m", state.minutes);
    let firing = format!("ALERTS{{alertname={},alertstate=\"firing\"}}", json!(alert));
    let test = json!({
        "rule_files": ["rules.yml"],
        "evaluation_interval": interval,
        "tests": [{
            "interval": interval,
            "input_series": input(rule, state, exported),
            "promql_expr_test": [{
                "expr": format!("count(count_over_time({firing}[{whole}])) > bool 0"),
                "eval_time": whole,
                "exp_samples": [{"labels": "{}", "value": 1}],
            }],
        }],
    });
    fs::write(rules_file, rules.to_string()).unwrap();
    fs::write(&test_file, test.to_string()).unwrap();
    let suite = ruletest::load(test_file.to_str().unwrap(), &Selection::default());
    let (reports, _) = ruletest::run(&[suite], Extras::default()).unwrap();
    assert!(!reports[0].broken, "{alert}: {:?}", reports[0].findings);
    reports[0].passed()
}

/// Judges the rules of a file.
fn judge(exporter: &'static str, file: &Path, exported: &Series) -> Vec<Judged> {
    let text = fs::read_to_string(file).unwrap();
    let (files, findings) = rulefmt::parse(&file.display().to_string(), &text, Features::default());
    assert!(!files.is_empty(), "{findings:?}");
    let rules = files.iter().flat_map(|file| &file.groups).flat_map(|group| group.rules.iter());
    let judge = |rule: &Rule| {
        let alert = rule.name().to_owned();
        let state = STATES.iter().find(|state| state.alert == alert);
        let state = state.unwrap_or_else(|| panic!("{alert} has no broken state"));
        let selectors = selectors(rule);
        let missing = missing(&selectors, exported);
        let wrong = WRONG.iter().find(|(known, _)| *known == alert);
        let reason = if let Some((_, reason)) = wrong {
            assert!(missing.is_empty(), "{alert}: {missing:?}");
            Some(format!("the rule {reason}"))
        } else if missing.is_empty() {
            None
        } else {
            Some(format!("valmis has no `{}`", missing.join("`, `")))
        };
        let fires = fires(rule, state, exported);
        Judged { exporter, alert, reason, fires }
    };
    rules.map(judge).collect()
}

/// The page about the rules.
fn render(judged: &[Judged]) -> String {
    let able = judged.iter().filter(|rule| rule.fires).count();
    let sound = judged.len() - WRONG.len();
    let share = |of: usize| able as f64 / of as f64 * 100.0;
    let mut page = format!(
        "# Rules of the community\n\n\
         The rules of [awesome-prometheus-alerts](https://github.com/samber/awesome-prometheus-alerts) for the exporters\n\
         that valmis stands in for, each over what valmis exports while that is broken which the rule is about. The test takes\n\
         the series of real probes, changes values alone, and evaluates the rule for as long as it takes to fire.\n\n\
         {able} of {} rules can fire, {:.0} %. {} could not over those of the exporters either; of the other {sound} it is {:.0} %.\n\n\
         This page is written by a test: `UPDATE_COMMUNITY_RULES=1 cargo test --test it community_rules`.\n",
        judged.len(),
        share(judged.len()),
        WRONG.len(),
        share(sound),
    );
    for rules in judged.chunk_by(|a, b| a.exporter == b.exporter) {
        let exporter = rules[0].exporter;
        write!(page, "\n## {exporter}\n\n| Alert | Over valmis |\n| --- | --- |\n").unwrap();
        for Judged { alert, reason, .. } in rules {
            let verdict = reason.as_ref().map_or("fires".into(), |reason| format!("cannot fire: {reason}"));
            writeln!(page, "| `{alert}` | {verdict} |").unwrap();
        }
    }
    page
}

#[test]
fn rules_for_the_exporters_fire_over_what_valmis_exports() {
    let Some(pack) = folder().map(|folder| folder.join("rules-corpus/awesome-prometheus-alerts")) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(exported) = runtime.block_on(exported::series()) else { return };
    let judged: Vec<Judged> =
        FILES.iter().flat_map(|(exporter, file)| judge(exporter, &pack.join(file), &exported)).collect();
    let surprises: Vec<String> = judged
        .iter()
        .filter(|rule| rule.fires != rule.reason.is_none())
        .map(|rule| format!("{} fires: {}, reason not to: {:?}", rule.alert, rule.fires, rule.reason))
        .collect();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert_eq!(judged.len(), STATES.len(), "there are states of rules that are not in the pack");
    let able = judged.iter().filter(|rule| rule.fires).count();
    assert!(able * 10 >= judged.len() * 9, "{able} of {}", judged.len());
    let (page, expected) = (checkout(PAGE), render(&judged));
    if variable("UPDATE_COMMUNITY_RULES").is_some() {
        fs::write(&page, &expected).unwrap();
    }
    let found = fs::read_to_string(&page).unwrap_or_default();
    assert!(found == expected, "{PAGE} is old: run this test with UPDATE_COMMUNITY_RULES=1");
}
