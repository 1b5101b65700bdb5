//! Tests of rules: promtool's files with promtool's verdicts, and more.
//!
//! A test is a simulation: its series are loaded as time goes on, and its groups are evaluated by the same
//! code as in a running process ([`crate::rules::SteppedGroup`]), with a store and alert states in memory.
//! docs/rule-tests.md describes the format.

mod compare;
mod coverage;
mod file;
mod histogram;
mod mutate;
mod read;
mod report;
mod run;
mod series;
mod simulate;
mod suite;
mod syntax;

pub use compare::Difference;
pub use coverage::{Branch, Coverage, ListedValue, RuleCoverage};
pub use file::{
    AlertTest, Event, ExpectedAlert, ExpectedNotification, ExpectedPayload, ExpectedSample, ExprTest,
    NotificationTest, State, Test, TestFile, Window,
};
pub use histogram::{HistogramLiteral, format_histogram, parse_histogram};
pub use mutate::{Mutant, Mutation, mutate};
pub use read::read;
pub use report::{Report, Style};
pub use run::{Extras, Failure, FileReport, TestReport, run};
pub use series::{SequenceValue, SeriesError, SeriesLine, parse_metric, parse_sequence, parse_series};
pub use suite::{Selection, Suite, load};

#[cfg(test)]
mod tests;
