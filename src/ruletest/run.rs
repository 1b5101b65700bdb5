//! Running tests: several at once, each in a time of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::compare::{self, Difference, Floats};
use super::coverage::Coverage;
use super::file::{AlertTest, Test, TestFile};
use super::simulate::{Definition, Simulation};
use super::suite::Suite;
use crate::diag::Diagnostic;
use crate::model::{LineColumn, format_duration_ms};
use crate::state::AlertRecord;

/// What became of a test file.
#[derive(Debug, Clone)]
pub struct FileReport {
    /// The file as the user named it.
    pub file: String,
    /// What is wrong with it or with its rule files.
    pub findings: Vec<Diagnostic>,
    /// Whether nothing was run because of that.
    pub broken: bool,
    /// The tests that were run.
    pub tests: Vec<TestReport>,
}

impl FileReport {
    /// Whether everything is as expected.
    pub fn passed(&self) -> bool {
        !self.broken && self.tests.iter().all(|test| test.failures.is_empty())
    }
}

/// What became of a test.
#[derive(Debug, Clone)]
pub struct TestReport {
    /// Its name, or its number if it has none.
    pub name: String,
    /// Where it begins.
    pub place: LineColumn,
    /// What is not as expected.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub took: Duration,
    /// All series with their samples, if that was asked for.
    pub dump: Option<String>,
}

/// Something that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Where in the test file that is written.
    pub place: LineColumn,
    /// What it is about.
    pub what: String,
    /// What was expected and what came out.
    pub difference: Option<Difference>,
}

/// What is to be found out beside the verdicts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras {
    /// All series of each test.
    pub dump: bool,
    /// What the tests have never shown.
    pub coverage: bool,
}

/// Runs the tests of suites on all processors; reports are in the order of the suites. Blocks.
pub fn run(suites: &[Suite], extras: Extras) -> std::io::Result<(Vec<FileReport>, Coverage)> {
    let jobs: Vec<(&Suite, usize)> = suites
        .iter()
        .filter(|suite| !suite.is_broken())
        .flat_map(|suite| suite.selected.iter().map(move |place| (suite, *place)))
        .collect();
    let done = parallel(&jobs, |runtime, (suite, place)| {
        let test = &suite.file.tests[*place];
        let began = Instant::now();
        let mut coverage = extras.coverage.then(|| Coverage::new(&suite.groups));
        let examined = examine(&suite.file, test, &suite.groups, coverage.as_mut(), extras.dump);
        let Outcome { failures, dump } = runtime.block_on(examined);
        let name = if test.name.is_empty() { format!("unnamed#{place}") } else { test.name.clone() };
        (TestReport { name, place: test.place, failures, took: began.elapsed(), dump }, coverage)
    })?;
    let (tests, coverage): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    let coverage = Coverage::merge(coverage.into_iter().flatten());
    let mut tests = tests.into_iter();
    let reports = suites.iter().map(|suite| {
        let broken = suite.is_broken();
        let count = if broken { 0 } else { suite.selected.len() };
        FileReport {
            file: suite.file.name.clone(),
            findings: suite.findings.clone(),
            broken,
            tests: tests.by_ref().take(count).collect(),
        }
    });
    Ok((reports.collect(), coverage))
}

/// Does jobs on as many threads as there are processors, each with a runtime; results are in the order of
/// the jobs.
pub(super) fn parallel<J: Sync, R: Send>(
    jobs: &[J],
    work: impl Fn(&Runtime, &J) -> R + Sync,
) -> std::io::Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let worker = || -> std::io::Result<()> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        // What goes wrong with a rule is in the report; the log would say it once more.
        let _silent = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
        while let Some(place) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|place| *place < jobs.len())
        {
            let result = work(&runtime, &jobs[place]);
            *results[place].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let done = |result: Mutex<Option<R>>| {
        let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.expect("every job was done by a worker that ended without error")
    };
    Ok(results.into_iter().map(done).collect())
}

/// What a simulation has shown.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) failures: Vec<Failure>,
    pub(super) dump: Option<String>,
}

/// Runs one test; `coverage` is that of the same groups.
pub(super) async fn examine(
    file: &TestFile,
    test: &Test,
    groups: &[Definition],
    mut coverage: Option<&mut Coverage>,
    dump: bool,
) -> Outcome {
    let floats = Floats { fuzzy: file.fuzzy_compare };
    let mut simulation = Simulation::new(file, test, groups);
    let mut outcome = Outcome::default();
    let mut alert_tests: Vec<&AlertTest> = test.alert_tests.iter().collect();
    alert_tests.sort_by_key(|test| test.eval_ms);
    let mut alert_tests = alert_tests.into_iter().peekable();
    let length_ms = test.length_ms();
    while simulation.next_ms() <= length_ms {
        let now_ms = simulation.next_ms();
        let faults = simulation.advance().await;
        if !faults.is_empty() {
            outcome.failures.extend(faults.into_iter().map(|fault| Failure {
                place: test.place,
                what: format!(
                    "rule `{}` of group `{}` at {}: {}",
                    fault.rule,
                    fault.group,
                    format_duration_ms(now_ms),
                    fault.error
                ),
                difference: None,
            }));
            return outcome;
        }
        if let Some(coverage) = &mut coverage {
            coverage.observe(&simulation, now_ms).await;
        }
        // What holds between two evaluations is what the first of them has led to.
        while let Some(asked) = alert_tests.next_if(|test| test.eval_ms < simulation.next_ms()) {
            let rules = simulation.groups().flat_map(|(_, group)| group.rules());
            let records = rules.filter(|rule| rule.name == asked.alertname).flat_map(|rule| rule.alerts());
            let records: Vec<AlertRecord> = records.map(AlertRecord::as_shown).collect();
            let difference = compare::alerts(asked, &records, test.start, floats);
            outcome.failures.extend(difference.map(|difference| Failure {
                place: asked.place,
                what: format!("alert `{}` at {}", asked.alertname, format_duration_ms(asked.eval_ms)),
                difference: Some(difference),
            }));
        }
    }
    for asked in &test.expr_tests {
        let what = format!("expression `{}` at {}", asked.text, format_duration_ms(asked.eval_ms));
        let failure = match simulation.query(&asked.expr, asked.eval_ms).await {
            Ok(output) => match compare::samples(asked, output.value, floats) {
                Ok(difference) => difference.map(|difference| (what, Some(difference))),
                Err(error) => Some((format!("{what}: {error}"), None)),
            },
            Err(error) => Some((format!("{what}: {error}"), None)),
        };
        let place = asked.place;
        outcome.failures.extend(failure.map(|(what, difference)| Failure { place, what, difference }));
    }
    if let Some(asked) = &test.notifications {
        let difference = compare::notifications(asked, &simulation.payloads(), test.start);
        outcome.failures.extend(difference.map(|difference| Failure {
            place: asked.place,
            what: "notifications".to_owned(),
            difference: Some(difference),
        }));
    }
    outcome.failures.sort_by_key(|failure| failure.place);
    outcome.dump = dump.then(|| simulation.dump());
    outcome
}
