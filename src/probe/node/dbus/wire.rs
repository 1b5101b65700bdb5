//! The messages of D-Bus: calls with texts as arguments are written, answers are read.

use super::Answer;

/// The part of a message that tells how long the rest is.
pub(super) const HEADER_BYTES: usize = 16;
/// The longest message that is read. A unit of systemd takes some 400 bytes in the list of all.
const MAX_BYTES: usize = 8 << 20;

const LITTLE_ENDIAN: u8 = b'l';
const BIG_ENDIAN: u8 = b'B';
const PROTOCOL_VERSION: u8 = 1;
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;

/// The fields of a header, by their numbers.
mod field {
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR_NAME: u8 = 4;
    pub(super) const REPLY_SERIAL: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SIGNATURE: u8 = 8;
}

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::probe::node) enum WireError {
    /// Not even the beginning is right.
    #[error("this is no message of D-Bus")]
    NoMessage,
    /// More than anybody has to say.
    #[error("a message of D-Bus is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It ends too early, or a text is no text.
    #[error("a message of D-Bus is malformed")]
    Malformed,
    /// A value is of another type than it should be.
    #[error("an answer has the type `{found}`, not `{expected}`")]
    Type {
        /// As the answer says.
        found: String,
        /// As it should be.
        expected: &'static str,
    },
}

/// A question: a method of an object.
#[derive(Debug, Clone)]
pub(in crate::probe::node) struct Call<'a> {
    /// The name of the service on the bus.
    pub(in crate::probe::node) destination: &'static str,
    pub(in crate::probe::node) path: &'a str,
    pub(in crate::probe::node) interface: &'static str,
    pub(in crate::probe::node) member: &'static str,
    /// Texts, the only arguments there are here.
    pub(in crate::probe::node) arguments: &'a [&'a str],
}

impl Call<'_> {
    /// Adds the message to what is to be sent.
    pub(super) fn write(&self, serial: u32, out: &mut Vec<u8>) {
        let mut body = Writer::default();
        for argument in self.arguments {
            body.text(argument);
        }
        let mut fields = Writer::default();
        fields.text_field(field::PATH, "o", self.path);
        fields.text_field(field::DESTINATION, "s", self.destination);
        fields.text_field(field::INTERFACE, "s", self.interface);
        fields.text_field(field::MEMBER, "s", self.member);
        if !self.arguments.is_empty() {
            fields.align(8);
            fields.0.push(field::SIGNATURE);
            fields.signature("g");
            fields.signature(&"s".repeat(self.arguments.len()));
        }
        let mut message = Writer(vec![LITTLE_ENDIAN, METHOD_CALL, 0, PROTOCOL_VERSION]);
        message.number(body.0.len());
        message.0.extend(serial.to_le_bytes());
        message.number(fields.0.len());
        // The fields begin at a multiple of 8, as they did while they were written.
        message.0.extend(fields.0);
        message.align(8);
        message.0.extend(body.0);
        out.extend(message.0);
    }
}

/// Writes values, little end first.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, boundary: usize) {
        self.0.resize(self.0.len().next_multiple_of(boundary), 0);
    }

    fn number(&mut self, number: usize) {
        self.align(4);
        self.0.extend(u32::try_from(number).expect("a question is short").to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).expect("a question has few arguments"));
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    fn text_field(&mut self, field: u8, kind: &str, text: &str) {
        self.align(8);
        self.0.push(field);
        self.signature(kind);
        self.text(text);
    }
}

/// The beginning of a message.
#[derive(Debug)]
pub(super) struct Header {
    big_endian: bool,
    kind: u8,
    body_bytes: usize,
    fields_bytes: usize,
}

