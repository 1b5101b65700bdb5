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

use super::error::RuleError;
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

impl Pause {
    /// When everything has been scraped again. A pause that is no longer than that takes leaves no more of
    /// a gap than a scrape that fails.
    fn settled(self, settle_ms: i64) -> TimestampMs {
        if self.to - self.from > settle_ms { self.to + settle_ms } else { self.to }
    }
}

/// The clock is behind what it has shown before.
#[derive(Debug, Clone, Copy)]
struct Behind {
    /// From what it was set to up to what it had shown.
    span: Pause,
    /// When it was set back.
    noted: Instant,
}

/// How long nothing is concluded from samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caution {
    /// How long it takes until everything has been scraped, in milliseconds.
    pub(super) settle_ms: i64,
    /// How long a clock that was set back is waited for, in milliseconds of time that passes.
    pub(super) wait_ms: i64,
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
    /// Those of the pauses in which perhaps only the clock was set.
    jumps: VecDeque<Pause>,
    behind: Option<Behind>,
}

impl Pulse {
    /// Begins to beat now.
    pub(super) fn new(clock: SharedClock) -> Self {
        let state = State {
            at: clock.now(),
            instant: Instant::now(),
            pauses: VecDeque::new(),
            jumps: VecDeque::new(),
            behind: None,
        };
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
        let before = state.at;
        let event = between(before, at, elapsed);
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
                remember(&mut state.pauses, pause);
            }
            Event::Forward(pause) => {
                self.step("forward");
                let ms = pause.to - pause.from - elapsed;
                tracing::warn!(ms, "The clock was set forward by {ms} ms, or the machine slept");
                remember(&mut state.pauses, pause);
                remember(&mut state.jumps, pause);
            }
            Event::Backward(ms) => {
                self.step("backward");
                tracing::warn!(ms, "The clock was set back by {ms} ms");
                state.set_back(before, at);
                if elapsed > PAUSE_MS {
                    self.pauses.inc();
                    remember(&mut state.pauses, Pause { from: before.min(at), to: at });
                }
            }
        }
    }

    fn step(&self, direction: &'static str) {
        self.steps.get_or_create(&Direction { direction }).inc();
    }

    /// Notes until when samples are known from before the process was started. The clock may be behind that.
    pub(super) fn known_until(&self, known: TimestampMs) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.at;
        if known > now {
            let ms = known - now;
            tracing::warn!(ms, "The clock is {ms} ms behind what is stored");
            state.set_back(known, now);
        } else {
            remember(&mut state.pauses, Pause { from: known, to: now });
        }
    }

    /// Why nothing can be known about an instant, if so: nothing was scraped, because the process did not
    /// run, or has been running for too short a time since; or samples of this time are not taken, because
    /// there are newer ones from before the clock was set back. That is waited for only for so long: what the
    /// clock showed before may have been wrong by years.
    pub(super) fn unknown(&self, at: TimestampMs, caution: Caution) -> Option<RuleError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = |behind: &Behind| i64::try_from(behind.noted.elapsed().as_millis()).unwrap_or(i64::MAX);
        if state.behind.is_some_and(|behind| waited(&behind) >= caution.wait_ms) {
            state.behind = None;
        }
        if state.behind.is_some_and(|behind| at <= behind.span.settled(caution.settle_ms)) {
            return Some(RuleError::ClockSetBack);
        }
        let paused =
            state.pauses.iter().any(|pause| pause.from < at && at < pause.settled(caution.settle_ms));
        paused.then_some(RuleError::Paused)
    }

    /// Whether the clock was set over an instant, or the machine slept: perhaps there was no such time.
    pub(super) fn jumped_over(&self, at: TimestampMs) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.jumps.iter().any(|jump| jump.from < at && at < jump.to)
    }

    /// By how much the clock is behind what it has shown before, in milliseconds; 0 if it is not.
    pub(super) fn behind_ms(&self) -> i64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = state.behind.filter(|behind| state.at <= behind.span.to);
        behind.map_or(0, |behind| behind.span.to - behind.span.from)
    }
}

