//! The certificates and revocation lists in PKCS#12 (RFC 7292), the keystore of Windows and Java: `.p12`,
//! `.pfx`.
//!
//! Private keys are never decrypted. Written here rather than taken from a crate: those that there are
//! bring a second library for ASN.1 and CMS, write such files too, and refuse what old programs wrote; what
//! reading certificates needs is little.

mod ber;
mod cipher;
mod password;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac};
use x509_parser::der_parser::Oid;

use self::password::{Password, Purpose};
use crate::probe::der::{INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, explicit, implicit};

/// How deep bags may lie in one another. Nobody does it.
const MAX_DEPTH: usize = 4;

/// Content types of PKCS#7, before the number of one of them.
const CONTENT: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07];
/// Types of bags, before the number of one of them.
const BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01];
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
const X509_CRL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x17, 0x01];
const PBMAC1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0e];
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// NIST's digest algorithms, before the number of one of them.
const NIST_DIGEST: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// Why PKCS#12 yields nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Pkcs12Error {
    #[error("PKCS#12: {0} cannot be understood")]
    Malformed(&'static str),
    #[error("PKCS#12: `{0}` is not supported")]
    Unsupported(String),
    #[error("PKCS#12: more rounds of hashing the password than are worth while")]
    TooManyRounds,
    #[error("PKCS#12: the password is wrong")]
    WrongPassword,
}

/// What lies in PKCS#12, in its order, as DER.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) revocation_lists: Vec<Vec<u8>>,
}

/// Whether bytes begin as PKCS#12 does: a sequence that begins with the number 3.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let length_bytes = match bytes {
        [SEQUENCE, first, ..] if *first > 0x80 => usize::from(first & 0x7f),
        [SEQUENCE, _, ..] => 0,
        _ => return false,
    };
    bytes.get(2 + length_bytes..).is_some_and(|content| content.starts_with(&[INTEGER, 1, 3]))
}

/// Opens PKCS#12 with a password. Blocks, since passwords are hashed many times.
pub(super) fn open(bytes: &[u8], password: &str) -> Result<Contents, Pkcs12Error> {
    let der = ber::to_der(bytes).ok_or(Pkcs12Error::Malformed("its encoding"))?;
    let container = Container::read(&der)?;
    let mut opened = Err(Pkcs12Error::WrongPassword);
    for mut form in Password::forms(password) {
        opened = container.open(&mut form);
        if opened != Err(Pkcs12Error::WrongPassword) {
            break;
        }
    }
    opened
}

/// An algorithm with what it needs to be told.
#[derive(Clone, Copy)]
struct Algorithm<'a> {
    oid: &'a [u8],
    parameters: Reader<'a>,
}

impl Algorithm<'_> {
    fn unsupported(self) -> Pkcs12Error {
        unsupported(self.oid)
    }
}

fn unsupported(oid: &[u8]) -> Pkcs12Error {
    Pkcs12Error::Unsupported(Oid::new(oid.into()).to_id_string())
}

impl<'a> Reader<'a> {
    fn algorithm(&mut self) -> Option<Algorithm<'a>> {
        let mut algorithm = self.take(SEQUENCE)?.reader();
        let oid = algorithm.take(OBJECT_IDENTIFIER)?.content;
        Some(Algorithm { oid, parameters: algorithm })
    }
}

/// How often something is done: a positive number.
fn rounds(integer: &[u8]) -> Option<NonZeroU32> {
    let significant = &integer[integer.iter().take_while(|byte| **byte == 0).count()..];
    let is_number = integer.first().is_some_and(|first| *first < 0x80);
    match significant.len() {
        1..=4 if is_number => {
            NonZeroU32::new(significant.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        }
        // More than anybody waits for.
        5.. if is_number => Some(NonZeroU32::MAX),
        _ => None,
    }
}

/// The outermost structure.
struct Container<'a> {
    safes: &'a [u8],
    seal: Option<Seal<'a>>,
}

