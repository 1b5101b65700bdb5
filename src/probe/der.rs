//! Just enough DER to take apart an OCSP response or a PKCS#12 file: tags, lengths and contents.

/// An element with what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With tag and length, as signatures cover it.
    pub(super) whole: &'a [u8],
}

/// Reads one element after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// Universal tags, and those that a context gives.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// The tag of a constructed element that its context numbers.
pub(super) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// The tag of a primitive element that its context numbers.
pub(super) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

impl<'a> Reader<'a> {
    /// The next element; `None` at the end, or if it is malformed.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // More than four bytes of length are nothing that anybody staples or keeps.
            let size = usize::from(first & 0x7f);
            let bytes = rest.get(..size).filter(|_| (1..=4).contains(&size))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), &rest[size..])
        };
        let content = rest.get(..length)?;
        let header = self.0.len() - rest.len();
        let whole = &self.0[..header + length];
        self.0 = &rest[length..];
        Some(Element { tag, content, whole })
    }

    /// The next element if it has this tag; otherwise it stays.
    pub(super) fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.next().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }
}

impl<'a> Element<'a> {
    /// Reads what is inside.
    pub(super) fn reader(self) -> Reader<'a> {
        Reader(self.content)
    }

    /// The bytes of a bit string that has no unused bits.
    pub(super) fn bits(self) -> Option<&'a [u8]> {
        self.content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bits)| bits)
    }

    /// A `GeneralizedTime` of the form that certificates use, in seconds since the Unix epoch.
    pub(super) fn time(self) -> Option<i64> {
        let text = std::str::from_utf8(self.content).ok()?.strip_suffix('Z')?;
        let at = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
        at.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|at| at.timestamp().as_second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_taken_apart_and_malformed_ones_refused() {
        let mut reader = Reader(&[0x02, 0x01, 0x05, 0x04, 0x81, 0x02, 0xaa, 0xbb, 0x30, 0x00]);
        let first = reader.next().unwrap();
        assert_eq!((first.tag, first.content, first.whole), (INTEGER, &[5][..], &[2, 1, 5][..]));
        assert_eq!(reader.take(SEQUENCE), None);
        assert_eq!(reader.take(OCTET_STRING).unwrap().content, [0xaa, 0xbb]);
        assert_eq!(reader.next().unwrap().whole, [0x30, 0x00]);
        assert_eq!(reader.next(), None);
        for malformed in [&[0x02][..], &[0x02, 0x02, 0x01], &[0x02, 0x80], &[0x02, 0x85, 1, 1, 1, 1, 1]] {
            assert_eq!(Reader(malformed).next(), None, "{malformed:?}");
        }
    }

    #[test]
    fn times_are_in_utc() {
        let check = |text: &str, expected: Option<i64>| {
            let element = Element { tag: GENERALIZED_TIME, content: text.as_bytes(), whole: &[] };
            assert_eq!(element.time(), expected, "{text}");
        };
        check("20240101000000Z", Some(1_704_067_200));
        check("20240101000000", None);
        check("20241301000000Z", None);
        check("soon", None);
    }
}
