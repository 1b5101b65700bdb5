//! Quantiles of the last minutes, as summaries of Prometheus' own libraries have them. The metrics library
//! that is used here has none.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

/// Quantiles are those of the last ten minutes. Source: `client_golang`, `DefMaxAge`.
const WINDOW: Duration = Duration::from_mins(10);

/// At most so many observations are remembered; beyond it quantiles are those of the latest.
const MOST: usize = 4096;

/// Count, sum and quantiles of what is observed.
#[derive(Debug)]
pub(super) struct Summary<const N: usize> {
    /// Each with its label.
    quantiles: [(f64, &'static str); N],
    observed: Mutex<Observed>,
}

#[derive(Debug, Default)]
struct Observed {
    recent: VecDeque<(Instant, f64)>,
    count: u64,
    sum: f64,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QuantileLabel {
    quantile: &'static str,
}

impl<const N: usize> Summary<N> {
    pub(super) fn new(quantiles: [(f64, &'static str); N]) -> Self {
        Self { quantiles, observed: Mutex::default() }
    }

    pub(super) fn observe(&self, value: f64) {
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        observed.count += 1;
        observed.sum += value;
        if observed.recent.len() == MOST {
            observed.recent.pop_front();
        }
        observed.recent.push_back((Instant::now(), value));
    }

    /// Count, sum and quantiles; those are NaN if there was nothing in the window.
    fn values(&self) -> (u64, f64, [f64; N]) {
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        while observed.recent.front().is_some_and(|(at, _)| at.elapsed() > WINDOW) {
            observed.recent.pop_front();
        }
        let mut sorted: Vec<f64> = observed.recent.iter().map(|(_, value)| *value).collect();
        sorted.sort_by(f64::total_cmp);
        let quantile = |(quantile, _): (f64, &str)| {
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        (observed.count, observed.sum, self.quantiles.map(quantile))
    }

    /// Writes a summary's series, without its type.
    pub(super) fn encode(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> Result<(), std::fmt::Error> {
        let (count, sum, values) = self.values();
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
        for ((_, quantile), value) in self.quantiles.iter().zip(values) {
            ConstGauge::new(value).encode(family.encode_family(&QuantileLabel { quantile })?)?;
        }
        for (part, value) in [("sum", sum), ("count", count as f64)] {
            let name = format!("{name}_{part}");
            let plain = encoder.encode_descriptor(&name, help, None, MetricType::Unknown)?;
            ConstGauge::new(value).encode(plain)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn quantiles_are_those_of_the_last_ten_minutes() {
        let summary = Summary::new([(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")]);
        assert!(summary.values().2[0].is_nan());
        summary.observe(1000.0);
        tokio::time::advance(WINDOW + Duration::from_secs(1)).await;
        for value in 1..=100 {
            summary.observe(f64::from(value));
        }
        assert_eq!(summary.values(), (101, 6050.0, [50.0, 90.0, 99.0]));
    }
}
