//! The only place that reads the wall clock.

mod steady;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::TimestampMs;

pub use self::steady::SteadyClock;

/// Says what time it is.
pub trait Clock: Send + Sync {
    /// Now, in milliseconds since the Unix epoch.
    fn now(&self) -> TimestampMs;
}

/// A clock that can be handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> TimestampMs {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A machine whose clock stands before 1970 has no usable time; the epoch is as good as any.
        since_epoch
            .map_or(0, |elapsed| TimestampMs::try_from(elapsed.as_millis()).unwrap_or(TimestampMs::MAX))
    }
}

/// A clock that stands still until it is set: for tests and for replaying history.
#[derive(Debug, Default)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// A clock that shows `at`.
    pub fn at(at: TimestampMs) -> Self {
        Self(AtomicI64::new(at))
    }

    /// Sets the time.
    pub fn set(&self, at: TimestampMs) {
        self.0.store(at, Ordering::Relaxed);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> TimestampMs {
        self.0.load(Ordering::Relaxed)
    }
}
