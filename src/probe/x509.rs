//! X.509 certificates as plain facts: names, dates, serial number, fingerprint.
//!
//! Texts are printed as Go prints them, since existing dashboards and alerts match what blackbox
//! exporter and x509-certificate-exporter, both written in Go, put into labels.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

/// Why bytes are not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    /// The bytes are not DER, or not of a certificate.
    #[error("not an X.509 certificate: {0}")]
    Malformed(String),
    /// A certificate, and then something else.
    #[error("{0} bytes follow the X.509 certificate")]
    Trailing(usize),
}

/// The facts of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it is for.
    pub subject: DistinguishedName,
    /// Who signed it.
    pub issuer: DistinguishedName,
    /// The DNS names among the subject alternative names, in their order.
    pub dns_names: Vec<String>,
    /// The IP addresses among the subject alternative names, in their order.
    pub ip_addresses: Vec<IpAddr>,
    /// The addresses for mail among the subject alternative names, in their order.
    pub email_addresses: Vec<String>,
    /// The kind of its public key: `RSA`, `ECDSA`, `Ed25519` or an object identifier.
    pub key_type: String,
    /// The size of its public key in bits; 0 if that is not known.
    pub key_bits: u32,
    /// How it was signed, as Go names it: `SHA256-RSA`, `ECDSA-SHA384`; or an object identifier.
    pub signature_algorithm: String,
    /// Whether it demands that its server staples an OCSP response (RFC 7633).
    pub must_staple: bool,
    /// The serial number in decimal.
    pub serial_decimal: String,
    /// The serial number's bytes in lower-case hexadecimal, without leading zero bytes.
    pub serial_hex: String,
    /// When it begins to be valid: seconds since the Unix epoch.
    pub not_before: i64,
    /// The last second in which it is valid: seconds since the Unix epoch.
    pub not_after: i64,
    /// SHA-256 of the DER form in lower-case hexadecimal.
    pub fingerprint_sha256: String,
}

impl Certificate {
    /// Reads a certificate in DER form.
    pub fn parse(der: &[u8]) -> Result<Self, X509Error> {
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| X509Error::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(X509Error::Trailing(rest.len()));
        }
        let names = AlternativeNames::of(&parsed);
        Ok(Self {
            subject: DistinguishedName::of(parsed.subject()),
            issuer: DistinguishedName::of(parsed.issuer()),
            dns_names: names.dns,
            ip_addresses: names.ip,
            email_addresses: names.email,
            key_type: key_type(&parsed),
            key_bits: key_bits(&parsed),
            signature_algorithm: signature_algorithm(&parsed),
            must_staple: must_staple(&parsed),
            serial_decimal: parsed.serial.to_string(),
            serial_hex: hex(&serial_bytes(&parsed)),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            fingerprint_sha256: hex(&Sha256::digest(der)),
        })
    }

    /// Whether its time is over at `now` (seconds since the Unix epoch).
    pub fn is_expired_at(&self, now: i64) -> bool {
        now > self.not_after
    }

    /// Whether its time has not come at `now` (seconds since the Unix epoch).
    pub fn is_not_yet_valid_at(&self, now: i64) -> bool {
        now < self.not_before
    }

    /// Whether it names itself as its issuer.
    pub fn is_self_issued(&self) -> bool {
        self.subject.der == self.issuer.der
    }
}

/// The subject alternative names that are of any use.
#[derive(Default)]
struct AlternativeNames {
    dns: Vec<String>,
    ip: Vec<IpAddr>,
    email: Vec<String>,
}

impl AlternativeNames {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        // A malformed or repeated extension names nobody.
        let Ok(Some(extension)) = certificate.subject_alternative_name() else { return names };
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
                GeneralName::RFC822Name(email) => names.email.push((*email).to_owned()),
                GeneralName::IPAddress(bytes) => {
                    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    names.ip.extend(v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)));
                }
                _ => {}
            }
        }
        names
    }
}

/// Object identifiers of keys and signatures with the names that Go gives them. Source: Go
/// `crypto/x509`, `PublicKeyAlgorithm.String` and `SignatureAlgorithm.String`.
const ALGORITHMS: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.10045.2.1", "ECDSA"),
    ("1.3.101.112", "Ed25519"),
    ("1.2.840.113549.1.1.4", "MD5-RSA"),
    ("1.2.840.113549.1.1.5", "SHA1-RSA"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.113549.1.1.11", "SHA256-RSA"),
    ("1.2.840.113549.1.1.12", "SHA384-RSA"),
    ("1.2.840.113549.1.1.13", "SHA512-RSA"),
    ("1.2.840.10045.4.1", "ECDSA-SHA1"),
    ("1.2.840.10045.4.3.2", "ECDSA-SHA256"),
    ("1.2.840.10045.4.3.3", "ECDSA-SHA384"),
    ("1.2.840.10045.4.3.4", "ECDSA-SHA512"),
];

