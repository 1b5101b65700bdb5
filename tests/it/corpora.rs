//! The parser and the template engine against what others wrote: Prometheus' own test scripts and
//! published rules. The data lies beside the checkout; where it is absent the tests say so and pass.

use std::collections::BTreeMap;

use serde::Deserialize;
use valmis::model::Labels;
use valmis::promql::{Features, parse_with};
use valmis::template::{Context, Facts, QueryFn, Template};

use crate::conformance::{files_below, folder};

/// Parses, prints and parses again; the fault, if there is one.
fn round_trip(query: &str) -> Result<(), String> {
    let describe = |query: &str, errors: &[valmis::promql::ParseError]| format!("{query}: {}", errors[0]);
    let first = parse_with(query, Features::ALL).map_err(|errors| describe(query, &errors))?;
    let printed = first.to_string();
    let second = parse_with(&printed, Features::ALL).map_err(|errors| describe(&printed, &errors))?;
    if second.to_string() == printed { Ok(()) } else { Err(format!("{query}: {printed} became {second}")) }
}

/// Round-trips all expressions and compares the number of faults with what is known.
fn check(expressions: &[String], at_least: usize, known: impl Fn(&str) -> bool) {
    let faults: Vec<String> = expressions
        .iter()
        .filter(|query| !known(query))
        .filter_map(|query| round_trip(query).err())
        .collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), expressions.len(), faults.join("\n"));
    assert!(expressions.len() >= at_least, "only {} expressions were found", expressions.len());
}

#[test]
fn every_expression_of_prometheus_test_scripts_round_trips() {
    let Some(expressions) = script_expressions() else { return };
    // Strings that are no UTF-8 are an error here, since labels are text.
    check(&expressions, 2_200, |query| query.contains(r"\xc5") || query.contains(r"\xff"));
}

/// The expressions of Prometheus' test scripts, if those are there.
pub(crate) fn script_expressions() -> Option<Vec<String>> {
    let mut expressions = Vec::new();
    for file in files_below(&folder()?.join("promqltest"), "test") {
        let text = std::fs::read_to_string(&file).expect("a script can be read");
        expressions.extend(text.lines().filter_map(evaluated));
    }
    Some(expressions)
}

/// The expression of an `eval` line: `eval instant at 5m …`, `eval range from 0 to 1h step 5m …`.
fn evaluated(line: &str) -> Option<String> {
    let mut words = line.trim().split_ascii_whitespace();
    if !words.next()?.starts_with("eval") {
        return None;
    }
    let time_words = match words.next()? {
        "instant" => 2,
        "range" => 6,
        _ => return None,
    };
    let mut rest = line.trim();
    for _ in 0..2 + time_words {
        rest = rest.split_once(|c: char| c.is_ascii_whitespace())?.1.trim_start();
    }
    Some(rest.to_owned())
}

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<RuleGroup>,
}

#[derive(Deserialize)]
struct RuleGroup {
    /// A group may name no rules at all.
    rules: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
struct Rule {
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The rules of all files below a folder.
fn rules(files: &[std::path::PathBuf]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).expect("a rule file can be read");
        let parsed: RuleFile =
            serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        rules.extend(parsed.groups.into_iter().flat_map(|group| group.rules.unwrap_or_default()));
    }
    rules
}

#[test]
fn every_rule_of_published_rule_files_round_trips() {
    let Some(folder) = folder() else { return };
    let mut files = files_below(&folder.join("rules-corpus"), "yml");
    files.push(folder.join("promtool/rules_large.yml"));
    let expressions: Vec<String> = rules(&files).into_iter().map(|rule| rule.expr).collect();
    check(&expressions, 10_000, |_| false);
}

/// Answers every query with one sample.
struct OneSample;

impl QueryFn for OneSample {
    fn query(&self, _: &str, _: i64) -> Result<Vec<(Labels, f64)>, String> {
        Ok(vec![(Labels::from_pairs([("instance", "a")]), 1.5)])
    }
}

#[test]
fn every_template_of_published_rule_files_is_expanded() {
    let Some(folder) = folder() else { return };
    let (labels, none) = (Labels::from_pairs([("instance", "a:9100"), ("job", "node")]), Labels::empty());
    let context = Context {
        labels: &labels,
        external_labels: &none,
        external_url: "http://localhost:9090",
        value: 12.5,
        at: 1_700_000_000_000,
        facts: Facts::default(),
        query: &OneSample,
    };
    let mut actions = 0;
    let mut faults = Vec::new();
    for rule in rules(&files_below(&folder.join("rules-corpus"), "yml")) {
        for text in rule.labels.values().chain(rule.annotations.values()) {
            actions += text.matches("{{").count();
            match Template::parse("test", text).and_then(|template| template.expand(&context)) {
                Ok(expanded) if expanded.contains("{{") || expanded.contains("<no value>") => {
                    faults.push(format!("{text:?} became {expanded:?}"));
                }
                Ok(_) => {}
                Err(e) => faults.push(format!("{text:?}: {e}")),
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(actions > 2_000, "only {actions} actions were found");
}
