//! Certificate revocation lists as plain facts: who issued them, and how long they hold.

use x509_parser::num_bigint::BigUint;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use super::MetricMetadata;
use crate::probe::der::{INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, explicit};
use crate::probe::samples::SampleSet;
use crate::probe::x509::DistinguishedName;

pub(super) const METADATA: &[MetricMetadata] = &[
    ("x509_crl_next_update", "gauge", "Unix timestamp of the CRL's nextUpdate (RFC 5280 §5.1.2.5)."),
    ("x509_crl_this_update", "gauge", "Unix timestamp of the CRL's thisUpdate (RFC 5280 §5.1.2.4)."),
    ("x509_crl_number", "gauge", "Value of the CRL's cRLNumber extension (RFC 5280 §5.2.3); 0 if absent."),
    ("x509_crl_stale", "gauge", "1 if the current time is past the CRL's nextUpdate, 0 otherwise."),
    ("x509_crl_stale_in_seconds", "gauge", "Seconds until the CRL's nextUpdate (negative once stale)."),
    ("x509_crl_fresh_since_seconds", "gauge", "Seconds since the CRL's thisUpdate."),
];

const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
/// How long a number is looked at. The standard allows 20 bytes.
const MAX_NUMBER_BYTES: usize = 32;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A revocation list. Whom it revokes is not looked at: that may be many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RevocationList {
    pub(super) issuer: DistinguishedName,
    /// Its number, big-endian.
    number: Option<Vec<u8>>,
    /// Seconds since the Unix epoch.
    this_update: i64,
    next_update: Option<i64>,
}

impl RevocationList {
    /// Reads a revocation list in DER form (RFC 5280, section 5.1); `None` if it is none.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let mut whole = Reader(der);
        let mut list = whole.take(SEQUENCE)?.reader();
        let mut signed = list.take(SEQUENCE)?.reader();
        // The algorithm and the signature follow, and then nothing.
        list.take(SEQUENCE)?;
        list.next().filter(|_| list.next().is_none() && whole.next().is_none())?;
        signed.take(INTEGER);
        signed.take(SEQUENCE)?;
        let (_, issuer) = X509Name::from_der(signed.take(SEQUENCE)?.whole).ok()?;
        let this_update = time(&mut signed)?;
        let next_update = time(&mut signed);
        signed.take(SEQUENCE);
        let extensions = signed.take(explicit(0)).and_then(|extensions| extensions.reader().take(SEQUENCE));
        let number = extensions.and_then(|extensions| number(extensions.reader()));
        Some(Self { issuer: DistinguishedName::of(&issuer), number, this_update, next_update })
    }

    /// When it was issued: seconds since the Unix epoch.
    pub(super) fn this_update(&self) -> i64 {
        self.this_update
    }

    /// Its number in decimal, empty if it has none.
    pub(super) fn number(&self) -> String {
        self.number.as_deref().map(|number| BigUint::from_bytes_be(number).to_string()).unwrap_or_default()
    }

    /// Adds its samples. `labels` say where it was found; `now` is in seconds since the Unix epoch.
    /// A list that does not say when the next one comes does not become stale.
    pub(super) fn emit(&self, samples: &mut SampleSet, labels: &[(&str, &str)], now: i64) {
        let mut gauge = |name, value: f64| samples.labelled(name, labels, value);
        gauge("x509_crl_this_update", self.this_update as f64);
        gauge("x509_crl_fresh_since_seconds", (now - self.this_update) as f64);
        let number = self.number.iter().flatten().fold(0.0, |number, byte| number * 256.0 + f64::from(*byte));
        gauge("x509_crl_number", number);
        if let Some(next_update) = self.next_update {
            gauge("x509_crl_next_update", next_update as f64);
            gauge("x509_crl_stale", f64::from(u8::from(now > next_update)));
            gauge("x509_crl_stale_in_seconds", (next_update - now) as f64);
        }
    }
}

fn time(reader: &mut Reader<'_>) -> Option<i64> {
    let time = reader.take(UTC_TIME).or_else(|| reader.take(GENERALIZED_TIME))?;
    ASN1Time::from_der(time.whole).ok().map(|(_, time)| time.timestamp())
}

/// The number among the extensions.
fn number(mut extensions: Reader<'_>) -> Option<Vec<u8>> {
    while let Some(extension) = extensions.take(SEQUENCE) {
        let mut extension = extension.reader();
        if extension.take(OBJECT_IDENTIFIER)?.content != CRL_NUMBER {
            continue;
        }
        let value = loop {
            // A flag may stand between the two.
            let element = extension.next()?;
            if element.tag == OCTET_STRING {
                break element;
            }
        };
        let number = value.reader().take(INTEGER)?.content;
        return Some(number.to_vec()).filter(|number| number.len() <= MAX_NUMBER_BYTES);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_need_not_say_when_the_next_one_comes() {
        let element = |tag: u8, content: &[&[u8]]| {
            let content = content.concat();
            [&[tag, u8::try_from(content.len()).unwrap()], &content[..]].concat()
        };
        let (algorithm, issuer) = (element(SEQUENCE, &[]), element(SEQUENCE, &[]));
        let this_update = element(UTC_TIME, &[b"260101000000Z"]);
        let signed = element(SEQUENCE, &[&algorithm, &issuer, &this_update]);
        let list = element(SEQUENCE, &[&signed, &algorithm, &element(0x03, &[&[0]])]);
        let list = RevocationList::parse(&list).unwrap();
        assert_eq!(
            (list.this_update(), list.next_update, list.number()),
            (1_767_225_600, None, String::new())
        );
        let mut samples = SampleSet::default();
        list.emit(&mut samples, &[], 1_767_225_700);
        let samples = samples.into_samples();
        let names: Vec<_> = samples.iter().map(|sample| sample.labels.metric_name()).collect();
        assert_eq!(names, ["x509_crl_this_update", "x509_crl_fresh_since_seconds", "x509_crl_number"]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bytes in [&b""[..], b"garbage", &[0x30, 0x00], &[0x30, 0x02, 0x30, 0x00]] {
            assert_eq!(RevocationList::parse(bytes), None);
        }
    }
}
