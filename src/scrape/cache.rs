//! From page to store: what is remembered of a target's series between scrapes.
//!
//! A series that was seen before is found by its text, or by the bytes that stand for it on a protobuf
//! page, without looking at its labels. A page is read to its end before anything is stored, so that a
//! page with a fault stores nothing.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tracing::warn;
use xxhash_rust::xxh64::Xxh64Builder;

use super::error::ScrapeError;
use super::pending::{Pending, append_pending};
use super::sample::{check_limits, join_labels};
use super::state::MetadataCache;
use super::{Config, Metrics, Target};
use crate::exposition::protobuf::{self, SampleValue};
use crate::exposition::{Entry, Format, PageType, Parser};
use crate::model::{Labels, TimestampMs, stale_nan};
use crate::storage::{AppendError, Appender, RefSample, SeriesRef};

/// How far a timestamp of the page may lie in the future.
/// Source: Prometheus 3.14 `scrape/scrape.go`, maxAheadTime.
const MAX_AHEAD: Duration = Duration::from_mins(10);

/// What surrounds a target's scrapes.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) config: &'a Config,
    pub(super) target: &'a Target,
    pub(super) appender: &'a dyn Appender,
    pub(super) metrics: &'a Metrics,
    pub(super) metadata: &'a MetadataCache,
}

/// How a scrape went; the numbers are those of the `scrape_*` series.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Samples on the page.
    pub(super) scraped: usize,
    /// Samples left after relabelling. There is none, so this is the same until a fault.
    pub(super) added: usize,
    /// Series that were not on the pages before.
    pub(super) series_added: usize,
    pub(super) result: Result<(), ScrapeError>,
}

/// The series of one target. Scrapes are numbered, from 2 on: 0 stands for never.
#[derive(Debug)]
pub(super) struct SeriesCache {
    scrape: u64,
    ids: HashMap<Box<[u8]>, u32, Xxh64Builder>,
    series: Vec<CachedSeries>,
    /// How many series and families there were after the last success.
    good_size: usize,
}

#[derive(Debug)]
struct CachedSeries {
    /// As stored.
    labels: Labels,
    /// Once it is known to the store.
    reference: Option<SeriesRef>,
    /// Whether the store has a sample of it.
    stored: bool,
    /// The scrape that brought it.
    created: u64,
    /// The scrape that saw it last.
    seen: u64,
    /// The scrape that last stored a sample whose absence will mean that the series ended.
    tracked: u64,
}

/// A sample as it stands on a page; `series` stands for its labels.
struct Found<'a> {
    series: &'a [u8],
    value: SampleValue,
    at: Option<TimestampMs>,
}

/// What was read of a page.
#[derive(Default)]
struct Batch {
    pending: Vec<Pending>,
    refused: Refused,
    scraped: usize,
    /// Samples that count towards the limit.
    within_limit: usize,
    added: usize,
    series_added: usize,
}

/// Samples that were refused, by reason.
#[derive(Default)]
struct Refused {
    out_of_order: u64,
    duplicate: u64,
    out_of_bounds: u64,
    not_stored: u64,
}

impl SeriesCache {
    pub(super) fn new() -> Self {
        // The seed makes it impossible for a target to choose colliding series.
        let hasher = Xxh64Builder::new(RandomState::new().hash_one(0));
        Self { scrape: 2, ids: HashMap::with_hasher(hasher), series: Vec::new(), good_size: 0 }
    }

    /// Stores a page that was scraped at `at`, and ends the series that are not on it any more. A page
    /// with a fault counts as empty.
    pub(super) fn store_page(
        &mut self,
        around: Surroundings<'_>,
        page: &[u8],
        page_type: PageType,
        at: TimestampMs,
    ) -> Outcome {
        let mut batch = Batch { pending: Vec::with_capacity(self.series.len()), ..Batch::default() };
        let mut result = self.read(around, page, page_type, at, &mut batch);
        if result.is_ok() {
            result = self.append(around, &mut batch);
        }
        batch.refused.report(around);
        self.end_vanished(around.appender, at);
        self.finish(around, result.is_ok());
        let Batch { scraped, added, series_added, .. } = batch;
        Outcome { scraped, added, series_added, result }
    }

    /// Forgets how series are written, but not that they are there: another configuration may give the same
    /// text other labels.
    pub(super) fn forget_texts(&mut self) {
        self.ids.clear();
    }

    /// Ends all series: the scrape failed, yielded nothing, or was the last.
    pub(super) fn store_nothing(&mut self, around: Surroundings<'_>, at: TimestampMs) {
        self.end_vanished(around.appender, at);
        self.finish(around, false);
    }

