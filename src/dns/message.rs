//! Whole messages: questions out, answers in.

use super::codes::{Class, RecordType, ResponseCode};
use super::data::{Field, fields};
use super::name::{Name, NameError};
use super::record::Record;

/// The largest answer over UDP that a question with EDNS asks for, in bytes. Source: Prometheus' DNS
/// discovery asks for as much.
pub const UDP_SIZE: u16 = 4096;

const HEADER_BYTES: usize = 12;

/// Pointers that are followed within one name; more would be a loop.
const MAX_POINTERS: usize = 64;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;

/// Why something is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends too early.
    #[error("the answer is cut short")]
    Short,
    /// A name in it cannot be read.
    #[error("the answer holds a name that is none")]
    Name,
    /// The data of a record are longer than what they consist of.
    #[error("the answer holds a record with data of a wrong length")]
    Data,
}

/// What a server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name that is asked about.
    pub name: Name,
    /// What is asked for.
    pub record_type: RecordType,
    /// Mostly the Internet.
    pub class: Class,
}

impl Question {
    /// A question about `name`, which may end in a dot.
    pub fn new(name: &str, record_type: RecordType, class: Class) -> Result<Self, NameError> {
        Ok(Self { name: Name::parse(name)?, record_type, class })
    }

    /// The message. `edns` says that an answer of [`UDP_SIZE`] bytes may come over UDP.
    pub fn encode(&self, id: u16, recursion_desired: bool, edns: bool) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER_BYTES + self.name.wire().len() + 15);
        let flags = if recursion_desired { FLAG_RECURSION_DESIRED } else { 0 };
        // One question, no answers, no authorities, perhaps one further record.
        for word in [id, flags, 1, 0, 0, u16::from(edns)] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        message.extend_from_slice(self.name.wire());
        message.extend_from_slice(&self.record_type.0.to_be_bytes());
        message.extend_from_slice(&self.class.0.to_be_bytes());
        if edns {
            // The root's name, the type, the size in place of a class, and neither flags nor data.
            message.push(0);
            for word in [RecordType::OPT.0, UDP_SIZE, 0, 0, 0] {
                message.extend_from_slice(&word.to_be_bytes());
            }
        }
        message
    }
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The number of the question that is answered.
    pub id: u16,
    /// Whether it is an answer at all.
    pub is_response: bool,
    /// Whether it was cut to fit into a datagram. Then the records are those that came.
    pub truncated: bool,
    /// How the server took the question.
    pub code: ResponseCode,
    /// What it says it was asked.
    pub questions: Vec<Question>,
    /// What was asked for, and aliases on the way to it.
    pub answer: Vec<Record>,
    /// Who is responsible.
    pub authority: Vec<Record>,
    /// What may be asked next.
    pub additional: Vec<Record>,
}

impl Message {
    /// Reads a message. What follows its records is ignored.
    fn read(message: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader { message, at: 0 };
        let (id, flags) = (reader.word()?, reader.word()?);
        let counts = [reader.word()?, reader.word()?, reader.word()?, reader.word()?];
        let mut read = Self {
            id,
            is_response: flags & FLAG_RESPONSE != 0,
            truncated: flags & FLAG_TRUNCATED != 0,
            code: ResponseCode(flags & 0xf),
            questions: Vec::new(),
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        };
        if message.len() == HEADER_BYTES {
            // So some servers refuse.
            return Ok(read);
        }
        for _ in 0..counts[0] {
            let (name, record_type, class) = (reader.name()?, reader.word()?, reader.word()?);
            read.questions.push(Question { name, record_type: RecordType(record_type), class: Class(class) });
        }
        match read.sections(&mut reader, &counts[1..]) {
            Err(_) if read.truncated => {}
            result => result?,
        }
        if let Some(opt) = read.additional.iter().find(|record| record.record_type == RecordType::OPT) {
            read.code.0 |= (opt.ttl >> 24) as u16 * 16;
        }
        Ok(read)
    }

    fn sections(&mut self, reader: &mut Reader<'_>, counts: &[u16]) -> Result<(), MessageError> {
        let sections = [&mut self.answer, &mut self.authority, &mut self.additional];
        for (section, count) in sections.into_iter().zip(counts) {
            for _ in 0..*count {
                section.push(reader.record()?);
            }
        }
        Ok(())
    }

