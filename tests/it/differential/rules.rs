//! Rules as `/api/v1/rules` shows them, printed expressions above all: every published rule file, loaded
//! by a real Prometheus and by valmis.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::FutureExt;
use serde_json::{Map, Value};
use tempfile::TempDir;

use valmis::clock::{Clock, SystemClock};
use valmis::diag::Severity;
use valmis::promql::{EvalOptions, EvalRange, Expr, Features, eval, parse, prefetch};
use valmis::rulefmt::{self, RuleFile};
use valmis::storage::MemoryStorage;

use super::comparison::{Difference, compare};
use super::generator::{Query, When};
use super::programs;
use super::sides::Sides;
use crate::conformance::{files_below, folder};
use crate::real::prometheus::Prometheus;
use crate::real::valmis::Valmis;
use crate::real::{http, turn};
use crate::tools::checkout;

/// Files that valmis reads otherwise on purpose: all documents of a file, not the first one alone.
const OTHERWISE: &[&str] = &["rules_multi_doc.yaml"];

/// What is compared of a group.
const GROUP: &[&str] = &["name", "interval", "limit"];
/// What is compared of a rule: all that does not come from its evaluation.
const RULE: &[&str] = &["name", "type", "query", "duration", "keepFiringFor", "labels", "annotations"];

/// The rule files of others that lie beside the checkout, and our own.
fn rule_files() -> Option<Vec<PathBuf>> {
    let folder = folder()?;
    let below = |name: &str| {
        let folder = folder.join(name);
        ["yml", "yaml"].into_iter().flat_map(move |extension| files_below(&folder, extension))
    };
    let mut files: Vec<PathBuf> =
        below("rules-corpus").chain(below("rules-fixtures")).chain(below("promtool")).collect();
    files.extend(files_below(&checkout("rules"), "yaml").into_iter().filter(|file| !is_test(file)));
    files.retain(|file| !OTHERWISE.iter().any(|name| file.ends_with(name)));
    Some(files)
}

fn is_test(file: &Path) -> bool {
    file.parent().is_some_and(|folder| folder.ends_with("tests"))
}

/// What valmis reads of a file, if nothing is wrong with it.
fn read(name: &str, text: &str) -> Option<Vec<RuleFile>> {
    let (files, findings) = rulefmt::parse(name, text, Features::default());
    findings.iter().all(|finding| finding.severity != Severity::Error).then_some(files)
}

/// The files that Prometheus would load.
fn accepted_by_promtool(programs: &Path, files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let output =
        Command::new(programs.join("promtool")).args(["check", "rules", "--lint=none"]).args(files).output();
    let output = String::from_utf8(output.expect("promtool can be started").stdout).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    let successes = lines.windows(2).filter(|pair| pair[1].starts_with("  SUCCESS"));
    successes.filter_map(|pair| pair[0].strip_prefix("Checking ")).map(PathBuf::from).collect()
}

/// Groups by the name of their file and their own, with what is compared of them.
async fn groups(address: std::net::SocketAddr) -> BTreeMap<String, (Value, Vec<Value>)> {
    let url = format!("http://{address}/api/v1/rules");
    let answer: Value = http().get(url).send().await.unwrap().json().await.unwrap();
    let groups = answer["data"]["groups"].as_array().unwrap();
    let compared = |group: &Value| {
        let file = group["file"].as_str().unwrap().rsplit('/').next().unwrap();
        let mut rules: Vec<Value> =
            group["rules"].as_array().unwrap().iter().map(|rule| only(rule, RULE)).collect();
        for rule in &mut rules {
            // Before 3.8 (#17471) a recording rule without labels had no such field.
            rule.as_object_mut().unwrap().entry("labels").or_insert_with(|| Value::Object(Map::new()));
        }
        (format!("{file}: {}", group["name"].as_str().unwrap()), (only(group, GROUP), rules))
    };
    groups.iter().map(compared).collect()
}

/// These fields of an object, as far as it has them.
fn only(object: &Value, fields: &[&str]) -> Value {
    let has = |field: &&str| object.get(*field).map(|value| ((*field).to_owned(), value.clone()));
    fields.iter().filter_map(has).collect::<Map<_, _>>().into()
}