/// What proves that the password is right and nothing was changed.
struct Seal<'a> {
    algorithm: Algorithm<'a>,
    code: &'a [u8],
    salt: &'a [u8],
    rounds: NonZeroU32,
}

impl<'a> Container<'a> {
    fn read(der: &'a [u8]) -> Result<Self, Pkcs12Error> {
        let malformed = |what| move || Pkcs12Error::Malformed(what);
        let mut file = Reader(der).take(SEQUENCE).ok_or_else(malformed("its beginning"))?.reader();
        file.take(INTEGER).ok_or_else(malformed("its version"))?;
        let mut content = file.take(SEQUENCE).ok_or_else(malformed("its content"))?.reader();
        let kind = content.take(OBJECT_IDENTIFIER).ok_or_else(malformed("its content"))?.content;
        if kind.strip_prefix(CONTENT) != Some(&[1]) {
            return Err(unsupported(kind));
        }
        let safes = content.take(explicit(0)).and_then(|content| content.reader().take(OCTET_STRING));
        let safes = safes.ok_or_else(malformed("its content"))?.content;
        let seal = match file.take(SEQUENCE) {
            Some(seal) => Some(Seal::read(seal.reader()).ok_or_else(malformed("its seal"))?),
            None => None,
        };
        Ok(Self { safes, seal })
    }

    fn open(&self, password: &mut Password) -> Result<Contents, Pkcs12Error> {
        if let Some(seal) = &self.seal {
            seal.check(self.safes, password)?;
        }
        let mut contents = Contents::default();
        let safes = ber::to_der(self.safes).ok_or(Pkcs12Error::Malformed("its content"))?;
        let mut safes = sequence(&safes)?;
        while let Some(safe) = safes.take(SEQUENCE) {
            match self.safe(safe.reader(), password)? {
                Some(bags) => contents.add(&bags, MAX_DEPTH)?,
                None => return Err(Pkcs12Error::Malformed("a part")),
            }
        }
        Ok(contents)
    }

    /// The bags of a part, decrypted. `None` if it is malformed.
    fn safe(&self, mut safe: Reader<'_>, password: &mut Password) -> Result<Option<Vec<u8>>, Pkcs12Error> {
        let Some((kind, content)) = safe.take(OBJECT_IDENTIFIER).zip(safe.take(explicit(0))) else {
            return Ok(None);
        };
        let mut content = content.reader();
        match kind.content.strip_prefix(CONTENT) {
            Some([1]) => Ok(content.take(OCTET_STRING).map(|bags| bags.content.to_vec())),
            Some([6]) => {
                let Some((algorithm, ciphertext)) = encrypted(content) else { return Ok(None) };
                let decrypted = cipher::decrypt(algorithm, &ciphertext, password);
                // The seal has shown that the password is right.
                decrypted.map(Some).map_err(|error| match error {
                    Pkcs12Error::WrongPassword if self.seal.is_some() => {
                        Pkcs12Error::Malformed("what is encrypted")
                    }
                    other => other,
                })
            }
            _ => Err(unsupported(kind.content)),
        }
    }
}

impl<'a> Seal<'a> {
    fn read(mut seal: Reader<'a>) -> Option<Self> {
        let mut digest = seal.take(SEQUENCE)?.reader();
        let algorithm = digest.algorithm()?;
        let code = digest.take(OCTET_STRING)?.content;
        let salt = seal.take(OCTET_STRING)?.content;
        let rounds = match seal.take(INTEGER) {
            Some(number) => rounds(number.content)?,
            None => NonZeroU32::MIN,
        };
        Some(Self { algorithm, code, salt, rounds })
    }

    fn check(&self, sealed: &[u8], password: &mut Password) -> Result<(), Pkcs12Error> {
        let (algorithm, key) = if self.algorithm.oid == PBMAC1 {
            self.pbmac1_key(password)?
        } else {
            let (digest, algorithm) = self.digest()?;
            let length = digest.output_len();
            (algorithm, password.derive(digest, Purpose::Mac, self.salt, self.rounds, length)?)
        };
        hmac::verify(&hmac::Key::new(algorithm, &key), sealed, self.code)
            .map_err(|_| Pkcs12Error::WrongPassword)
    }

