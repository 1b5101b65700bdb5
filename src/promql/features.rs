//! The experimental parts that can be switched on, under Prometheus' names.

/// The experimental parts of the language and of its evaluation that a query may use. The default is that
/// of Prometheus 3.14.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of Prometheus")]
pub struct Features {
    /// `promql-experimental-functions`: functions and aggregations that may still change.
    pub experimental_functions: bool,
    /// `promql-duration-expr`: arithmetic in ranges and offsets; on by default since 3.14.
    pub duration_expressions: bool,
    /// `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left` and `fill_right`.
    pub fill_modifiers: bool,
    /// `promql-delayed-name-removal`: the metric name is dropped at the end of the evaluation.
    pub delayed_name_removal: bool,
    /// `promql-per-step-stats`: statistics of a query may be asked for instant by instant.
    pub per_step_stats: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expressions: true,
            extended_range_selectors: false,
            fill_modifiers: false,
            delayed_name_removal: false,
            per_step_stats: false,
        }
    }
}

impl Features {
    /// Everything on.
    pub const ALL: Self = Self {
        experimental_functions: true,
        duration_expressions: true,
        extended_range_selectors: true,
        fill_modifiers: true,
        delayed_name_removal: true,
        per_step_stats: true,
    };

    /// The names of all features, as Prometheus' `--enable-feature` takes them.
    pub const NAMES: [&str; 6] = [
        "promql-binop-fill-modifiers",
        "promql-delayed-name-removal",
        "promql-duration-expr",
        "promql-experimental-functions",
        "promql-extended-range-selectors",
        "promql-per-step-stats",
    ];

    /// Switches a feature on; says whether there is one of that name.
    #[must_use]
    pub fn enable(&mut self, name: &str) -> bool {
        let switch = match name {
            "promql-binop-fill-modifiers" => &mut self.fill_modifiers,
            "promql-delayed-name-removal" => &mut self.delayed_name_removal,
            "promql-duration-expr" => &mut self.duration_expressions,
            "promql-experimental-functions" => &mut self.experimental_functions,
            "promql-extended-range-selectors" => &mut self.extended_range_selectors,
            "promql-per-step-stats" => &mut self.per_step_stats,
            _ => return false,
        };
        *switch = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_a_name_that_switches_it_on() {
        let mut features = Features::default();
        assert_ne!(features, Features::ALL);
        for name in Features::NAMES {
            assert!(features.enable(name), "{name}");
        }
        assert_eq!(features, Features::ALL);
        assert!(!features.enable("promql-telepathy"));
    }
}