    /// Reads a page into `batch`.
    fn read(
        &mut self,
        around: Surroundings<'_>,
        page: &[u8],
        page_type: PageType,
        at: TimestampMs,
        batch: &mut Batch,
    ) -> Result<(), ScrapeError> {
        match page_type {
            PageType::Text(format) => self.read_text(around, page, format, at, batch)?,
            PageType::Protobuf => self.read_protobuf(around, page, at, batch)?,
        }
        if around.config.sample_limit.is_some_and(|limit| batch.within_limit > limit) {
            around.metrics.sample_limit.inc();
            return Err(ScrapeError::SampleLimit);
        }
        Ok(())
    }

    fn read_text(
        &mut self,
        around: Surroundings<'_>,
        page: &[u8],
        format: Format,
        at: TimestampMs,
        batch: &mut Batch,
    ) -> Result<(), ScrapeError> {
        let mut parser = Parser::new(page, format)?;
        while let Some(entry) = parser.next() {
            match entry? {
                Entry::Sample(sample) => {
                    let value = SampleValue::Float(sample.value);
                    let found = Found { series: sample.series.as_bytes(), value, at: sample.at };
                    self.take(around, found, || parser.labels(), at, batch)?;
                }
                other => around.metadata.record(other, self.scrape),
            }
        }
        Ok(())
    }

    fn read_protobuf(
        &mut self,
        around: Surroundings<'_>,
        page: &[u8],
        at: TimestampMs,
        batch: &mut Batch,
    ) -> Result<(), ScrapeError> {
        for family in protobuf::families(page) {
            let family = family?;
            around.metadata.replace(family.name(), family.metadata(), self.scrape);
            family.for_each_sample(around.config.histogram_forms(), |sample, labels| {
                let found = Found { series: sample.series, value: sample.value, at: sample.at };
                self.take(around, found, labels, at, batch)
            })?;
        }
        Ok(())
    }

    /// Takes a sample of a page into `batch`.
    #[inline]
    fn take(
        &mut self,
        around: Surroundings<'_>,
        found: Found<'_>,
        labels: impl FnOnce() -> Labels,
        at: TimestampMs,
        batch: &mut Batch,
    ) -> Result<(), ScrapeError> {
        let Surroundings { config, target, metrics, .. } = around;
        batch.scraped += 1;
        let own_time = found.at.filter(|_| config.honor_timestamps);
        let known = self.ids.get(found.series).copied();
        let labels = match known {
            Some(_) => None,
            None => {
                let labels = join_labels(&labels(), &target.labels, config.honor_labels);
                check_limits(&labels, &config.label_limits).inspect_err(|_| {
                    metrics.label_limits.inc();
                })?;
                Some(labels)
            }
        };
        batch.added += 1;
        if let Some(id) = known {
            let series = &mut self.series[id as usize];
            let again = series.seen == self.scrape;
            series.seen = self.scrape;
            if again && own_time.is_none() {
                batch.refused.duplicate += 1;
                return Ok(());
            }
        }
        batch.within_limit += 1;
        if config.sample_limit.is_some_and(|limit| batch.within_limit > limit) {
            return Ok(()); // to the end, so that the number of samples is right
        }
        if own_time.is_some_and(|own| own > at.saturating_add(MAX_AHEAD.as_millis() as i64)) {
            batch.refused.out_of_bounds += 1;
            return Ok(());
        }
        let id = match (known, labels) {
            (None, Some(labels)) => {
                batch.series_added += 1;
                self.insert(found.series, labels)
            }
            (id, _) => id.expect("a series without labels at hand is known"),
        };
        let track = own_time.is_none() || config.track_timestamps_staleness;
        batch.pending.push(Pending { id, at: own_time.unwrap_or(at), value: found.value, track });
        Ok(())
    }

    fn insert(&mut self, text: &[u8], labels: Labels) -> u32 {
        let id = u32::try_from(self.series.len()).expect("a page holds fewer than 2^32 series");
        self.ids.insert(text.into(), id);
        self.series.push(CachedSeries {
            labels,
            reference: None,
            stored: false,
            created: self.scrape,
            seen: self.scrape,
            tracked: 0,
        });
        id
    }

