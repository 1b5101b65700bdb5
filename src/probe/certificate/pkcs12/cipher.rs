//! Decryption by a password: the ciphers of all programs that write PKCS#12 in earnest.
//!
//! AES is aws-lc-rs'. It offers neither RC2 nor (without its whole C interface) triple DES, in which files
//! of Java before 17 and of `openssl pkcs12 -legacy` are encrypted.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm as Aes, DecryptionContext, PaddedBlockDecryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac, pbkdf2};
use des::cipher::typenum::U8;
use des::cipher::{Block, BlockCipherDecrypt, BlockSizeUser, KeyInit};
use des::{TdesEde2, TdesEde3};
use rc2::Rc2;

use super::password::{Password, Purpose};
use super::{Algorithm, Pkcs12Error};
use crate::probe::der::{Element, INTEGER, OCTET_STRING, Reader, SEQUENCE};

const BLOCK_BYTES: usize = 8;

/// `pkcs-12PbeIds`, before the number of one of them.
const PKCS12_PBE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];
pub(super) const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const DES_EDE3_CBC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x03, 0x07];
/// NIST's AES algorithms, before the number of one of them.
const AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];
/// RSA's digest algorithms, before the number of one of them.
const RSA_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02];

/// Decrypts and takes off the padding. Fails with [`Pkcs12Error::WrongPassword`] if there is none.
pub(super) fn decrypt(
    algorithm: Algorithm<'_>,
    ciphertext: &[u8],
    password: &mut Password,
) -> Result<Vec<u8>, Pkcs12Error> {
    if algorithm.oid == PBES2 {
        return pbes2(algorithm, ciphertext, password);
    }
    let number = algorithm.oid.strip_prefix(PKCS12_PBE);
    let key_bytes = match number {
        Some([3]) => 24,
        Some([4 | 5]) => 16,
        Some([6]) => 5,
        _ => return Err(algorithm.unsupported()),
    };
    let (salt, rounds) = algorithm.salt_and_rounds()?;
    let sha1 = &digest::SHA1_FOR_LEGACY_USE_ONLY;
    let key = password.derive(sha1, Purpose::Key, salt, rounds, key_bytes)?;
    let iv = password.derive(sha1, Purpose::Iv, salt, rounds, BLOCK_BYTES)?;
    match number {
        Some([3]) => cbc(TdesEde3::new_from_slice(&key), &iv, ciphertext),
        Some([4]) => cbc(TdesEde2::new_from_slice(&key), &iv, ciphertext),
        _ => cbc(Rc2::new_from_slice(&key), &iv, ciphertext),
    }
}

/// PBES2 of RFC 8018: a key by PBKDF2, and a cipher.
fn pbes2(
    algorithm: Algorithm<'_>,
    ciphertext: &[u8],
    password: &mut Password,
) -> Result<Vec<u8>, Pkcs12Error> {
    let mut parameters = algorithm.sequence()?;
    let (Some(derivation), Some(cipher)) = (parameters.algorithm(), parameters.algorithm()) else {
        return Err(Pkcs12Error::Malformed("the parameters of PBES2"));
    };
    let iv = cipher.parameters.clone().take(OCTET_STRING).map_or(&[][..], |iv| iv.content);
    if cipher.oid == DES_EDE3_CBC {
        let key = pbkdf2(derivation, Some(24), password)?;
        return cbc(TdesEde3::new_from_slice(&key), iv, ciphertext);
    }
    let (aes, key_bytes): (&'static Aes, usize) = match cipher.oid.strip_prefix(AES) {
        Some([2]) => (&AES_128, 16),
        Some([22]) => (&AES_192, 24),
        Some([42]) => (&AES_256, 32),
        _ => return Err(cipher.unsupported()),
    };
    let key = pbkdf2(derivation, Some(key_bytes), password)?;
    let malformed = |_| Pkcs12Error::Malformed("the initial vector");
    let iv = DecryptionContext::Iv128(FixedLength::try_from(iv).map_err(malformed)?);
    let mut text = ciphertext.to_vec();
    let decrypted = UnboundCipherKey::new(aes, &key)
        .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
        .and_then(|key| Ok(key.decrypt(&mut text, iv)?.len()));
    text.truncate(decrypted.map_err(|_| Pkcs12Error::WrongPassword)?);
    Ok(text)
}