fn algorithm_name(oid: String) -> String {
    let known = ALGORITHMS.iter().find(|(known, _)| *known == oid);
    known.map_or(oid, |(_, name)| (*name).to_owned())
}

fn key_type(certificate: &X509Certificate<'_>) -> String {
    algorithm_name(certificate.public_key().algorithm.algorithm.to_id_string())
}

fn key_bits(certificate: &X509Certificate<'_>) -> u32 {
    let key = certificate.public_key();
    let bits = match key.parsed() {
        Ok(PublicKey::Unknown(bytes)) => bytes.len() * 8,
        Ok(known) => known.key_size(),
        Err(_) => 0,
    };
    u32::try_from(bits).unwrap_or(u32::MAX)
}

fn signature_algorithm(certificate: &X509Certificate<'_>) -> String {
    algorithm_name(certificate.signature_algorithm.algorithm.to_id_string())
}

/// The extension `id-pe-tlsfeature` with the feature `status_request` (5).
fn must_staple(certificate: &X509Certificate<'_>) -> bool {
    let features = certificate.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.24");
    features.is_some_and(|extension| extension.value.windows(3).any(|integer| integer == [2, 1, 5]))
}

fn serial_bytes(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let bytes = certificate.raw_serial();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

/// The object identifier of a certificate subject's organisation, common name and so on, with the name
/// and in the order in which Go prints them. Source: Go `crypto/x509/pkix`, `Name.ToRDNSequence`, from
/// last to first.
const NAMED_ATTRIBUTES: &[(&str, &str)] = &[
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.3", "CN"),
    ("2.5.4.17", "POSTALCODE"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.8", "ST"),
    ("2.5.4.7", "L"),
    ("2.5.4.11", "OU"),
    ("2.5.4.10", "O"),
    ("2.5.4.6", "C"),
];

/// A subject or an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName {
    /// The DER form, by which issuers are found.
    pub der: Vec<u8>,
    /// Object identifier and value of each attribute, as they stand in the certificate.
    attributes: Vec<(String, String)>,
}

impl DistinguishedName {
    pub(super) fn of(name: &X509Name<'_>) -> Self {
        let attributes = name.iter_attributes().map(|attribute| {
            let value = attribute
                .as_str()
                .map_or_else(|_| String::from_utf8_lossy(attribute.as_slice()).into_owned(), str::to_owned);
            (attribute.attr_type().to_id_string(), value)
        });
        Self { der: name.as_raw().to_vec(), attributes: attributes.collect() }
    }

    /// The common name, empty if there is none; of several the last, as in Go.
    pub fn common_name(&self) -> &str {
        self.values("CN").last().unwrap_or_default()
    }

    /// The first attribute with this short name (`C`, `ST`, `L`, `O`, `OU`), empty if there is none.
    pub fn first(&self, name: &str) -> &str {
        self.values(name).next().unwrap_or_default()
    }

    /// All attributes with this short name, in their order.
    pub(super) fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let oid = NAMED_ATTRIBUTES.iter().find(|(_, known)| *known == name).map(|(oid, _)| *oid);
        let matching = self.attributes.iter().filter(move |(other, _)| Some(other.as_str()) == oid);
        matching.map(|(_, value)| value.as_str())
    }

    /// One relative name after the other, each `NAME=value` or, of several values, `NAME=a+NAME=b`.
    fn relative_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (_, name) in NAMED_ATTRIBUTES {
            let single = matches!(*name, "CN" | "SERIALNUMBER");
            let mut values: Vec<&str> = self.values(name).collect();
            if single {
                values.drain(..values.len().saturating_sub(1));
            }
            let printed: Vec<String> =
                values.iter().map(|value| format!("{name}={}", escape_dn_value(value))).collect();
            if !printed.is_empty() {
                names.push(printed.join("+"));
            }
        }
        let is_named = |oid: &str| NAMED_ATTRIBUTES.iter().any(|(named, _)| *named == oid);
        let others = self.attributes.iter().rev().filter(|(oid, _)| !is_named(oid));
        names.extend(others.map(|(oid, value)| format!("{oid}=#{}", hex(&der_string(value)))));
        names
    }
}

/// `CN=example.com,O=Example,C=FI`: RFC 2253, with Go's order of attributes and Go's form of those that
/// have no short name. Source: Go `crypto/x509/pkix`, `Name.String`.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.relative_names().join(","))
    }
}

