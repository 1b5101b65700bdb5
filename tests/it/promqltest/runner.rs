//! Runs scripts against the engine as Prometheus runs them: every instant query also with `@`
//! modifiers at other times, and as one step of a range query.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;

use valmis::model::{
    FloatHistogram, HistogramPoint, Labels, LineColumn, Point, Series, StartTimestamp, TimestampMs, is_stale,
};
use valmis::promql::{
    AnnotationKind, AtModifier, EvalOptions, EvalRange, Expr, ExprKind, Features, InstantSample, Output,
    Value, eval, parse_with, prefetch,
};
use valmis::ruletest::{SequenceValue, SeriesLine};
use valmis::storage::MemoryStorage;

use super::histogram::converted;
use super::reader::{Command, Eval, Expected, Load};

/// The relative error that results may have. Source: `promqltest/test.go`, `defaultEpsilon`.
const EPSILON: f64 = 0.000_001;

/// What became of the statements of a script.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    /// Each failure with its line.
    pub(crate) failures: Vec<String>,
}

impl Report {
    pub(crate) fn statements(&self) -> usize {
        self.passed + self.failures.len()
    }
}

/// The state of a running script.
pub(crate) struct Runner {
    storage: MemoryStorage,
    options: EvalOptions,
    report: Report,
}

impl Runner {
    pub(crate) fn new(options: EvalOptions) -> Self {
        Self { storage: MemoryStorage::new(), options, report: Report::default() }
    }

    pub(crate) fn run(mut self, commands: &[Command]) -> Report {
        for command in commands {
            match command {
                Command::Clear => {
                    self.storage.clear();
                }
                Command::Load(load) => self.load(load),
                Command::Eval(statement) => self.eval(statement),
            }
        }
        self.report
    }

    fn load(&mut self, load: &Load) {
        for (labels, offsets) in &load.start_offsets {
            let starts = offsets.iter().enumerate().filter_map(|(index, offset)| {
                let at = index as i64 * load.step_ms;
                Some(StartTimestamp { at, start: at + (*offset)? })
            });
            // As in Prometheus 0 is no start.
            self.storage.load_start_timestamps(labels, starts.filter(|known| known.start != 0));
        }
        for SeriesLine { labels, values } in &load.series {
            let (mut points, mut histograms) = (Vec::new(), Vec::new());
            for (index, value) in values.iter().enumerate() {
                let at = index as i64 * load.step_ms;
                match value {
                    SequenceValue::Omitted => {}
                    SequenceValue::Float(value) => points.push(Point { at, value: *value }),
                    SequenceValue::Histogram { histogram, .. } => {
                        histograms.push(HistogramPoint { at, histogram: Arc::clone(histogram) });
                    }
                }
            }
            self.storage.load(labels, points);
            self.storage.load_histograms(labels, histograms);
        }
        if load.with_nhcb {
            for (labels, histograms) in converted(&load.series, load.step_ms) {
                self.storage.load_histograms(&labels, histograms);
            }
        }
    }

    fn eval(&mut self, statement: &Eval) {
        let failed = |what: String| format!("line {}: {}: {what}", statement.line, statement.query);
        let result = match parse_with(&statement.query, Features::ALL) {
            Ok(expr) => self.check(statement, &expr),
            Err(errors) => match &statement.fail {
                Some(text) if text.matches(&errors[0].message) => Ok(()),
                _ => Err(errors[0].to_string()),
            },
        };
        match result {
            Ok(()) => self.report.passed += 1,
            Err(what) => self.report.failures.push(failed(what)),
        }
    }

    fn check(&self, statement: &Eval, expr: &Expr) -> Result<(), String> {
        if statement.range.step_ms > 0 {
            let result = self.evaluate(expr, &statement.range);
            return check_outcome(statement, &statement.query, result).map(|_| ());
        }
        self.check_instant(statement, &statement.query, statement.range.end)?;
        for (query, at) in pinned_variants(expr, statement.range.end) {
            self.check_instant(statement, &query, at)
                .map_err(|what| format!("as {query} at {at}: {what}"))?;
        }
        Ok(())
    }

