//! valmis against a real Prometheus: the same samples, generated queries, and every difference explained.

mod comparison;
mod coverage;
mod data;
mod generator;
mod reasons;
mod rules;
mod sides;
mod syntax;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use valmis::promql::{Expr, ExprKind, Features, ValueType, parse_with};

use crate::real::{cache, missing, say, turn};
use comparison::{Answer, Difference, compare};
use coverage::Coverage;
use generator::{Generator, Query, When};
use sides::Sides;

/// The seed of a run that is told no other. Coverage is asserted for it.
const SEED: u64 = 20_260_601;
/// How many queries are asked unless told otherwise: of each production an instant query and a range
/// query, three times over.
const QUERIES: usize = 720;
/// How many failures are printed.
const SHOWN: usize = 60;

/// The Prometheus to compare with: the newest that `tests/servers.sh` fetches, or another one.
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests may have another version")]
fn programs() -> Option<PathBuf> {
    let fetched = || cache().join("sid/usr/bin");
    let folder = std::env::var_os("VALMIS_DIFFERENTIAL_PROMETHEUS").map_or_else(fetched, PathBuf::from);
    if folder.join("prometheus").exists() {
        return Some(folder);
    }
    missing("prometheus of sid");
    None
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the tests may ask for other queries")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("`{variable}` is no number: `{text}`")))
}

/// What came of a run.
#[derive(Default)]
struct Report {
    asked: usize,
    with_data: usize,
    exact: usize,
    same_bytes: usize,
    failed: usize,
    /// By what explains them.
    explained: BTreeMap<&'static str, usize>,
    failures: Vec<String>,
    coverage: Coverage,
}

#[tokio::test]
async fn generated_queries_are_answered_as_by_prometheus() {
    let Some(programs) = programs() else { return };
    let _turn = turn().await;
    let seed = number("VALMIS_DIFFERENTIAL_SEED").unwrap_or(SEED);
    let queries = number("VALMIS_DIFFERENTIAL_QUERIES").map_or(QUERIES, |count| count as usize);
    let began = Instant::now();
    let sides = Sides::start(&programs, seed).await;
    let known = |name: &str| versions::has_function(sides.version, name);
    let mut generator = Generator::new(seed, sides.start, known);
    let mut report = Report::default();
    for number in 0..queries {
        let query = generator.query(number);
        judge(&sides, &query, &mut report).await;
    }
    let Report { asked, with_data, exact, same_bytes, failed, explained, failures, coverage } = report;
    say(&format!(
        "seed {seed}: {asked} queries in {:.1?}, {with_data} with data, {exact} exact in every value, \
         {same_bytes} equal in every byte, {failed} with errors on both sides; explained: {explained:#?}",
        began.elapsed()
    ));
    let shown = failures[..failures.len().min(SHOWN)].join("\n");
    assert!(failures.is_empty(), "seed {seed}: {} of {asked} queries differ:\n{shown}", failures.len());
    if seed == SEED && queries >= QUERIES {
        let missing = coverage.missing(known);
        assert!(missing.is_empty(), "the run did not reach everything:\n{}", missing.join("\n"));
        assert!(with_data * 100 >= asked * 70, "only {with_data} of {asked} queries had a result");
    }
}

/// How many queries are printed.
const PRINTED: usize = 400;

#[tokio::test]
async fn generated_queries_are_printed_as_by_prometheus() {
    let Some(programs) = programs() else { return };
    let _turn = turn().await;
    let seed = number("VALMIS_DIFFERENTIAL_SEED").unwrap_or(SEED);
    let sides = Sides::start(&programs, seed).await;
    let mut generator = Generator::new(seed, sides.start, |name| versions::has_function(sides.version, name));
    let (mut faults, mut split) = (Vec::new(), 0);
    for number in 0..PRINTED {
        let query = generator.query(number);
        let (prometheus, valmis) = sides.format(&query.text).await;
        let text = |answer: &Answer| answer.json["data"].as_str().unwrap_or_default().to_owned();
        let (theirs, ours) = (text(&prometheus), text(&valmis));
        split += usize::from(ours.contains('\n'));
        if prometheus.json != valmis.json && !versions::prints_otherwise(sides.version, &theirs, &ours) {
            faults.push(format!("{}\n  {}\n  {}", query.text, prometheus.json, valmis.json));
        }
    }
    let shown = faults[..faults.len().min(SHOWN)].join("\n");
    assert!(faults.is_empty(), "seed {seed}: {} of {PRINTED} queries differ:\n{shown}", faults.len());
    assert!(split > 50, "only {split} queries were longer than a line");
}

