//! The vocabulary that every layer shares: labels, matchers, samples, time and numbers.
//!
//! Nothing here does I/O, reads a clock or knows how it is serialised.

mod duration;
mod histogram;
mod kahan;
mod labels;
mod matcher;
mod number;
mod quote;
mod regex;
mod sample;
mod secret;
mod span;

pub use duration::{DurationError, format_duration_ms, parse_duration_ms};
pub use histogram::{
    Bucket, CUSTOM_BUCKETS_SCHEMA, CounterReset, Estimate, FloatHistogram, HistogramMean, HistogramPoint,
    HistogramSum, IncompatibleBuckets, NanEffect, Reconciled,
};
pub use kahan::KahanSum;
pub use labels::{
    ALERT_NAME, BUCKET_LABEL, Labels, LabelsBuilder, METRIC_NAME, SEVERITY_LABEL, is_legacy_label_name,
};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use number::{format_float, format_float_general, parse_float, push_float};
pub use quote::{Quoted, quote, quote_char};
pub use regex::{GoRegex, GoRegexError};
pub use sample::{
    HistogramSample, NORMAL_NAN_BITS, Point, STALE_NAN_BITS, Sample, Series, StartTimestamp, TimestampMs,
    is_stale, normal_nan, stale_nan,
};
pub use secret::Secret;
pub use span::{LineColumn, Span};
