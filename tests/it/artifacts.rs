//! The bundled rules and runbooks: complete, tested, versioned, and accepted by the programs that load them.
//!
//! After a change of an artifact: `UPDATE_ARTIFACTS=1 cargo test --test it artifacts` computes checksums and
//! versions anew; commit `artifacts.json` and the chart's copies with the change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use valmis::artifacts;
use valmis::promql;

use crate::tools::{checkout, optional_tool, run, tool, variable};

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    #[serde(rename = "for")]
    hold: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn rules_of(text: &str) -> Vec<Rule> {
    let file: RuleFile = serde_saphyr::from_str(text).expect("a rule file is YAML");
    file.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// All bundled alerts with the file that each is in.
fn alerts() -> Vec<(&'static str, String, Rule)> {
    let of_file = |file: &'static artifacts::Artifact| {
        rules_of(file.text)
            .into_iter()
            .filter_map(|mut rule| rule.alert.take().map(|alert| (file.name, alert, rule)))
    };
    artifacts::rules().iter().flat_map(of_file).collect()
}

/// The expressions of all bundled alerts by name.
pub(crate) fn alert_expressions() -> BTreeMap<String, String> {
    alerts().into_iter().map(|(_, alert, rule)| (alert, rule.expr)).collect()
}

/// The names of the files in a folder that have this extension, without it.
fn names_in(folder: &str, extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(checkout(folder)).expect("the folder can be listed");
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(extension).map(str::to_owned)).collect()
}

#[test]
fn every_file_is_part_of_the_binary() {
    #[track_caller]
    fn check(folder: &str, extension: &str, embedded: Vec<&str>) {
        let embedded: BTreeSet<String> = embedded.into_iter().map(str::to_owned).collect();
        assert_eq!(names_in(folder, extension), embedded, "{folder} and src/artifacts differ");
    }
    check("rules", ".yaml", artifacts::rules().iter().map(|file| file.name).collect());
    check("dashboards", ".json", artifacts::dashboards().iter().map(|file| file.name).collect());
    check("docs/runbooks", ".md", artifacts::runbooks().iter().map(|(name, _)| *name).collect());
}

#[test]
fn expressions_parse() {
    for file in artifacts::rules() {
        for rule in rules_of(file.text) {
            let name = rule.alert.or(rule.record).unwrap();
            if let Err(errors) = promql::parse(&rule.expr) {
                panic!("{}: {name}: {errors:?}\n{}", file.name, rule.expr);
            }
        }
    }
}

#[test]
fn alerts_say_what_whoever_is_woken_needs() {
    let dashboard: serde_json::Value = serde_json::from_str(artifacts::dashboards()[0].text).unwrap();
    let panels: Vec<String> =
        dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].to_string()).collect();
    let mut seen = BTreeSet::new();
    for (file, alert, rule) in alerts() {
        let place = format!("{file}: {alert}");
        assert!(seen.insert(alert.clone()), "{place}: the name occurs twice");
        let pascal_case = alert.starts_with(|c: char| c.is_ascii_uppercase())
            && alert.chars().all(|c| c.is_ascii_alphanumeric());
        assert!(pascal_case, "{place}: not in PascalCase");
        let severity = rule.labels["severity"].as_str();
        assert!(["critical", "warning", "none"].contains(&severity), "{place}: severity {severity}");
        assert!(rule.labels.contains_key("component"), "{place}: no component");
        // One fires always, one reads a date, and one is told outright.
        let at_once = ["Watchdog", "CertificateExpired", "HeartbeatFailed"].contains(&alert.as_str());
        assert_eq!(rule.hold.is_none(), at_once, "{place}: hold duration");
        let expected = format!("{{{{ $externalURL }}}}/runbooks/{alert}");
        assert_eq!(rule.annotations["runbook_url"], expected, "{place}");
        assert!(!rule.annotations["description"].is_empty(), "{place}");
        let summary = rule.annotations["summary"].as_str();
        let names_object = severity == "none" || summary.contains("{{ ");
        assert!(names_object && !summary.ends_with('.'), "{place}: {summary}");
        let panel = rule.annotations["dashboard"].strip_prefix("/d/valmis-overview?viewPanel=").unwrap();
        assert!(panels.iter().any(|id| id == panel), "{place}: there is no panel {panel}");
    }
    for seed in ["ApplicationDown", "HighErrorRate", "DatabaseDown", "DiskAlmostFull", "Watchdog"] {
        assert!(seen.contains(seed), "{seed} is missing");
    }
}

