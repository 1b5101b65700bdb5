//! From BER, which NSS and old Windows write, to DER, in which everything has one form.

/// How deep elements may lie in one another. In PKCS#12 it is about ten.
const MAX_DEPTH: usize = 32;

const CONSTRUCTED: u8 = 0x20;
const INDEFINITE: u8 = 0x80;
const OCTET_STRING: u8 = 0x04;

/// The first element of `input` with definite lengths and strings in one piece; what follows it is left
/// out. `None` if it is malformed.
pub(super) fn to_der(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len());
    element(input, MAX_DEPTH, &mut output)?;
    Some(output)
}

/// Adds the first element of `input` to `output`; yields what follows it.
fn element<'a>(input: &'a [u8], depth: usize, output: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    // Tags of several bytes do not occur in PKCS#12.
    if tag & 0x1f == 0x1f || depth == 0 {
        return None;
    }
    let is_constructed = tag & CONSTRUCTED != 0;
    if first == INDEFINITE {
        if !is_constructed {
            return None;
        }
        let mut content = Vec::new();
        let mut rest = rest;
        while !rest.starts_with(&[0, 0]) {
            rest = element(rest, depth - 1, &mut content)?;
        }
        put(tag, content, output)?;
        return Some(&rest[2..]);
    }
    let (length, rest) = definite_length(first, rest)?;
    let (content, rest) = rest.split_at_checked(length)?;
    if is_constructed {
        let mut left = content;
        let mut content = Vec::with_capacity(left.len());
        while !left.is_empty() {
            left = element(left, depth - 1, &mut content)?;
        }
        put(tag, content, output)?;
    } else {
        put(tag, content.to_vec(), output)?;
    }
    Some(rest)
}

/// The length of an element, and what follows it.
fn definite_length(first: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let size = usize::from(first & 0x7f);
    let (bytes, rest) = rest.split_at_checked(size).filter(|_| (1..=4).contains(&size))?;
    Some((bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest))
}

/// Adds an element whose content is DER. The pieces of a string are put together.
fn put(tag: u8, content: Vec<u8>, output: &mut Vec<u8>) -> Option<()> {
    let (tag, content) = match tag {
        0x24 => (OCTET_STRING, joined(&content)?),
        _ => (tag, content),
    };
    output.push(tag);
    match u8::try_from(content.len()) {
        Ok(length @ 0..0x80) => output.push(length),
        _ => {
            let length = content.len().to_be_bytes();
            let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
            output.push(0x80 | u8::try_from(significant.len()).expect("a length has at most 8 bytes"));
            output.extend_from_slice(significant);
        }
    }
    output.extend_from_slice(&content);
    Some(())
}

/// The contents of strings of bytes, one after the other.
pub(super) fn joined(mut pieces: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::with_capacity(pieces.len());
    while let Some((&tag, rest)) = pieces.split_first() {
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = definite_length(first, rest)?;
        let (piece, rest) = rest.split_at_checked(length).filter(|_| tag == OCTET_STRING)?;
        whole.extend_from_slice(piece);
        pieces = rest;
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_becomes_the_one_of_der() {
        let check = |input: &[u8], expected: Option<&[u8]>| {
            assert_eq!(to_der(input).as_deref(), expected, "{input:02x?}");
        };
        // As it is, and without what follows.
        check(&[0x30, 0x03, 0x02, 0x01, 0x05, 0xff], Some(&[0x30, 0x03, 0x02, 0x01, 0x05]));
        check(&[0x30, 0x80, 0x02, 0x01, 0x05, 0x00, 0x00, 0xff], Some(&[0x30, 0x03, 0x02, 0x01, 0x05]));
        // A string in pieces, of which one is in pieces too.
        let pieces = [0x24, 0x80, 0x04, 0x01, 0xaa, 0x24, 0x03, 0x04, 0x01, 0xbb, 0x00, 0x00];
        check(&pieces, Some(&[0x04, 0x02, 0xaa, 0xbb]));
        check(&[0x04, 0x81, 0x01, 0xaa], Some(&[0x04, 0x01, 0xaa]));
        let long = [&[0x04, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        check(&long, Some(&long));
        for malformed in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x80, 0x02, 0x01, 0x05, 0x00],
            &[0x04, 0x80, 0x00, 0x00],
            &[0x30, 0x02, 0x02, 0x01],
            &[0x24, 0x03, 0x02, 0x01, 0x05],
            &[0x1f, 0x01, 0x00],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
        ] {
            check(malformed, None);
        }
    }

    #[test]
    fn elements_do_not_lie_in_one_another_for_ever() {
        assert_eq!(to_der(&[0x30, 0x80].repeat(500_000)), None);
    }
}
