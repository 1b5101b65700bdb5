//! The body of a remote-write request: a protobuf message, compressed as one snappy block.
//! Source: "Prometheus Remote-Write 1.0 specification", `prompb/types.proto`; "Prometheus Remote-Write 2.0
//! specification", `prompb/io/prometheus/write/v2/types.proto`.

mod limits;
mod protocol;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use prost::Message;

use self::limits::{MAX_BUCKETS, MAX_ITEMS, MAX_LABELS, is_modest};
use self::wire::{Request, TimeSeries, WireHistogram, WireSample, WriteRequest, wire_labels};
use super::HistogramFault;
use crate::model::{HistogramSample, Labels, METRIC_NAME, Sample};

pub use self::protocol::{Protocol, ProtocolError};

/// The largest message a receiver should accept unless told otherwise, in bytes after decompression.
/// Source: Prometheus 3.14 `storage/remote/codec.go`, decodeReadLimit and its use for writes.
pub const DEFAULT_LIMIT: usize = 32 * 1024 * 1024;

/// A body that cannot be read at all; nothing of it should be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteWriteError {
    /// Not a snappy block.
    #[error("cannot decompress the body as a snappy block: {0}")]
    Snappy(String),
    /// Larger than the receiver accepts.
    #[error("the body decompresses to {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Size after decompression, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A message that would need far more memory than its size tells.
    #[error(
        "the body holds more than {MAX_ITEMS} items, or {MAX_BUCKETS} buckets, or a series with more than \
         {MAX_LABELS} labels"
    )]
    TooManyItems,
    /// Series whose labels are short only as long as they are not written out.
    #[error("the labels of the body take more than the limit of {limit} bytes")]
    LabelsTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Not the expected protobuf message.
    #[error("cannot decode the body as a {message}: {fault}")]
    Protobuf {
        /// The message.
        message: &'static str,
        /// What is wrong.
        fault: String,
    },
}

/// What is wrong with one series, or one histogram of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesFault {
    /// No metric name.
    #[error("series {0} has no metric name")]
    MissingName(Labels),
    /// A label without a name.
    #[error("series {0} has a label without a name")]
    EmptyLabelName(Labels),
    /// A label twice.
    #[error("series {series} has the label `{label}` twice")]
    DuplicateLabel {
        /// The series, with one of the two.
        series: Labels,
        /// The label.
        label: String,
    },
    /// A label's name without its value. The text is Prometheus' own.
    #[error("parsing labels for series {references:?}: invalid labelRefs length {}", references.len())]
    OddLabels {
        /// The places in the table of symbols.
        references: Vec<u32>,
    },
    /// A label that the message does not have. The text is Prometheus' own.
    #[error(
        "parsing labels for series {references:?}: labelRefs {name} (name) = {value} (value) outside of symbols \
         table (size {size})"
    )]
    UnknownSymbol {
        /// The places in the table of symbols.
        references: Vec<u32>,
        /// That of the label's name.
        name: u32,
        /// That of its value.
        value: u32,
        /// How many symbols there are.
        size: usize,
    },
    /// A series without anything, which remote write 2.0 does not allow. The text is Prometheus' own.
    #[error("TimeSeries must contain at least one sample or histogram for series {0}")]
    Empty(Labels),
    /// A native histogram that is none.
    #[error("{fault} for series {series}")]
    Histogram {
        /// The series.
        series: Labels,
        /// What is wrong with the histogram.
        fault: HistogramFault,
    },
}

/// The contents of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// The samples of the series that are as they should be, in the order of the request.
    pub samples: Vec<Sample>,
    /// The native histograms that are as they should be, in the order of the request.
    pub histograms: Vec<HistogramSample>,
    /// What is not; it is left out, and the sender should get status 400.
    pub faults: Vec<SeriesFault>,
}

