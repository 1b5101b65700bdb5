//! The body of a remote-write 1.0 request: a protobuf message, compressed as one snappy block.
//! Source: "Prometheus Remote-Write 1.0 specification"; `prompb/types.proto`.

use bytes::Buf;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::model::{Labels, METRIC_NAME, Sample};

/// The largest message a receiver should accept unless told otherwise, in bytes after decompression.
/// Source: Prometheus 3.14 `storage/remote/codec.go`, decodeReadLimit and its use for writes.
pub const DEFAULT_LIMIT: usize = 32 * 1024 * 1024;

/// The most series, labels, samples and histograms of one message taken together. In memory each takes
/// up to fifty times its least size in the message; senders send a few thousand samples at a time.
const MAX_ITEMS: usize = 1_000_000;

/// The most labels of one series.
const MAX_LABELS: usize = 1_000;

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
    #[error("the body holds more than {MAX_ITEMS} items, or a series with more than {MAX_LABELS} labels")]
    TooManyItems,
    /// Not the expected protobuf message.
    #[error("cannot decode the body as a WriteRequest: {0}")]
    Protobuf(String),
}

/// What is wrong with the labels of one series.
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
}

/// The contents of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// The samples of the series that are as they should be, in the order of the request.
    pub samples: Vec<Sample>,
    /// The series that are not; their samples are left out, and the sender should get status 400.
    pub faults: Vec<SeriesFault>,
    /// How many native histograms were left out, since the store does not know them.
    pub histograms: usize,
}

/// Reads a body of at most `limit` bytes after decompression.
pub fn decode(body: &[u8], limit: usize) -> Result<Decoded, RemoteWriteError> {
    let snappy = |error: snap::Error| RemoteWriteError::Snappy(error.to_string());
    let size = snap::raw::decompress_len(body).map_err(snappy)?;
    if size > limit {
        return Err(RemoteWriteError::TooLarge { size, limit });
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(snappy)?;
    let protobuf = |error: prost::DecodeError| RemoteWriteError::Protobuf(error.to_string());
    if !is_modest(&message).map_err(protobuf)? {
        return Err(RemoteWriteError::TooManyItems);
    }
    let request = WriteRequest::decode(message.as_slice()).map_err(protobuf)?;
    let mut decoded = Decoded::default();
    for series in request.timeseries {
        match labels_of(&series.labels) {
            Ok(labels) => {
                decoded.histograms += series.histograms.len();
                let samples = series.samples.iter();
                decoded.samples.extend(samples.map(|s| Sample::new(labels.clone(), s.timestamp, s.value)));
            }
            Err(fault) => decoded.faults.push(fault),
        }
    }
    Ok(decoded)
}

/// The body that carries these samples; neighbours of the same series share their labels.
pub fn encode(samples: &[Sample]) -> Vec<u8> {
    let timeseries = samples
        .chunk_by(|one, other| one.labels == other.labels)
        .map(|run| TimeSeries {
            labels: run[0]
                .labels
                .iter()
                .map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() })
                .collect(),
            samples: run.iter().map(|s| WireSample { value: s.value, timestamp: s.at }).collect(),
            histograms: Vec::new(),
        })
        .collect();
    let message = WriteRequest { timeseries }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).expect("snappy takes every block below 4 GiB")
}

/// Whether a message keeps to the limits on numbers, found without decoding it.
fn is_modest(message: &[u8]) -> Result<bool, prost::DecodeError> {
    let mut items = 0;
    let mut modest = true;
    for_each_field(message, |tag, series| {
        if tag != 1 {
            return Ok(());
        }
        let mut labels = 0;
        for_each_field(series, |tag, _| {
            items += 1;
            labels += usize::from(tag == 1);
            Ok(())
        })?;
        items += 1;
        modest &= labels <= MAX_LABELS;
        Ok(())
    })?;
    Ok(modest && items <= MAX_ITEMS)
}