#[test]
fn every_alert_has_a_runbook_of_the_same_form() {
    let names: BTreeSet<String> = alerts().into_iter().map(|(_, alert, _)| alert).collect();
    let pages: BTreeSet<String> = artifacts::runbooks().iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, pages);
    let sections = ["Meaning", "Impact", "Diagnosis", "Fix", "When it is wrong"];
    for (_, alert, rule) in alerts() {
        let text = artifacts::runbook(&alert).unwrap();
        let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, sections, "{alert}");
        assert!(
            text.starts_with(&format!("# {alert}\n\nSeverity: {}. ", rule.labels["severity"])),
            "{alert}"
        );
        for section in text.split("\n## ").skip(1) {
            let body = section.split_once('\n').map_or("", |(_, body)| body.trim());
            assert!(body.len() >= 30, "{alert}: {section} says too little");
        }
        assert!(text.len() > 600, "{alert}: the runbook says too little");
        assert_eq!(text.matches("```").count() % 2, 0, "{alert}: a block of code is not closed");
        assert!(!text.contains("TODO") && !text.contains("FIXME"), "{alert}");
    }
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<UnitTest>,
}

#[derive(Deserialize)]
struct UnitTest {
    #[serde(default)]
    name: String,
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Deserialize)]
struct ExpectedAlert {
    exp_annotations: BTreeMap<String, String>,
}

#[test]
fn every_alert_is_tested_to_fire_and_not_to() {
    let mut firing: BTreeMap<String, usize> = BTreeMap::new();
    let mut silent: BTreeMap<String, usize> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for file in artifacts::rules() {
        let path = checkout(&format!("rules/tests/{}.test.yaml", file.name));
        let tests: TestFile = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for test in tests.tests {
            assert!(
                names.insert((file.name, test.name.clone())),
                "{}: `{}` occurs twice",
                file.name,
                test.name
            );
            for check in test.alert_rule_test {
                let counts = if check.exp_alerts.is_empty() { &mut silent } else { &mut firing };
                *counts.entry(check.alertname.clone()).or_default() += 1;
                for alert in check.exp_alerts {
                    let summary = &alert.exp_annotations["summary"];
                    assert!(
                        summary.len() <= 120,
                        "{}: {} characters: {summary}",
                        check.alertname,
                        summary.len()
                    );
                }
            }
        }
    }
    for (file, alert, _) in alerts() {
        assert!(firing.contains_key(&alert), "{file}: no test sees {alert} fire");
        // Before, at the boundary, without any series; the watchdog is never silent.
        let quiet = silent.get(&alert).copied().unwrap_or_default();
        assert!(quiet >= 2 || alert == "Watchdog", "{file}: {alert} is seen silent {quiet} times");
    }
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    let Some(oldest) = tool("bookworm/usr/bin/promtool") else { return };
    let paths = |folder: &str, extension: &str| -> Vec<_> {
        let names = names_in(folder, extension);
        names.iter().map(|name| checkout(&format!("{folder}/{name}{extension}"))).collect()
    };
    let check = |promtool: &Path| {
        let lint = ["check", "rules", "--lint=all", "--lint-fatal"];
        run(Command::new(promtool).args(lint).args(paths("rules", ".yaml")));
    };
    let test = |promtool: &Path| {
        run(Command::new(promtool).args(["test", "rules"]).args(paths("rules/tests", ".test.yaml")));
    };
    check(&oldest);
    test(&oldest);
    let in_ci = variable("CI").as_deref() == Some("true");
    for newer in ["trixie/usr/bin/promtool", "sid/usr/bin/promtool"].into_iter().filter_map(optional_tool) {
        check(&newer);
        // Some seconds of computing for each version.
        if in_ci {
            test(&newer);
        }
    }
}

