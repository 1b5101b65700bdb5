//! Records as texts, character for character as miekg/dns prints them: rules of DNS probes are regular
//! expressions over these texts. Source: miekg/dns `types.go`, `svcb.go`, `edns.go`.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::codes::RecordType;
use super::data::{Data, Field, fields};
use super::record::Record;

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.record_type == RecordType::OPT {
            return write_options(self, f);
        }
        let Some(fields) = fields(self.record_type) else {
            let Self { name, record_type, class, ttl, data } = self;
            let (class, record_type) = (class.0, record_type.0);
            return write!(
                f,
                "{name}\t{ttl}\tCLASS{class}\tTYPE{record_type}\t\\# {} {}",
                data.len(),
                hex(data)
            );
        };
        let mut data = Data(&self.data);
        let mut parts = Vec::with_capacity(fields.len());
        for field in fields {
            data.print(*field, &mut parts);
        }
        let parts = parts.join(" ");
        write!(f, "{}\t{}\t{}\t{}\t{parts}", self.name, self.ttl, self.class, self.record_type)
    }
}

/// What EDNS says of the message. Options within it are left out.
fn write_options(record: &Record, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let version = (record.ttl >> 16) as u8;
    let flags = if record.ttl & 0x8000 != 0 { " do" } else { "" };
    let udp = record.class.0;
    write!(f, "\n;; OPT PSEUDOSECTION:\n; EDNS: version {version}; flags:{flags}; udp: {udp}")
}

impl Data<'_> {
    /// Appends the texts of a field.
    fn print(&mut self, field: Field, parts: &mut Vec<String>) {
        parts.push(match field {
            Field::U8 => self.number(1).to_string(),
            Field::U16 => self.number(2).to_string(),
            Field::U32 => self.number(4).to_string(),
            Field::Ipv4 => Ipv4Addr::from_bits(self.number(4) as u32).to_string(),
            Field::Ipv6 => {
                let (high, low) = (self.number(8), self.number(8));
                Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).to_string()
            }
            Field::Name => self.name().to_string(),
            Field::Type => RecordType(self.number(2) as u16).to_string(),
            Field::Time => time(self.number(4)),
            Field::Quoted => quoted(self.counted()),
            Field::QuotedRest => quoted(self.rest()),
            Field::Plain => escape(self.counted(), b"\"\\"),
            Field::Hex => hex(self.rest()),
            Field::HexUpper => hex(self.rest()).to_uppercase(),
            Field::Base64 => STANDARD.encode(self.rest()),
            Field::Salt => match self.counted() {
                [] => "-".to_owned(),
                salt => hex(salt).to_uppercase(),
            },
            Field::Hash => base32(self.counted()),
            Field::Node => grouped(self.take(8)),
            Field::Locator => grouped(self.take(8)).to_uppercase(),
            Field::Eui48 => dashed(self.take(6)),
            Field::Eui64 => dashed(self.take(8)),
            Field::Texts => {
                while !self.0.is_empty() {
                    parts.push(quoted(self.counted()));
                }
                return;
            }
            Field::Types => {
                while !self.0.is_empty() {
                    let window = self.number(1) as u16;
                    parts.extend(types(window, self.counted()).map(|record_type| record_type.to_string()));
                }
                return;
            }
            Field::Parameters => {
                while !self.0.is_empty() {
                    let (key, length) = (self.number(2), self.number(2));
                    let value = self.take(length as usize);
                    parts.push(format!("{}=\"{}\"", parameter(key), parameter_value(key, value)));
                }
                return;
            }
        });
    }
}

/// The types whose bits are set, of the 256 that begin with the window's.
fn types(window: u16, bits: &[u8]) -> impl Iterator<Item = RecordType> {
    let bit = move |at: usize| bits[at / 8] & (0x80 >> (at % 8)) != 0;
    (0..bits.len().min(32) * 8).filter(move |at| bit(*at)).map(move |at| RecordType(window * 256 + at as u16))
}

fn parameter(key: u64) -> String {
    const NAMES: [&str; 9] =
        ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];
    NAMES.get(key as usize).map_or_else(|| format!("key{key}"), |name| (*name).to_owned())
}

fn parameter_value(key: u64, value: &[u8]) -> String {
    let mut data = Data(value);
    let mut items = Vec::new();
    while !data.0.is_empty() {
        items.push(match key {
            0 => parameter(data.number(2)),
            1 => protocol(data.counted()),
            3 => data.number(2).to_string(),
            4 => {
                data.print(Field::Ipv4, &mut items);
                continue;
            }
            5 => STANDARD.encode(data.rest()),
            6 => {
                data.print(Field::Ipv6, &mut items);
                continue;
            }
            _ => escape(data.rest(), b"\"; \\"),
        });
    }
    items.join(",")
}

/// The name of a protocol in a list of such. What would be misread there is escaped twice.
fn protocol(name: &[u8]) -> String {
    let escaped = name.iter().map(|byte| match byte {
        b',' | b'\\' => format!("\\\\\\{byte:03}"),
        _ => escape(&[*byte], b"\"; "),
    });
    escaped.collect()
}

/// The bytes as text: those in `special` after a backslash, those that are not printable as `\DDD`.
fn escape(bytes: &[u8], special: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    for byte in bytes {
        match byte {
            b' '..=b'~' => {
                if special.contains(byte) {
                    text.push('\\');
                }
                text.push(char::from(*byte));
            }
            _ => write!(text, "\\{byte:03}").expect("a string takes everything"),
        }
    }
    text
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", escape(bytes, b"\"\\"))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

fn dashed(bytes: &[u8]) -> String {
    bytes.chunks(1).map(hex).collect::<Vec<_>>().join("-")
}

