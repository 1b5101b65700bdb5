//! Memory that all probes share for what servers send.

use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::probe::outcome::waiting_here;

/// How much of bodies is kept at once, by all probes, for patterns and conditions to look at.
const BODIES_BYTES: usize = 64 << 20;

/// How much memory the texts may take that are made of bodies which are no UTF-8: up to three times the body.
const TEXTS_BYTES: usize = 48 << 20;

/// A bound on memory in use.
#[derive(Debug)]
pub(super) struct Budget {
    /// A permit is a KiB.
    places: Arc<Semaphore>,
    total: u32,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let total = kib(bytes);
        Self { places: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// That of bodies.
    pub(super) fn bodies() -> &'static Self {
        static BODIES: LazyLock<Budget> = LazyLock::new(|| Budget::new(BODIES_BYTES));
        &BODIES
    }

    /// That of texts that are made of bodies.
    pub(super) fn texts() -> &'static Self {
        static TEXTS: LazyLock<Budget> = LazyLock::new(|| Budget::new(TEXTS_BYTES));
        &TEXTS
    }
}

/// What is in use of a budget; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: &'static Budget,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Nothing yet.
    pub(super) fn of(budget: &'static Budget) -> Self {
        Self { budget, held: None }
    }

    /// Makes it as large as `bytes`, as soon as others have given back enough. What is larger than the whole
    /// budget takes all of it.
    pub(super) async fn grow_to(&mut self, bytes: usize) {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = kib(bytes).min(self.budget.total);
        let missing = wanted.saturating_sub(u32::try_from(held).expect("it was asked for as a u32"));
        if missing == 0 {
            return;
        }
        let acquired = self.budget.places.clone().acquire_many_owned(missing);
        let more = waiting_here("waiting for memory that other answers take", acquired).await;
        let more = more.expect("it is never closed");
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_needs_more_than_there_is_waits_until_it_is_given_back() {
        static BUDGET: LazyLock<Budget> = LazyLock::new(|| Budget::new(10 << 10));
        let (mut one, mut two) = (Share::of(&BUDGET), Share::of(&BUDGET));
        one.grow_to(1).await;
        one.grow_to(6 << 10).await;
        two.grow_to(4 << 10).await;
        two.grow_to(3 << 10).await;
        let grown = tokio::time::timeout(Duration::from_millis(20), two.grow_to(5 << 10)).await;
        assert!(grown.is_err(), "all is in use");
        drop(one);
        // More than there is at all is all of it.
        two.grow_to(100 << 10).await;
        assert_eq!(BUDGET.places.available_permits(), 0);
        drop(two);
        assert_eq!(BUDGET.places.available_permits(), 10);
    }
}
