//! The samples in memory, and the locks around them.
//!
//! The index (labels) has one lock, the points have one per page of series. Appending through a
//! reference takes the lock of a page and nothing else, so that a query never holds it up for longer
//! than it takes to copy the encoded points of one series. Locks are taken in this order: log, index,
//! page; never two pages at once.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwap;

use crate::model::{Labels, Matcher, TimestampMs};
use crate::storage::{AppendError, SeriesRef};

use super::batch::{BatchItem, CountersByKind};
use super::index::{Index, SeriesKey};
use super::memory::Balance;
use super::read::Kept;
use super::record::{BatchWriter, Segment};
use super::select::{effort, resolve};
use super::series::{AppendRules, SeriesData, Tally};

/// How many series share a lock.
const PAGE_SIZE: usize = 256;

/// How many samples are appended before a page's lock is let go, should all be for one page.
const SAMPLES_PER_LOCK: usize = 1024;

/// The place of one series in a page.
#[derive(Debug)]
pub(super) struct Slot {
    generation: u32,
    /// Whether the place is taken.
    used: bool,
    /// Whether the last sweep found no points: the next one removes the series.
    pub(super) idle: bool,
    /// The log file that has this series' labels; files count from 1.
    declared: Segment,
    pub(super) data: SeriesData,
}

impl Slot {
    fn holds(&self, key: SeriesKey) -> bool {
        self.used && self.generation == key.generation
    }
}

/// Series that share a lock.
pub(super) type Page = Mutex<Box<[Slot]>>;

fn new_page() -> Arc<Page> {
    let free = || Slot { generation: 1, used: false, idle: false, declared: 0, data: SeriesData::default() };
    Arc::new(Mutex::new((0..PAGE_SIZE).map(|_| free()).collect()))
}

/// [`Head::with_slot`] for who asks for many series.
pub(super) fn with_slot_of<R>(
    pages: &[Arc<Page>],
    key: SeriesKey,
    act: impl FnOnce(&mut Slot) -> R,
) -> Option<R> {
    let mut page = lock(pages.get(key.id as usize / PAGE_SIZE)?);
    let slot = &mut page[key.id as usize % PAGE_SIZE];
    slot.holds(key).then(|| act(slot))
}

/// Locks, whatever a thread that panicked left behind: every change below is complete before
/// anything that could panic.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened so far, for metrics.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) samples: CountersByKind,
    /// Samples that were read at the start.
    pub(super) restored: AtomicU64,
    pub(super) points_removed: AtomicU64,
    pub(super) series_created: AtomicU64,
    pub(super) series_removed: AtomicU64,
    pub(super) series_refused: AtomicU64,
    pub(super) chunks_created: AtomicU64,
    pub(super) chunks_removed: AtomicU64,
    pub(super) chunks_evicted: AtomicU64,
}

/// Limits of the head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes from which on no series is added and chunks are evicted.
    pub(super) max_memory: u64,
    /// The longest time from a chunk's first point to its last, in milliseconds.
    pub(super) max_span_ms: u64,
}

/// The samples in memory.
pub(super) struct Head {
    pub(super) limits: Limits,
    index: RwLock<Index>,
    pages: ArcSwap<Vec<Arc<Page>>>,
    pub(super) counters: Counters,
    memory: Arc<AtomicI64>,
    pub(super) kept: Kept,
    min_time: AtomicI64,
    max_time: AtomicI64,
}