    fn check_instant(&self, statement: &Eval, query: &str, at: TimestampMs) -> Result<(), String> {
        let expr = parse_with(query, Features::ALL).map_err(|errors| errors[0].to_string())?;
        let result = self.evaluate(&expr, &EvalRange::instant(at));
        let Some(output) = check_outcome(statement, query, result)? else { return Ok(()) };
        let depends_on_query =
            ["start()", "end()", "range()", "step()"].iter().any(|call| query.contains(call));
        if statement.points.is_some()
            || depends_on_query
            || statement.ordered
            || matches!(output.value, Value::String { .. })
        {
            return Ok(());
        }
        let around = EvalRange { start: at - 60_000, end: at + 60_000, step_ms: 60_000 };
        let output_of_range =
            self.evaluate(&expr, &around).map_err(|error| format!("in range mode: {error}"))?;
        let Value::Matrix(series) = output_of_range.value else {
            return Err("a range query did not yield a matrix".to_owned());
        };
        let samples: Vec<InstantSample> = series
            .iter()
            .filter_map(|series| {
                let labels = series.labels.clone();
                if let Some(point) = series.histograms.iter().find(|point| point.at == at) {
                    let histogram = Some(Arc::clone(&point.histogram));
                    return Some(InstantSample { labels, at, value: 0.0, histogram });
                }
                let point = series.points.iter().find(|point| point.at == at)?;
                Some(InstantSample::float(labels, at, point.value))
            })
            .collect();
        let value = match output.value {
            Value::Scalar { .. } => {
                Value::Scalar { at, value: samples.first().ok_or("in range mode: no scalar")?.value }
            }
            _ => Value::Vector(samples),
        };
        compare(statement, &value).map_err(|what| format!("in range mode: {what}"))
    }

    fn evaluate(&self, expr: &Expr, range: &EvalRange) -> Result<Output, String> {
        let data = prefetch(expr, range, &self.options, &self.storage, None)
            .now_or_never()
            .expect("memory is ready at once")
            .map_err(|error| error.to_string())?;
        eval(expr, range, &data, &self.options).map_err(|error| error.to_string())
    }
}

fn check_outcome(
    statement: &Eval,
    query: &str,
    result: Result<Output, String>,
) -> Result<Option<Output>, String> {
    match (result, &statement.fail) {
        (Err(error), Some(text)) if text.matches(&error) => Ok(None),
        (Err(error), Some(text)) => Err(format!("expected failure {text:?}, got `{error}`")),
        (Err(error), None) => Err(error),
        (Ok(_), Some(_)) => Err("expected a failure".to_owned()),
        (Ok(output), None) => {
            check_annotations(statement, query, &output)?;
            compare(statement, &output.value)?;
            Ok(Some(output))
        }
    }
}

fn check_annotations(statement: &Eval, query: &str, output: &Output) -> Result<(), String> {
    let messages = |kind: AnnotationKind| -> Vec<String> {
        let of_kind = output.annotations.iter().filter(|annotation| annotation.kind == kind);
        of_kind
            .map(|annotation| {
                format!("{} ({})", annotation.message, LineColumn::of(query, annotation.span.start))
            })
            .collect()
    };
    let warnings = messages(AnnotationKind::Warning);
    let infos = messages(AnnotationKind::Info);
    for (found, expected, none) in
        [(&warnings, &statement.warn, statement.no_warn), (&infos, &statement.info, statement.no_info)]
    {
        if none && !found.is_empty() {
            return Err(format!("unexpected annotations: {found:?}"));
        }
        if expected.is_empty() {
            continue;
        }
        let unmet = expected.iter().find(|text| !found.iter().any(|message| text.matches(message)));
        if let Some(text) = unmet {
            return Err(format!("expected annotation {text:?}, got {found:?}"));
        }
        let surplus = found.iter().find(|message| !expected.iter().any(|text| text.matches(message)));
        if let Some(message) = surplus {
            return Err(format!("unexpected annotation `{message}`"));
        }
    }
    Ok(())
}

fn compare(statement: &Eval, value: &Value) -> Result<(), String> {
    match (value, &statement.expected) {
        (Value::Scalar { value, .. }, Expected::Scalar(expected)) => near(*expected, *value, "scalar"),
        (Value::String { value, .. }, Expected::String(expected)) if value == expected => Ok(()),
        (Value::Vector(samples), Expected::Series(expected)) => compare_vector(statement, samples, expected),
        (Value::Matrix(series), Expected::Series(expected)) => {
            if statement.ordered {
                return Err("expected ordered result, but query returned a matrix".to_owned());
            }
            compare_matrix(statement.points.as_ref().unwrap_or(&statement.range), series, expected)
        }
        _ => Err(format!("expected {:?}, got {value:?}", statement.expected)),
    }
}

