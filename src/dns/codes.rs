//! The numbers of DNS and their names. Source: IANA's registry of DNS parameters, as far as miekg/dns
//! knows it, which blackbox exporter reads and prints names with.

use std::fmt;

/// The type of a record, or of what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

/// The class of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u16);

/// How a server took a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseCode(pub u16);

const RECORD_TYPES: &[(u16, &str)] = &[
    (0, "None"),
    (1, "A"),
    (2, "NS"),
    (3, "MD"),
    (4, "MF"),
    (5, "CNAME"),
    (6, "SOA"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (10, "NULL"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (19, "X25"),
    (20, "ISDN"),
    (21, "RT"),
    (23, "NSAP-PTR"),
    (24, "SIG"),
    (25, "KEY"),
    (26, "PX"),
    (27, "GPOS"),
    (28, "AAAA"),
    (29, "LOC"),
    (30, "NXT"),
    (31, "EID"),
    (32, "NIMLOC"),
    (33, "SRV"),
    (34, "ATMA"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (39, "DNAME"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (56, "NINFO"),
    (57, "RKEY"),
    (58, "TALINK"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (100, "UINFO"),
    (101, "UID"),
    (102, "GID"),
    (103, "UNSPEC"),
    (104, "NID"),
    (105, "L32"),
    (106, "L64"),
    (107, "LP"),
    (108, "EUI48"),
    (109, "EUI64"),
    (128, "NXNAME"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
    (258, "AVC"),
    (260, "AMTRELAY"),
    (261, "RESINFO"),
    (32768, "TA"),
    (32769, "DLV"),
    (65535, "Reserved"),
];

const CLASSES: &[(u16, &str)] = &[(1, "IN"), (2, "CS"), (3, "CH"), (4, "HS"), (254, "NONE"), (255, "ANY")];

const RESPONSE_CODES: &[(u16, &str)] = &[
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (11, "DSOTYPENI"),
    (16, "BADSIG"),
    (17, "BADKEY"),
    (18, "BADTIME"),
    (19, "BADMODE"),
    (20, "BADNAME"),
    (21, "BADALG"),
    (22, "BADTRUNC"),
    (23, "BADCOOKIE"),
];

fn number(table: &[(u16, &str)], name: &str) -> Option<u16> {
    table.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

fn name(table: &[(u16, &'static str)], number: u16) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

impl RecordType {
    /// IPv4 addresses of a host.
    pub const A: Self = Self(1);
    /// The beginning of a zone's authority.
    pub const SOA: Self = Self(6);
    /// IPv6 addresses of a host.
    pub const AAAA: Self = Self(28);
    /// Hosts and ports of a service.
    pub const SRV: Self = Self(33);
    /// What the message itself is able to do (EDNS).
    pub const OPT: Self = Self(41);
    /// Whatever there is.
    pub const ANY: Self = Self(255);

    /// The type of this name, in upper case.
    pub fn from_name(name: &str) -> Option<Self> {
        number(RECORD_TYPES, name).map(Self)
    }
}

impl Class {
    /// The Internet.
    pub const IN: Self = Self(1);

    /// The class of this name, in upper case.
    pub fn from_name(name: &str) -> Option<Self> {
        number(CLASSES, name).map(Self)
    }
}

impl ResponseCode {
    /// The server knows the name.
    pub const NO_ERROR: Self = Self(0);
    /// There is no such name.
    pub const NX_DOMAIN: Self = Self(3);

    /// The code of this name, in upper case.
    pub fn from_name(name: &str) -> Option<Self> {
        number(RESPONSE_CODES, name).map(Self)
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(RECORD_TYPES, self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name that is also one of a type would not say which is meant.
        match name(CLASSES, self.0).filter(|name| number(RECORD_TYPES, name).is_none()) {
            Some(name) => f.write_str(name),
            None => write!(f, "CLASS{}", self.0),
        }
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(RESPONSE_CODES, self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_names() {
        for (number, name) in RECORD_TYPES {
            assert_eq!(RecordType::from_name(name), Some(RecordType(*number)));
            assert_eq!(RecordType(*number).to_string(), *name);
        }
        assert_eq!(RecordType::from_name("X"), None);
        assert_eq!(RecordType(65280).to_string(), "TYPE65280");
        let classes = [1, 3, 255, 7].map(|number| Class(number).to_string());
        assert_eq!(classes, ["IN", "CH", "CLASS255", "CLASS7"]);
        assert_eq!(Class::from_name("ANY"), Some(Class(255)));
        assert_eq!(ResponseCode::from_name("SERVFAIL"), Some(ResponseCode(2)));
        assert_eq!(ResponseCode(3).to_string(), "NXDOMAIN");
        assert_eq!(ResponseCode(15).to_string(), "code 15");
    }
}
