//! The store as another crate sees it: what survives the end of a process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use valmis::clock::FixedClock;
use valmis::model::{Labels, Sample, TimestampMs};
use valmis::storage::{Appender as _, Queryable as _, SelectHints};
use valmis::tsdb::{Config, Tsdb, TsdbError};

/// Names the directory for the process that is going to be killed.
const CHILD_DIRECTORY: &str = "VALMIS_TEST_TSDB_DIRECTORY";

const SERIES: usize = 100;

fn config(path: &Path) -> Config {
    Config {
        path: Some(path.to_owned()),
        // Always due, so that kills also hit snapshots.
        snapshot_interval: Duration::ZERO,
        ..Config::new(Arc::new(FixedClock::at(1_000_000_000)))
    }
}

fn value(series: usize, at: TimestampMs) -> f64 {
    (at as f64).sqrt() + series as f64
}

/// Appends until it is killed, and says how far it is each time that the log was synced.
#[test]
#[ignore = "runs as the child of `what_was_synced_survives_kill_9`"]
fn child_that_appends_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "a parent process has no other way to tell it")]
    let path = std::env::var_os(CHILD_DIRECTORY).expect("the parent names a directory");
    let (tsdb, report) = Tsdb::open(config(path.as_ref())).expect("the store opens");
    tsdb.start_background().expect("threads start");
    let labels: Vec<_> = (0..SERIES)
        .map(|series| Labels::from_pairs([("__name__", "m"), ("series", &series.to_string())]))
        .collect();
    let mut at = tsdb.stats().max_time.unwrap_or(0);
    assert_eq!(report.corruptions, 0, "the parent has repaired a torn log by opening it");
    loop {
        for _ in 0..50 {
            at += 1_000;
            let sample =
                |(series, labels): (usize, &Labels)| Sample::new(labels.clone(), at, value(series, at));
            let batch: Vec<_> = labels.iter().enumerate().map(sample).collect();
            assert!(tsdb.append_samples(&batch).is_empty());
        }
        tsdb.flush().expect("the disk takes it");
        #[expect(clippy::print_stdout, reason = "the parent reads it")]
        {
            println!("\nsynced {at}");
        }
        if at % 500_000 == 0 {
            tsdb.maintain(at);
        }
    }
}

#[test]
fn what_was_synced_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut synced = 0;
    for kill in 0_u32..6 {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args(["--ignored", "--exact", "--nocapture", "tsdb::child_that_appends_until_it_is_killed"])
            .env(CHILD_DIRECTORY, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let started = Instant::now();
        let mut seen = 0;
        while seen < 7 * (kill + 1) {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            if let Some(at) = line.strip_prefix("synced ") {
                synced = at.parse::<i64>().unwrap();
                seen += 1;
            }
            assert!(started.elapsed() < Duration::from_mins(1), "the child is at work");
        }
        if kill == 0 {
            let refused = Tsdb::open(config(folder.path())).err();
            assert!(matches!(refused, Some(TsdbError::Locked { .. })), "another process has it: {refused:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had written beyond the last line that was read counts too.
        for line in lines.map_while(Result::ok) {
            synced = line.strip_prefix("synced ").and_then(|at| at.parse().ok()).unwrap_or(synced);
        }
        let (tsdb, report) = Tsdb::open(config(folder.path())).unwrap();
        assert_eq!(report.unknown_references, 0);
        let everything = SelectHints::between(i64::MIN, i64::MAX);
        let found =
            tsdb.select(&[], &everything).now_or_never().expect("without a runtime nothing waits").unwrap();
        assert_eq!(found.len(), SERIES);
        for series in found {
            let number: usize = series.labels.get("series").parse().unwrap();
            let newest = series.points.last().unwrap().at;
            assert!(newest >= synced, "{newest} < {synced}");
            assert_eq!(series.points.len() as i64, newest / 1_000, "no gap");
            assert!(series.points.iter().all(|point| point.value == value(number, point.at)));
        }
        drop(tsdb);
    }
}
