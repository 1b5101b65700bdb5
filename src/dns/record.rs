//! One record, and what the data of some types say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::codes::{Class, RecordType};
use super::data::Data;
use super::name::Name;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: Name,
    /// What its data are.
    pub record_type: RecordType,
    /// Mostly the Internet.
    pub class: Class,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// As sent, with all names in full; checked for being what the type says.
    pub(super) data: Vec<u8>,
}

impl Record {
    /// The address of a host, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        if let Ok(octets) = <[u8; 4]>::try_from(self.data.as_slice()) {
            return (self.record_type == RecordType::A).then(|| Ipv4Addr::from(octets).into());
        }
        let octets = <[u8; 16]>::try_from(self.data.as_slice()).ok()?;
        (self.record_type == RecordType::AAAA).then(|| Ipv6Addr::from(octets).into())
    }

    /// The host and the port of a service, if it is one.
    pub fn service(&self) -> Option<(Name, u16)> {
        let mut data = self.data_of(RecordType::SRV)?;
        let _priority_and_weight = data.number(4);
        let port = data.number(2) as u16;
        Some((data.name(), port))
    }

    /// The serial number of a zone, if this is the beginning of its authority.
    pub fn soa_serial(&self) -> Option<u32> {
        let mut data = self.data_of(RecordType::SOA)?;
        let _names = (data.name(), data.name());
        Some(data.number(4) as u32)
    }

    fn data_of(&self, record_type: RecordType) -> Option<Data<'_>> {
        (self.record_type == record_type).then_some(Data(&self.data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(record_type: RecordType, data: &[u8]) -> Record {
        Record { name: Name::root(), record_type, class: Class::IN, ttl: 0, data: data.to_vec() }
    }

    #[test]
    fn data_say_what_their_type_says() {
        let a = record(RecordType::A, &[10, 0, 0, 1]);
        assert_eq!(a.address(), Some([10, 0, 0, 1].into()));
        assert_eq!((a.service(), a.soa_serial()), (None, None));
        let aaaa = record(RecordType::AAAA, &Ipv6Addr::LOCALHOST.octets());
        assert_eq!(aaaa.address(), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(record(RecordType(16), &[3, b'a', b'b', b'c']).address(), None);
        let srv = record(RecordType::SRV, b"\0\x0a\0\x05\x23\x85\x02n1\0");
        assert_eq!(srv.service(), Some((Name::parse("n1").unwrap(), 9093)));
        let soa = record(RecordType::SOA, b"\x02ns\0\x03noc\0\0\0\x03\xe8\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(soa.soa_serial(), Some(1000));
    }
}
