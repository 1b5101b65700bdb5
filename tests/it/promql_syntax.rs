//! The parser against expressions that others wrote: Prometheus' own test scripts and published rules.
//! The data lies beside the checkout; where it is absent the tests say so and pass.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use valmis::promql::{Features, parse_with};

/// The folder of conformance data, if there is one.
#[expect(clippy::disallowed_methods, reason = "a test is told by the environment where its data lies")]
fn conformance() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    std::env::var_os("VALMIS_CONFORMANCE").map_or_else(beside, PathBuf::from).canonicalize().ok()
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be listed") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

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
    let Some(folder) = conformance() else {
        return say_absent();
    };
    let mut expressions = Vec::new();
    for file in files_below(&folder.join("promqltest"), "test") {
        let text = std::fs::read_to_string(&file).expect("a script can be read");
        expressions.extend(text.lines().filter_map(evaluated));
    }
    // Strings that are no UTF-8 are an error here, since labels are text.
    check(&expressions, 2_200, |query| query.contains(r"\xc5") || query.contains(r"\xff"));
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
}

#[test]
fn every_rule_of_published_rule_files_round_trips() {
    let Some(folder) = conformance() else {
        return say_absent();
    };
    let mut files = files_below(&folder.join("rules-corpus"), "yml");
    files.push(folder.join("promtool/rules_large.yml"));
    let mut expressions = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a rule file can be read");
        let parsed: RuleFile =
            serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let rules = parsed.groups.into_iter().flat_map(|group| group.rules.unwrap_or_default());
        expressions.extend(rules.map(|rule| rule.expr));
    }
    check(&expressions, 10_000, |_| false);
}

#[expect(clippy::print_stderr, reason = "a test that did nothing says so")]
fn say_absent() {
    eprintln!("skipped: there is no conformance data beside the checkout");
}
