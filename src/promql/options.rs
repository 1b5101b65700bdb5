//! What an evaluation may use and how it behaves where Prometheus has a switch.

use std::fmt;
use std::sync::Arc;

use super::value::EvalError;

/// Settings of an evaluation. The defaults are those of Prometheus.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// How old the newest sample of a series may be to count as its current value, in milliseconds.
    pub lookback_delta_ms: i64,
    /// How many samples an evaluation may hold in memory at once.
    pub max_samples: usize,
    /// Distance of the evaluations of a subquery that does not give one, in milliseconds.
    pub default_subquery_step_ms: i64,
    /// Whether the metric name is dropped at the end of the evaluation instead of by each function:
    /// `label_replace` can then still read it. Source: feature flag `promql-delayed-name-removal`.
    pub delayed_name_removal: bool,
    /// Whether the samples that are looked at are counted.
    pub count_samples: bool,
    /// Asked during the evaluation whether to go on.
    pub interrupt: Interrupt,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            lookback_delta_ms: 5 * 60 * 1_000,
            max_samples: 50_000_000,
            default_subquery_step_ms: 60 * 1_000,
            delayed_name_removal: false,
            count_samples: false,
            interrupt: Interrupt::never(),
        }
    }
}

/// A question asked at every few thousand samples: [`EvalError::Timeout`] or [`EvalError::Canceled`] as
/// an answer ends the evaluation with that error. The engine itself has no clock.
#[derive(Clone)]
pub struct Interrupt(Option<Arc<dyn Fn() -> Option<EvalError> + Send + Sync>>);

impl Interrupt {
    /// Never interrupts.
    pub fn never() -> Self {
        Self(None)
    }

    /// Interrupts with the error that `check` returns.
    pub fn when(check: impl Fn() -> Option<EvalError> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(check)))
    }

    /// Whether to go on.
    pub fn check(&self) -> Result<(), EvalError> {
        self.0.as_ref().and_then(|check| check()).map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Interrupt::when(…)" } else { "Interrupt::never()" })
    }
}
