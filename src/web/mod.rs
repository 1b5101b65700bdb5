//! The pages for people: server-rendered, complete in themselves, readable on a phone and in the dark.
//!
//! A page is made from a view, plain data that says what is to be seen; nothing here knows where it comes
//! from.

mod ledger;
mod probes;
mod runbook;
mod status;
mod time;

pub use ledger::{EntryView, EvidenceView, LedgerView, SampleView, ledger};
pub use probes::{ProbeResultView, ProbesView, probes};
pub use runbook::{runbook, runbook_index};
pub use status::{AlertView, ComponentView, GroupView, RuleView, StatusView, TargetView, status};
pub use time::{ago, clock_time};
