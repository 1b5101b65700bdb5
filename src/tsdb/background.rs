//! The two threads of a store: one that writes the log, one that sweeps and takes snapshots.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Tsdb;
use super::head::lock;

/// How often the log is written and synced: samples older than a second survive a power cut.
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);

/// How often retention and the need for a snapshot are looked at.
const MAINTENANCE_INTERVAL: Duration = Duration::from_mins(1);

/// What the threads wait for.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    flush_wanted: bool,
}

impl Signal {
    /// Ends the threads.
    pub(super) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
    }

    /// Has the log written now.
    pub(super) fn want_flush(&self) {
        let mut state = lock(&self.state);
        if !state.flush_wanted {
            state.flush_wanted = true;
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Waits for an interval, or less if `wanted` says so; `false` once the store is closed.
    fn wait(&self, interval: Duration, wanted: impl Fn(&mut State) -> bool) -> bool {
        let state = lock(&self.state);
        let goes_on = |state: &mut State| !state.stopped && !wanted(state);
        let (mut state, _) =
            self.changed.wait_timeout_while(state, interval, goes_on).unwrap_or_else(PoisonError::into_inner);
        state.flush_wanted &= !wanted(&mut state);
        !state.stopped
    }
}

/// Starts the threads; they end when the store is closed or nobody has it any more.
pub(super) fn start(tsdb: &Arc<Tsdb>) -> std::io::Result<Vec<JoinHandle<()>>> {
    let spawn = |name: &str, work: fn(&Weak<Tsdb>, &Signal)| {
        let (store, signal) = (Arc::downgrade(tsdb), Arc::clone(&tsdb.signal));
        let ended = tsdb.ended().drop_guard();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ended = ended;
            work(&store, &signal);
        })
    };
    Ok(vec![spawn("tsdb-wal", write_log)?, spawn("tsdb-maintain", maintain)?])
}

fn write_log(store: &Weak<Tsdb>, signal: &Signal) {
    while signal.wait(FLUSH_INTERVAL, |state| state.flush_wanted) {
        let Some(tsdb) = store.upgrade() else { return };
        // The log counts and reports its failures itself, and keeps what it could not write.
        let _ = tsdb.flush();
    }
}

fn maintain(store: &Weak<Tsdb>, signal: &Signal) {
    while signal.wait(MAINTENANCE_INTERVAL, |_| false) {
        let Some(tsdb) = store.upgrade() else { return };
        tsdb.maintain_by_clock();
    }
}
