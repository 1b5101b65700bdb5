//! What versions of Prometheus have, and how they print.

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

/// Whether a Prometheus of that version prints a query otherwise than 3.14, which prints it as valmis does.
/// #17643: without the empty `ignoring`, `group_left` and its labels were lost. #17690: labels of `on`,
/// `ignoring`, `group_left` and `group_right` had no quotes, also where they need them.
pub(super) fn prints_otherwise(version: Version, prometheus: &str, valmis: &str) -> bool {
    let plain = |text: &str| text.replace(|c: char| c == '"' || c.is_whitespace(), "");
    version < (3, 9) && valmis.contains("ignoring () group_")
        || version < (3, 10) && plain(prometheus) == plain(valmis)
}
