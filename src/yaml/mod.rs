//! YAML as a tree in which every key and value knows its place, and a reader that takes it apart while
//! collecting every fault instead of stopping at the first. Only this module knows the YAML crate, save
//! for files of machines ([`crate::discovery`]).

pub mod compose;
mod reader;
mod tree;

pub use reader::{Fields, Reader};
pub use tree::{Node, NodeKind, parse};
