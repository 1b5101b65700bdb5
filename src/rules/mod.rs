//! Evaluating recording and alerting rules.

mod alert;

pub use alert::{Alert, AlertSink};
