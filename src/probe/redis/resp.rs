//! Redis' wire protocol, as much of it as a client of version 2 meets.
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

/// The largest answer that is read. `INFO all` of a server with a thousand commands has 200 kB.
const MAX_BYTES: usize = 4 << 20;
/// How deep arrays may be nested.
const MAX_DEPTH: usize = 4;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A text; `None` is the absence of one.
    Text(Option<String>),
    /// A number.
    Integer(i64),
    /// A refusal: its first word is its kind.
    Error(String),
    /// A list; `None` is the absence of one.
    Array(Option<Vec<Value>>),
}

/// Bytes that are no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RespError {
    /// Not a Redis server, most likely.
    #[error("expected an answer of Redis, got byte {0:#04x}")]
    Kind(u8),
    /// A length or a number that is none.
    #[error("expected a number, got `{0}`")]
    Number(String),
    /// More than is read.
    #[error("the answer is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Arrays within arrays within arrays.
    #[error("the answer is nested more than {MAX_DEPTH} times")]
    TooDeep,
}

/// A command as the server expects it: an array of texts.
pub(super) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    bytes
}

/// Reads one answer from the beginning of `bytes`, and says how many bytes it has; nothing as long as there
/// are too few.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, RespError> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    if value.is_none() && bytes.len() > MAX_BYTES {
        return Err(RespError::TooLong);
    }
    Ok(value.map(|value| (value, reader.at)))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Option<Value>, RespError> {
        if depth > MAX_DEPTH {
            return Err(RespError::TooDeep);
        }
        let Some(&kind) = self.bytes.get(self.at) else { return Ok(None) };
        if !b"+-:$*".contains(&kind) {
            return Err(RespError::Kind(kind));
        }
        self.at += 1;
        let Some(line) = self.line() else { return Ok(None) };
        let number = || line.parse::<i64>().map_err(|_| RespError::Number(line.chars().take(40).collect()));
        Ok(Some(match kind {
            b'+' => Value::Text(Some(line)),
            b'-' => Value::Error(line),
            b':' => Value::Integer(number()?),
            b'$' => match usize::try_from(number()?) {
                Err(_) => Value::Text(None),
                Ok(length) if length > MAX_BYTES => return Err(RespError::TooLong),
                Ok(length) => {
                    // The line end after the text does not count.
                    let Some(text) = self.bytes.get(self.at..self.at + length + 2) else { return Ok(None) };
                    self.at += text.len();
                    Value::Text(Some(String::from_utf8_lossy(&text[..length]).into_owned()))
                }
            },
            _ => match usize::try_from(number()?) {
                Err(_) => Value::Array(None),
                Ok(length) if length > MAX_BYTES => return Err(RespError::TooLong),
                Ok(length) => {
                    let mut values = Vec::new();
                    for _ in 0..length {
                        let Some(value) = self.value(depth + 1)? else { return Ok(None) };
                        values.push(value);
                    }
                    Value::Array(Some(values))
                }
            },
        }))
    }

    /// Up to the next line end.
    fn line(&mut self) -> Option<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += end + 2;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(Some(text.to_owned()))
    }

    #[test]
    fn answers_are_read_as_soon_as_they_are_whole() {
        let check = |bytes: &str, expected: Value| {
            let with_more = format!("{bytes}+MORE\r\n");
            assert_eq!(parse(with_more.as_bytes()), Ok(Some((expected, bytes.len()))), "{bytes:?}");
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes.as_bytes()[..cut]), Ok(None), "{:?}", &bytes[..cut]);
            }
        };
        check("+OK\r\n", text("OK"));
        check("-NOAUTH Authentication required.\r\n", Value::Error("NOAUTH Authentication required.".into()));
        check(":-7\r\n", Value::Integer(-7));
        check("$6\r\na\r\nb:1\r\n", text("a\r\nb:1"));
        check("$-1\r\n", Value::Text(None));
        check("*-1\r\n", Value::Array(None));
        check("*2\r\n$1\r\na\r\n*1\r\n:1\r\n", {
            Value::Array(Some(vec![text("a"), Value::Array(Some(vec![Value::Integer(1)]))]))
        });
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(parse(bytes).unwrap_err().to_string(), expected, "{bytes:?}");
        };
        check(b"HTTP/1.1 400 Bad Request\r\n", "expected an answer of Redis, got byte 0x48");
        check(b"$x\r\n", "expected a number, got `x`");
        check(b"$99999999\r\n", "the answer is longer than 4194304 bytes");
        check(b"*99999999\r\n", "the answer is longer than 4194304 bytes");
        check("*1\r\n".repeat(9).as_bytes(), "the answer is nested more than 4 times");
        check(&vec![b'+'; MAX_BYTES + 1], "the answer is longer than 4194304 bytes");
    }

    #[test]
    fn a_command_is_an_array_of_texts() {
        assert_eq!(command(&["INFO", "all"]), b"*2\r\n$4\r\nINFO\r\n$3\r\nall\r\n");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in "[-+:$*0-9a\r\n]{0,60}") {
            if let Ok(Some((_, length))) = parse(bytes.as_bytes()) {
                proptest::prop_assert!(length <= bytes.len());
            }
        }
    }
}
