//! Messages of DNS, as far as a client needs them: questions out, answers in.
//! Source: RFC 1035 section 4, RFC 2782 (SRV), RFC 3596 (AAAA), RFC 6891 (EDNS).

use std::net::{Ipv4Addr, Ipv6Addr};

/// The largest answer over UDP that is asked for, in bytes. Source: Prometheus asks for as much.
pub(super) const UDP_SIZE: u16 = 4096;

const HEADER_BYTES: usize = 12;
/// The class "Internet".
const CLASS_IN: u16 = 1;
/// The type of the record that says how large an answer may be.
const TYPE_OPT: u16 = 41;
/// The longest name, in bytes as it is sent.
const MAX_NAME_BYTES: usize = 255;
/// Pointers that are followed within one name; more would be a loop.
const MAX_POINTERS: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// IPv4 addresses of a host.
    A,
    /// IPv6 addresses of a host.
    Aaaa,
    /// Hosts and ports of a service.
    Srv,
}

impl RecordType {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
        }
    }

    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

/// One answer of the type that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// A host, its name with a final dot, and a port.
    Srv(String, u16),
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whether it was cut to fit into a datagram.
    pub(super) truncated: bool,
    pub(super) code: Code,
    /// The records of the type that was asked for, as far as they came.
    pub(super) records: Vec<Record>,
}

/// How a server took a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// It knows the name.
    NoError,
    /// There is no such name.
    NoSuchName,
    /// Anything else, by its number.
    Other(u8),
}

/// Why something is no message, or not the one that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends too early.
    #[error("the answer is cut short")]
    Short,
    /// It answers another question.
    #[error("the answer is to another question")]
    Other,
    /// A name in it cannot be read.
    #[error("the answer holds a name that is none")]
    Name,
    /// This cannot be asked for.
    #[error("this is no domain name")]
    Question,
}

/// A question that was encoded.
#[derive(Debug, Clone)]
pub(super) struct Question {
    id: u16,
    record_type: RecordType,
    /// The name as it is sent.
    name: Vec<u8>,
}

impl Question {
    /// A question about `name`, which may end in a dot.
    pub(super) fn new(id: u16, name: &str, record_type: RecordType) -> Result<Self, MessageError> {
        let mut encoded = Vec::with_capacity(name.len() + 2);
        for label in name.strip_suffix('.').unwrap_or(name).split('.') {
            match u8::try_from(label.len()) {
                Ok(length @ 1..64) => encoded.push(length),
                _ => return Err(MessageError::Question),
            }
            encoded.extend_from_slice(label.as_bytes());
        }
        encoded.push(0);
        if encoded.len() > MAX_NAME_BYTES {
            return Err(MessageError::Question);
        }
        Ok(Self { id, record_type, name: encoded })
    }