fn escape_dn_value(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (at, character) in value.char_indices() {
        let needs_escape = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == value.len() - 1,
            '#' => at == 0,
            _ => false,
        };
        if needs_escape {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// A string in DER: a `PrintableString` if its characters allow it, else a `UTF8String`.
/// Source: Go `encoding/asn1`, `Marshal`.
fn der_string(value: &str) -> Vec<u8> {
    const PRINTABLE_STRING: u8 = 0x13;
    const UTF8_STRING: u8 = 0x0c;
    let printable = value.bytes().all(|b| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b));
    let mut der = vec![if printable { PRINTABLE_STRING } else { UTF8_STRING }];
    match u8::try_from(value.len()) {
        Ok(length @ 0..0x80) => der.push(length),
        _ => {
            let length = value.len().to_be_bytes();
            let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
            der.push(0x80 | u8::try_from(significant.len()).expect("a length has at most 8 bytes"));
            der.extend_from_slice(significant);
        }
    }
    der.extend_from_slice(value.as_bytes());
    der
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber, date_time_ymd};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(["a.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::parse(der.der()).unwrap()
    }

    #[test]
    fn names_are_printed_as_go_prints_them() {
        let check = |attributes: &[(DnType, &str)], expected: &str| {
            let found = certificate(|params| {
                for (kind, value) in attributes {
                    params.distinguished_name.push(kind.clone(), *value);
                }
            });
            assert_eq!(found.subject.to_string(), expected);
            assert!(found.is_self_issued());
        };
        check(&[], "");
        check(
            &[
                (DnType::CountryName, "FI"),
                (DnType::OrganizationName, "Example, Inc."),
                (DnType::OrganizationalUnitName, "Ops"),
                (DnType::CommonName, "a.example"),
            ],
            r"CN=a.example,OU=Ops,O=Example\, Inc.,C=FI",
        );
        // Whatever the order in the certificate.
        check(&[(DnType::CommonName, "x"), (DnType::OrganizationName, "y")], "CN=x,O=y");
        check(&[(DnType::CommonName, " #<a> ")], r"CN=\ #\<a\>\ ");
        check(&[(DnType::CommonName, "#a")], r"CN=\#a");
        let email = DnType::from_oid(&[1, 2, 840, 113_549, 1, 9, 1]);
        check(&[(DnType::CommonName, "x"), (email, "a@b.fi")], "CN=x,1.2.840.113549.1.9.1=#0c066140622e6669");
    }

    #[test]
    fn a_certificate_yields_its_facts() {
        let found = certificate(|params| {
            params.serial_number = Some(SerialNumber::from_slice(&[0x00, 0x0a, 0xff]));
            params.not_before = date_time_ymd(2024, 1, 1);
            params.not_after = date_time_ymd(2025, 1, 1);
            params.distinguished_name.push(DnType::CommonName, "a.example");
        });
        assert_eq!((found.serial_decimal.as_str(), found.serial_hex.as_str()), ("2815", "0aff"));
        assert_eq!((found.not_before, found.not_after), (1_704_067_200, 1_735_689_600));
        assert_eq!(found.dns_names, ["a.example"]);
        assert_eq!(found.ip_addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!((found.key_type.as_str(), found.key_bits), ("ECDSA", 256));
        assert_eq!((found.signature_algorithm.as_str(), found.must_staple), ("ECDSA-SHA256", false));
        assert_eq!(found.subject.common_name(), "a.example");
        assert_eq!(found.subject.first("O"), "");
        assert_eq!(found.fingerprint_sha256.len(), 64);
        assert!(!found.is_expired_at(1_735_689_600) && found.is_expired_at(1_735_689_601));
        assert!(!found.is_not_yet_valid_at(1_704_067_200) && found.is_not_yet_valid_at(1_704_067_199));
    }

    #[test]
    fn a_certificate_may_demand_a_stapled_response() {
        let found = certificate(|params| {
            let oid = [1, 3, 6, 1, 5, 5, 7, 1, 24];
            let features = vec![0x30, 0x03, 0x02, 0x01, 0x05];
            params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&oid, features));
        });
        assert!(found.must_staple);
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        assert!(matches!(Certificate::parse(b"garbage"), Err(X509Error::Malformed(_))));
        let params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        let mut der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        der.push(0);
        assert_eq!(Certificate::parse(&der), Err(X509Error::Trailing(1)));
    }

    #[test]
    fn long_strings_get_a_long_length() {
        let check = |length: usize, expected: &[u8]| {
            let der = der_string(&"a".repeat(length));
            assert_eq!(&der[..expected.len()], expected);
            assert_eq!(der.len(), expected.len() + length);
        };
        check(127, &[0x13, 127]);
        check(128, &[0x13, 0x81, 128]);
        check(300, &[0x13, 0x82, 1, 44]);
    }
}
