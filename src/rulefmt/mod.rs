//! Rule files and PrometheusRule manifests as typed groups.

mod decode;
pub mod instructions;
mod load;
mod severities;
mod types;

pub use decode::parse;
pub use instructions::{Instructions, OnMissing, is_instruction};
pub use load::{Loaded, SourceText, load, matching};
pub use severities::Severities;
pub use types::{Rule, RuleFile, RuleGroup, RuleKind, RulePlaces};

#[cfg(test)]
mod tests;
