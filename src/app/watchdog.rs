//! Notices when the runtime does nothing any more.
//!
//! A thread of the runtime that is held up in the middle of a task may be the one that looks after I/O and
//! timers for all, while the other one sleeps and nobody wakes it (tokio's issue 4730). So a thread apart asks
//! once a second for something to be done. That wakes a thread that sleeps, which then looks after the rest;
//! and if nothing is done all the same, the log says so.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::runtime::Handle;
use tracing::{error, warn};

/// How often something is asked for.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// After so many intervals without anything done the runtime stands still.
const PATIENCE: u32 = 5;

/// Watches for as long as it is there.
pub(super) struct Watchdog {
    /// The thread ends when it is dropped.
    _here: mpsc::Sender<()>,
}

impl Watchdog {
    /// Begins to watch; `stalls` counts how often the runtime stood still. Intervals of its own and not the
    /// clock tell: when the whole process does not run, neither does this.
    pub(super) fn start(runtime: Handle, interval: Duration, stalls: Counter) -> io::Result<Self> {
        let (here, gone) = mpsc::channel();
        let watch = move || {
            let done = Arc::new(AtomicBool::new(true));
            let mut silent = 0;
            while gone.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if done.swap(false, Ordering::Relaxed) {
                    if silent >= PATIENCE {
                        warn!("the runtime goes on after {:?}", interval * silent);
                    }
                    silent = 0;
                } else {
                    silent += 1;
                    if silent == PATIENCE {
                        stalls.inc();
                        error!(
                            "the runtime has done nothing for {:?}: its threads are held up",
                            interval * silent
                        );
                    }
                }
                let done = done.clone();
                runtime.spawn(async move { done.store(true, Ordering::Relaxed) });
            }
        };
        thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
        Ok(Self { _here: here })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::sleep;

    use super::*;

    fn runtime(threads: usize) -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads).enable_time().build().expect("a runtime")
    }

    #[test]
    fn timers_go_on_while_the_thread_that_looks_after_them_is_held_up() {
        let runtime = runtime(2);
        let (handle, interval) = (runtime.handle().clone(), Duration::from_millis(20));
        let _watchdog = Watchdog::start(handle, interval, Counter::default()).expect("a thread");
        let ((release, held), (rings, rung)) = (mpsc::channel::<()>(), mpsc::channel());
        runtime.spawn(async move {
            sleep(Duration::from_millis(20)).await;
            held.recv()
        });
        runtime.spawn(async move {
            sleep(Duration::from_millis(60)).await;
            rings.send(())
        });
        assert_eq!(rung.recv_timeout(Duration::from_secs(30)), Ok(()));
        drop(release);
    }

    #[test]
    fn a_runtime_whose_threads_are_held_up_is_noticed_and_goes_on() {
        let runtime = runtime(1);
        let stalls = Counter::default();
        let interval = Duration::from_millis(5);
        let _watchdog =
            Watchdog::start(runtime.handle().clone(), interval, stalls.clone()).expect("a thread");
        let (release, held) = mpsc::channel::<()>();
        runtime.spawn(async move { held.recv() });
        let deadline = Instant::now() + Duration::from_mins(1);
        while stalls.get() == 0 {
            assert!(Instant::now() < deadline, "nobody notices");
            thread::yield_now();
        }
        drop(release);
        runtime.block_on(runtime.spawn(async {})).expect("it goes on");
    }
}
