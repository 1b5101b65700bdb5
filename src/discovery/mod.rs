//! Where targets come from: lists in the configuration, files, and the domain name system.
//!
//! A source yields groups of addresses with labels; what becomes of them is its user's business.
//! [`Discovery`] looks at sources again and again and tells what they yield.

mod dns;
mod file;
mod group;
mod metrics;
#[cfg(test)]
pub(crate) mod testing;
mod watch;

pub use dns::{DEFAULT_REFRESH as DEFAULT_DNS_REFRESH, DnsConfig, LookupError, RecordType};
pub use dns::{Resolver, Servers};
pub use file::{FileDiscovery, FileError, Problem};
pub use group::{GroupError, TargetGroup};
pub use metrics::Metrics;
pub use watch::{Config, DEFAULT_FILE_REFRESH, Discovery, FileConfig, Found};
