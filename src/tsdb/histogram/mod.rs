//! Native histograms of one series: compressed chunks of them, and which follow one another in one.
//!
//! A chunk begins with what its histograms have in common (`layout`): schema, width of the zero bucket,
//! bounds of custom buckets, and which buckets there are. A histogram with further buckets names those
//! alone, so that a chunk need never be written anew. Counts are whole numbers, of which the change of the
//! change is written, or floats, of which the bits that differ are (`number`).
//!
//! As in Prometheus, no counter is reset within a chunk: that is how a reader knows where it need not look
//! for resets.

mod chunk;
mod layout;
mod number;
mod series;
#[cfg(test)]
mod tests;

pub(super) use chunk::HistogramDecoder;
pub(super) use series::HistogramData;