/// Shows the fields of a message that have a length, which all of ours have.
fn for_each_field(
    mut message: &[u8],
    mut show: impl FnMut(u32, &[u8]) -> Result<(), prost::DecodeError>,
) -> Result<(), prost::DecodeError> {
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message)?;
        if wire_type == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
            // A field that is cut off is for the decoder to complain about.
            let (field, rest) = message.split_at(length.min(message.len()));
            show(tag, field)?;
            message = rest;
        } else {
            skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
        }
    }
    Ok(())
}

fn labels_of(wire: &[Label]) -> Result<Labels, SeriesFault> {
    let labels = Labels::from_pairs(wire.iter().map(|label| (&label.name, &label.value)));
    let mut names: Vec<&str> = wire.iter().map(|label| label.name.as_str()).collect();
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

/// `prometheus.WriteRequest`; its metadata (field 3) is not used.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`; exemplars (field 3) are not used.
#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<WireSample>,
    /// Undecoded: they are only counted.
    #[prost(bytes = "vec", repeated, tag = "4")]
    histograms: Vec<Vec<u8>>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, PartialEq, Message)]
struct WireSample {
    #[prost(double, tag = "1")]
    value: f64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{is_stale, stale_nan};

    fn body(timeseries: Vec<TimeSeries>) -> Vec<u8> {
        let message = WriteRequest { timeseries }.encode_to_vec();
        snap::raw::Encoder::new().compress_vec(&message).unwrap()
    }

    fn series(pairs: &[(&str, &str)]) -> TimeSeries {
        let labels = pairs.iter().map(|(n, v)| Label { name: (*n).to_owned(), value: (*v).to_owned() });
        TimeSeries {
            labels: labels.collect(),
            samples: vec![WireSample { value: 1.0, timestamp: 5 }],
            histograms: vec![vec![1, 2]],
        }
    }

    #[test]
    fn samples_read_back_as_written_and_markers_keep_their_bits() {
        let up = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let samples = [
            Sample::new(up.clone(), -1, 1.0),
            Sample::new(up, 1_700_000_000_000, stale_nan()),
            Sample::new(Labels::from_pairs([("__name__", "x")]), 3, f64::INFINITY),
        ];
        let decoded = decode(&encode(&samples), DEFAULT_LIMIT).unwrap();
        assert_eq!(decoded.samples, samples);
        assert!(is_stale(decoded.samples[1].value));
    }

    #[test]
    fn a_faulty_series_does_not_lose_the_others() {
        let decoded = decode(
            &body(vec![
                series(&[("__name__", "a")]),
                series(&[("job", "b")]),
                series(&[("__name__", "c"), ("d", "1"), ("d", "2")]),
                series(&[("__name__", "e"), ("", "1")]),
            ]),
            DEFAULT_LIMIT,
        )
        .unwrap();
        assert_eq!(decoded.samples.len(), 1);
        assert_eq!(decoded.histograms, 1);
        let faults: Vec<_> = decoded.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "series {job=\"b\"} has no metric name",
                "series {__name__=\"c\", d=\"2\"} has the label `d` twice",
                "series {\"\"=\"1\", __name__=\"e\"} has a label without a name",
            ]
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let compress = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
        let check = |body: &[u8], limit, expected: &str| {
            let error = decode(body, limit).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(b"", 10, "cannot decompress the body as a snappy block: ");
        check(b"\x05hello", 10, "cannot decompress the body as a snappy block: ");
        check(&compress(&[0; 11]), 10, "the body decompresses to 11 bytes, more than the limit of 10");
        check(&compress(b"not protobuf"), 100, "cannot decode the body as a WriteRequest: ");
        let too_many = "the body holds more than 1000000 items, or a series with more than 1000 labels";
        check(&compress(&b"\x0a\x00".repeat(1_000_001)), DEFAULT_LIMIT, too_many);
        let labels: Vec<_> = (0..1_001).map(|n| (n.to_string(), "x")).collect();
        let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        check(&body(vec![series(&labels)]), DEFAULT_LIMIT, too_many);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes, 1 << 16);
            let _ = decode(&snap::raw::Encoder::new().compress_vec(&bytes).unwrap(), 1 << 16);
        }
    }
}