impl Head {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            index: RwLock::default(),
            pages: ArcSwap::default(),
            counters: Counters::default(),
            memory: Arc::default(),
            kept: Kept::default(),
            min_time: AtomicI64::new(TimestampMs::MAX),
            max_time: AtomicI64::new(TimestampMs::MIN),
        }
    }

    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pages(&self) -> Arc<Vec<Arc<Page>>> {
        self.pages.load_full()
    }

    /// What the samples and labels take, in bytes: the blocks in use and the holes between them. With
    /// 100,000 series that cut their chunks at the same time the process has 1.1 to 1.3 times the
    /// blocks in use (`benches/tsdb.rs`).
    pub(super) fn memory(&self) -> u64 {
        let used = self.memory.load(Ordering::Relaxed).max(0) as u64;
        used + used / 4
    }

    /// How many series there are; it waits for no lock.
    pub(super) fn series_count(&self) -> usize {
        let created = self.counters.series_created.load(Ordering::Relaxed);
        created.saturating_sub(self.counters.series_removed.load(Ordering::Relaxed)) as usize
    }

    pub(super) fn is_full(&self) -> bool {
        self.memory() >= self.limits.max_memory
    }

    pub(super) fn charge(&self, balance: Balance) {
        self.memory.fetch_add(balance.bytes(), Ordering::Relaxed);
    }

    /// The newest instant with a sample.
    pub(super) fn max_time(&self) -> Option<TimestampMs> {
        Some(self.max_time.load(Ordering::Relaxed)).filter(|at| *at != TimestampMs::MIN)
    }

    /// An instant before which there is no sample.
    pub(super) fn min_time(&self) -> Option<TimestampMs> {
        Some(self.min_time.load(Ordering::Relaxed)).filter(|at| *at != TimestampMs::MAX)
    }

    pub(super) fn set_min_time(&self, at: TimestampMs) {
        self.min_time.store(at, Ordering::Relaxed);
    }

    pub(super) fn find(&self, labels: &Labels) -> Option<SeriesRef> {
        self.index().find(labels).map(SeriesRef::from)
    }

    /// Adds a series unless it is there.
    pub(super) fn create(&self, labels: &Labels) -> SeriesRef {
        let mut memory = Balance::default();
        let mut index = self.index_mut();
        if let Some(key) = index.find(labels) {
            return key.into();
        }
        let key = index.insert(labels, &mut memory);
        let page_number = key.id as usize / PAGE_SIZE;
        let mut pages = self.pages();
        if page_number == pages.len() {
            // The index lock is held: nobody else adds a page.
            let longer: Vec<_> = pages.iter().cloned().chain([new_page()]).collect();
            pages = Arc::new(longer);
            self.pages.store(Arc::clone(&pages));
            memory.add(PAGE_SIZE * size_of::<Slot>());
        }
        let slot = &mut lock(&pages[page_number])[key.id as usize % PAGE_SIZE];
        *slot = Slot {
            generation: key.generation,
            used: true,
            idle: false,
            declared: 0,
            data: SeriesData::default(),
        };
        self.charge(memory);
        self.counters.series_created.fetch_add(1, Ordering::Relaxed);
        key.into()
    }

    /// Gives the data of a series to `act`, unless it is gone.
    pub(super) fn with_slot<R>(&self, key: SeriesKey, act: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        with_slot_of(&self.pages.load(), key, act)
    }

    /// The counter of [`Self::memory`] for what outlives a call.
    pub(super) fn memory_counter(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.memory)
    }

    /// Appends; samples that were stored are also given to `log`.
    pub(super) fn append<T: BatchItem>(
        &self,
        batch: &[T],
        min_valid: TimestampMs,
        mut log: Option<&mut BatchWriter>,
    ) -> Vec<(usize, AppendError)> {
        let rules = AppendRules { min_valid, max_span_ms: self.limits.max_span_ms, evict: self.is_full() };
        let pages = self.pages.load();
        let page_of = |sample: &T| SeriesKey::from(sample.series()).id as usize / PAGE_SIZE;
        let (mut refused, mut tally) = (Vec::new(), Tally::default());
        let (mut oldest, mut newest) = (TimestampMs::MAX, TimestampMs::MIN);
        let mut index = 0;
        for run in batch.chunk_by(|one, next| page_of(one) == page_of(next)) {
            for run in run.chunks(SAMPLES_PER_LOCK) {
                let mut page = pages.get(page_of(&run[0])).map(|page| lock(page));
                for sample in run {
                    let outcome = match &mut page {
                        Some(page) => append_to_page(page, sample, &rules, &mut tally, log.as_deref_mut()),
                        None => Err(AppendError::UnknownReference),
                    };
                    match outcome {
                        Ok(true) => {
                            oldest = oldest.min(sample.at());
                            newest = newest.max(sample.at());
                        }
                        Ok(false) => {}
                        Err(error) => refused.push((index, error)),
                    }
                    index += 1;
                }
            }
        }
        if newest != TimestampMs::MIN {
            self.min_time.fetch_min(oldest, Ordering::Relaxed);
            self.max_time.fetch_max(newest, Ordering::Relaxed);
        }
        self.record(&tally);
        let counters = T::counters(&self.counters.samples);
        for (_, error) in &refused {
            let counter = match error {
                AppendError::OutOfOrder => &counters.out_of_order,
                AppendError::OutOfBounds => &counters.out_of_bounds,
                AppendError::Duplicate => &counters.duplicates,
                _ => continue,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        refused
    }

    /// Widens the known range of time, after chunks were restored.
    pub(super) fn cover(&self, start: TimestampMs, end: TimestampMs) {
        self.min_time.fetch_min(start, Ordering::Relaxed);
        self.max_time.fetch_max(end, Ordering::Relaxed);
    }

    /// Adds what an operation changed to the totals.
    pub(super) fn record(&self, tally: &Tally) {
        self.charge(tally.memory);
        let counters = [
            (&self.counters.samples.floats.appended, tally.appended),
            (&self.counters.samples.histograms.appended, tally.appended_histograms),
            (&self.counters.points_removed, tally.points_removed),
            (&self.counters.chunks_created, tally.chunks_created),
            (&self.counters.chunks_removed, tally.chunks_removed),
            (&self.counters.chunks_evicted, tally.chunks_evicted),
        ];
        for (counter, count) in counters {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// How many series at most are looked at to find those that satisfy the matchers.
    pub(super) fn effort(&self, matchers: &[Matcher]) -> usize {
        effort(&self.index(), matchers).unwrap_or_else(|| self.series_count())
    }

    /// The labels of the series that satisfy the matchers and reach into `start..=end`, ordered.
    pub(super) fn series(&self, matchers: &[Matcher], start: TimestampMs, end: TimestampMs) -> Vec<Labels> {
        let index = self.index();
        let mut ids = resolve(&index, matchers);
        ids.retain(|id| self.reaches(index.key(*id), start, end));
        ids.sort_unstable_by(|one, other| index.postings().compare(index.pairs(*one), index.pairs(*other)));
        ids.into_iter().map(|id| index.postings().labels(index.pairs(id))).collect()
    }

    /// The label names of those series, sorted.
    pub(super) fn label_names(
        &self,
        matchers: &[Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> Vec<String> {
        let index = self.index();
        let postings = index.postings();
        if matchers.is_empty() {
            let reaches = |id: &u32| self.reaches(index.key(*id), start, end);
            let in_use = |pair: &u32| postings.series(*pair).iter().any(reaches);
            return postings
                .names()
                .filter(|(_, values)| values.values().any(in_use))
                .map(|(name, _)| name.to_owned())
                .collect();
        }
        let mut pairs = Vec::new();
        for id in resolve(&index, matchers) {
            if self.reaches(index.key(id), start, end) {
                pairs.extend_from_slice(index.pairs(id));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        sorted(pairs.into_iter().map(|pair| postings.pair(pair).0))
    }

    /// The values that the label has in those series, sorted.
    pub(super) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> Vec<String> {
        let index = self.index();
        let postings = index.postings();
        let reaches = |id: &u32| self.reaches(index.key(*id), start, end);
        if matchers.is_empty() {
            let values = postings.values(name).into_iter().flatten();
            return values
                .filter(|(_, pair)| postings.series(**pair).iter().any(reaches))
                .map(|(value, _)| value.to_string())
                .collect();
        }
        let pair_of = postings.finder(name);
        let ids = resolve(&index, matchers).into_iter().filter(reaches);
        let mut pairs: Vec<_> = ids.filter_map(|id| pair_of(index.pairs(id))).collect();
        pairs.sort_unstable();
        pairs.dedup();
        sorted(pairs.into_iter().map(|pair| postings.pair(pair).1))
    }

    pub(super) fn reaches(&self, key: SeriesKey, start: TimestampMs, end: TimestampMs) -> bool {
        let bounds = self.with_slot(key, |slot| slot.data.bounds()).flatten();
        bounds.is_some_and(|(first, last)| first <= end && last >= start)
    }

    /// Writes the labels that a batch has to declare.
    pub(super) fn declarations(&self, batch: &BatchWriter) -> Vec<u8> {
        if !batch.declares() {
            return Vec::new();
        }
        let index = self.index();
        batch.declarations(index.postings(), |series| index.pairs_of(series.into()))
    }

    /// Gives every series of a page that is in use to `act`.
    pub(super) fn for_each_slot(page: &Page, number: usize, mut act: impl FnMut(SeriesKey, &mut Slot)) {
        for (offset, slot) in lock(page).iter_mut().enumerate().filter(|(_, slot)| slot.used) {
            let id = (number * PAGE_SIZE + offset) as u32;
            act(SeriesKey { id, generation: slot.generation }, slot);
        }
    }
}

fn append_to_page<T: BatchItem>(
    page: &mut [Slot],
    sample: &T,
    rules: &AppendRules,
    tally: &mut Tally,
    log: Option<&mut BatchWriter>,
) -> Result<bool, AppendError> {
    let key = SeriesKey::from(sample.series());
    let slot = &mut page[key.id as usize % PAGE_SIZE];
    if !slot.holds(key) {
        return Err(AppendError::UnknownReference);
    }
    let stored = sample.store(&mut slot.data, rules, tally)?;
    if stored && let Some(log) = log {
        sample.write(log);
        if slot.declared != log.segment {
            slot.declared = log.segment;
            log.declare(sample.series());
        }
    }
    Ok(stored)
}

fn sorted<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut texts: Vec<_> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    texts.into_iter().map(str::to_owned).collect()
}

impl Slot {
    /// Gives the place free.
    pub(super) fn release(&mut self) {
        self.used = false;
        self.generation = super::index::next_generation(self.generation);
        self.data = SeriesData::default();
    }
}