    /// Reads the answer to this question; `None` if the message is something else, whatever it is.
    pub fn read_answer(message: &[u8], id: u16, question: &Question) -> Result<Option<Self>, MessageError> {
        if !message.starts_with(&id.to_be_bytes()) {
            return Ok(None);
        }
        Ok(Some(Self::read(message)?).filter(|message| message.answers(id, question)))
    }

    /// Whether it answers this question. A server that did not understand may leave it out.
    fn answers(&self, id: u16, question: &Question) -> bool {
        let is_same = match self.questions.as_slice() {
            [] => self.code != ResponseCode::NO_ERROR,
            [asked] => asked == question,
            _ => false,
        };
        self.is_response && self.id == id && is_same
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

    fn byte(&mut self) -> Result<u8, MessageError> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn word(&mut self) -> Result<u16, MessageError> {
        self.bytes(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name, which may go on elsewhere in the message, a limited number of times.
    fn name(&mut self) -> Result<Name, MessageError> {
        let mut name = Name::begin();
        let mut elsewhere: Option<Self> = None;
        let mut pointers = 0;
        loop {
            let reader = elsewhere.as_mut().unwrap_or(self);
            match reader.byte()? {
                0 => return name.end().ok_or(MessageError::Name),
                length @ 1..64 => {
                    let label = reader.bytes(usize::from(length))?;
                    name.push_label(label).ok_or(MessageError::Name)?;
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
        }
    }

    fn record(&mut self) -> Result<Record, MessageError> {
        let (name, record_type, class) = (self.name()?, RecordType(self.word()?), Class(self.word()?));
        let ttl = u32::from(self.word()?) << 16 | u32::from(self.word()?);
        let length = usize::from(self.word()?);
        let end = self.at + length;
        if end > self.message.len() {
            return Err(MessageError::Short);
        }
        let data = self.data(record_type, end)?;
        Ok(Record { name, record_type, class, ttl, data })
    }

    /// The data of a record up to `end`, checked for being what its type says, with all names in full.
    fn data(&mut self, record_type: RecordType, end: usize) -> Result<Vec<u8>, MessageError> {
        let mut data = Vec::with_capacity(end - self.at);
        for field in fields(record_type).unwrap_or(&[Field::Hex]) {
            let length = match field {
                Field::Name => {
                    data.extend_from_slice(self.name()?.wire());
                    continue;
                }
                Field::U8 => 1,
                Field::U16 | Field::Type => 2,
                Field::U32 | Field::Time | Field::Ipv4 => 4,
                Field::Eui48 => 6,
                Field::Eui64 | Field::Node | Field::Locator => 8,
                Field::Ipv6 => 16,
                Field::Quoted | Field::Plain | Field::Salt | Field::Hash => {
                    1 + usize::from(*self.message.get(self.at).ok_or(MessageError::Short)?)
                }
                Field::Texts
                | Field::QuotedRest
                | Field::Hex
                | Field::HexUpper
                | Field::Base64
                | Field::Types
                | Field::Parameters => end.checked_sub(self.at).ok_or(MessageError::Data)?,
            };
            data.extend_from_slice(self.bytes(length)?);
        }
        if self.at == end { Ok(data) } else { Err(MessageError::Data) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(record_type: RecordType) -> Question {
        Question::new("am.example.", record_type, Class::IN).unwrap()
    }

    /// An answer to [`question`] with the id 7: its flags, and its answers after their names, which are
    /// pointers to the question's.
    fn answer(record_type: RecordType, flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = question(record_type).encode(7, true, false);
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
        let srv = question(RecordType::SRV);
        assert_eq!(srv.encode(7, true, false), plain);
        let mut with = plain.to_vec();
        with[11] = 1;
        with.extend(edns);
        assert_eq!(srv.encode(7, true, true), with);
        with[2] = 0;
        assert_eq!(srv.encode(7, false, true), with);
        let root = Question::new(".", RecordType(2), Class(3)).unwrap();
        assert_eq!(root.encode(1, true, false)[12..], [0, 0, 2, 0, 3]);
    }

    #[test]
    fn records_are_read_with_names_in_full() {
        // The target goes on with "example." of the question.
        let message = answer(RecordType::SRV, 0x8180, &[(33, b"\0\x0a\0\x05\x23\x85\x02n1\xc0\x0f")]);
        let read = Message::read(&message).unwrap();
        assert!(read.answers(7, &question(RecordType::SRV)));
        assert_eq!((read.truncated, read.code), (false, ResponseCode::NO_ERROR));
        let record = &read.answer[0];
        assert_eq!((record.name.to_string().as_str(), record.ttl), ("am.example.", 30));
        assert_eq!(record.data, b"\0\x0a\0\x05\x23\x85\x02n1\x07example\0");
        assert_eq!((read.authority.len(), read.additional.len()), (0, 0));
    }

    #[test]
    fn an_answer_has_the_id_and_the_question() {
        let check = |change: &dyn Fn(&mut Vec<u8>), expected: bool| {
            let mut message = answer(RecordType::A, 0x8180, &[]);
            change(&mut message);
            let found = Message::read_answer(&message, 7, &question(RecordType::A));
            assert_eq!(found.unwrap().is_some(), expected);
        };
        check(&|_| {}, true);
        check(&|message| message.make_ascii_uppercase(), true);
        check(&|message| message[1] = 8, false);
        check(&|message| message[2] = 1, false);
        check(&|message| message[13] = b'x', false);
        check(&|message| *message = message[..12].to_vec(), false);
        check(&|message| *message = b"x".to_vec(), false);
        // "Not implemented", and nothing else.
        check(&|message| *message = [0, 7, 0x80, 4, 0, 0, 0, 0, 0, 0, 0, 0].to_vec(), true);
    }

    #[test]
    fn codes_may_go_on_in_an_edns_record() {
        let mut message = answer(RecordType::A, 0x8180, &[]);
        message[11] = 1;
        message.extend_from_slice(&[0, 0, 41, 16, 0, 1, 0, 0, 0, 0, 0]);
        let read = Message::read(&message).unwrap();
        assert_eq!(read.code.to_string(), "BADSIG");
        let text = "\n;; OPT PSEUDOSECTION:\n; EDNS: version 0; flags:; udp: 4096";
        assert_eq!(read.additional[0].to_string(), text);
    }

    #[test]
    fn what_is_no_message_is_refused_unless_it_was_cut() {
        let a: (u16, &[u8]) = (1, &[10, 0, 0, 1]);
        let check = |flags: u16, change: &dyn Fn(&mut Vec<u8>), expected: Result<usize, MessageError>| {
            let mut message = answer(RecordType::A, flags, &[a, a]);
            change(&mut message);
            assert_eq!(Message::read(&message).map(|message| message.answer.len()), expected);
        };
        let cut = |message: &mut Vec<u8>| message.truncate(message.len() - 1);
        check(0x8180, &cut, Err(MessageError::Short));
        check(0x8380, &cut, Ok(1));
        check(0x8380, &|message| message.truncate(5), Err(MessageError::Short));
        let length_at = |message: &[u8]| message.len() - 5;
        check(
            0x8180,
            &|message| {
                let at = length_at(message);
                message[at] = 3;
            },
            Err(MessageError::Data),
        );
        check(
            0x8180,
            &|message| {
                let at = length_at(message);
                message[at] = 5;
            },
            Err(MessageError::Short),
        );
        // A name that points to itself.
        let name_at = |message: &[u8]| message.len() - 16;
        let loops = |message: &mut Vec<u8>| {
            let at = name_at(message);
            message[at + 1] = at as u8;
        };
        check(0x8180, &loops, Err(MessageError::Name));
        check(
            0x8180,
            &|message| {
                let at = name_at(message);
                message[at] = 0x80;
            },
            Err(MessageError::Name),
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_or_printing_panic(
            mut bytes: Vec<u8>,
            record_type in prop_oneof![0_u16..110, 250_u16..262],
            ends_well: bool,
        ) {
            let length = bytes.len();
            bytes.splice(0..0, answer(RecordType::ANY, 0x8180, &[(record_type, &[])]));
            if ends_well {
                let at = bytes.len() - length - 2;
                bytes[at..at + 2].copy_from_slice(&(length as u16).to_be_bytes());
            }
            if let Ok(message) = Message::read(&bytes) {
                for record in message.answer {
                    prop_assert!(!record.to_string().is_empty());
                }
            }
        }
    }
}
