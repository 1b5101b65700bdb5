//! What other versions of Prometheus do otherwise. valmis follows 3.14; where the Prometheus at hand is
//! older, a difference that is explained here does not count.

use valmis::promql::Expr;

use super::comparison::Difference;
use super::generator::Query;

/// A version, without the patch.
pub(super) type Version = (u32, u32);

/// Functions with the version in which they came.
const NEW_FUNCTIONS: &[(&str, Version)] = &[
    ("end", (3, 12)),
    ("first_over_time", (3, 7)),
    ("histogram_quantiles", (3, 11)),
    ("max_of", (3, 13)),
    ("min_of", (3, 13)),
    ("range", (3, 12)),
    ("start", (3, 12)),
    ("start_timestamp", (3, 14)),
    ("step", (3, 12)),
    ("ts_of_first_over_time", (3, 7)),
];

/// Whether a Prometheus of that version has the function.
pub(super) fn has_function(version: Version, name: &str) -> bool {
    NEW_FUNCTIONS.iter().all(|(new, since)| *new != name || version >= *since)
}

/// A change of behaviour.
pub(super) struct Change {
    /// The first version that does as valmis does.
    since: Version,
    /// The pull request of prometheus/prometheus, and what it is about.
    pub(super) source: &'static str,
    explains: fn(&Expr, &Query, &Difference) -> bool,
}

const CHANGES: &[Change] = &[];

/// The change that explains why a Prometheus of that version answers otherwise.
pub(super) fn change(
    version: Version,
    expr: &Expr,
    query: &Query,
    difference: &Difference,
) -> Option<&'static Change> {
    CHANGES.iter().find(|change| version < change.since && (change.explains)(expr, query, difference))
}