fn compare_vector(
    statement: &Eval,
    samples: &[InstantSample],
    expected: &[SeriesLine],
) -> Result<(), String> {
    let places: HashMap<&Labels, usize> =
        expected.iter().enumerate().map(|(place, line)| (&line.labels, place)).collect();
    for (position, InstantSample { labels, value, histogram, .. }) in samples.iter().enumerate() {
        let place = *places.get(labels).ok_or_else(|| format!("unexpected metric {labels} with {value}"))?;
        if statement.ordered && place != position {
            return Err(format!("expected {labels} at position {place}, it is at {position}"));
        }
        match (expected[place].values.first(), histogram) {
            (Some(SequenceValue::Float(expected)), None) => near(*expected, *value, labels)?,
            (Some(SequenceValue::Histogram { histogram, has_hint }), Some(found)) => {
                same_histogram(histogram, found, *has_hint, labels)?;
            }
            (other, _) => {
                return Err(format!("expected {other:?} for {labels}, got {value} {histogram:?}"));
            }
        }
    }
    let missing = expected.iter().find(|line| !samples.iter().any(|sample| sample.labels == line.labels));
    missing.map_or(Ok(()), |line| Err(format!("expected metric {} not found", line.labels)))
}

fn compare_matrix(range: &EvalRange, series: &[Series], expected: &[SeriesLine]) -> Result<(), String> {
    if !series.is_sorted_by(|a, b| a.labels <= b.labels) {
        return Err("the matrix is not sorted by labels".to_owned());
    }
    for Series { labels, points, histograms, .. } in series {
        let line = expected.iter().find(|line| line.labels == *labels);
        let line = line.ok_or_else(|| format!("unexpected metric {labels} with {points:?}"))?;
        let values = line.values.iter().enumerate().filter_map(|(index, value)| match value {
            SequenceValue::Float(value) => Some((range.start + index as i64 * range.step_ms, *value)),
            SequenceValue::Omitted | SequenceValue::Histogram { .. } => None,
        });
        let values: Vec<_> = values.collect();
        if values.len() != points.len() {
            return Err(format!("expected {} points for {labels}, got {points:?}", values.len()));
        }
        for ((at, value), point) in values.into_iter().zip(points) {
            if at != point.at {
                return Err(format!("expected a point at {at} for {labels}, got {points:?}"));
            }
            near(value, point.value, labels).map_err(|what| format!("{what} at {at} of {points:?}"))?;
        }
        let expected = line.values.iter().enumerate().filter_map(|(index, value)| match value {
            SequenceValue::Histogram { histogram, has_hint } => {
                Some((range.start + index as i64 * range.step_ms, histogram, *has_hint))
            }
            SequenceValue::Omitted | SequenceValue::Float(_) => None,
        });
        let expected: Vec<_> = expected.collect();
        if !expected.iter().map(|(at, ..)| *at).eq(histograms.iter().map(|point| point.at)) {
            return Err(format!("expected {} histograms for {labels}, got {histograms:?}", expected.len()));
        }
        for ((at, expected, has_hint), found) in expected.into_iter().zip(histograms) {
            same_histogram(expected, &found.histogram, has_hint, labels)
                .map_err(|what| format!("{what} at {at}"))?;
        }
    }
    let missing = expected.iter().find(|line| !series.iter().any(|series| series.labels == line.labels));
    missing.map_or(Ok(()), |line| Err(format!("expected metric {} not found", line.labels)))
}

/// Source: `promqltest/test.go`, `compareNativeHistogram`.
fn same_histogram(
    expected: &FloatHistogram,
    found: &FloatHistogram,
    compare_hint: bool,
    what: impl std::fmt::Display,
) -> Result<(), String> {
    let near = |(a, b): (&(i32, f64), &(i32, f64))| a.0 == b.0 && almost_equal(a.1, b.1);
    let same_buckets = |a: &[(i32, f64)], b: &[(i32, f64)]| a.len() == b.len() && a.iter().zip(b).all(near);
    let same = expected.schema == found.schema
        && almost_equal(expected.count, found.count)
        && almost_equal(expected.sum, found.sum)
        && expected.zero_threshold == found.zero_threshold
        && almost_equal(expected.zero_count, found.zero_count)
        && expected.custom_values() == found.custom_values()
        && same_buckets(expected.positive(), found.positive())
        && same_buckets(expected.negative(), found.negative())
        && (!compare_hint || expected.counter_reset == found.counter_reset);
    if same { Ok(()) } else { Err(format!("expected {expected:?} for {what}, got {found:?}")) }
}

