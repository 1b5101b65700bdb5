//! Rule files and PrometheusRule manifests as typed groups.

mod decode;
mod load;
mod types;

pub use decode::parse;
pub use load::{Loaded, SourceText, load, matching};
pub use types::{Rule, RuleFile, RuleGroup, RuleKind, RulePlaces};

#[cfg(test)]
mod tests;
