//! Where scrape targets come from: lists in the configuration and in files.
//!
//! A source yields groups of addresses with labels; what becomes of them is the scraper's business.

mod file;
mod group;

pub use file::{FileDiscovery, FileError, Problem};
pub use group::{GroupError, TargetGroup};
