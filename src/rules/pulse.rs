//! When this process ran, and whether the clock can be trusted: what tells a group that was slow, while
//! scrapes went on, from a process that was stopped or a machine that slept.
//!
//! Nothing is scraped while the process does not run. What a store of its own says about that time is not
//! that everything was absent; it says nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::model::TimestampMs;

/// How often it is noted that the process runs.
const BEAT: Duration = Duration::from_secs(1);

/// Without a beat for so long the process did not run. A busy machine delays beats, but not by so much.
const PAUSE_MS: i64 = 5_000;

/// By how much the clock may go otherwise than the time that passes. What keeps clocks right slews them by
/// less between two beats.
const STEP_MS: i64 = 1_000;

/// So many pauses are remembered; older ones are too long ago to matter.
const MAX_PAUSES: usize = 32;

/// A span of the wall clock, in milliseconds since the epoch, in which the process did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    from: TimestampMs,
    to: TimestampMs,
}

/// What happened between two beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Nothing,
    /// The process did not run.
    Pause(Pause),
    /// The clock was set forward, or the machine slept: nothing tells one from the other, and either way
    /// nothing was scraped in that time.
    Forward(Pause),
    /// The clock was set back by so many milliseconds.
    Backward(i64),
}

/// What happened between two beats at `before` and `now` by the clock, with `elapsed_ms` between them.
fn between(before: TimestampMs, now: TimestampMs, elapsed_ms: i64) -> Event {
    let step = now - before - elapsed_ms;
    let pause = Pause { from: before, to: now };
    if step < -STEP_MS {
        Event::Backward(-step)
    } else if step > STEP_MS {
        Event::Forward(pause)
    } else if elapsed_ms > PAUSE_MS {
        Event::Pause(pause)
    } else {
        Event::Nothing
    }
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

/// Notes when the process runs. Shared by all groups.
pub(super) struct Pulse {
    clock: SharedClock,
    state: Mutex<State>,
    steps: Family<Direction, Counter>,
    pauses: Counter,
}

struct State {
    at: TimestampMs,
    instant: Instant,
    pauses: VecDeque<Pause>,
}

impl Pulse {
    /// Begins to beat now.
    pub(super) fn new(clock: SharedClock) -> Self {
        let state = State { at: clock.now(), instant: Instant::now(), pauses: VecDeque::new() };
        let steps = Family::<Direction, Counter>::default();
        for direction in ["backward", "forward"] {
            steps.get_or_create(&Direction { direction }).inc_by(0);
        }
        Self { clock, state: Mutex::new(state), steps, pauses: Counter::default() }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "valmis_clock_steps",
            "How often the clock was set, or the machine slept",
            self.steps.clone(),
        );
        registry.register(
            "valmis_process_pauses",
            "How often the process did not run for at least five seconds",
            self.pauses.clone(),
        );
    }

    /// Beats until cancelled.
    pub(super) async fn run(&self, token: CancellationToken) {
        while token.run_until_cancelled(sleep(BEAT)).await.is_some() {
            self.beat();
        }
    }

    /// Notes that the process runs. Whoever is about to rely on it does so first: after a pause nobody
    /// knows who runs first.
    pub(super) fn beat(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, instant) = (self.clock.now(), Instant::now());
        let elapsed = i64::try_from((instant - state.instant).as_millis()).unwrap_or(i64::MAX);
        let event = between(state.at, at, elapsed);
        (state.at, state.instant) = (at, instant);
        match event {
            Event::Nothing => {}
            Event::Pause(pause) => {
                self.pauses.inc();
                tracing::warn!(
                    seconds = elapsed / 1_000,
                    "The process did not run for {} seconds",
                    elapsed / 1_000
                );
                state.remember(pause);
            }
            Event::Forward(pause) => {
                self.step("forward");
                let ms = pause.to - pause.from - elapsed;
                tracing::warn!(ms, "The clock was set forward by {ms} ms, or the machine slept");
                state.remember(pause);
            }
            Event::Backward(ms) => {
                self.step("backward");
                tracing::warn!(ms, "The clock was set back by {ms} ms");
            }
        }
    }

    fn step(&self, direction: &'static str) {
        self.steps.get_or_create(&Direction { direction }).inc();
    }

    /// Notes that the process did not run between two instants: before it was started.
    pub(super) fn paused(&self, from: TimestampMs, to: TimestampMs) {
        if from < to {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).remember(Pause { from, to });
        }
    }

    /// Whether nothing can be known about an instant because nothing was scraped: the process did not run,
    /// or has been running for less than `settle_ms` since. A pause that is no longer than that leaves no
    /// more of a gap than a scrape that fails.
    pub(super) fn blind(&self, at: TimestampMs, settle_ms: i64) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pauses.iter().any(|pause| {
            let settled = if pause.to - pause.from > settle_ms { pause.to + settle_ms } else { pause.to };
            pause.from < at && at < settled
        })
    }
}

impl State {
    fn remember(&mut self, pause: Pause) {
        if self.pauses.len() == MAX_PAUSES {
            self.pauses.pop_front();
        }
        self.pauses.push_back(pause);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::FixedClock;

    #[test]
    fn what_happened_between_two_beats_follows_from_both_clocks() {
        let check = |now: TimestampMs, elapsed: i64, expected: Event| {
            assert_eq!(between(100_000, now, elapsed), expected, "{now} {elapsed}");
        };
        let pause = |to| Pause { from: 100_000, to };
        check(101_000, 1_000, Event::Nothing);
        check(104_900, 4_950, Event::Nothing);
        check(101_900, 1_000, Event::Nothing);
        check(106_000, 6_000, Event::Pause(pause(106_000)));
        check(220_000, 120_100, Event::Pause(pause(220_000)));
        check(3_700_000, 1_000, Event::Forward(pause(3_700_000)));
        check(3_700_000, 120_000, Event::Forward(pause(3_700_000)));
        check(99_000, 1_000, Event::Backward(2_000));
        check(100_000, 6_000, Event::Backward(6_000));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_known_about_a_pause_and_until_everything_was_scraped_again() {
        let clock = Arc::new(FixedClock::at(1_000_000));
        let pulse = Pulse::new(clock.clone());
        tokio::time::advance(Duration::from_mins(2)).await;
        clock.set(1_120_000);
        pulse.beat();
        let check = |at: TimestampMs, settle_ms: i64, expected: bool| {
            assert_eq!(pulse.blind(at, settle_ms), expected, "{at} {settle_ms}");
        };
        check(1_000_000, 20_000, false);
        check(1_000_001, 20_000, true);
        check(1_119_999, 20_000, true);
        check(1_120_000, 20_000, true);
        check(1_139_999, 20_000, true);
        check(1_140_000, 20_000, false);
        check(1_120_000, 0, false);
        check(1_120_000, 120_000, false);
        check(1_119_999, 120_000, true);
        assert_eq!(pulse.pauses.get(), 1);
        // The clock alone.
        clock.set(5_000_000);
        pulse.beat();
        check(4_000_000, 0, true);
        clock.set(2_000_000);
        pulse.beat();
        let steps = ["forward", "backward"].map(|direction| Direction { direction });
        assert_eq!(steps.map(|direction| pulse.steps.get_or_create(&direction).get()), [1, 1]);
    }
}
