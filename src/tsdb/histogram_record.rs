//! How the log holds a native histogram: whole, since the log is not read backwards.

use std::sync::Arc;

use crate::model::{CUSTOM_BUCKETS_SCHEMA, CounterReset, FloatHistogram};

use super::codec::{Input, put_signed, put_varint};
use super::scaled::whole;

/// The low bits of the first byte say what is known about counter resets.
const COUNTER_RESET: u8 = 0b11;
/// It is a staleness marker: nothing follows.
const STALE: u8 = 0b100;
/// All counts are whole numbers, written as such; those of buckets as the difference from the bucket
/// before.
const WHOLE: u8 = 0b1000;

const COUNTER_RESETS: [CounterReset; 4] =
    [CounterReset::Unknown, CounterReset::Reset, CounterReset::NotReset, CounterReset::Gauge];

/// Appends a histogram.
pub(super) fn put_histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    let reset = COUNTER_RESETS.iter().position(|known| *known == histogram.counter_reset);
    let reset = reset.expect("the list has all of them") as u8;
    if histogram.is_stale() {
        out.push(reset | STALE);
        return;
    }
    let buckets = || histogram.positive().iter().chain(histogram.negative()).map(|(_, count)| *count);
    let mut counts = [histogram.count, histogram.zero_count].into_iter().chain(buckets());
    let whole = counts.all(|count| whole(count, 1.0).is_some());
    out.push(reset | if whole { WHOLE } else { 0 });
    put_signed(out, i64::from(histogram.schema));
    if histogram.uses_custom_buckets() {
        put_varint(out, histogram.custom_values().len() as u64);
        for bound in &**histogram.custom_values() {
            put_float(out, *bound);
        }
    }
    put_float(out, histogram.zero_threshold);
    put_float(out, histogram.sum);
    let mut last = 0;
    let mut put_count = |out: &mut Vec<u8>, count: f64| {
        if whole {
            put_signed(out, (count as i64).wrapping_sub(last));
            last = count as i64;
        } else {
            put_float(out, count);
        }
    };
    put_count(out, histogram.count);
    put_count(out, histogram.zero_count);
    for buckets in [histogram.positive(), histogram.negative()] {
        put_varint(out, buckets.len() as u64);
        let mut last_index = 0_i64;
        for (index, count) in buckets {
            put_signed(out, i64::from(*index) - last_index);
            last_index = i64::from(*index);
            put_count(out, *count);
        }
    }
}

/// Reads what [`put_histogram`] wrote.
pub(super) fn read_histogram(input: &mut Input<'_>) -> Option<FloatHistogram> {
    let flags = input.byte()?;
    let counter_reset = COUNTER_RESETS[usize::from(flags & COUNTER_RESET)];
    if flags & STALE != 0 {
        return Some(FloatHistogram::stale().with_counter_reset(counter_reset));
    }
    let schema = i32::try_from(input.signed()?).ok()?;
    let mut custom_values = Vec::new();
    if schema == CUSTOM_BUCKETS_SCHEMA {
        for _ in 0..input.varint()? {
            custom_values.push(read_float(input)?);
        }
    }
    let mut histogram =
        FloatHistogram::empty(schema, Arc::from(custom_values)).with_counter_reset(counter_reset);
    histogram.zero_threshold = read_float(input)?;
    histogram.sum = read_float(input)?;
    let mut last = 0_i64;
    let mut read_count = |input: &mut Input<'_>| {
        if flags & WHOLE == 0 {
            return read_float(input);
        }
        last = last.wrapping_add(input.signed()?);
        Some(last as f64)
    };
    histogram.count = read_count(input)?;
    histogram.zero_count = read_count(input)?;
    let mut sides = [Vec::new(), Vec::new()];
    for side in &mut sides {
        let mut index = 0_i64;
        for _ in 0..input.varint()? {
            index = index.checked_add(input.signed()?)?;
            side.push((i32::try_from(index).ok()?, read_count(input)?));
        }
    }
    let [positive, negative] = sides;
    Some(histogram.with_buckets(positive, negative))
}

/// Floats in a histogram are mostly `0` or a power of two, of which trailing zero bytes are left out.
fn put_float(out: &mut Vec<u8>, value: f64) {
    let bytes = 8 - (value.to_bits().trailing_zeros() / 8) as usize;
    out.push(bytes as u8);
    out.extend_from_slice(&value.to_bits().to_be_bytes()[..bytes]);
}

fn read_float(input: &mut Input<'_>) -> Option<f64> {
    let length = usize::from(input.byte()?);
    let mut bits = [0; 8];
    bits.get_mut(..length)?.copy_from_slice(input.bytes(length)?);
    Some(f64::from_bits(u64::from_be_bytes(bits)))
}
