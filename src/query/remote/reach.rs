//! Whether a server is known not to answer.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;

use crate::promql::EvalError;

/// How long a question may take that costs a server nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How long the answer to it, or its absence, holds.
const HOLDS_FOR: Duration = Duration::from_secs(5);

/// The question whether the server is there, which all requests that wait for it share.
type Check = Shared<BoxFuture<'static, Result<(), EvalError>>>;

/// What is known about a server from the requests before.
///
/// A query that takes too long says nothing about the server; one that hangs would take the time of every
/// query of every rule. So after a request without an answer one is made that is cheap, and as long as
/// that has no answer either, nothing else is asked.
#[derive(Default)]
pub(super) struct Reach(Mutex<Known>);

#[derive(Default)]
enum Known {
    /// Nothing speaks against it.
    #[default]
    Fine,
    /// A request had no answer in time.
    Silent,
    /// It was asked, at this instant, whether it is there.
    Asked(Instant, Check),
}

impl Reach {
    /// Notes an answer, whichever.
    pub(super) fn answered(&self) {
        *self.known() = Known::Fine;
    }

    /// Notes a request that was not answered in time.
    pub(super) fn silent(&self) {
        let mut known = self.known();
        if matches!(*known, Known::Fine) {
            *known = Known::Silent;
        }
    }

    /// What has to be waited for before a request is worth its time, if anything.
    pub(super) fn check(
        &self,
        ask: impl FnOnce() -> BoxFuture<'static, Result<(), EvalError>>,
    ) -> Option<Check> {
        let mut known = self.known();
        match &*known {
            Known::Fine => return None,
            Known::Asked(at, check) if at.elapsed() < HOLDS_FOR => return Some(check.clone()),
            Known::Silent | Known::Asked(..) => {}
        }
        let check = ask().shared();
        *known = Known::Asked(Instant::now(), check.clone());
        Some(check)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // It is only ever replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.known() {
            Known::Fine => "Fine",
            Known::Silent => "Silent",
            Known::Asked(..) => "Asked",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn fails() -> BoxFuture<'static, Result<(), EvalError>> {
        ready(Err(EvalError::Timeout("test"))).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn after_silence_one_question_is_asked_for_all_and_again_after_a_while() {
        let reach = Reach::default();
        assert!(reach.check(|| unreachable!("nothing speaks against it")).is_none());
        reach.silent();
        let first = reach.check(fails).expect("a question");
        assert!(first.await.is_err());
        let second = reach.check(|| unreachable!("it was just asked")).expect("the same");
        assert!(second.await.is_err());
        tokio::time::advance(HOLDS_FOR).await;
        assert!(reach.check(|| ready(Ok(())).boxed()).expect("another question").await.is_ok());
        reach.answered();
        assert!(reach.check(|| pending().boxed()).is_none());
    }
}
