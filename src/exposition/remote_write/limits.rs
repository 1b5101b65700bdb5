//! What a message would take in memory, found without decoding it: a few bytes of it can stand for much.

use bytes::Buf;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::Protocol;

/// The most series, labels, samples, histograms and spans of one message taken together. In memory each
/// takes up to fifty times its least size in the message; senders send a few thousand samples at a time.
pub(super) const MAX_ITEMS: usize = 1_000_000;

/// The most labels of one series.
pub(super) const MAX_LABELS: usize = 1_000;

/// The most buckets of all histograms of one message: each takes a byte in the message, and sixteen in
/// memory.
pub(super) const MAX_BUCKETS: usize = 5_000_000;

/// The field numbers that matter.
struct Fields {
    series: u32,
    labels: u32,
    /// Whether the labels are numbers of texts, all in one field.
    packed_labels: bool,
    histograms: u32,
}

const V1: Fields = Fields { series: 1, labels: 1, packed_labels: false, histograms: 4 };
const V2: Fields = Fields { series: 5, labels: 1, packed_labels: true, histograms: 3 };

/// Whether a message keeps to the limits.
pub(super) fn is_modest(protocol: Protocol, message: &[u8]) -> Result<bool, DecodeError> {
    let fields = match protocol {
        Protocol::V1 => V1,
        Protocol::V2 => V2,
    };
    let (mut items, mut buckets, mut modest) = (0_usize, 0_usize, true);
    for_each_field(message, |tag, series| {
        items += 1;
        if tag != fields.series {
            return Ok(());
        }
        let mut labels = 0;
        for_each_field(series, |tag, field| {
            items += 1;
            if tag == fields.labels {
                // A number takes at least a byte, and a label has two.
                labels += if fields.packed_labels { field.len().div_ceil(2) } else { 1 };
            } else if tag == fields.histograms {
                for_each_field(field, |tag, field| {
                    items += 1;
                    buckets += match tag {
                        9 | 12 => field.len(),
                        10 | 13 | 16 => field.len() / size_of::<f64>(),
                        _ => 0,
                    };
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        items += labels;
        // Numbers of texts may take five bytes each: those that take one are checked when they are read.
        modest &= labels <= if fields.packed_labels { MAX_LABELS * 5 } else { MAX_LABELS };
        Ok(())
    })?;
    Ok(modest && items <= MAX_ITEMS && buckets <= MAX_BUCKETS)
}

/// Shows the fields of a message that have a length, which all that matter have.
fn for_each_field(
    mut message: &[u8],
    mut show: impl FnMut(u32, &[u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
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