async fn judge(sides: &Sides, query: &Query, report: &mut Report) {
    report.asked += 1;
    let (prometheus, valmis) = sides.ask(query).await;
    let expr = parse_with(&query.text, Features::ALL).ok();
    match compare(&prometheus, &valmis, is_sorted(query, expr.as_ref(), &prometheus)) {
        Ok(agreement) => {
            report.exact += usize::from(agreement.exact_values);
            report.same_bytes += usize::from(agreement.same_bytes);
        }
        Err(differences) => {
            let unexplained = unexplained(sides, query, expr.as_ref(), &differences, report);
            if !unexplained.is_empty() {
                let smallest = smallest(sides, query, expr.as_ref()).await;
                report.failures.push(describe(query, &unexplained, smallest));
            }
        }
    }
    report.failed += usize::from(!prometheus.is_success());
    report.with_data += usize::from(prometheus.has_data());
    if let Some(expr) = &expr {
        report.coverage.add(expr, prometheus.has_data() && valmis.has_data());
    }
}

/// Whether both put the series of the result in order.
fn is_sorted(query: &Query, expr: Option<&Expr>, prometheus: &Answer) -> bool {
    let is_vector = prometheus.json["data"]["resultType"] == "vector";
    let sorts = |expr: &Expr| match &expr.kind {
        ExprKind::Call(call) => matches!(call.function, "sort_by_label" | "sort_by_label_desc"),
        _ => false,
    };
    matches!(query.when, When::Range { .. }) || !is_vector || expr.is_some_and(sorts)
}

/// The differences that nothing explains.
fn unexplained(
    sides: &Sides,
    query: &Query,
    expr: Option<&Expr>,
    differences: &[Difference],
    report: &mut Report,
) -> Vec<Difference> {
    let mut left = Vec::new();
    for difference in differences {
        match reasons::explain(sides.version, expr, query, difference) {
            Some(sources) => {
                for source in sources {
                    *report.explained.entry(source).or_default() += 1;
                }
            }
            None => left.push(difference.clone()),
        }
    }
    left
}

/// The smallest part of the query that is answered differently by itself.
async fn smallest(sides: &Sides, query: &Query, expr: Option<&Expr>) -> Option<(Query, Vec<Difference>)> {
    let range = matches!(query.when, When::Range { .. });
    let may_be_asked = |part: &&Expr| match part.value_type() {
        ValueType::Scalar | ValueType::Vector => true,
        ValueType::Matrix | ValueType::String => !range,
    };
    let mut parts: Vec<Expr> = syntax::all_within(expr?).into_iter().filter(may_be_asked).cloned().collect();
    parts.sort_by_key(|part| part.to_string().len());
    for part in parts {
        let query = Query { text: part.to_string(), when: query.when };
        let (prometheus, valmis) = sides.ask(&query).await;
        let sorted = is_sorted(&query, Some(&part), &prometheus);
        if let Err(differences) = compare(&prometheus, &valmis, sorted) {
            let differences = unexplained(sides, &query, Some(&part), &differences, &mut Report::default());
            if !differences.is_empty() {
                return Some((query, differences));
            }
        }
    }
    None
}

fn describe(query: &Query, differences: &[Difference], smallest: Option<(Query, Vec<Difference>)>) -> String {
    let mut lines = vec![String::new(), query.text.clone(), format!("  {:?}", query.when)];
    let first = |differences: &[Difference]| -> Vec<String> {
        differences.iter().take(3).map(|difference| format!("  {difference}")).collect()
    };
    lines.extend(first(differences));
    if let Some((part, differences)) = smallest.filter(|(part, _)| part != query) {
        lines.push(format!("  smallest part: {}", part.text));
        lines.extend(first(&differences));
    }
    lines.join("\n")
}
