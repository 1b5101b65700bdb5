//! From a selector to its series, and from series to their samples.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::model::{Labels, Matcher, Point};
use crate::storage::{Encoded, Lifetime, Samples, SelectError, SelectHints, SeriesRef, SeriesSet};

use super::chunk::Decoder;
use super::closed::{CorruptChunk, Extracted};
use super::head::{Head, with_slot_of};
use super::histogram::HistogramDecoder;
use super::index::{Index, SeriesKey};
use super::memory::Balance;
use super::select::{accepts, resolve};
use super::series::Extract;

/// What part of the memory ceiling the sets of series may take that are kept for queries to come.
const KEPT_SHARE: u64 = 8;

/// What the sets take that are kept for queries to come.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Arc<AtomicU64>,
    pub(super) resolved: AtomicU64,
    pub(super) confirmed: AtomicU64,
}

impl Kept {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What a set takes, as long as it is there.
struct Lease {
    bytes: u64,
    kept: Arc<AtomicU64>,
    memory: Arc<AtomicI64>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.bytes, Ordering::Relaxed);
        self.memory.fetch_sub(self.bytes as i64, Ordering::Relaxed);
    }
}

impl Head {
    /// The series that satisfy the matchers.
    pub(super) fn resolve(&self, matchers: &[Matcher], lifetime: Lifetime) -> Arc<SeriesSet> {
        let index = self.index();
        match lifetime {
            Lifetime::Once(start, end) => {
                let mut keys = sorted(&index, matchers);
                keys.retain(|key| self.reaches(*key, start, end));
                let labels = keys.iter().map(|key| labels(&index, *key)).collect();
                Arc::new(SeriesSet::new(labels, references(&keys)))
            }
            Lifetime::Lasting(Some(known)) if is_complete(&index, &known, matchers) => {
                known.confirm(index.added());
                self.kept.confirmed.fetch_add(1, Ordering::Relaxed);
                known
            }
            Lifetime::Lasting(known) => self.resolve_lasting(&index, matchers, known.as_ref()),
        }
    }

    fn resolve_lasting(
        &self,
        index: &Index,
        matchers: &[Matcher],
        known: Option<&Arc<SeriesSet>>,
    ) -> Arc<SeriesSet> {
        self.kept.resolved.fetch_add(1, Ordering::Relaxed);
        let keys = sorted(index, matchers);
        let series = references(&keys);
        if let Some(same) = known.filter(|known| known.series() == &*series) {
            same.confirm(index.added());
            return Arc::clone(same);
        }
        // Most series were there before: their labels are shared with the set that is replaced.
        let before: HashMap<SeriesRef, &Labels> =
            known.iter().flat_map(|known| known.series().iter().copied().zip(known.labels())).collect();
        let name = |key: &SeriesKey| match before.get(&SeriesRef::from(*key)) {
            Some(labels) => Labels::clone(labels),
            None => labels(index, *key),
        };
        let labels: Box<[Labels]> = keys.iter().map(name).collect();
        let mut bytes = Balance::default();
        for labels in &labels {
            labels.heap_blocks().into_iter().for_each(|size| bytes.add(size));
        }
        bytes.add(keys.len() * (size_of::<Labels>() + size_of::<SeriesRef>()));
        let set = SeriesSet::new(labels, series);
        let bytes = bytes.bytes().unsigned_abs();
        if self.kept.bytes() + bytes > self.limits.max_memory / KEPT_SHARE {
            return Arc::new(set);
        }
        Arc::new(set.lasting(index.added(), self.lease(bytes)))
    }

    fn lease(&self, bytes: u64) -> Lease {
        self.kept.bytes.fetch_add(bytes, Ordering::Relaxed);
        let memory = self.memory_counter();
        memory.fetch_add(bytes as i64, Ordering::Relaxed);
        Lease { bytes, kept: Arc::clone(&self.kept.bytes), memory }
    }

    /// The samples of the series within the hinted range. Long series stay encoded.
    pub(super) fn read(&self, set: &Arc<SeriesSet>, hints: &SelectHints) -> Result<Samples, SelectError> {
        let mut extract = Extract::default();
        let mut encoded = Vec::new();
        let mut samples = Samples::with_capacity(set.len());
        let pages = self.pages();
        for (place, reference) in set.series().iter().enumerate() {
            let key = SeriesKey::from(*reference);
            let (first, before) = (extract.floats.chunks(), extract.floats.about());
            if with_slot_of(&pages, key, |slot| slot.data.extract(hints, &mut extract)).is_none() {
                set.lose();
                continue;
            }
            let Extract { floats, histograms } = &mut extract;
            let chunks = first..floats.chunks();
            let about = floats.about() - before;
            // A point takes two words.
            if histograms.is_empty() && about > floats.words_from(first) {
                samples.add_encoded(place, encoded.len(), about);
                encoded.push(EncodedSeries { place, chunks });
            } else {
                let decoded = samples.add(place, |into| {
                    floats.decode::<Decoder<'_>>(chunks, hints, into.points)?;
                    histograms.decode::<HistogramDecoder<'_>>(0..histograms.chunks(), hints, into.histograms)
                });
                decoded.map_err(|corrupt| corrupt.of(set, place))?;
                floats.truncate(first);
                histograms.truncate(0);
            }
            samples.check(hints)?;
        }
        if encoded.is_empty() {
            return Ok(samples);
        }
        let (floats, set) = (extract.floats, Arc::clone(set));
        Ok(samples.with_encoded(EncodedFloats { floats, series: encoded, hints: *hints, set }))
    }
}

/// The points of long series as they are stored.
#[derive(Debug)]
struct EncodedFloats {
    floats: Extracted<Point>,
    series: Vec<EncodedSeries>,
    hints: SelectHints,
    set: Arc<SeriesSet>,
}

/// Where a series has its points.
#[derive(Debug)]
struct EncodedSeries {
    place: usize,
    chunks: Range<usize>,
}

impl Encoded for EncodedFloats {
    fn decode(&self, number: usize, points: &mut Vec<Point>) -> Result<(), SelectError> {
        let EncodedSeries { place, chunks } = &self.series[number];
        let decoded = self.floats.decode::<Decoder<'_>>(chunks.clone(), &self.hints, points);
        decoded.map_err(|corrupt| corrupt.of(&self.set, *place))
    }
}

impl CorruptChunk {
    fn of(self, set: &SeriesSet, place: usize) -> SelectError {
        SelectError::Corrupt {
            series: set.labels()[place].to_string(),
            what: format!("chunk from `{}` ends early", self.start),
        }
    }
}

/// Whether a set still is what the matchers find.
fn is_complete(index: &Index, set: &SeriesSet, matchers: &[Matcher]) -> bool {
    let Some(mut added) = index.added_since(set.confirmed()) else { return false };
    let matches = |key| index.pairs_of(key).is_some_and(|pairs| accepts(index, matchers, pairs));
    !set.has_lost() && !added.any(matches)
}

/// The series that satisfy the matchers, ordered by labels.
fn sorted(index: &Index, matchers: &[Matcher]) -> Vec<SeriesKey> {
    let mut ids = resolve(index, matchers);
    ids.sort_unstable_by(|one, other| index.postings().compare(index.pairs(*one), index.pairs(*other)));
    ids.into_iter().map(|id| index.key(id)).collect()
}

fn references(keys: &[SeriesKey]) -> Box<[SeriesRef]> {
    keys.iter().map(|key| SeriesRef::from(*key)).collect()
}

fn labels(index: &Index, key: SeriesKey) -> Labels {
    index.postings().labels(index.pairs(key.id))
}