impl Header {
    /// Reads the first [`HEADER_BYTES`] of a message.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let [order, kind, _flags, PROTOCOL_VERSION, ..] = bytes else { return Err(WireError::NoMessage) };
        let big_endian = match *order {
            LITTLE_ENDIAN => false,
            BIG_ENDIAN => true,
            _ => return Err(WireError::NoMessage),
        };
        let mut reader = Reader { bytes, at: 4, big_endian };
        let body_bytes = reader.length()?;
        let _serial = reader.length()?;
        let fields_bytes = reader.length()?;
        if body_bytes.saturating_add(fields_bytes) > MAX_BYTES {
            return Err(WireError::TooLong);
        }
        Ok(Self { big_endian, kind: *kind, body_bytes, fields_bytes })
    }

    /// How many bytes follow.
    pub(super) fn rest_bytes(&self) -> usize {
        self.fields_bytes.next_multiple_of(8) + self.body_bytes
    }

    /// Which question the message answers, and how; nothing if it answers none. `rest` is what follows.
    pub(super) fn answer(&self, mut rest: Vec<u8>) -> Result<Option<(u32, Answer)>, WireError> {
        let mut reader = Reader { bytes: &rest, at: 0, big_endian: self.big_endian };
        let (mut serial, mut signature, mut error) = (None, String::new(), String::new());
        while reader.at < self.fields_bytes {
            reader.align(8);
            let field = reader.byte()?;
            match (field, reader.signature()?) {
                (field::REPLY_SERIAL, "u") => serial = Some(reader.number()?),
                (field::ERROR_NAME, "s") => reader.text()?.clone_into(&mut error),
                (field::SIGNATURE, "g") => reader.signature()?.clone_into(&mut signature),
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.number()?),
                _ => return Err(WireError::Malformed),
            }
        }
        let body = rest.split_off(self.fields_bytes.next_multiple_of(8));
        let answer = match self.kind {
            METHOD_RETURN => Ok(Body { bytes: body, big_endian: self.big_endian, signature }),
            ERROR => Err(error),
            _ => return Ok(None),
        };
        Ok(serial.map(|serial| (serial, answer)))
    }
}

/// The values of an answer.
#[derive(Debug)]
pub(in crate::probe::node) struct Body {
    bytes: Vec<u8>,
    big_endian: bool,
    signature: String,
}

