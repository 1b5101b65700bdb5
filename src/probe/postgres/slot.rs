//! The second connection: the held one is the first, and there are never more than two.
//!
//! Two take turns with it: the canary, which a probe waits for, and visits to collect what is asked
//! seldom, which nobody waits for. A visit gives way after the statement it is at.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// The right to open a second connection.
#[derive(Debug, Default)]
pub(super) struct Slot {
    turn: Mutex<()>,
    waiting: AtomicUsize,
}

/// Held while the second connection exists.
pub(super) type Turn<'a> = MutexGuard<'a, ()>;

impl Slot {
    /// The canary's turn: a visit under way ends soon.
    pub(super) async fn urgent(&self) -> Turn<'_> {
        let _waiting = Waiting::new(&self.waiting);
        self.turn.lock().await
    }

    /// A visit's turn.
    pub(super) async fn patient(&self) -> Turn<'_> {
        self.turn.lock().await
    }

    /// Whether a visit should end.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// One who waits; also gone when its wait is cut short.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_visit_sees_that_the_canary_waits() {
        let slot = Slot::default();
        let visit = slot.patient().await;
        assert!(!slot.is_wanted());
        let waited = tokio::time::timeout(Duration::from_secs(1), slot.urgent());
        let look = async {
            tokio::task::yield_now().await;
            slot.is_wanted()
        };
        let (canary, wanted) = tokio::join!(waited, look);
        assert!(canary.is_err() && wanted);
        assert!(!slot.is_wanted(), "who gave up waits no more");
        drop(visit);
        drop(slot.urgent().await);
        assert!(!slot.is_wanted());
    }
}