fn grouped(bytes: &[u8]) -> String {
    bytes.chunks(2).map(hex).collect::<Vec<_>>().join(":")
}

/// Base 32 whose order is that of the bytes, without padding (RFC 4648 section 7).
fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut group = [0; 8];
        group[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(group);
        for digit in 0..(chunk.len() * 8).div_ceil(5) {
            text.push(char::from(DIGITS[(bits >> (35 - digit * 5)) as usize & 31]));
        }
    }
    text
}

/// `YYYYMMDDHHMMSS` in UTC. Source: RFC 4034 section 3.2.
fn time(seconds: u64) -> String {
    let at = jiff::Timestamp::from_second(seconds as i64).unwrap_or_default();
    at.strftime("%Y%m%d%H%M%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::codes::Class;
    use super::super::name::Name;
    use super::*;

    fn record(record_type: &str, data: &[u8]) -> Record {
        Record {
            name: Name::parse("example.com").unwrap(),
            record_type: RecordType::from_name(record_type).unwrap_or(RecordType(65280)),
            class: Class::IN,
            ttl: 3600,
            data: data.to_vec(),
        }
    }

    #[test]
    fn records_are_printed_as_miekgs_library_prints_them() {
        let check = |record_type: &str, data: &[u8], expected: &str| {
            let expected = format!("example.com.\t3600\tIN\t{record_type}\t{expected}");
            assert_eq!(record(record_type, data).to_string(), expected);
        };
        check("A", &[127, 0, 0, 1], "127.0.0.1");
        check("AAAA", &Ipv6Addr::LOCALHOST.octets(), "::1");
        check("AAAA", &Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets(), "::ffff:127.0.0.1");
        check("NS", b"\x03ns1\x03isp\x03net\0", "ns1.isp.net.");
        check("MX", b"\0\x0a\x02mx\0", "10 mx.");
        check("CNAME", b"\0", ".");
        let soa = b"\x02ns\0\x03noc\0\0\0\x03\xe8\0\0\x1c\x20\0\0\x0e\x10\0\x12\x75\0\0\0\x0e\x10";
        check("SOA", soa, "ns. noc. 1000 7200 3600 1209600 3600");
        check("TXT", b"\x07goCHAOS", "\"goCHAOS\"");
        check("TXT", b"\x03a\"b\x00\x03\\\xff ", "\"a\\\"b\" \"\" \"\\\\\\255 \"");
        check("SRV", b"\0\x0a\0\x05\x23\x85\x02n1\0", "10 5 9093 n1.");
        check("CAA", b"\0\x05issueletsencrypt.org", "0 issue \"letsencrypt.org\"");
        check("DS", b"\x30\x39\x0d\x02\xab\xcd", "12345 13 2 ABCD");
        check("TLSA", b"\x03\x01\x01\xab\xcd", "3 1 1 abcd");
        check("SSHFP", b"\x04\x02\xab\xcd", "4 2 ABCD");
        check("DNSKEY", b"\x01\x01\x03\x0dabcd", "257 3 13 YWJjZA==");
        let rrsig = b"\0\x01\x0d\x02\0\0\x0e\x10\x65\x92\x00\x80\x65\x92\x00\x7f\0\x07\x02ns\0abc";
        check("RRSIG", rrsig, "A 13 2 3600 20240101000000 20231231235959 7 ns. YWJj");
        check("NSEC", b"\x01b\0\0\x06\x40\x01\x00\x00\x00\x03\x01\x01\x40", "b. A MX RRSIG NSEC CAA");
        check("NSEC3", b"\x01\0\0\x0a\x02\xab\xcd\x05abcde\0\x01\x40", "1 0 10 ABCD C5H66P35 A");
        check("NSEC3PARAM", b"\x01\0\0\x0a\0", "1 0 10 -");
        check("NAPTR", b"\0\x64\0\x0a\x01u\x07E2U+sip\x00\0", "100 10 \"u\" \"E2U+sip\" \"\" .");
        check("HTTPS", b"\0\x01\0\0\x01\0\x06\x02h3\x02h2", "1 . alpn=\"h3,h2\"");
        let hints = b"\0\x01\0\0\x03\0\x02\x20\xfb\0\x04\0\x08\x0a\0\0\x01\x0a\0\0\x02\0\x02\0\0";
        check("SVCB", hints, "1 . port=\"8443\" ipv4hint=\"10.0.0.1,10.0.0.2\" no-default-alpn=\"\"");
        check("HTTPS", b"\0\x01\0\xff\0\0\x03a b", "1 . key65280=\"a\\ b\"");
        check("URI", b"\0\x0a\0\x01https://a", "10 1 \"https://a\"");
        check("EUI48", &[0, 0x50, 0x56, 0x9b, 0, 0xe7], "00-50-56-9b-00-e7");
        check("NID", &[0, 10, 0, 0x14, 0x4f, 0xff, 0xff, 0x20, 0xee, 0x64], "10 0014:4fff:ff20:ee64");
    }

    #[test]
    fn unknown_types_are_printed_as_bytes() {
        let text = record("unknown", &[10, 0, 0, 1]).to_string();
        assert_eq!(text, "example.com.\t3600\tCLASS1\tTYPE65280\t\\# 4 0a000001");
    }

    #[test]
    fn base_32_has_a_digit_for_every_five_bits() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(base32(bytes), expected);
        check(b"", "");
        check(b"f", "CO");
        check(b"fo", "CPNG");
        check(b"foo", "CPNMU");
        check(b"foob", "CPNMUOG");
        check(b"fooba", "CPNMUOJ1");
        check(b"foobar", "CPNMUOJ1E8");
    }
}
