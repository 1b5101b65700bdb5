//! Messages of DNS: reading and writing, and their records as texts.
//! Source: RFC 1035 section 4, RFC 3597, RFC 6891 (EDNS), and the RFCs of the record types.
//!
//! Discovery asks for targets with them and the DNS prober looks at name servers. Both want what a
//! server says as it is, and no resolver with a cache and policies of its own.

mod codes;
mod data;
mod message;
mod name;
mod record;
mod text;

pub use self::codes::{Class, RecordType, ResponseCode};
pub use self::message::{Message, MessageError, Question, UDP_SIZE};
pub use self::name::{Name, NameError};
pub use self::record::Record;

/// A number for a question, which nobody who does not see the question can guess.
pub fn random_id() -> u16 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Each state has other keys, of which the first were random.
    RandomState::new().build_hasher().finish() as u16
}
