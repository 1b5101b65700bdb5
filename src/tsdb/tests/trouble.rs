//! A store on a machine that is not well.

use super::*;
use crate::clock::Clock as _;

#[test]
fn a_clock_that_is_ahead_costs_no_sample() {
    let folder = tempfile::tempdir().unwrap();
    let count = |tsdb: &Tsdb| everything(tsdb).iter().map(|series| series.points.len()).sum::<usize>();
    let (tsdb, _) = open(config(Some(folder.path())));
    fill(&tsdb, 3, 10 * 3_600, 130);
    tsdb.close().unwrap();
    drop(tsdb);
    let clock = Arc::new(FixedClock::at(30 * 24 * HOUR));
    let (tsdb, _) = open(Config { clock: clock.clone(), ..config(Some(folder.path())) });
    assert_eq!(count(&tsdb), 3 * 130);
    tsdb.maintain_by_clock();
    assert_eq!(count(&tsdb), 3 * 130, "as long as it is doubted");
    tsdb.maintain(clock.now());
    assert_eq!(count(&tsdb), 0, "once it is believed");
}

#[test]
fn a_store_whose_directory_cannot_be_used_counts_what_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let fault = std::io::Error::from_raw_os_error(5);
    let tsdb = Tsdb::open_unsaved(config(Some(folder.path())), fault);
    fill(&tsdb, 3, 10 * 3_600, 5);
    assert_eq!(tsdb.flush().unwrap_err().raw_os_error(), Some(5));
    tsdb.maintain(10 * HOUR);
    let stats = tsdb.stats();
    assert_eq!((stats.samples, stats.wal_write_failures), (15, 1));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn whoever_relies_on_the_threads_can_tell_that_they_have_ended() {
    let tsdb = memory();
    tsdb.start_background().unwrap();
    assert!(!tsdb.ended().is_cancelled());
    tsdb.close().unwrap();
    assert!(tsdb.ended().is_cancelled());
}
