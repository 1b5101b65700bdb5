//! The lints, one file each.

mod absent_companion;
mod absent_without_for;
mod aggregate_before_rate;
mod alert_cannot_fire;
mod always_true;
mod counter_value;
mod delta_of_counter;
mod dropped_label;
mod duplicate_rule;
mod impossible_comparison;
mod impossible_conditions;
mod impossible_join;
mod impossible_selector;
mod label_value_never_seen;
mod late_recording;
mod literal_regex;
mod metric_type;
mod missing_comparison;
mod missing_group_label;
mod missing_join_label;
mod quantile_without_le;
mod range_below_samples;
mod rate_of_gauge;
mod redundant_anchors;
mod resolve_expr_labels;
mod series_never_seen;
mod short_window;
mod template_label;
mod template_query;
mod unstable_series;
mod value_in_label;

use super::Lint;

/// All lints, by name.
pub(super) const ALL: &[&Lint] = &[
    &absent_companion::LINT,
    &absent_without_for::LINT,
    &aggregate_before_rate::LINT,
    &alert_cannot_fire::LINT,
    &always_true::LINT,
    &counter_value::LINT,
    &delta_of_counter::LINT,
    &dropped_label::LINT,
    &duplicate_rule::LINT,
    &impossible_comparison::LINT,
    &impossible_conditions::LINT,
    &impossible_join::LINT,
    &impossible_selector::LINT,
    &label_value_never_seen::LINT,
    &late_recording::LINT,
    &literal_regex::LINT,
    &metric_type::LINT,
    &missing_comparison::LINT,
    &missing_group_label::LINT,
    &missing_join_label::LINT,
    &quantile_without_le::LINT,
    &range_below_samples::LINT,
    &rate_of_gauge::LINT,
    &redundant_anchors::LINT,
    &resolve_expr_labels::LINT,
    &series_never_seen::LINT,
    &short_window::LINT,
    &template_label::LINT,
    &template_query::LINT,
    &unstable_series::LINT,
    &value_in_label::LINT,
];
