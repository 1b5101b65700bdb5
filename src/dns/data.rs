//! What the data of each type of record consist of. One table serves for reading, where names may have
//! to be completed from elsewhere in the message, and for printing.

use super::codes::RecordType;
use super::name::Name as DomainName;

/// A part of a record's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    U8,
    U16,
    U32,
    Ipv4,
    Ipv6,
    Name,
    /// A record type by its name.
    Type,
    /// Seconds since the Unix epoch, as `YYYYMMDDHHMMSS`.
    Time,
    /// A length and so many bytes, printed in quotes.
    Quoted,
    /// A length and so many bytes, printed without quotes.
    Plain,
    /// All that is left: texts with their lengths, each printed in quotes.
    Texts,
    /// All that is left, as one text in quotes.
    QuotedRest,
    /// All that is left, in hexadecimal.
    Hex,
    /// The same with capitals.
    HexUpper,
    /// All that is left, in base64.
    Base64,
    /// A length and so many bytes in hexadecimal; `-` if there are none.
    Salt,
    /// A length and so many bytes in base32 for ordered names.
    Hash,
    /// All that is left: which types of records a name has.
    Types,
    /// All that is left: parameters of a service.
    Parameters,
    /// Four groups of hexadecimal digits.
    Node,
    /// The same with capitals.
    Locator,
    /// Six bytes with dashes.
    Eui48,
    /// Eight bytes with dashes.
    Eui64,
}

use Field::{
    Base64, Eui48, Eui64, Hash, Hex, HexUpper, Ipv4, Ipv6, Locator, Name, Node, Parameters, Plain, Quoted,
    QuotedRest, Salt, Texts, Time, Type, Types, U8, U16, U32,
};

/// The fields of a type, `None` of one whose data are printed as bytes (RFC 3597).
/// Source of the texts: miekg/dns `types.go`.
pub(super) fn fields(record_type: RecordType) -> Option<&'static [Field]> {
    Some(match record_type.0 {
        1 => &[Ipv4],
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NSAP-PTR, DNAME
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 23 | 39 => &[Name],
        // SOA
        6 => &[Name, Name, U32, U32, U32, U32, U32],
        // HINFO, ISDN
        13 | 20 => &[Quoted, Quoted],
        // MINFO, RP, TALINK
        14 | 17 | 58 => &[Name, Name],
        // MX, AFSDB, RT, KX, LP
        15 | 18 | 21 | 36 | 107 => &[U16, Name],
        // TXT, NINFO, SPF, AVC, RESINFO
        16 | 56 | 99 | 258 | 261 => &[Texts],
        // X25
        19 => &[Plain],
        // SIG, RRSIG
        24 | 46 => &[Type, U8, U8, U32, Time, Time, U16, Name, Base64],
        // KEY, DNSKEY, RKEY, CDNSKEY
        25 | 48 | 57 | 60 => &[U16, U8, U8, Base64],
        // PX
        26 => &[U16, Name, Name],
        // GPOS
        27 => &[Plain, Plain, Plain],
        28 => &[Ipv6],
        // NXT, NSEC
        30 | 47 => &[Name, Types],
        // EID, NIMLOC
        31 | 32 => &[HexUpper],
        // SRV
        33 => &[U16, U16, U16, Name],
        // NAPTR
        35 => &[U16, U16, Quoted, Quoted, Quoted, Name],
        // DS, CDS, TA, DLV
        43 | 59 | 32768 | 32769 => &[U16, U8, U8, HexUpper],
        // SSHFP
        44 => &[U8, U8, HexUpper],
        // DHCID, OPENPGPKEY
        49 | 61 => &[Base64],
        // NSEC3
        50 => &[U8, U8, U16, Salt, Hash, Types],
        // NSEC3PARAM
        51 => &[U8, U8, U16, Salt],
        // TLSA, SMIMEA
        52 | 53 => &[U8, U8, U8, Hex],
        // CSYNC
        62 => &[U32, U16, Types],
        // ZONEMD
        63 => &[U32, U8, U8, Hex],
        // SVCB, HTTPS
        64 | 65 => &[U16, Name, Parameters],
        // UINFO
        100 => &[Quoted],
        // UID, GID
        101 | 102 => &[U32],
        // NID
        104 => &[U16, Node],
        // L32
        105 => &[U16, Ipv4],
        // L64
        106 => &[U16, Locator],
        108 => &[Eui48],
        109 => &[Eui64],
        // URI
        256 => &[U16, U16, QuotedRest],
        // CAA
        257 => &[U8, Plain, QuotedRest],
        _ => return None,
    })
}

/// What of a record's data is not used yet. It was checked when it was read; what is missing all the same
/// reads as nothing.
pub(super) struct Data<'a>(pub(super) &'a [u8]);

impl<'a> Data<'a> {
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.take(self.0.len())
    }

    pub(super) fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Bytes after their length.
    pub(super) fn counted(&mut self) -> &'a [u8] {
        let length = self.number(1);
        self.take(length as usize)
    }

    pub(super) fn name(&mut self) -> DomainName {
        let mut name = DomainName::begin();
        loop {
            let label = self.counted();
            if name.push_label(label).is_none() {
                return name.end().unwrap_or_else(DomainName::root);
            }
        }
    }
}
