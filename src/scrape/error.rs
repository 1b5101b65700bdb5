//! What can go wrong with a scrape, and with the configuration of one.

use crate::client::ClientError;
use crate::exposition::protobuf::ProtobufError;
use crate::exposition::{ContentTypeError, ParseError};
use crate::storage::AppendError;

use super::TargetError;

/// Why a scrape failed. Texts that Prometheus has are its own.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The page did not arrive in time.
    #[error("Get {0:?}: context deadline exceeded")]
    Timeout(String),
    /// The page could not be fetched.
    #[error("Get {url:?}: {reason}")]
    Request {
        /// The URL.
        url: String,
        /// What happened, from the outermost to the innermost cause.
        reason: String,
    },
    /// The file with our password or token cannot be read.
    #[error("cannot read the credentials file: {0}")]
    Credential(std::io::Error),
    /// The target answered, but not with a page.
    #[error("server returned HTTP status {0}")]
    Status(reqwest::StatusCode),
    /// The page is larger than the job allows.
    #[error("body size limit exceeded")]
    BodySize,
    /// The compressed page is damaged.
    #[error("cannot decompress the page: {0}")]
    Gzip(std::io::Error),
    /// It is not known what the page is.
    #[error(transparent)]
    ContentType(#[from] ContentTypeError),
    /// The page is no metrics page.
    #[error("cannot read the page: {0}")]
    Parse(#[from] ParseError),
    /// The same for one of protobuf messages.
    #[error("cannot read the page: {0}")]
    Protobuf(#[from] ProtobufError),
    /// More samples than the job allows.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// More labels than the job allows.
    #[error("label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {limit})")]
    LabelLimit {
        /// The metric, its first 50 characters.
        metric: String,
        /// How many labels there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A label name longer than the job allows.
    #[error(
        "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {length}, limit: {limit})"
    )]
    LabelNameLength {
        /// The metric, its first 50 characters.
        metric: String,
        /// The label, its first 50 characters.
        name: String,
        /// Length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A label value longer than the job allows.
    #[error(
        "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {value:?}, length: {length}, limit: {limit})"
    )]
    LabelValueLength {
        /// The metric, its first 50 characters.
        metric: String,
        /// The label, its first 50 characters.
        name: String,
        /// The value, its first 50 characters.
        value: String,
        /// Length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The store does not take the samples at all.
    #[error(transparent)]
    Append(AppendError),
}

/// Jobs that cannot be used; those that run go on as before.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|(job, error)| format!("scrape job `{job}`: {error}")).collect::<Vec<_>>().join("\n"))]
pub struct ApplyError(
    /// The jobs and what is wrong with them.
    pub Vec<(String, ConfigError)>,
);

/// What is wrong with a job.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A job needs a name.
    #[error("the name is empty")]
    NoName,
    /// Two jobs with one name.
    #[error("found multiple scrape configs with this job name")]
    DuplicateName,
    /// An interval or timeout of zero.
    #[error("interval and timeout must be above zero")]
    ZeroDuration,
    /// A scrape could overlap with the next one.
    #[error("scrape timeout greater than scrape interval")]
    TimeoutAboveInterval,
    /// Neither `http` nor `https`.
    #[error("unknown scheme `{0}`, expected `http` or `https`")]
    Scheme(String),
    /// A target that cannot be scraped.
    #[error("target `{address}`: {error}")]
    Target {
        /// Its address.
        address: String,
        /// What is wrong with it.
        error: TargetError,
    },
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
}