#[test]
fn exported_objects_hold_the_rules_of_the_file() {
    for file in artifacts::rules() {
        let options = artifacts::PrometheusRule {
            namespace: Some("monitoring"),
            labels: &[("release", "kps")],
            ..Default::default()
        };
        let object: serde_json::Value = serde_saphyr::from_str(&options.manifest(file)).unwrap();
        let groups: serde_json::Value = serde_saphyr::from_str(file.text).unwrap();
        assert_eq!(object["spec"], groups, "{}", file.name);
        assert_eq!(object["metadata"]["name"], file.name);
        assert_eq!(object["metadata"]["labels"]["release"], "kps");
        assert_eq!(object["metadata"]["annotations"]["valmis/rules-version"], file.version);
    }
}

#[test]
fn amtool_accepts_the_sample_and_alerts_take_the_right_route() {
    let Some(amtool) = tool("bookworm/usr/bin/amtool") else { return };
    let sample = checkout("rules/alertmanager-example.yml");
    run(Command::new(&amtool).arg("check-config").arg(&sample));
    for (_, alert, rule) in alerts() {
        let receiver = match rule.labels["severity"].as_str() {
            _ if alert == "Watchdog" => "deadmansswitch",
            "critical" => "pager",
            _ => "default",
        };
        run(Command::new(&amtool)
            .args(["config", "routes", "test"])
            .arg(format!("--config.file={}", sample.display()))
            .arg(format!("--verify.receivers={receiver}"))
            .arg(format!("alertname={alert}"))
            .arg(format!("severity={}", rule.labels["severity"])));
    }
}

/// `artifacts.json`.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Manifest {
    artifacts: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    kind: String,
    name: String,
    version: String,
    sha256: String,
    /// What people refer to by name, such as alerts and panels, each with a class (an alert's severity)
    /// and a fingerprint of what it computes.
    parts: BTreeMap<String, String>,
}

#[test]
fn the_manifest_matches_the_artifacts() {
    let path = checkout("artifacts.json");
    let manifest: Manifest = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let current = [("rules", ".yaml"), ("dashboards", ".json")].into_iter().flat_map(|(kind, extension)| {
        names_in(kind, extension).into_iter().map(move |name| {
            let text = fs::read_to_string(checkout(&format!("{kind}/{name}{extension}"))).unwrap();
            let parts = if kind == "rules" { rule_parts(&text) } else { dashboard_parts(&text) };
            let entry =
                Entry { kind: kind.to_owned(), name, version: String::new(), sha256: sha256(&text), parts };
            (text, entry)
        })
    });
    let update = variable("UPDATE_ARTIFACTS").is_some();
    let before = if update { committed_manifest().unwrap_or_default() } else { Manifest::default() };
    let mut artifacts = Vec::new();
    for (text, mut entry) in current {
        let same = |other: &&Entry| (&other.kind, &other.name) == (&entry.kind, &entry.name);
        let previous = if update { &before } else { &manifest }.artifacts.iter().find(same);
        entry.version = if update {
            previous.map_or_else(|| "1.0.0".to_owned(), |previous| next_version(previous, &entry))
        } else {
            previous.map(|previous| previous.version.clone()).unwrap_or_default()
        };
        if entry.kind == "rules" {
            chart_copy_matches(&entry.name, "yaml", &text, update);
        } else {
            chart_copy_matches(&entry.name, "json", &text, update);
        }
        artifacts.push(entry);
    }
    let expected = Manifest { artifacts };
    if update {
        let json = serde_json::to_string_pretty(&expected).unwrap();
        fs::write(&path, json + "\n").unwrap();
    } else {
        assert_eq!(manifest, expected, "run `UPDATE_ARTIFACTS=1 cargo test --test it artifacts` and commit");
    }
}