    /// The message. `edns` says that a large answer may come over UDP.
    pub(super) fn encode(&self, edns: bool) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER_BYTES + self.name.len() + 15);
        // Recursion desired; one question, no answers, no authorities, perhaps one further record.
        for word in [self.id, 0x0100, 1, 0, 0, u16::from(edns)] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        message.extend_from_slice(&self.name);
        message.extend_from_slice(&self.record_type.code().to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        if edns {
            // The root's name, the type, the size in place of a class, and neither flags nor data.
            message.push(0);
            for word in [TYPE_OPT, UDP_SIZE, 0, 0, 0] {
                message.extend_from_slice(&word.to_be_bytes());
            }
        }
        message
    }

    /// Reads the answer to this question.
    pub(super) fn decode(&self, message: &[u8]) -> Result<Answer, MessageError> {
        let mut reader = Reader { message, at: 0 };
        let (id, flags) = (reader.word()?, reader.word()?);
        let counts = [reader.word()?, reader.word()?];
        reader.skip(4)?;
        let is_response = flags & 0x8000 != 0;
        if id != self.id || !is_response || counts[0] != 1 {
            return Err(MessageError::Other);
        }
        let (name, record_type, class) = (reader.name()?, reader.word()?, reader.word()?);
        let asked = Reader { message: &self.name, at: 0 }.name()?;
        if !name.eq_ignore_ascii_case(&asked) || record_type != self.record_type.code() || class != CLASS_IN {
            return Err(MessageError::Other);
        }
        let truncated = flags & 0x0200 != 0;
        let code = match (flags & 0xf) as u8 {
            0 => Code::NoError,
            3 => Code::NoSuchName,
            other => Code::Other(other),
        };
        let mut records = Vec::new();
        for _ in 0..counts[1] {
            match reader.record(self.record_type) {
                Ok(record) => records.extend(record),
                Err(_) if truncated => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Answer { truncated, code, records })
    }
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], MessageError> {
        let bytes = self.message.get(self.at..self.at + count).ok_or(MessageError::Short)?;
        self.at += count;
        Ok(bytes)
    }

    fn skip(&mut self, count: usize) -> Result<(), MessageError> {
        self.bytes(count).map(drop)
    }

    fn byte(&mut self) -> Result<u8, MessageError> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn word(&mut self) -> Result<u16, MessageError> {
        self.bytes(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name with a final dot. It may go on elsewhere in the message, any number of times.
    fn name(&mut self) -> Result<String, MessageError> {
        let mut name = String::new();
        let mut elsewhere: Option<Self> = None;
        let mut pointers = 0;
        loop {
            let reader = elsewhere.as_mut().unwrap_or(self);
            match reader.byte()? {
                0 => break,
                length @ 1..64 => {
                    let label = reader.bytes(usize::from(length))?;
                    let label = std::str::from_utf8(label).map_err(|_| MessageError::Name)?;
                    // What could not be told from two labels, or does not belong into a URL.
                    if label.bytes().any(|byte| matches!(byte, b'.' | b'/' | b'@' | b':' | 0..=b' ')) {
                        return Err(MessageError::Name);
                    }
                    name.push_str(label);
                    name.push('.');
                }
                high @ 192.. => {
                    let low = reader.byte()?;
                    let at = usize::from(u16::from_be_bytes([high & 0x3f, low]));
                    pointers += 1;
                    if pointers > MAX_POINTERS {
                        return Err(MessageError::Name);
                    }
                    elsewhere = Some(Reader { message: self.message, at });
                }
                64..192 => return Err(MessageError::Name),
            }
            if name.len() > MAX_NAME_BYTES {
                return Err(MessageError::Name);
            }
        }
        Ok(name)
    }

    /// The next record, if it is of this type.
    fn record(&mut self, wanted: RecordType) -> Result<Option<Record>, MessageError> {
        self.name()?;
        let (record_type, class) = (self.word()?, self.word()?);
        // The time to live is not used: the refresh interval says when to ask again.
        self.skip(4)?;
        let length = usize::from(self.word()?);
        let start = self.at;
        let data = self.bytes(length)?;
        // On the way to the answer there may be aliases.
        if record_type != wanted.code() || class != CLASS_IN {
            return Ok(None);
        }
        let record = match wanted {
            RecordType::A => <[u8; 4]>::try_from(data).ok().map(|octets| Record::A(octets.into())),
            RecordType::Aaaa => <[u8; 16]>::try_from(data).ok().map(|octets| Record::Aaaa(octets.into())),
            RecordType::Srv => {
                // Priority and weight come first.
                let mut inner = Reader { message: self.message, at: start + 4 };
                let port = inner.word()?;
                Some(Record::Srv(inner.name()?, port))
            }
        };
        record.map(Some).ok_or(MessageError::Short)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(record_type: RecordType) -> Question {
        Question::new(7, "am.example.", record_type).expect("a name")
    }

    /// An answer to [`question`]: its flags, and its records after their names, which are pointers to the
    /// question's.
    fn answer(record_type: RecordType, flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = question(record_type).encode(false);
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[7] = u8::try_from(records.len()).expect("few");
        for (record_type, data) in records {
            message.extend_from_slice(&[192, 12]);
            message.extend_from_slice(&record_type.to_be_bytes());
            message.extend_from_slice(&[0, 1, 0, 0, 0, 30]);
            message.extend_from_slice(&u16::try_from(data.len()).expect("short").to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    #[test]
    fn a_question_is_encoded_as_the_standard_says() {
        let edns = [0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0];
        let plain = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02am\x07example\0\0\x21\0\x01";
        assert_eq!(question(RecordType::Srv).encode(false), plain);
        let mut with = plain.to_vec();
        with[11] = 1;
        with.extend(edns);
        assert_eq!(question(RecordType::Srv).encode(true), with);
    }

    #[test]
    fn what_is_no_domain_name_is_not_asked_for() {
        let long = format!("{}.example", "x".repeat(64));
        let longer = vec!["abcdefgh"; 30].join(".");
        for name in ["", ".", "a..b", ".a", &long, &longer] {
            assert!(Question::new(1, name, RecordType::A).is_err(), "{name}");
        }
    }

    #[test]
    fn records_of_the_type_that_was_asked_for_are_read() {
        let check = |record_type, records: &[(u16, &[u8])], expected: &[Record]| {
            let message = answer(record_type, 0x8180, records);
            let answer = question(record_type).decode(&message).expect("a good answer");
            assert_eq!((answer.truncated, answer.code), (false, Code::NoError));
            assert_eq!(answer.records, expected);
        };
        check(RecordType::A, &[], &[]);
        let alias: (u16, &[u8]) = (5, &[192, 12]);
        check(RecordType::A, &[alias, (1, &[10, 0, 0, 1])], &[Record::A(Ipv4Addr::new(10, 0, 0, 1))]);
        let loopback = Ipv6Addr::LOCALHOST;
        check(RecordType::Aaaa, &[(28, &loopback.octets())], &[Record::Aaaa(loopback)]);
        // The target goes on with "example." of the question.
        let target = b"\0\x0a\0\x05\x23\x85\x02n1\xc0\x0f";
        check(RecordType::Srv, &[(33, target)], &[Record::Srv("n1.example.".to_owned(), 9093)]);
    }

    #[test]
    fn codes_and_truncation_are_told() {
        let check = |flags: u16, truncated, code| {
            let message = answer(RecordType::A, flags, &[]);
            let answer = question(RecordType::A).decode(&message).expect("readable");
            assert_eq!((answer.truncated, answer.code), (truncated, code));
        };
        check(0x8380, true, Code::NoError);
        check(0x8183, false, Code::NoSuchName);
        check(0x8182, false, Code::Other(2));
    }

    #[test]
    fn what_does_not_answer_the_question_is_refused() {
        let good = answer(RecordType::A, 0x8180, &[(1, &[10, 0, 0, 1])]);
        let check = |change: &dyn Fn(&mut Vec<u8>), expected| {
            let mut message = good.clone();
            change(&mut message);
            assert_eq!(question(RecordType::A).decode(&message), Err(expected));
        };
        check(&|message| message[1] = 8, MessageError::Other);
        check(&|message| message[2] = 1, MessageError::Other);
        check(&|message| message[13] = b'x', MessageError::Other);
        check(&|message| message.truncate(message.len() - 1), MessageError::Short);
        check(&|message| message.truncate(5), MessageError::Short);
        // A name that points to itself.
        let name_at = good.len() - 16;
        check(&|message| message[name_at + 1] = u8::try_from(name_at).expect("small"), MessageError::Name);
        let upper = answer(RecordType::A, 0x8180, &[]).to_ascii_uppercase();
        assert!(question(RecordType::A).decode(&upper).is_ok(), "case does not matter");
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(mut bytes: Vec<u8>, good: bool) {
            if good {
                bytes.splice(0..0, answer(RecordType::Srv, 0x8180, &[(33, b"\0\x0a")]));
            }
            drop(question(RecordType::Srv).decode(&bytes));
        }
    }
}