/// Reads a body of at most `limit` bytes after decompression.
pub fn decode(protocol: Protocol, body: &[u8], limit: usize) -> Result<Decoded, RemoteWriteError> {
    let snappy = |error: snap::Error| RemoteWriteError::Snappy(error.to_string());
    let size = snap::raw::decompress_len(body).map_err(snappy)?;
    if size > limit {
        return Err(RemoteWriteError::TooLarge { size, limit });
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(snappy)?;
    let name = match protocol {
        Protocol::V1 => "WriteRequest",
        Protocol::V2 => "io.prometheus.write.v2.Request",
    };
    let protobuf =
        |error: prost::DecodeError| RemoteWriteError::Protobuf { message: name, fault: error.to_string() };
    if !is_modest(protocol, &message).map_err(protobuf)? {
        return Err(RemoteWriteError::TooManyItems);
    }
    match protocol {
        Protocol::V1 => Ok(read_v1(WriteRequest::decode(message.as_slice()).map_err(protobuf)?)),
        Protocol::V2 => read_v2(&Request::decode(message.as_slice()).map_err(protobuf)?, limit),
    }
}

fn read_v1(request: WriteRequest) -> Decoded {
    let mut decoded = Decoded::default();
    for series in request.timeseries {
        let pairs = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        match labels_of(pairs) {
            Ok(labels) => decoded.take(&labels, &series.samples, &series.histograms),
            Err(fault) => decoded.faults.push(fault),
        }
    }
    decoded
}

fn read_v2(request: &Request, limit: usize) -> Result<Decoded, RemoteWriteError> {
    let mut decoded = Decoded::default();
    let mut labels_size = 0;
    for series in &request.timeseries {
        if series.labels_refs.len() > 2 * MAX_LABELS {
            return Err(RemoteWriteError::TooManyItems);
        }
        let pairs = match resolve(&request.symbols, &series.labels_refs) {
            Ok(pairs) => pairs,
            Err(fault) => {
                decoded.faults.push(fault);
                continue;
            }
        };
        labels_size += pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if labels_size > limit {
            return Err(RemoteWriteError::LabelsTooLarge { limit });
        }
        match labels_of(pairs.iter().copied()) {
            Ok(labels) if series.samples.is_empty() && series.histograms.is_empty() => {
                decoded.faults.push(SeriesFault::Empty(labels));
            }
            Ok(labels) => decoded.take(&labels, &series.samples, &series.histograms),
            Err(fault) => decoded.faults.push(fault),
        }
    }
    Ok(decoded)
}

/// The labels that stand at these places of the table of symbols.
fn resolve<'s>(symbols: &'s [String], references: &[u32]) -> Result<Vec<(&'s str, &'s str)>, SeriesFault> {
    let (pairs, rest) = references.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(SeriesFault::OddLabels { references: references.to_vec() });
    }
    let symbol = |reference: u32| symbols.get(usize::try_from(reference).ok()?).map(String::as_str);
    let pairs = pairs.iter().map(|[name, value]| {
        symbol(*name).zip(symbol(*value)).ok_or_else(|| SeriesFault::UnknownSymbol {
            references: references.to_vec(),
            name: *name,
            value: *value,
            size: symbols.len(),
        })
    });
    pairs.collect()
}

impl Decoded {
    fn take(&mut self, labels: &Labels, samples: &[WireSample], histograms: &[WireHistogram]) {
        self.samples.extend(samples.iter().map(|s| Sample::new(labels.clone(), s.timestamp, s.value)));
        for wire in histograms {
            let labels = labels.clone();
            match wire.histogram() {
                Ok(histogram) => {
                    let histogram = Arc::new(histogram);
                    self.histograms.push(HistogramSample { labels, at: wire.timestamp, histogram });
                }
                Err(fault) => self.faults.push(SeriesFault::Histogram { series: labels, fault }),
            }
        }
    }
}

/// The body of a remote write 1.0 request that carries these samples; neighbours of the same series share
/// their labels.
pub fn encode(samples: &[Sample]) -> Vec<u8> {
    encode_with_histograms(samples, &[])
}

/// The same with native histograms.
pub fn encode_with_histograms(samples: &[Sample], histograms: &[HistogramSample]) -> Vec<u8> {
    let floats = samples.chunk_by(|one, other| one.labels == other.labels).map(|run| TimeSeries {
        labels: wire_labels(&run[0].labels),
        samples: run.iter().map(|s| WireSample { value: s.value, timestamp: s.at }).collect(),
        histograms: Vec::new(),
    });
    let native = histograms.chunk_by(|one, other| one.labels == other.labels).map(|run| TimeSeries {
        labels: wire_labels(&run[0].labels),
        samples: Vec::new(),
        histograms: run.iter().map(WireHistogram::of).collect(),
    });
    let message = WriteRequest { timeseries: floats.chain(native).collect() }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).expect("snappy takes every block below 4 GiB")
}

fn labels_of<'a>(wire: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Result<Labels, SeriesFault> {
    let labels = Labels::from_pairs(wire.clone());
    let mut names: Vec<&str> = wire.map(|(name, _)| name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(SeriesFault::DuplicateLabel { label: pair[0].to_owned(), series: labels });
    }
    if names.first() == Some(&"") {
        return Err(SeriesFault::EmptyLabelName(labels));
    }
    if labels.get(METRIC_NAME).is_empty() {
        return Err(SeriesFault::MissingName(labels));
    }
    Ok(labels)
}
