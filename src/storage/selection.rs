//! What selecting yields: the series, and their samples in a few blocks of memory.
//!
//! Which series a selector finds changes rarely, their samples all the time. The two are therefore
//! apart: a [`SeriesSet`] is resolved once and used for as long as the store says that it is still what
//! the selector finds, and whatever is computed from its labels alone can be kept with it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::model::{HistogramPoint, Labels, Point, Series, StartTimestamp, TimestampMs};

use super::{SelectError, SelectHints, SeriesRef};

/// For how long the series of a selector are wanted.
#[derive(Debug, Clone)]
pub enum Lifetime {
    /// For one query: series without samples between two instants, both inclusive, are not wanted.
    Once(TimestampMs, TimestampMs),
    /// For queries to come. What was found before is confirmed or replaced.
    Lasting(Option<Arc<SeriesSet>>),
}

/// The series that a selector finds, ordered by labels without duplicates.
pub struct SeriesSet {
    labels: Box<[Labels]>,
    series: Box<[SeriesRef]>,
    /// The state of the store's index for which the set is known to be complete.
    confirmed: AtomicU64,
    /// Whether a series is gone from the store.
    lost: AtomicBool,
    /// Gives back what the store accounts for the set when it is dropped.
    lease: Option<Box<dyn Any + Send + Sync>>,
}

impl SeriesSet {
    /// A set for one query.
    pub fn new(labels: Box<[Labels]>, series: Box<[SeriesRef]>) -> Self {
        debug_assert_eq!(labels.len(), series.len(), "each series has its labels");
        Self { labels, series, confirmed: AtomicU64::new(0), lost: AtomicBool::new(false), lease: None }
    }

    /// The set as one to be kept, complete as of a state of the store's index; `lease` lives as long as it.
    #[must_use]
    pub fn lasting(self, confirmed: u64, lease: impl Any + Send + Sync) -> Self {
        Self { confirmed: AtomicU64::new(confirmed), lease: Some(Box::new(lease)), ..self }
    }

    /// Whether it may be kept for further queries.
    pub fn is_lasting(&self) -> bool {
        self.lease.is_some()
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The labels of the series.
    pub fn labels(&self) -> &[Labels] {
        &self.labels
    }

    /// The series as the store knows them.
    pub fn series(&self) -> &[SeriesRef] {
        &self.series
    }

    /// The state of the store's index for which the set is known to be complete.
    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// Notes that the set is complete as of a later state.
    pub fn confirm(&self, state: u64) {
        self.confirmed.fetch_max(state, Ordering::Relaxed);
    }

    /// Whether a series of it is gone.
    pub fn has_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Notes that a series of it is gone: it yields nothing any more, and the set is to be replaced.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for SeriesSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.labels).finish()
    }
}

/// The samples of one series among those selected.
#[derive(Debug, Clone, Copy)]
pub struct SeriesSamples<'s> {
    /// The place of the series in its set.
    pub place: usize,
    /// Its points.
    pub points: &'s [Point],
    /// Its native histograms.
    pub histograms: &'s [HistogramPoint],
    /// Since when they count, as far as that is known.
    pub start_timestamps: &'s [StartTimestamp],
}

/// Points in the form in which a store keeps them, which takes a fraction of the memory.
pub trait Encoded: std::fmt::Debug + Send + Sync {
    /// Appends the points of the series with this number.
    fn decode(&self, number: usize, points: &mut Vec<Point>) -> Result<(), SelectError>;
}

/// The samples of a set's series, series after series. Those without samples take no room.
///
/// Long series may be here encoded: they are decoded one at a time when a [`SamplesReader`] comes to them,
/// so that they are never in memory all at once, and are read while they are still in the processor's
/// cache.
#[derive(Debug, Default)]
pub struct Samples {
    points: Vec<Point>,
    histograms: Vec<HistogramPoint>,
    start_timestamps: Vec<StartTimestamp>,
    ends: Vec<Ends>,
    /// What the histograms count as.
    histogram_size: usize,
    encoded: Option<Box<dyn Encoded>>,
    /// How many encoded points there are, nearly.
    encoded_points: usize,
}

/// Where the samples of a series end; they begin where those of the series before end.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    place: usize,
    points: usize,
    histograms: usize,
    start_timestamps: usize,
    /// The number of its encoded points; it has nothing else then.
    encoded: Option<usize>,
}

