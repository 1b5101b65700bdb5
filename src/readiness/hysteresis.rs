//! When a component counts as ready: a pure state machine over probe results.

use crate::model::TimestampMs;

/// Whether a component is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Its probes say that it is not as it should be.
    NotReady,
    /// Nothing is known of it: not probed yet, or the probe could not look.
    Unknown,
    /// Its probes say that it is as it should be.
    Ready,
}

impl State {
    /// All states, the worst first.
    pub const ALL: [Self; 3] = [Self::NotReady, Self::Unknown, Self::Ready];

    /// The state as the API and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "not_ready",
            Self::Unknown => "unknown",
            Self::Ready => "ready",
        }
    }
}

/// What one probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Observation {
    /// The target is not as it should be.
    Bad,
    /// The probe could not look.
    Unknown,
    /// The target is as it should be.
    Good,
}

/// How many results in a row it takes to change a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// Results other than good that end readiness; at least 1.
    pub failure: u32,
    /// Good results that end its absence; at least 1.
    pub success: u32,
}

/// Two of each: one lost packet changes nothing, and a real fault is seen after one more interval.
impl Default for Thresholds {
    fn default() -> Self {
        Self { failure: 2, success: 2 }
    }
}

/// The state of one component.
///
/// * It begins unknown, and out of unknown a single result decides: there is nothing to hold on to.
/// * Out of ready it takes `failure` results in a row that are not good; the last of them says whether
///   the component is then not ready or unknown.
/// * Out of not ready it takes `success` good results in a row. A probe that cannot look breaks the row
///   and changes nothing else: losing sight never improves a state.
///
/// Making any one result worse can therefore never make the state at any later time better; a test
/// holds the machine to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hysteresis {
    thresholds: Thresholds,
    state: State,
    /// Results in a row that speak against the state.
    against: u32,
    since: Option<TimestampMs>,
}

impl Hysteresis {
    /// A component of which nothing is known yet.
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, state: State::Unknown, against: 0, since: None }
    }

    /// The state after the last result.
    pub fn state(&self) -> State {
        self.state
    }

    /// When the state began; `None` before the first result.
    pub fn since(&self) -> Option<TimestampMs> {
        self.since
    }

    /// Results in a row that speak against the state, and how many of them change it.
    pub fn against(&self) -> (u32, u32) {
        let needed =
            if self.state == State::Ready { self.thresholds.failure } else { self.thresholds.success };
        (self.against, needed.max(1))
    }

    /// Takes in a result. Returns whether the state changed.
    pub fn observe(&mut self, at: TimestampMs, observation: Observation) -> bool {
        let verdict = match observation {
            Observation::Bad => State::NotReady,
            Observation::Unknown => State::Unknown,
            Observation::Good => State::Ready,
        };
        let next = match (self.state, observation) {
            (State::Unknown, _) => verdict,
            (State::Ready, Observation::Bad | Observation::Unknown)
            | (State::NotReady, Observation::Good) => {
                self.against += 1;
                let (against, needed) = self.against();
                if against >= needed { verdict } else { self.state }
            }
            (state, _) => {
                self.against = 0;
                state
            }
        };
        let changed = next != self.state;
        if changed {
            self.state = next;
            self.against = 0;
        }
        if changed || self.since.is_none() {
            self.since = Some(at);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds results (`+` good, `-` bad, `?` unknown) one per second; the states as `R`, `N`, `U`.
    fn states(failure: u32, success: u32, results: &str) -> String {
        let mut machine = Hysteresis::new(Thresholds { failure, success });
        let step = |(second, result)| {
            let observation = match result {
                '+' => Observation::Good,
                '-' => Observation::Bad,
                _ => Observation::Unknown,
            };
            let before = machine.state();
            let changed = machine.observe(second as i64 * 1000, observation);
            assert_eq!(changed, machine.state() != before);
            match machine.state() {
                State::Ready => 'R',
                State::NotReady => 'N',
                State::Unknown => 'U',
            }
        };
        results.chars().enumerate().map(step).collect()
    }

    #[test]
    fn results_in_a_row_change_the_state() {
        let check = |thresholds: (u32, u32), results: &str, expected: &str| {
            assert_eq!(states(thresholds.0, thresholds.1, results), expected, "{thresholds:?} {results}");
        };
        check((2, 2), "+", "R");
        check((2, 2), "-", "N");
        check((2, 2), "?", "U");
        check((2, 2), "+-+-+--", "RRRRRRN");
        check((2, 2), "--+-++", "NNNNNR");
        check((3, 1), "+--+---+", "RRRRRRNR");
        check((1, 1), "+-+?", "RNRU");
        check((0, 0), "+-+", "RNR");
    }

    #[test]
    fn losing_sight_never_improves() {
        let check = |results: &str, expected: &str| assert_eq!(states(2, 2, results), expected, "{results}");
        check("-???", "NNNN");
        check("-+?+", "NNNN");
        check("+??", "RRU");
        check("+-?", "RRU");
        check("+?-", "RRN");
        check("+??-", "RRUN");
        check("+??+", "RRUR");
    }

    #[test]
    fn since_is_when_the_state_began() {
        let mut machine = Hysteresis::new(Thresholds::default());
        assert_eq!(machine.since(), None);
        for (at, observation, since) in [
            (10, Observation::Good, 10),
            (20, Observation::Bad, 10),
            (30, Observation::Bad, 30),
            (40, Observation::Bad, 30),
        ] {
            machine.observe(at, observation);
            assert_eq!(machine.since(), Some(since), "at {at}");
        }
    }

    fn observations() -> impl Strategy<Value = Vec<(Observation, Observation)>> {
        let one = prop_oneof![Just(Observation::Bad), Just(Observation::Unknown), Just(Observation::Good)];
        prop::collection::vec((one.clone(), one).prop_map(|(a, b)| (a.min(b), a.max(b))), 0..40)
    }

    proptest! {
        #[test]
        fn a_worse_result_never_makes_a_better_state(
            pairs in observations(),
            failure in 1..4_u32,
            success in 1..4_u32,
        ) {
            let mut worse = Hysteresis::new(Thresholds { failure, success });
            let mut better = worse.clone();
            for (at, (low, high)) in pairs.into_iter().enumerate() {
                worse.observe(at as i64, low);
                better.observe(at as i64, high);
                prop_assert!(worse.state() <= better.state());
            }
        }
    }
}