fn near(expected: f64, found: f64, what: impl std::fmt::Display) -> Result<(), String> {
    if almost_equal(expected, found) {
        Ok(())
    } else {
        Err(format!("expected {expected} for {what}, got {found}"))
    }
}

/// Source: Prometheus `util/almost`, `Equal`.
fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

/// The query with all selectors pinned to the instant, to be asked at other instants: the result must
/// stay the same. None if a function depends on the instant by itself.
/// Source: `promqltest/test.go`, `atModifierTestCases`.
fn pinned_variants(expr: &Expr, at: TimestampMs) -> Vec<(String, TimestampMs)> {
    const UNSAFE: [&str; 15] = [
        "days_in_month",
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "end",
        "hour",
        "minute",
        "month",
        "year",
        "predict_linear",
        "range",
        "start",
        "step",
        "time",
        "timestamp",
    ];
    let mut pinned = expr.clone();
    let mut depends_on_instant = false;
    visit(&mut pinned, false, &mut |node, below_pinned| {
        if below_pinned {
            return;
        }
        let modifier = match &mut node.kind {
            ExprKind::Vector(vector) if !vector.bare => &mut vector.at,
            ExprKind::Matrix(matrix) => &mut matrix.selector.at,
            ExprKind::Subquery(subquery) => &mut subquery.at,
            ExprKind::Call(call) => {
                depends_on_instant |= UNSAFE.contains(&call.function);
                return;
            }
            _ => return,
        };
        modifier.get_or_insert(AtModifier::At(at));
    });
    if depends_on_instant {
        return Vec::new();
    }
    let query = pinned.to_string();
    let instants = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    instants.into_iter().map(|at| (query.clone(), at)).collect()
}

/// Calls `see` for each node, parents first, with whether a subquery above it is pinned.
fn visit(expr: &mut Expr, below_pinned: bool, see: &mut impl FnMut(&mut Expr, bool)) {
    see(expr, below_pinned);
    // A subquery that `see` has just pinned counts.
    let pins = matches!(&expr.kind, ExprKind::Subquery(subquery) if subquery.at.is_some());
    let below = below_pinned || pins;
    match &mut expr.kind {
        ExprKind::Paren(inner) | ExprKind::Unary { expr: inner, .. } => visit(inner, below, see),
        ExprKind::Binary(binary) => {
            visit(&mut binary.left, below, see);
            visit(&mut binary.right, below, see);
        }
        ExprKind::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                visit(param, below, see);
            }
            visit(&mut aggregate.expr, below, see);
        }
        ExprKind::Call(call) => call.args.iter_mut().for_each(|arg| visit(arg, below, see)),
        ExprKind::Subquery(subquery) => visit(&mut subquery.expr, below, see),
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {}
    }
}

#[test]
fn a_wrong_result_fails() {
    let check = |script: &str, expected: &[&str]| {
        let commands = super::reader::read(script).expect("a script");
        let options = EvalOptions { delayed_name_removal: true, ..EvalOptions::default() };
        let report = Runner::new(options).run(&commands);
        assert_eq!(report.failures, expected);
    };
    check("load 1m\n  m 1 2\n\neval instant at 1m m\n  m 2\n", &[]);
    check(
        "load 1m\n  m 1 2\n\neval instant at 1m m\n  m 3\n",
        &["line 4: m: expected 3 for {__name__=\"m\"}, got 2"],
    );
    let histogram = "load 1m\n  m {{sum:1 buckets:[1]}}x1\n\neval instant at 1m";
    check(&format!("{histogram} m\n  m {{{{sum:1 buckets:[1]}}}}\n"), &[]);
    for wrong in [
        "sum:2 buckets:[1]",
        "sum:1 buckets:[2]",
        "sum:1 buckets:[1] offset:1",
        "sum:1 buckets:[1] counter_reset_hint:gauge",
    ] {
        let script = format!("{histogram} m\n  m {{{{{wrong}}}}}\n");
        let commands = super::reader::read(&script).expect("a script");
        assert_eq!(Runner::new(EvalOptions::default()).run(&commands).failures.len(), 1, "{wrong}");
    }
    check("eval instant at 1m m\n  m 3\n", &["line 1: m: expected metric {__name__=\"m\"} not found"]);
    check("eval instant at 1m 1\n  expect fail\n  1\n", &["line 1: 1: expected a failure"]);
    check(
        "eval instant at 1m vector(1)\n  expect warn\n  {} 1\n",
        &["line 1: vector(1): expected annotation Any, got []"],
    );
}