/// Where the samples of a series go.
#[derive(Debug)]
pub struct SamplesMut<'s> {
    /// Its points are appended here.
    pub points: &'s mut Vec<Point>,
    /// Its native histograms are appended here.
    pub histograms: &'s mut Vec<HistogramPoint>,
    /// Since when they count is appended here.
    pub start_timestamps: &'s mut Vec<StartTimestamp>,
}

impl Samples {
    /// No samples, with room for one of each of so many series.
    pub fn with_capacity(series: usize) -> Self {
        Self { points: Vec::with_capacity(series), ends: Vec::with_capacity(series), ..Self::default() }
    }

    /// Takes what `fill` appends for the samples of the series at `place`, which lies behind all places
    /// so far.
    pub fn add<R>(&mut self, place: usize, fill: impl FnOnce(SamplesMut<'_>) -> R) -> R {
        let Self { points, histograms, start_timestamps, ends, histogram_size, .. } = self;
        let before = (points.len(), histograms.len());
        let result = fill(SamplesMut { points, histograms, start_timestamps });
        let added = histograms[before.1..].iter().map(|point| point.histogram.size_in_samples());
        *histogram_size += added.sum::<usize>();
        if before != (points.len(), histograms.len()) {
            ends.push(Ends {
                place,
                points: points.len(),
                histograms: histograms.len(),
                start_timestamps: start_timestamps.len(),
                encoded: None,
            });
        } else {
            start_timestamps.truncate(ends.last().map_or(0, |last| last.start_timestamps));
        }
        result
    }

    /// The series at `place`, which lies behind all places so far, has about so many points, that are to
    /// be decoded by this number.
    pub fn add_encoded(&mut self, place: usize, number: usize, about: usize) {
        let before = self.ends.last().copied().unwrap_or_default();
        self.ends.push(Ends { place, encoded: Some(number), ..before });
        self.encoded_points += about;
    }

    /// With those who know the points of [`Self::add_encoded`].
    #[must_use]
    pub fn with_encoded(self, encoded: impl Encoded + 'static) -> Self {
        Self { encoded: Some(Box::new(encoded)), ..self }
    }

    /// How many series have samples; some of those that are encoded may turn out to have none.
    pub fn series_count(&self) -> usize {
        self.ends.len()
    }

    /// How many samples there are, encoded ones by estimate; histograms count by the memory that they
    /// take.
    pub fn count(&self) -> usize {
        self.points.len() + self.histogram_size + self.encoded_points
    }

    /// Whether they are not too many for a reader.
    pub fn check(&self, hints: &SelectHints) -> Result<(), SelectError> {
        if self.count() > hints.most_samples { Err(SelectError::TooManySamples) } else { Ok(()) }
    }

    /// Reads the samples by series, in the order of the set.
    pub fn reader(&self) -> SamplesReader<'_> {
        SamplesReader { samples: self, next: 0, decoded: Vec::new() }
    }

    /// The samples with the labels of their series.
    pub fn to_series(&self, set: &SeriesSet) -> Result<Vec<Series>, SelectError> {
        let mut all = Vec::with_capacity(self.series_count());
        let mut reader = self.reader();
        while let Some(series) = reader.next_series()? {
            all.push(Series {
                labels: set.labels()[series.place].clone(),
                points: series.points.to_vec(),
                histograms: series.histograms.to_vec(),
                start_timestamps: series.start_timestamps.to_vec(),
            });
        }
        Ok(all)
    }
}

/// Goes through [`Samples`] series by series.
#[derive(Debug)]
pub struct SamplesReader<'s> {
    samples: &'s Samples,
    next: usize,
    /// The points of a series that were decoded.
    decoded: Vec<Point>,
}

impl SamplesReader<'_> {
    /// The samples of the next series that has any.
    pub fn next_series(&mut self) -> Result<Option<SeriesSamples<'_>>, SelectError> {
        let samples = self.samples;
        while let Some(to) = samples.ends.get(self.next) {
            let from = self.next.checked_sub(1).map_or_else(Ends::default, |before| samples.ends[before]);
            self.next += 1;
            if let Some(number) = to.encoded {
                self.decoded.clear();
                if let Some(encoded) = &samples.encoded {
                    encoded.decode(number, &mut self.decoded)?;
                }
                if self.decoded.is_empty() {
                    continue;
                }
            }
            return Ok(Some(SeriesSamples {
                place: to.place,
                points: if to.encoded.is_some() {
                    &self.decoded
                } else {
                    &samples.points[from.points..to.points]
                },
                histograms: &samples.histograms[from.histograms..to.histograms],
                start_timestamps: &samples.start_timestamps[from.start_timestamps..to.start_timestamps],
            }));
        }
        Ok(None)
    }
}