impl State {
    /// The clock is at `now` and has been at `before`. What was noted of times to come is void: a pause
    /// must not last until a time that may have been wrong by years.
    fn set_back(&mut self, before: TimestampMs, now: TimestampMs) {
        for pauses in [&mut self.pauses, &mut self.jumps] {
            pauses.retain(|pause| pause.from < now);
            for pause in pauses {
                pause.to = pause.to.min(now);
            }
        }
        if before <= now {
            return;
        }
        // What is waited for already is not waited for anew.
        let known = self.behind.filter(|behind| behind.span.to >= before);
        let to = known.map_or(before, |behind| behind.span.to);
        let noted = known.map_or_else(Instant::now, |behind| behind.noted);
        self.behind = Some(Behind { span: Pause { from: now, to }, noted });
    }
}

fn remember(pauses: &mut VecDeque<Pause>, pause: Pause) {
    if pauses.len() == MAX_PAUSES {
        pauses.pop_front();
    }
    pauses.push_back(pause);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock, FixedClock};

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
            let unknown = pulse.unknown(at, Caution { settle_ms, wait_ms: 3_600_000 });
            assert_eq!(unknown, expected.then_some(RuleError::Paused), "{at} {settle_ms}");
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
        assert!(pulse.jumped_over(4_000_000) && !pulse.jumped_over(1_110_000));
        clock.set(2_000_000);
        pulse.beat();
        let steps = ["forward", "backward"].map(|direction| Direction { direction });
        assert_eq!(steps.map(|direction| pulse.steps.get_or_create(&direction).get()), [1, 1]);
    }

    /// A pulse at 1,000,000 whose clock was an hour ahead before.
    fn set_back() -> (Arc<FixedClock>, Pulse) {
        let clock = Arc::new(FixedClock::at(4_600_000));
        let pulse = Pulse::new(clock.clone());
        pulse.known_until(900_000);
        clock.set(1_000_000);
        pulse.beat();
        (clock, pulse)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_does_not_outlive_the_wrong_time_that_it_was_noted_at() {
        let (clock, pulse) = set_back();
        let caution = Caution { settle_ms: 20_000, wait_ms: 600_000 };
        assert_eq!(pulse.unknown(1_000_001, caution), Some(RuleError::ClockSetBack));
        assert_eq!(pulse.unknown(4_620_000, caution), Some(RuleError::ClockSetBack), "until it has settled");
        assert_eq!(pulse.unknown(4_620_001, caution), None);
        assert_eq!(pulse.behind_ms(), 3_600_000);
        for _ in 0..600 {
            tokio::time::advance(BEAT).await;
            clock.set(clock.now() + 1_000);
            pulse.beat();
        }
        assert_eq!(pulse.unknown(1_600_000, caution), None, "it is not waited for longer than allowed");
        assert_eq!(pulse.behind_ms(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_again_is_not_waited_for_anew() {
        let (clock, pulse) = set_back();
        let caution = Caution { settle_ms: 0, wait_ms: 60_000 };
        tokio::time::advance(Duration::from_secs(40)).await;
        clock.set(1_035_000);
        pulse.beat();
        assert_eq!(pulse.unknown(1_035_000, caution), Some(RuleError::ClockSetBack));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(pulse.unknown(1_055_000, caution), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stored_can_be_ahead_of_the_clock() {
        let pulse = Pulse::new(Arc::new(FixedClock::at(1_000_000)));
        let caution = Caution { settle_ms: 0, wait_ms: 60_000 };
        pulse.known_until(1_030_000);
        assert_eq!(pulse.unknown(1_030_000, caution), Some(RuleError::ClockSetBack));
        assert_eq!(pulse.unknown(1_030_001, caution), None);
    }
}
