//! Samples of a page that were read, and how they reach the store.

use std::sync::Arc;

use crate::exposition::protobuf::SampleValue;
use crate::model::TimestampMs;
use crate::storage::{AppendError, Appender, RefHistogram, RefSample, SeriesRef};

/// A sample that is not yet stored.
pub(super) struct Pending {
    /// The series, by its place among those of the target.
    pub(super) id: u32,
    pub(super) at: TimestampMs,
    pub(super) value: SampleValue,
    /// Whether its absence from a later page means that the series ended.
    pub(super) track: bool,
}

/// Appends samples, floats before native histograms. Returns the index and the error of each that was
/// refused, in order.
pub(super) fn append_pending(
    appender: &dyn Appender,
    pending: &[(SeriesRef, &Pending)],
) -> Vec<(usize, AppendError)> {
    let mut floats = Vec::with_capacity(pending.len());
    let (mut histograms, mut places) = (Vec::new(), Vec::new());
    for (index, (series, sample)) in pending.iter().enumerate() {
        let (series, at) = (*series, sample.at);
        match &sample.value {
            SampleValue::Float(value) => floats.push(RefSample { series, at, value: *value }),
            SampleValue::Histogram(histogram) => {
                places.push(index);
                histograms.push(RefHistogram { series, at, histogram: Arc::clone(histogram) });
            }
        }
    }
    let mut refused = appender.append(&floats);
    if histograms.is_empty() {
        return refused;
    }
    // The indices so far are those among the floats: each histogram before one moves it by one.
    for (index, _) in &mut refused {
        for place in &places {
            *index += usize::from(place <= index);
        }
    }
    let late = appender.append_histograms(&histograms);
    refused.extend(late.into_iter().map(|(index, error)| (places[index], error)));
    refused.sort_unstable_by_key(|(index, _)| *index);
    refused
}
