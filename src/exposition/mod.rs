//! Metrics pages and what travels like them: the parser and the writer of the text format 0.0.4 and of
//! OpenMetrics 1.0, the reader of protobuf pages, and the body of remote-write requests.
//!
//! [`Parser`] reads a page without copying: it yields each sample with the text of its series, so that a
//! reader who knows that text already need not look at the labels again. [`Page`] is the way back.
//! Nothing here does I/O.

mod content_type;
mod error;
mod escape;
mod family;
mod native;
mod negotiate;
mod number;
mod parse;
pub mod protobuf;
pub mod remote_write;
mod write;

pub use content_type::{ContentTypeError, Format, PageType};
pub use error::{Fault, ParseError};
pub use escape::Escaping;
pub use family::{Metadata, MetricType};
pub use native::{BucketFault, HistogramFault};
pub use negotiate::{ACCEPT, ACCEPT_NATIVE, Negotiated};
pub use parse::{Entry, ParsedSample, Parser};
pub use write::Page;
