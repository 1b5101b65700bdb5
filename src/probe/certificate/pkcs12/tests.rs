//! Files as real programs wrote them, so that they are read where these programs are not there. The other
//! proof is `tests/it/keystores.rs`, which lets the programs write.

use super::*;
use crate::probe::x509::Certificate;

/// `openssl pkcs12 -export -nokeys -certpbe NONE -nomac`
const PLAIN: &[u8] = include_bytes!("../../../../tests/keystores/plain.p12");
/// The same with a seal of RFC 9579, which pyca/cryptography 48 accepts.
const PBMAC1_SEALED: &[u8] = include_bytes!("../../../../tests/keystores/pbmac1.p12");
/// `openssl pkcs12 -export`: AES-256 and SHA-256.
const OPENSSL_3: &[u8] = include_bytes!("../../../../tests/keystores/openssl-3.p12");
/// `openssl pkcs12 -export -legacy`: RC2 with 40 bits and SHA-1.
const OPENSSL_1: &[u8] = include_bytes!("../../../../tests/keystores/openssl-1.p12");
/// `keytool -importkeystore` of Java 17.
const JAVA_17: &[u8] = include_bytes!("../../../../tests/keystores/java-17.p12");
/// `keytool -J-Dkeystore.pkcs12.legacy -importkeystore`: as Java wrote until 2021.
const JAVA_8: &[u8] = include_bytes!("../../../../tests/keystores/java-8.p12");

const ALL: [&[u8]; 6] = [PLAIN, PBMAC1_SEALED, OPENSSL_3, OPENSSL_1, JAVA_17, JAVA_8];

/// Whom the certificates are for.
fn subjects(bytes: &[u8], password: &str) -> Result<Vec<String>, Pkcs12Error> {
    let contents = open(bytes, password)?;
    let subject = |der: &Vec<u8>| Certificate::parse(der).unwrap().subject.to_string();
    Ok(contents.certificates.iter().map(subject).collect())
}

#[test]
fn files_of_all_programs_are_opened_by_their_password_alone() {
    for (index, file) in ALL.into_iter().enumerate() {
        assert!(looks_like(file));
        assert_eq!(subjects(file, "hunter2"), Ok(vec!["CN=shop".to_owned()]), "{index}");
        let refused = subjects(file, "hunter3");
        assert_eq!(refused == Err(Pkcs12Error::WrongPassword), file != PLAIN, "{index}: {refused:?}");
    }
}

#[test]
fn what_is_no_such_file_is_not_taken_for_one() {
    for other in [&b""[..], b"-----BEGIN", &[0x30], &[0x30, 0x03, 0x02, 0x01, 0x02], &[0x30, 0xff, 0x02]] {
        assert!(!looks_like(other), "{other:02x?}");
    }
    assert!(looks_like(&[0x30, 0x80, 0x02, 0x01, 0x03]));
}

#[test]
fn lengths_that_come_at_the_end_and_strings_in_pieces_are_read() {
    let ber = to_ber(PLAIN);
    assert!(ber.len() > PLAIN.len() && looks_like(&ber));
    assert_eq!(subjects(&ber, ""), Ok(vec!["CN=shop".to_owned()]));
}

/// The elements of DER with indefinite lengths and strings in two pieces.
fn to_ber(der: &[u8]) -> Vec<u8> {
    let mut reader = Reader(der);
    let mut ber = Vec::new();
    while let Some(element) = reader.next() {
        match element.tag {
            OCTET_STRING => {
                // Within lies what is BER too, unless it is the certificate.
                let is_certificate = Certificate::parse(element.content).is_ok();
                let is_inner = element.content.starts_with(&[SEQUENCE]) && !is_certificate;
                let inner = if is_inner { to_ber(element.content) } else { element.content.to_vec() };
                let (first, second) = inner.split_at(inner.len() / 2);
                ber.extend([0x24, 0x80]);
                for piece in [first, second] {
                    ber.extend([OCTET_STRING, 0x82]);
                    ber.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
                    ber.extend(piece);
                }
                ber.extend([0, 0]);
            }
            tag if tag & 0x20 != 0 => {
                ber.extend([tag, 0x80]);
                ber.extend(to_ber(element.content));
                ber.extend([0, 0]);
            }
            _ => ber.extend(element.whole),
        }
    }
    ber
}

#[test]
fn bytes_that_were_changed_or_cut_never_do_harm() {
    for file in ALL {
        for at in 0..file.len() {
            // The rounds stay as they are, or this would take long.
            let mut changed = file.to_vec();
            changed[at] = changed[at].wrapping_add(1);
            let _ = ber::to_der(&changed).map(|der| Container::read(&der).is_ok());
            assert!(open(&file[..at], "hunter2").is_err());
        }
    }
}

#[test]
fn bags_do_not_lie_in_one_another_for_ever() {
    let wrap = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, length[0], length[1]][..], content].concat()
    };
    let kind = wrap(OBJECT_IDENTIFIER, &[BAG, &[6]].concat());
    let mut bags = wrap(SEQUENCE, &[]);
    for _ in 0..=MAX_DEPTH {
        let bag = [kind.clone(), wrap(explicit(0), &bags)].concat();
        bags = wrap(SEQUENCE, &wrap(SEQUENCE, &bag));
    }
    let added = Contents::default().add(&bags, MAX_DEPTH);
    assert_eq!(added, Err(Pkcs12Error::Malformed("a bag")));
}

#[test]
fn rounds_are_a_positive_number() {
    let check = |integer: &[u8], expected: Option<u32>| {
        assert_eq!(rounds(integer).map(NonZeroU32::get), expected, "{integer:02x?}");
    };
    check(&[0x08, 0x00], Some(2048));
    check(&[0x00, 0xff, 0xff, 0xff, 0xff], Some(u32::MAX));
    check(&[0x01, 0, 0, 0, 0], Some(u32::MAX));
    for bad in [&[][..], &[0], &[0xff], &[0x80, 0x00]] {
        check(bad, None);
    }
}
