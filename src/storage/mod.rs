//! The seam between who has samples and who asks for them: traits, and a plain implementation in memory.
//!
//! The store of this project is [`crate::tsdb`]; PromQL, the API and the scraper know these traits
//! alone.

mod memory;
mod selection;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::model::{FloatHistogram, HistogramSample, Labels, Matcher, Sample, Series, TimestampMs};

pub use memory::MemoryStorage;
pub use selection::{Encoded, Lifetime, Samples, SamplesMut, SamplesReader, SeriesSamples, SeriesSet};

/// What a reader is going to do with the samples it selects; an implementation may use it to return
/// less, never to return other samples within `start..=end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectHints {
    /// First instant of interest, inclusive.
    pub start: TimestampMs,
    /// Last instant of interest, inclusive.
    pub end: TimestampMs,
    /// Whether only the newest point within `start..=end` matters (an instant selector evaluated
    /// once).
    pub newest_only: bool,
    /// How many samples may be read; more of them are an error, before they take memory. Native
    /// histograms count by the memory that they take.
    pub most_samples: usize,
}

impl SelectHints {
    /// Everything from `start` to `end`, both inclusive.
    pub fn between(start: TimestampMs, end: TimestampMs) -> Self {
        Self { start, end, newest_only: false, most_samples: usize::MAX }
    }
}

/// Why samples could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SelectError {
    /// The store is shut down.
    #[error("storage is closed")]
    Closed,
    /// There are more samples than may be read.
    #[error("too many samples")]
    TooManySamples,
    /// The samples are elsewhere and cannot be had.
    #[error("{0}")]
    Unavailable(String),
    /// Stored data could not be decoded.
    #[error("corrupt data in series {series}: {what}")]
    Corrupt {
        /// The series.
        series: String,
        /// What is wrong with its data.
        what: String,
    },
}

/// Reads samples.
pub trait Queryable: Send + Sync {
    /// The series that satisfy all matchers. A set that was found before for the same matchers, here, is
    /// given back for as long as it is complete; the same set means the same series in the same order.
    fn resolve<'a>(
        &'a self,
        matchers: &'a [Matcher],
        lifetime: Lifetime,
    ) -> BoxFuture<'a, Result<Arc<SeriesSet>, SelectError>>;

    /// The samples of the series within the hinted range (staleness markers included). A series that is
    /// gone since has none.
    fn read<'a>(
        &'a self,
        set: &'a Arc<SeriesSet>,
        hints: &'a SelectHints,
    ) -> BoxFuture<'a, Result<Samples, SelectError>>;

    /// The series that satisfy all matchers and have points within the hinted range, with those points
    /// (staleness markers included), ordered by labels.
    fn select<'a>(
        &'a self,
        matchers: &'a [Matcher],
        hints: &'a SelectHints,
    ) -> BoxFuture<'a, Result<Vec<Series>, SelectError>> {
        Box::pin(async move {
            let set = self.resolve(matchers, Lifetime::Once(hints.start, hints.end)).await?;
            self.read(&set, hints).await?.to_series(&set)
        })
    }

    /// The label sets of the series that satisfy all matchers and may have points between `start` and
    /// `end` (inclusive), ordered.
    fn series<'a>(
        &'a self,
        matchers: &'a [Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> BoxFuture<'a, Result<Vec<Labels>, SelectError>>;

    /// The label names of the series that satisfy all matchers and may have points between `start` and
    /// `end` (inclusive), sorted.
    fn label_names<'a>(
        &'a self,
        matchers: &'a [Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> BoxFuture<'a, Result<Vec<String>, SelectError>> {
        let names = |labels: &Labels| labels.iter().map(|(name, _)| name.to_owned()).collect();
        distinct(self.series(matchers, start, end), names)
    }

    /// The values of the label `name` in those series, sorted; its absence is no value.
    fn label_values<'a>(
        &'a self,
        name: &'a str,
        matchers: &'a [Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> BoxFuture<'a, Result<Vec<String>, SelectError>> {
        let value = move |labels: &Labels| match labels.get(name) {
            "" => Vec::new(),
            value => vec![value.to_owned()],
        };
        distinct(self.series(matchers, start, end), value)
    }
}

/// The different texts that `texts` finds in the series, sorted.
fn distinct<'a>(
    series: BoxFuture<'a, Result<Vec<Labels>, SelectError>>,
    texts: impl Fn(&Labels) -> Vec<String> + Send + 'a,
) -> BoxFuture<'a, Result<Vec<String>, SelectError>> {
    Box::pin(async move {
        let found: BTreeSet<_> = series.await?.iter().flat_map(texts).collect();
        Ok(found.into_iter().collect())
    })
}