/// The chart cannot read files outside its folder.
fn chart_copy_matches(name: &str, extension: &str, text: &str, update: bool) {
    let folder = if extension == "yaml" { "rules" } else { "dashboards" };
    let path = checkout(&format!("helm/valmis/files/{folder}/{name}.{extension}"));
    if update {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    } else {
        let copy = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            copy == text,
            "{} is out of date: run `UPDATE_ARTIFACTS=1 cargo test --test it artifacts`",
            path.display()
        );
    }
}

/// The manifest of the last commit: a version grows once for all changes since then.
fn committed_manifest() -> Option<Manifest> {
    let git = ["show", "HEAD:artifacts.json"];
    let output = Command::new("git").args(git).current_dir(checkout("")).output().ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

fn rule_parts(text: &str) -> BTreeMap<String, String> {
    let part = |rule: Rule| {
        let class = rule.labels.get("severity").map_or("recording", String::as_str);
        let computed = format!("{}\n{}", rule.expr, rule.hold.unwrap_or_default());
        (rule.alert.or(rule.record).unwrap(), format!("{class} {}", &sha256(&computed)[..12]))
    };
    rules_of(text).into_iter().map(part).collect()
}

fn dashboard_parts(text: &str) -> BTreeMap<String, String> {
    let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
    let uid = dashboard["uid"].as_str().unwrap();
    let panel = |panel: &serde_json::Value| {
        let expressions: Vec<String> = panel["targets"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|target| target["expr"].to_string())
            .collect();
        let value = format!("panel {}", &sha256(&expressions.join("\n"))[..12]);
        (format!("{uid}/{}", panel["id"]), value)
    };
    dashboard["panels"].as_array().unwrap().iter().map(panel).collect()
}

fn sha256(text: &str) -> String {
    let digits = Sha256::digest(text.as_bytes()).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(u32::from(digit), 16).unwrap()).collect()
}

/// The version of a changed artifact. Major: a part has gone (renaming is going and coming) or is of
/// another class. Minor: a part has come or computes something else. Patch: anything else.
fn next_version(previous: &Entry, current: &Entry) -> String {
    if previous.sha256 == current.sha256 {
        return previous.version.clone();
    }
    let mut numbers = previous.version.split('.').map(|number| number.parse::<u32>().unwrap());
    let [major, minor, patch] = [(); 3].map(|()| numbers.next().unwrap());
    let class = |value: &String| value.split(' ').next().map(str::to_owned);
    let breaks = previous
        .parts
        .iter()
        .any(|(name, value)| current.parts.get(name).is_none_or(|current| class(current) != class(value)));
    if breaks {
        format!("{}.0.0", major + 1)
    } else if previous.parts != current.parts {
        format!("{major}.{}.0", minor + 1)
    } else {
        format!("{major}.{minor}.{}", patch + 1)
    }
}

#[test]
fn the_kind_of_change_decides_the_next_version() {
    #[track_caller]
    fn check(sha256: &str, parts: &[(&str, &str)], expected: &str) {
        let entry = |sha256: &str, parts: &[(&str, &str)]| Entry {
            kind: "rules".to_owned(),
            name: "x".to_owned(),
            version: "1.2.3".to_owned(),
            sha256: sha256.to_owned(),
            parts: parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let previous = entry("a", &[("Down", "critical 1"), ("Slow", "warning 2")]);
        assert_eq!(next_version(&previous, &entry(sha256, parts)), expected);
    }
    let (down, slow) = (("Down", "critical 1"), ("Slow", "warning 2"));
    check("a", &[down, slow], "1.2.3");
    check("b", &[down, slow], "1.2.4");
    check("b", &[down, slow, ("New", "warning 3")], "1.3.0");
    check("b", &[down, ("Slow", "warning 9")], "1.3.0");
    check("b", &[down], "2.0.0");
    check("b", &[down, ("Sluggish", "warning 2")], "2.0.0");
    check("b", &[down, ("Slow", "critical 2")], "2.0.0");
}
