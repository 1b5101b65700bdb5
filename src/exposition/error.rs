//! What can be wrong with a page.

use crate::model::LineColumn;

/// A page that cannot be read, with the place of the fault. One bad line fails the page, as in
/// Prometheus: a page that is broken somewhere cannot be trusted elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {fault}", place.line, place.column)]
pub struct ParseError {
    /// Where.
    pub place: LineColumn,
    /// What.
    pub fault: Fault,
}

/// What is wrong at that place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something else should stand here.
    #[error("expected {what}, found {found}")]
    Expected {
        /// What should stand here.
        what: &'static str,
        /// What stands here instead: a character in backticks, `end of line` or `end of page`.
        found: String,
    },
    /// Bytes that are not UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// The text in a value's place is no number.
    #[error("invalid value `{0}`")]
    InvalidValue(String),
    /// The text in a timestamp's place is none, or one beyond what milliseconds in 64 bits hold.
    #[error("invalid timestamp `{0}`")]
    InvalidTimestamp(String),
    /// `# TYPE` with a type that the format does not know.
    #[error("invalid metric type `{0}`")]
    InvalidType(String),
    /// OpenMetrics wants the unit at the end of the family's name.
    #[error("unit `{unit}` not a suffix of metric `{family}`")]
    UnitNotSuffix {
        /// The unit.
        unit: String,
        /// The family it is claimed for.
        family: String,
    },
    /// A label twice in one set; `__name__` beside a metric name counts as twice.
    #[error("label `{0}` is not unique")]
    DuplicateLabel(String),
    /// A name before the braces and another inside, or two inside.
    #[error("metric name already set")]
    SecondName,
    /// Labels of no metric.
    #[error("metric name not set")]
    MissingName,
    /// An OpenMetrics page that was cut off.
    #[error("data does not end with # EOF")]
    MissingEof,
    /// Something after the end of an OpenMetrics page.
    #[error("unexpected data after # EOF")]
    DataAfterEof,
}