/// A key by PBKDF2, of the length that its cipher needs; without one, of the length that the parameters
/// state.
pub(super) fn pbkdf2(
    algorithm: Algorithm<'_>,
    length_bytes: Option<usize>,
    password: &mut Password,
) -> Result<Vec<u8>, Pkcs12Error> {
    if algorithm.oid != PBKDF2 {
        return Err(algorithm.unsupported());
    }
    let (salt, rounds) = algorithm.salt_and_rounds()?;
    let mut parameters = algorithm.sequence()?;
    // Salt and rounds once more.
    parameters.take(OCTET_STRING);
    parameters.take(INTEGER);
    let stated = parameters.take(INTEGER).map(|length| match length.content {
        [length] | [0, length] => Some(usize::from(*length)),
        _ => None,
    });
    let length_bytes = match (length_bytes, stated) {
        (Some(of_cipher), None) => of_cipher,
        (Some(of_cipher), Some(stated)) if stated == Some(of_cipher) => of_cipher,
        (None, Some(Some(stated))) => stated,
        _ => return Err(Pkcs12Error::Malformed("the length of a key")),
    };
    let hash = match parameters.algorithm() {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(prf) => match prf.oid.strip_prefix(RSA_DIGEST) {
            Some([7]) => pbkdf2::PBKDF2_HMAC_SHA1,
            Some([9]) => pbkdf2::PBKDF2_HMAC_SHA256,
            Some([10]) => pbkdf2::PBKDF2_HMAC_SHA384,
            Some([11]) => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return Err(prf.unsupported()),
        },
    };
    password.pbkdf2(hash, salt, rounds, length_bytes)
}

/// The HMAC of an algorithm that PBMAC1 names.
pub(super) fn hmac_algorithm(algorithm: Algorithm<'_>) -> Result<hmac::Algorithm, Pkcs12Error> {
    match algorithm.oid.strip_prefix(RSA_DIGEST) {
        Some([9]) => Ok(hmac::HMAC_SHA256),
        Some([10]) => Ok(hmac::HMAC_SHA384),
        Some([11]) => Ok(hmac::HMAC_SHA512),
        _ => Err(algorithm.unsupported()),
    }
}

/// Cipher block chaining with blocks of 8 bytes, and the padding of PKCS#7.
fn cbc<C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U8>>(
    cipher: Result<C, des::cipher::InvalidLength>,
    iv: &[u8],
    ciphertext: &[u8],
) -> Result<Vec<u8>, Pkcs12Error> {
    let cipher = cipher.expect("the key was derived with the cipher's length");
    let mut previous =
        <[u8; BLOCK_BYTES]>::try_from(iv).map_err(|_| Pkcs12Error::Malformed("the initial vector"))?;
    let (blocks, []) = ciphertext.as_chunks::<BLOCK_BYTES>() else {
        return Err(Pkcs12Error::Malformed("the length of what is encrypted"));
    };
    let mut text = Vec::with_capacity(ciphertext.len());
    for encrypted in blocks {
        let mut block = Block::<C>::from(*encrypted);
        cipher.decrypt_block(&mut block);
        text.extend(block.iter().zip(previous).map(|(byte, before)| byte ^ before));
        previous = *encrypted;
    }
    let padding = usize::from(text.last().copied().unwrap_or_default());
    let is_padded =
        (1..=BLOCK_BYTES).contains(&padding) && text.ends_with(&[padding as u8; BLOCK_BYTES][..padding]);
    if !is_padded {
        return Err(Pkcs12Error::WrongPassword);
    }
    text.truncate(text.len() - padding);
    Ok(text)
}

impl<'a> Algorithm<'a> {
    /// Its parameters, if they are a sequence.
    pub(super) fn sequence(self) -> Result<Reader<'a>, Pkcs12Error> {
        let mut parameters = self.parameters;
        let sequence = parameters.take(SEQUENCE).map(Element::reader);
        sequence.ok_or(Pkcs12Error::Malformed("the parameters of an algorithm"))
    }

    /// The first two parameters of what derives keys.
    fn salt_and_rounds(self) -> Result<(&'a [u8], std::num::NonZeroU32), Pkcs12Error> {
        let mut parameters = self.sequence()?;
        let salt = parameters.take(OCTET_STRING);
        let rounds = parameters.take(INTEGER).and_then(|rounds| super::rounds(rounds.content));
        salt.zip(rounds)
            .map(|(salt, rounds)| (salt.content, rounds))
            .ok_or(Pkcs12Error::Malformed("salt and rounds"))
    }
}