    /// Source: RFC 9579.
    fn pbmac1_key(&self, password: &mut Password) -> Result<(hmac::Algorithm, Vec<u8>), Pkcs12Error> {
        let mut parameters = self.algorithm.sequence()?;
        let (Some(derivation), Some(algorithm)) = (parameters.algorithm(), parameters.algorithm()) else {
            return Err(Pkcs12Error::Malformed("its seal"));
        };
        let algorithm = cipher::hmac_algorithm(algorithm)?;
        Ok((algorithm, cipher::pbkdf2(derivation, None, password)?))
    }

    fn digest(&self) -> Result<(&'static digest::Algorithm, hmac::Algorithm), Pkcs12Error> {
        if self.algorithm.oid == SHA1 {
            return Ok((&digest::SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY));
        }
        match self.algorithm.oid.strip_prefix(NIST_DIGEST) {
            Some([1]) => Ok((&digest::SHA256, hmac::HMAC_SHA256)),
            Some([2]) => Ok((&digest::SHA384, hmac::HMAC_SHA384)),
            Some([3]) => Ok((&digest::SHA512, hmac::HMAC_SHA512)),
            Some([4]) => Ok((&digest::SHA224, hmac::HMAC_SHA224)),
            _ => Err(self.algorithm.unsupported()),
        }
    }
}

/// What is inside of a sequence that is all there is.
fn sequence(der: &[u8]) -> Result<Reader<'_>, Pkcs12Error> {
    let sequence = Reader(der).take(SEQUENCE).ok_or(Pkcs12Error::Malformed("its content"))?;
    Ok(sequence.reader())
}

/// How a part is encrypted, and its ciphertext, which may be in pieces.
fn encrypted(mut content: Reader<'_>) -> Option<(Algorithm<'_>, Vec<u8>)> {
    let mut data = content.take(SEQUENCE)?.reader();
    data.take(INTEGER)?;
    let mut data = data.take(SEQUENCE)?.reader();
    data.take(OBJECT_IDENTIFIER)?;
    let algorithm = data.algorithm()?;
    let ciphertext = match data.take(explicit(0)) {
        Some(pieces) => ber::joined(pieces.content)?,
        None => data.take(implicit(0))?.content.to_vec(),
    };
    Some((algorithm, ciphertext))
}

impl Contents {
    /// Adds what lies in bags.
    fn add(&mut self, bags: &[u8], depth: usize) -> Result<(), Pkcs12Error> {
        let malformed = Pkcs12Error::Malformed("a bag");
        let bags = ber::to_der(bags).filter(|_| depth > 0).ok_or_else(|| malformed.clone())?;
        let mut bags = sequence(&bags)?;
        while let Some(bag) = bags.take(SEQUENCE) {
            let mut bag = bag.reader();
            let read = bag.take(OBJECT_IDENTIFIER).zip(bag.take(explicit(0)));
            let (kind, value) = read.ok_or_else(|| malformed.clone())?;
            match kind.content.strip_prefix(BAG) {
                Some([3 | 4]) => self.item(value.reader()).ok_or_else(|| malformed.clone())?,
                Some([6]) => self.add(value.content, depth - 1)?,
                // Keys and secrets are no concern of ours.
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds a certificate or a revocation list; there are others than those of X.509, which are left out.
    fn item(&mut self, mut value: Reader<'_>) -> Option<()> {
        let mut value = value.take(SEQUENCE)?.reader();
        let kind = value.take(OBJECT_IDENTIFIER)?.content;
        let item = value.take(explicit(0))?.reader().take(OCTET_STRING)?;
        match kind {
            X509_CERTIFICATE => self.certificates.push(item.content.to_vec()),
            X509_CRL => self.revocation_lists.push(item.content.to_vec()),
            _ => {}
        }
        Some(())
    }
}
