//! Dropping what is too old: whole chunks, then series without any, then labels that nothing carries.

use std::sync::atomic::Ordering;

use crate::model::TimestampMs;

use super::head::Head;
use super::index::SeriesKey;
use super::memory::Balance;
use super::series::Tally;

impl Head {
    /// Drops every chunk whose points are all older than `cutoff`, and every series that two sweeps in
    /// a row found without points: one that was just created is about to get some.
    pub(super) fn drop_before(&self, cutoff: TimestampMs) {
        let mut tally = Tally::default();
        let mut oldest = TimestampMs::MAX;
        let mut empty = Vec::new();
        for (number, page) in self.pages().iter().enumerate() {
            Self::for_each_slot(page, number, |key, slot| {
                slot.data.drop_before(cutoff, &mut tally);
                match slot.data.bounds() {
                    Some((start, _)) => {
                        oldest = oldest.min(start);
                        slot.idle = false;
                    }
                    None if slot.idle => empty.push(key),
                    None => slot.idle = true,
                }
            });
        }
        self.record(&tally);
        self.set_min_time(oldest);
        if !empty.is_empty() {
            self.remove(empty);
        }
    }

    fn remove(&self, mut series: Vec<SeriesKey>) {
        let mut memory = Balance::default();
        let mut index = self.index_mut();
        // A sample may have come since: who is still empty now, under the index lock, stays gone.
        series.retain(|key| {
            self.with_slot(*key, |slot| {
                let empty = slot.data.is_empty();
                if empty {
                    slot.release();
                }
                empty
            })
            .unwrap_or(false)
        });
        index.remove(&series, &mut memory);
        self.charge(memory);
        self.counters.series_removed.fetch_add(series.len() as u64, Ordering::Relaxed);
    }
}
