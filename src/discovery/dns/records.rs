//! What discovery asks for, and what it makes of the answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dns::{self, Message, Name};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// IPv4 addresses of a host.
    A,
    /// IPv6 addresses of a host.
    Aaaa,
    /// Hosts and ports of a service.
    Srv,
}

impl RecordType {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
        }
    }

    /// Its number.
    pub(super) fn code(self) -> dns::RecordType {
        match self {
            Self::A => dns::RecordType::A,
            Self::Aaaa => dns::RecordType::AAAA,
            Self::Srv => dns::RecordType::SRV,
        }
    }
}

/// One answer of the type that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// A host, its name with a final dot, and a port.
    Srv(String, u16),
}

/// A name that cannot be that of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a host")]
pub(super) struct HostError(String);

/// The records of the type that was asked for; on the way to them there may be aliases.
pub(super) fn records(message: &Message, wanted: RecordType) -> Result<Vec<Record>, HostError> {
    let wanted = wanted.code();
    let mut records = Vec::new();
    for record in &message.answer {
        if record.record_type != wanted || record.class != dns::Class::IN {
            continue;
        }
        records.extend(match record.address() {
            Some(IpAddr::V4(address)) => Some(Record::A(address)),
            Some(IpAddr::V6(address)) => Some(Record::Aaaa(address)),
            None => match record.service() {
                Some((name, port)) => Some(Record::Srv(host(&name)?, port)),
                None => None,
            },
        });
    }
    Ok(records)
}

/// The name as part of an address.
fn host(name: &Name) -> Result<String, HostError> {
    let mut host = String::new();
    for label in name.labels() {
        // What could not be told from two labels, or does not belong into a URL.
        let belongs = |byte: &u8| !matches!(byte, b'.' | b'/' | b'@' | b':' | 0..=b' ');
        match std::str::from_utf8(label) {
            Ok(text) if label.iter().all(belongs) => host.push_str(text),
            _ => return Err(HostError(name.to_string())),
        }
        host.push('.');
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_hosts_become_part_of_an_address() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(host(&Name::parse(text).unwrap()).ok().as_deref(), expected, "{text}");
        };
        check("n1.example", Some("n1.example."));
        check("_am._tcp.é", Some("_am._tcp.é."));
        for name in [r"a\.b", "user@a", "a/b", "a:80", r"a\032b", r"\255"] {
            check(name, None);
        }
    }
}