    /// Stores what was read.
    fn append(&mut self, around: Surroundings<'_>, batch: &mut Batch) -> Result<(), ScrapeError> {
        let mut waiting: Vec<&Pending> = batch.pending.iter().collect();
        let mut failure = None;
        // The store may have dropped a series that we still refer to: those get a second try.
        for last_try in [false, true] {
            let mut retry = Vec::new();
            for (pending, error) in self.append_once(around.appender, &waiting) {
                let series = &mut self.series[pending.id as usize];
                match error {
                    AppendError::UnknownReference if !last_try => {
                        series.reference = None;
                        retry.push(pending);
                        continue;
                    }
                    AppendError::Closed => failure = Some(ScrapeError::Append(error)),
                    _ => batch.refused.count(error),
                }
                if series.created == self.scrape && series.seen == self.scrape && !series.stored {
                    // A new series without a sample is none: the next scrape tries anew.
                    series.seen = 0;
                    batch.series_added -= 1;
                }
            }
            waiting = retry;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Tries once; yields what was refused.
    fn append_once<'p>(
        &mut self,
        appender: &dyn Appender,
        batch: &[&'p Pending],
    ) -> Vec<(&'p Pending, AppendError)> {
        let mut refused = Vec::new();
        let mut known = Vec::with_capacity(batch.len());
        for pending in batch {
            let series = &mut self.series[pending.id as usize];
            let reference = series.reference.map_or_else(|| appender.reference(&series.labels), Ok);
            match reference {
                Ok(reference) => {
                    series.reference = Some(reference);
                    known.push((reference, *pending));
                }
                Err(error) => refused.push((*pending, error)),
            }
        }
        let late = append_pending(appender, &known);
        let mut late_indices = late.iter().map(|(index, _)| *index).peekable();
        for (index, (_, pending)) in known.iter().enumerate() {
            if late_indices.next_if_eq(&index).is_none() {
                let series = &mut self.series[pending.id as usize];
                series.stored = true;
                if pending.track {
                    series.tracked = self.scrape;
                }
            }
        }
        refused.extend(late.into_iter().map(|(index, error)| (known[index].1, error)));
        refused
    }

    /// Stores staleness markers for the series that the previous scrape had and this one has not. Those of
    /// native histograms get theirs as floats: the store knows what they are.
    fn end_vanished(&self, appender: &dyn Appender, at: TimestampMs) {
        let tracked_in = |scrape| {
            let of_scrape = self.series.iter().filter(move |series| series.tracked == scrape);
            of_scrape.filter_map(|series| series.reference)
        };
        let mut vanished: Vec<SeriesRef> = tracked_in(self.scrape - 1).collect();
        if vanished.is_empty() {
            return;
        }
        // The same series may be written in another way now.
        let present: HashSet<SeriesRef> = tracked_in(self.scrape).collect();
        vanished.retain(|reference| !present.contains(reference));
        let markers: Vec<RefSample> =
            vanished.into_iter().map(|series| RefSample { series, at, value: stale_nan() }).collect();
        // A marker that is refused is not needed: the series has newer samples, of another loop, or it
        // is not in the store any more.
        let _ = appender.append(&markers);
    }

    /// Ends this scrape: forgets what only older pages had, unless the scrape failed.
    fn finish(&mut self, around: Surroundings<'_>, good: bool) {
        let size = self.series.len() + around.metadata.len();
        // A target whose pages vary and fail would fill the memory. Source: Prometheus 3.14
        // `scrape/scrape.go`, iterDone.
        let forced = !good && size > self.good_size * 2 + 1000;
        if forced {
            around.metrics.cache_flush_forced.inc();
        }
        if good || forced {
            self.forget_unseen();
            around.metadata.forget_unseen(self.scrape);
        }
        if good {
            self.good_size = size;
        }
        self.scrape += 1;
    }

    fn forget_unseen(&mut self) {
        let scrape = self.scrape;
        if self.series.iter().all(|series| series.seen == scrape) {
            return;
        }
        let mut new_ids = vec![None; self.series.len()];
        let mut next = 0_u32;
        for (series, id) in self.series.iter().zip(&mut new_ids) {
            if series.seen == scrape {
                *id = Some(next);
                next += 1;
            }
        }
        self.series.retain(|series| series.seen == scrape);
        self.ids.retain(|_, id| match new_ids[*id as usize] {
            Some(new) => {
                *id = new;
                true
            }
            None => false,
        });
    }
}

impl Refused {
    fn count(&mut self, error: AppendError) {
        match error {
            AppendError::OutOfOrder => self.out_of_order += 1,
            AppendError::Duplicate => self.duplicate += 1,
            AppendError::OutOfBounds => self.out_of_bounds += 1,
            AppendError::SeriesLimit
            | AppendError::UnknownReference
            | AppendError::InvalidLabels
            | AppendError::Closed => self.not_stored += 1,
        }
    }

    fn report(&self, around: Surroundings<'_>) {
        let Self { out_of_order, duplicate, out_of_bounds, not_stored } = *self;
        if out_of_order + duplicate + out_of_bounds + not_stored == 0 {
            return;
        }
        let metrics = around.metrics;
        metrics.out_of_order.inc_by(out_of_order);
        metrics.duplicate.inc_by(duplicate);
        metrics.out_of_bounds.inc_by(out_of_bounds);
        metrics.not_stored.inc_by(not_stored);
        let target = super::fetch::shown(&around.target.url);
        warn!(
            target_url = %target, out_of_order, duplicate, out_of_bounds, not_stored,
            "Samples of `{target}` were not stored"
        );
    }
}

#[cfg(test)]
mod tests;