impl Body {
    /// Reads the values, which must be of that type.
    pub(in crate::probe::node) fn read(&self, expected: &'static str) -> Result<Reader<'_>, WireError> {
        if self.signature != expected {
            return Err(WireError::Type { found: self.signature.clone(), expected });
        }
        Ok(Reader { bytes: &self.bytes, at: 0, big_endian: self.big_endian })
    }

    /// A property that is a text.
    pub(in crate::probe::node) fn property_text(&self) -> Result<&str, WireError> {
        let mut reader = self.read("v")?;
        match reader.signature()? {
            "s" => reader.text(),
            found => Err(WireError::Type { found: found.to_owned(), expected: "s" }),
        }
    }

    /// A property that is a number without sign.
    pub(in crate::probe::node) fn property_number(&self) -> Result<u64, WireError> {
        let mut reader = self.read("v")?;
        match reader.signature()? {
            "u" => reader.number().map(u64::from),
            "t" => reader.long(),
            found => Err(WireError::Type { found: found.to_owned(), expected: "t" }),
        }
    }
}

/// Reads values one after the other. Who reads knows their types.
#[derive(Debug)]
pub(in crate::probe::node) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    /// Leaves out what fills up to a boundary. Boundaries count from where the message begins, and so do
    /// both parts of a message, which begin at multiples of 8.
    pub(in crate::probe::node) fn align(&mut self, boundary: usize) {
        self.at = self.at.next_multiple_of(boundary);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(count).ok_or(WireError::Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(WireError::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    /// A number of 32 bits.
    pub(in crate::probe::node) fn number(&mut self) -> Result<u32, WireError> {
        self.align(4);
        let bytes = self.take(4)?.try_into().expect("four bytes were taken");
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn long(&mut self) -> Result<u64, WireError> {
        self.align(8);
        let bytes = self.take(8)?.try_into().expect("eight bytes were taken");
        Ok(if self.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    fn length(&mut self) -> Result<usize, WireError> {
        Ok(self.number()? as usize)
    }

    /// A text, or the path of an object.
    pub(in crate::probe::node) fn text(&mut self) -> Result<&'a str, WireError> {
        let length = self.length()?;
        self.terminated(length)
    }

    fn signature(&mut self) -> Result<&'a str, WireError> {
        let length = usize::from(self.byte()?);
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Result<&'a str, WireError> {
        let text = self.take(length)?;
        match self.byte()? {
            0 => std::str::from_utf8(text).map_err(|_| WireError::Malformed),
            _ => Err(WireError::Malformed),
        }
    }

    /// Where a list ends that begins here, whose items begin at multiples of `boundary`.
    pub(in crate::probe::node) fn list(&mut self, boundary: usize) -> Result<usize, WireError> {
        let length = self.length()?;
        self.align(boundary);
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        end.ok_or(WireError::Malformed)
    }

    /// Whether there is something before that place.
    pub(in crate::probe::node) fn before(&self, end: usize) -> bool {
        self.at < end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as it goes over the wire, in one or the other order of bytes.
    fn message(big_endian: bool, kind: u8, fields: &[u8], body: &[u8]) -> Vec<u8> {
        let number = |number: usize| {
            let number = number as u32;
            if big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
        };
        let order = if big_endian { BIG_ENDIAN } else { LITTLE_ENDIAN };
        let mut message = vec![order, kind, 0, 1];
        message.extend(number(body.len()));
        message.extend(number(9));
        message.extend(number(fields.len()));
        message.extend(fields);
        message.resize(message.len().next_multiple_of(8), 0);
        message.extend(body);
        message
    }

    fn read(message: &[u8]) -> Result<Option<(u32, Answer)>, WireError> {
        let header = Header::parse(message)?;
        assert_eq!(header.rest_bytes(), message.len() - HEADER_BYTES);
        header.answer(message[HEADER_BYTES..].to_vec())
    }

    #[test]
    fn a_call_is_written_as_the_specification_has_it() {
        let call =
            Call { destination: "d", path: "/p", interface: "i", member: "m", arguments: &["ab", "c"] };
        let mut written = Vec::new();
        call.write(7, &mut written);
        let expected: &[&[u8]] = &[
            b"l\x01\0\x01\x0e\0\0\0\x07\0\0\0\x48\0\0\0",
            b"\x01\x01o\0\x02\0\0\0/p\0\0\0\0\0\0",
            b"\x06\x01s\0\x01\0\0\0d\0\0\0\0\0\0\0",
            b"\x02\x01s\0\x01\0\0\0i\0\0\0\0\0\0\0",
            b"\x03\x01s\0\x01\0\0\0m\0\0\0\0\0\0\0",
            b"\x08\x01g\0\x02ss\0",
            b"\x02\0\0\0ab\0\0\x01\0\0\0c\0",
        ];
        assert_eq!(written, expected.concat());
    }

    #[test]
    fn answers_are_read_in_both_orders_of_bytes() {
        let little = message(
            false,
            METHOD_RETURN,
            b"\x05\x01u\0\x07\0\0\0\x08\x01g\0\x01v\0",
            b"\x01s\0\0\x02\0\0\0ok\0",
        );
        let big = message(
            true,
            METHOD_RETURN,
            b"\x05\x01u\0\0\0\0\x07\x08\x01g\0\x01v\0",
            b"\x01s\0\0\0\0\0\x02ok\0",
        );
        for message in [little, big] {
            let (serial, answer) = read(&message).unwrap().unwrap();
            let body = answer.unwrap();
            assert_eq!((serial, body.property_text()), (7, Ok("ok")));
            let error = body.property_number().unwrap_err();
            assert_eq!(error.to_string(), "an answer has the type `s`, not `t`");
        }
        let number = message(
            false,
            METHOD_RETURN,
            b"\x08\x01g\0\x01v\0\0\x05\x01u\0\x07\0\0\0",
            b"\x01t\0\0\0\0\0\0\x09\0\0\0\0\0\0\0",
        );
        assert_eq!(read(&number).unwrap().unwrap().1.unwrap().property_number(), Ok(9));
        let error = message(false, ERROR, b"\x04\x01s\0\x03\0\0\0a.b\0\0\0\0\0\x05\x01u\0\x07\0\0\0", b"");
        assert_eq!(read(&error).unwrap().unwrap().1.unwrap_err(), "a.b");
        let signal = message(false, 4, b"\x05\x01u\0\x07\0\0\0", b"");
        assert!(read(&signal).unwrap().is_none());
    }

    #[test]
    fn no_bytes_make_the_reader_stumble() {
        let good = message(
            false,
            METHOD_RETURN,
            b"\x05\x01u\0\x07\0\0\0\x08\x01g\0\x01v\0",
            b"\x01s\0\0\x02\0\0\0ok\0",
        );
        for at in 0..good.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let Ok(header) = Header::parse(&bad) else { continue };
                let mut rest = bad[HEADER_BYTES..].to_vec();
                rest.resize(header.rest_bytes(), 0);
                if let Ok(Some((_, Ok(body)))) = header.answer(rest) {
                    let _ = (body.property_text(), body.property_number());
                }
            }
        }
    }
}
