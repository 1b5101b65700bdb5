//! The store's own metrics, read when they are scraped.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Stats, Tsdb};

/// Shows a store's [`Stats`] as metrics. Names that begin with `prometheus_tsdb_` mean what they mean
/// in Prometheus 3.14 (tsdb/head.go, tsdb/db.go, tsdb/wlog/wlog.go).
pub struct TsdbCollector(Arc<Tsdb>);

impl TsdbCollector {
    /// A collector for `tsdb`, to be registered once.
    pub fn new(tsdb: Arc<Tsdb>) -> Self {
        Self(tsdb)
    }
}

impl fmt::Debug for TsdbCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TsdbCollector").field(&self.0.stats()).finish()
    }
}

impl Collector for TsdbCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode(&self.0.stats(), encoder)
    }
}

/// The label that Prometheus puts on what differs between floats and native histograms.
const TYPES: [[(&str, &str); 1]; 2] = [[("type", "float")], [("type", "histogram")]];

fn encode(stats: &Stats, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    let gauges = [
        ("prometheus_tsdb_head_series", "Series in the store", stats.series as f64),
        ("prometheus_tsdb_head_chunks", "Chunks in the store", stats.chunks as f64),
        (
            "prometheus_tsdb_head_min_time",
            "Instant before which there is no sample, in milliseconds",
            stats.min_time.unwrap_or_default() as f64,
        ),
        (
            "prometheus_tsdb_head_max_time",
            "Instant of the newest sample, in milliseconds",
            stats.max_time.unwrap_or_default() as f64,
        ),
        (
            "prometheus_tsdb_data_replay_duration_seconds",
            "Time taken to read the data on disk at the start",
            stats.replay_duration.as_secs_f64(),
        ),
        ("valmis_tsdb_samples", "Samples in the store", stats.samples as f64),
        ("valmis_tsdb_memory_bytes", "Memory that samples and labels take", stats.memory_bytes as f64),
        (
            "valmis_tsdb_kept_set_bytes",
            "Memory among it that the series of rules' selectors take",
            stats.kept_set_bytes as f64,
        ),
        (
            "valmis_tsdb_memory_limit_bytes",
            "Memory from which on new series are refused",
            stats.memory_limit_bytes as f64,
        ),
        ("valmis_tsdb_wal_bytes", "Size of the log that a start would read", stats.wal_bytes as f64),
        (
            "valmis_tsdb_wal_queued_bytes",
            "Bytes of the log that wait for the disk",
            stats.wal_queued_bytes as f64,
        ),
    ];
    for (name, help, value) in gauges {
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    let by_type = [
        (
            "prometheus_tsdb_head_samples_appended",
            "Appended samples",
            [stats.samples_appended, stats.histograms_appended],
        ),
        (
            "prometheus_tsdb_out_of_order_samples",
            "Samples refused as older than the newest of their series",
            [stats.out_of_order_samples, stats.out_of_order_histograms],
        ),
        (
            "prometheus_tsdb_out_of_bound_samples",
            "Samples refused as older than what is accepted",
            [stats.out_of_bounds_samples, stats.out_of_bounds_histograms],
        ),
    ];
    for (name, help, values) in by_type {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (kind, value) in TYPES.iter().zip(values) {
            ConstCounter::new(value).encode(family.encode_family(kind)?)?;
        }
    }
    let counters = [
        ("prometheus_tsdb_head_series_created", "Series created", stats.series_created),
        ("prometheus_tsdb_head_series_removed", "Series removed", stats.series_removed),
        ("prometheus_tsdb_head_chunks_created", "Chunks created", stats.chunks_created),
        ("prometheus_tsdb_head_chunks_removed", "Chunks removed", stats.chunks_removed),
        ("prometheus_tsdb_wal_corruptions", "Damaged places found in the files", stats.wal_corruptions),
        ("prometheus_tsdb_wal_writes_failed", "Writes of the log that failed", stats.wal_write_failures),
        (
            "valmis_tsdb_duplicate_samples",
            "Samples refused for another value at the same instant",
            stats.duplicate_samples,
        ),
        ("valmis_tsdb_sets_resolved", "Selectors of rules that were resolved anew", stats.sets_resolved),
        (
            "valmis_tsdb_sets_confirmed",
            "Selectors of rules whose series were known to be the same",
            stats.sets_confirmed,
        ),
        ("valmis_tsdb_series_refused", "Series refused at the memory limit", stats.series_refused),
        ("valmis_tsdb_chunks_evicted", "Chunks dropped at the memory limit", stats.chunks_evicted),
        (
            "valmis_tsdb_wal_dropped_samples",
            "Samples stored in memory that the log could not take",
            stats.wal_dropped_samples,
        ),
        ("valmis_tsdb_snapshots", "Snapshots taken", stats.snapshots),
        ("valmis_tsdb_snapshot_failures", "Snapshots that failed", stats.snapshot_failures),
    ];
    for (name, help, value) in counters {
        ConstCounter::new(value).encode(encoder.encode_descriptor(
            name,
            help,
            None,
            MetricType::Counter,
        )?)?;
    }
    Ok(())
}
