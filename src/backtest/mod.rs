//! Replaying history: what rules would have done over samples that a server has kept.
//!
//! [`run()`] fetches, span after span, the samples that the rules' expressions look at ([`History`]), puts
//! them into a store in memory with a ceiling, and evaluates the groups slot after slot by the code of a
//! running process ([`crate::rules::SteppedGroup`]). What happens to the alerts comes from where a
//! running process writes it down: the transitions in the commits of alert states.

mod compare;
mod demand;
mod ends;
mod figures;
mod history;
mod incident;
mod journal;
mod plan;
mod replay;
mod report;
mod run;

pub use compare::{Comparison, Delay};
pub use figures::{Figures, Noisy, RuleFigures, Spread, Verdict};
pub use history::History;
pub use incident::Incident;
pub use report::Report;
pub use run::{BacktestError, Outcome, Progress, Settings, run};

#[cfg(test)]
mod tests;
