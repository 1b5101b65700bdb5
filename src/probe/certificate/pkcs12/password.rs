//! From a password to keys.

use std::iter;
use std::num::NonZeroU32;

use aws_lc_rs::{digest, pbkdf2};

use super::Pkcs12Error;

/// How often one file may have its passwords hashed, in all. Java's old files need 200 thousand rounds,
/// and more than a million takes whoever opens them a second.
const MAX_ROUNDS: u64 = 5_000_000;

/// What a password is hashed for. Source: RFC 7292, appendix B.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// A password in the two forms in which PKCS#12 uses it.
pub(super) struct Password {
    /// For PBKDF2.
    utf8: String,
    /// For PKCS#12's own derivation: UTF-16, first the high byte, with a zero at the end.
    utf16: Vec<u8>,
    rounds_left: u64,
}

impl Password {
    /// The forms of `text`. Programs do not agree whether a password that is empty has a zero at its end.
    pub(super) fn forms(text: &str) -> impl Iterator<Item = Self> {
        let utf16: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
        let form = |utf16| Self { utf8: text.to_owned(), utf16, rounds_left: MAX_ROUNDS };
        let without_zero = text.is_empty().then(Vec::new);
        iter::once(utf16).chain(without_zero).map(form)
    }

    /// Takes `rounds` from what is left for this file.
    fn spend(&mut self, rounds: NonZeroU32) -> Result<(), Pkcs12Error> {
        let rounds = u64::from(rounds.get());
        self.rounds_left = self.rounds_left.checked_sub(rounds).ok_or(Pkcs12Error::TooManyRounds)?;
        Ok(())
    }

    /// A key by PBKDF2.
    pub(super) fn pbkdf2(
        &mut self,
        algorithm: pbkdf2::Algorithm,
        salt: &[u8],
        rounds: NonZeroU32,
        length_bytes: usize,
    ) -> Result<Vec<u8>, Pkcs12Error> {
        self.spend(rounds)?;
        let mut key = vec![0; length_bytes];
        pbkdf2::derive(algorithm, rounds, salt, self.utf8.as_bytes(), &mut key);
        Ok(key)
    }

    /// A key as PKCS#12 derives it. Source: RFC 7292, appendix B.2.
    pub(super) fn derive(
        &mut self,
        algorithm: &'static digest::Algorithm,
        purpose: Purpose,
        salt: &[u8],
        rounds: NonZeroU32,
        length_bytes: usize,
    ) -> Result<Vec<u8>, Pkcs12Error> {
        let block_bytes = algorithm.block_len();
        let filled = |bytes: &[u8]| -> Vec<u8> {
            let length = bytes.len().next_multiple_of(block_bytes);
            bytes.iter().copied().cycle().take(length).collect()
        };
        let mut input = [filled(salt), filled(&self.utf16)].concat();
        let diversifier = vec![purpose as u8; block_bytes];
        let mut key = Vec::with_capacity(length_bytes);
        while key.len() < length_bytes {
            self.spend(rounds)?;
            let mut hash = digest::digest(algorithm, &[&diversifier[..], &input].concat());
            for _ in 1..rounds.get() {
                hash = digest::digest(algorithm, hash.as_ref());
            }
            key.extend_from_slice(hash.as_ref());
            let summand: Vec<u8> = hash.as_ref().iter().copied().cycle().take(block_bytes).collect();
            for block in input.chunks_mut(block_bytes) {
                add(block, &summand);
            }
        }
        key.truncate(length_bytes);
        Ok(key)
    }
}

/// Adds `summand` and 1 to a big-endian number of the same length; what does not fit is lost.
fn add(number: &mut [u8], summand: &[u8]) {
    let mut carry = 1;
    for (digit, other) in number.iter_mut().zip(summand).rev() {
        let sum = u16::from(*digit) + u16::from(*other) + carry;
        *digit = sum as u8;
        carry = sum >> 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::x509::hex;

    /// Source: the test vectors of Bouncy Castle, `PKCS12Test`, and of OpenSSL,
    /// `test/recipes/30-test_evp_data/evpkdf_pkcs12.txt`.
    #[test]
    fn keys_are_derived_as_in_other_programs() {
        let check = |text: &str, purpose: Purpose, salt: &[u8], rounds: u32, expected: &str| {
            let mut password = Password::forms(text).next().unwrap();
            let rounds = NonZeroU32::new(rounds).unwrap();
            let sha1 = &digest::SHA1_FOR_LEGACY_USE_ONLY;
            let key = password.derive(sha1, purpose, salt, rounds, expected.len() / 2).unwrap();
            assert_eq!(hex(&key), expected);
        };
        let salt = [0x0a, 0x58, 0xcf, 0x64, 0x53, 0x0d, 0x82, 0x3f];
        check("smeg", Purpose::Key, &salt, 1, "8aaae6297b6cb04642ab5b077851284eb7128f1a2a7fbca3");
        check("smeg", Purpose::Iv, &salt, 1, "79993dfe048d3b76");
        let salt = [0x3d, 0x83, 0xc0, 0xe4, 0x54, 0x6a, 0xc1, 0x40];
        check("smeg", Purpose::Mac, &salt, 1, "8d967d88f6caa9d714800ab3d48051d63f73a312");
    }

    #[test]
    fn a_file_does_not_hash_for_ever() {
        let mut password = Password::forms("x").next().unwrap();
        let all = NonZeroU32::new(u32::MAX).unwrap();
        let key = password.pbkdf2(pbkdf2::PBKDF2_HMAC_SHA256, b"salt", all, 32);
        assert_eq!(key, Err(Pkcs12Error::TooManyRounds));
    }

    #[test]
    fn an_empty_password_has_two_forms() {
        let forms = |text: &str| Password::forms(text).map(|form| form.utf16).collect::<Vec<_>>();
        assert_eq!(forms(""), [vec![0, 0], vec![]]);
        assert_eq!(forms("aö"), [vec![0, b'a', 0, 0xf6, 0, 0]]);
    }
}