/// A handle to a series for appending without looking its labels up again. It becomes invalid when the
/// store drops the series; appending through it then yields [`AppendError::UnknownReference`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u64);

/// One value for a series that was looked up before.
#[derive(Debug, Clone, Copy)]
pub struct RefSample {
    /// The series.
    pub series: SeriesRef,
    /// When the value was taken.
    pub at: TimestampMs,
    /// The value, or the staleness marker.
    pub value: f64,
}

/// One native histogram for a series that was looked up before.
#[derive(Debug, Clone)]
pub struct RefHistogram {
    /// The series.
    pub series: SeriesRef,
    /// When the histogram was taken.
    pub at: TimestampMs,
    /// The histogram; its sum may be the staleness marker. What it says about counter resets decides how
    /// it is compared with the one before; readers learn that from the store.
    pub histogram: Arc<FloatHistogram>,
}

/// Why one sample was not stored. The texts are Prometheus' own (`storage/interface.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Older than the newest sample of the series.
    #[error("out of order sample")]
    OutOfOrder,
    /// Another value for an instant that has one. (The same value again is accepted and ignored.)
    #[error("duplicate sample for timestamp")]
    Duplicate,
    /// Older than what the store still accepts.
    #[error("out of bounds")]
    OutOfBounds,
    /// A new series, and the memory ceiling is reached.
    #[error("series limit reached: storage.max_memory is used up")]
    SeriesLimit,
    /// The reference is not, or no longer, that of a series.
    #[error("unknown series reference")]
    UnknownReference,
    /// The label set has no metric name or is otherwise not that of a series.
    #[error("invalid label set")]
    InvalidLabels,
    /// The store is shut down.
    #[error("storage is closed")]
    Closed,
}

/// Writes samples. An error concerns one sample: it does not lose the rest of the batch.
///
/// A series may hold both floats and native histograms; they share its order of time, and for one
/// instant there is one or the other.
pub trait Appender: Send + Sync {
    /// Finds or creates the series.
    fn reference(&self, labels: &Labels) -> Result<SeriesRef, AppendError>;

    /// Appends samples of known series. Returns the index and the error of each that was refused. The
    /// staleness marker of a series whose newest sample is a native histogram becomes one too.
    fn append(&self, batch: &[RefSample]) -> Vec<(usize, AppendError)>;

    /// Appends native histograms of known series. Returns the index and the error of each that was
    /// refused.
    fn append_histograms(&self, batch: &[RefHistogram]) -> Vec<(usize, AppendError)>;

    /// Appends samples by their labels. Returns the index and the error of each that was refused.
    fn append_samples(&self, batch: &[Sample]) -> Vec<(usize, AppendError)> {
        let resolve = |sample: &Sample| {
            let series = self.reference(&sample.labels)?;
            Ok(RefSample { series, at: sample.at, value: sample.value })
        };
        resolve_and_append(batch, resolve, |resolved| self.append(resolved))
    }

    /// Appends native histograms by their labels. Returns the index and the error of each that was
    /// refused.
    fn append_histogram_samples(&self, batch: &[HistogramSample]) -> Vec<(usize, AppendError)> {
        let resolve = |sample: &HistogramSample| {
            let series = self.reference(&sample.labels)?;
            Ok(RefHistogram { series, at: sample.at, histogram: Arc::clone(&sample.histogram) })
        };
        resolve_and_append(batch, resolve, |resolved| self.append_histograms(resolved))
    }
}

/// How often the series of a sample is looked up anew that was dropped before the sample came to it.
const LOOKUPS: usize = 8;

/// Appends what has a series. Returns the index and the error of each sample that was refused.
fn resolve_and_append<T, R>(
    batch: &[T],
    resolve: impl Fn(&T) -> Result<R, AppendError>,
    append: impl Fn(&[R]) -> Vec<(usize, AppendError)>,
) -> Vec<(usize, AppendError)> {
    let mut refused = Vec::new();
    let mut waiting: Vec<usize> = (0..batch.len()).collect();
    for lookup in 1..=LOOKUPS {
        let mut resolved = Vec::with_capacity(waiting.len());
        let mut indices = Vec::with_capacity(waiting.len());
        for index in std::mem::take(&mut waiting) {
            match resolve(&batch[index]) {
                Ok(sample) => {
                    resolved.push(sample);
                    indices.push(index);
                }
                Err(error) => refused.push((index, error)),
            }
        }
        for (at, error) in append(&resolved) {
            if error == AppendError::UnknownReference && lookup < LOOKUPS {
                waiting.push(indices[at]);
            } else {
                refused.push((indices[at], error));
            }
        }
        if waiting.is_empty() {
            break;
        }
    }
    refused.sort_unstable_by_key(|(index, _)| *index);
    refused
}