#[tokio::test]
async fn rules_are_shown_as_prometheus_shows_them() {
    let (Some(programs), Some(files)) = (programs(), rule_files()) else { return };
    let _turn = turn().await;
    let copies = TempDir::with_prefix("valmis-rules-").unwrap();
    let accepted = accepted_by_promtool(&programs, &files);
    let (mut loaded, mut faults) = (Vec::new(), Vec::new());
    for (number, file) in files.iter().enumerate() {
        let text = fs::read_to_string(file).unwrap();
        let name = format!("{number:03}-{}", file.file_name().unwrap().to_string_lossy());
        match (accepted.contains(file), read(&name, &text)) {
            (true, Some(_)) => {
                let copy = copies.path().join(&name);
                fs::write(&copy, text).unwrap();
                loaded.push(copy);
            }
            (false, None) => {}
            (accepts, _) => {
                let who = if accepts { "Prometheus" } else { "valmis" };
                faults.push(format!("only {who} accepts {}", file.display()));
            }
        }
    }
    let configuration = format!("evaluation_interval: 1m\ndisks: []\nrules: [{}]\n", copies.path().display());
    let (prometheus, valmis) =
        tokio::join!(Prometheus::receiver(&programs, &loaded), Valmis::start_with(&configuration, &[]));
    let (theirs, ours) = tokio::join!(groups(prometheus.address), groups(valmis.address));
    faults.extend(
        ours.keys().filter(|name| !theirs.contains_key(*name)).map(|name| format!("only valmis has {name}")),
    );
    for (name, (group, rules)) in &theirs {
        let Some((our_group, our_rules)) = ours.get(name) else {
            faults.push(format!("only Prometheus has {name}"));
            continue;
        };
        let pairs = [(group, our_group)].into_iter().chain(rules.iter().zip(our_rules));
        let differing = pairs.filter(|(theirs, ours)| theirs != ours);
        faults.extend(differing.map(|(theirs, ours)| format!("{name}:\n  {theirs}\n  {ours}")));
        if rules.len() != our_rules.len() {
            faults.push(format!("{name} has {} rules, not {}", our_rules.len(), rules.len()));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults[..faults.len().min(20)].join("\n"));
    let rules: usize = theirs.values().map(|(_, rules)| rules.len()).sum();
    assert!(rules >= 10_000, "only {rules} rules were compared");
}

/// The expressions of all published rules that parse.
fn expressions() -> Option<Vec<Expr>> {
    let mut expressions = Vec::new();
    for file in files_below(&folder()?.join("rules-corpus"), "yml") {
        let read = read("rules.yml", &fs::read_to_string(file).unwrap()).unwrap_or_default();
        let rules = read.iter().flat_map(|file| &file.groups).flat_map(|group| group.rules.iter());
        expressions.extend(rules.map(|rule| Expr::clone(&rule.expr)));
    }
    assert!(expressions.len() >= 900, "only {} expressions were found", expressions.len());
    Some(expressions)
}

#[test]
fn published_rules_are_evaluated_without_samples() {
    let Some(expressions) = expressions() else { return };
    let (store, options) = (MemoryStorage::new(), EvalOptions::default());
    let at = EvalRange::instant(SystemClock.now());
    for expr in expressions {
        let data = prefetch(&expr, &at, &options, &store, None).now_or_never().unwrap();
        if let Err(error) = data.and_then(|data| eval(&expr, &at, &data, &options)) {
            panic!("{expr}: {error}");
        }
    }
}

#[tokio::test]
async fn published_rules_are_evaluated_as_by_prometheus() {
    let (Some(programs), Some(expressions)) = (programs(), expressions()) else { return };
    let _turn = turn().await;
    let sides = Sides::start(&programs, super::SEED).await;
    let mut faults = Vec::new();
    for expr in expressions {
        let query = Query { text: expr.to_string(), when: When::Instant(sides.start + 30 * 60_000) };
        assert_eq!(parse(&query.text).unwrap().to_string(), query.text);
        let (prometheus, valmis) = sides.ask(&query).await;
        if let Err(differences) = compare(&prometheus, &valmis, false) {
            let list: Vec<String> = differences.iter().map(Difference::to_string).collect();
            faults.push(format!("{}\n  {}", query.text, list.join("\n  ")));
        } else if !valmis.is_success() {
            faults.push(format!("{}\n  {}", query.text, valmis.json));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
