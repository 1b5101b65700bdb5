//! Which addresses a probe may connect to.
//!
//! Whoever may name a target from outside must not get further with it than the operator allows: to
//! services that listen on this machine alone, or to a cloud's metadata service, which hands out
//! credentials to whoever asks from within. Names and redirects are no protection, so the address itself is
//! judged, after resolution and for every connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// The internet.
    Public,
    /// A network of one's own. Source: RFC 1918, RFC 6598 (shared address space), RFC 4193, RFC 3879.
    Private,
    /// This machine.
    Loopback,
    /// The next cable, where the metadata services of clouds are; those that are elsewhere count too.
    LinkLocal,
    /// No single machine: multicast, broadcast, reserved.
    Special,
}

impl Zone {
    /// The zone as messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local or metadata",
            Self::Special => "multicast or reserved",
        }
    }

    /// The zone of an address. An IPv6 address that stands for an IPv4 address is where that one is.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_ip4(address),
            IpAddr::V6(address) => Self::of_ip6(address),
        }
    }

    fn of_ip4(address: Ipv4Addr) -> Self {
        let octets = address.octets();
        if METADATA_IP4.contains(&address) || address.is_link_local() {
            return Self::LinkLocal;
        }
        // Linux connects 0.0.0.0 to this machine.
        if address.is_loopback() || octets[0] == 0 {
            return Self::Loopback;
        }
        let shared = octets[0] == 100 && octets[1] & 0xc0 == 64;
        if address.is_private() || shared {
            return Self::Private;
        }
        if octets[0] >= 224 { Self::Special } else { Self::Public }
    }

    fn of_ip6(address: Ipv6Addr) -> Self {
        if address.is_loopback() || address.is_unspecified() {
            return Self::Loopback;
        }
        if let Some(inner) = embedded_ip4(address) {
            return Self::of_ip4(inner);
        }
        let segments = address.segments();
        if METADATA_IP6.iter().any(|prefix| segments.starts_with(prefix)) || segments[0] & 0xffc0 == 0xfe80 {
            return Self::LinkLocal;
        }
        match segments[0] {
            first if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 => Self::Private,
            first if first & 0xff00 == 0xff00 => Self::Special,
            _ => Self::Public,
        }
    }
}

/// Metadata services outside of 169.254.0.0/16: Alibaba Cloud, Oracle Cloud (classic), Azure's host agent.
const METADATA_IP4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];

/// What begins the addresses of metadata services over IPv6: AWS (`fd00:ec2::254` and its neighbours),
/// Google Cloud (`fd20:ce::254`).
const METADATA_IP6: [&[u16]; 2] = [&[0xfd00, 0x0ec2], &[0xfd20, 0x00ce]];

/// The IPv4 address that an IPv6 address leads to.
fn embedded_ip4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let joined = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // Compatible (deprecated) and mapped (RFC 4291), translated (RFC 2765).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        // NAT64 (RFC 6052) and its local prefix (RFC 8215).
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        // ISATAP (RFC 5214).
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low]
        // 6to4 (RFC 3056).
        | [0x2002, high, low, ..] => Some(joined(high, low)),
        // Teredo (RFC 4380) holds the client's address inverted.
        [0x2001, 0, .., high, low] => Some(joined(!high, !low)),
        _ => None,
    }
}

/// Which addresses a target may lead to, over and above public ones.
#[expect(clippy::struct_excessive_bools, reason = "each zone is allowed by itself")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reach {
    /// Private networks.
    pub private: bool,
    /// This machine.
    pub loopback: bool,
    /// Link-local addresses and metadata services.
    pub link_local: bool,
    /// Multicast, broadcast and reserved addresses.
    pub special: bool,
}

impl Reach {
    /// Everything: for targets that the operator has chosen.
    pub const ANYWHERE: Self = Self { private: true, loopback: true, link_local: true, special: true };

    /// Whether an address is within reach; if not, the zone it is in.
    pub fn check(self, address: IpAddr) -> Result<(), Zone> {
        let zone = Zone::of(address);
        let within = match zone {
            Zone::Public => true,
            Zone::Private => self.private,
            Zone::Loopback => self.loopback,
            Zone::LinkLocal => self.link_local,
            Zone::Special => self.special,
        };
        if within { Ok(()) } else { Err(zone) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_zone_that_it_leads_to() {
        let check = |zone: Zone, addresses: &[&str]| {
            for address in addresses {
                assert_eq!(Zone::of(address.parse().unwrap()), zone, "{address}");
            }
        };
        check(
            Zone::LinkLocal,
            &[
                "169.254.169.254",
                "169.254.170.2",
                "169.254.0.1",
                "100.100.100.200",
                "192.0.0.192",
                "168.63.129.16",
                "fe80::1",
                "febf::1",
                "fd00:ec2::254",
                "fd20:ce::254",
                "::ffff:169.254.169.254",
                "::ffff:a9fe:a9fe",
                "::ffff:0:169.254.169.254",
                "::169.254.169.254",
                "64:ff9b::169.254.169.254",
                "64:ff9b:1:2:3:4:a9fe:a9fe",
                "2002:a9fe:a9fe::1",
                "2001:0:4136:e378:8000:63bf:5601:5601",
                "2001:db8::5efe:169.254.169.254",
                "fd00::200:5efe:169.254.169.254",
            ],
        );
        check(
            Zone::Loopback,
            &[
                "127.0.0.1",
                "127.8.8.8",
                "0.0.0.0",
                "0.1.2.3",
                "::1",
                "::",
                "::ffff:127.0.0.1",
                "::ffff:0.0.0.0",
            ],
        );
        check(
            Zone::Private,
            &[
                "10.0.0.1",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.1.1",
                "100.64.0.1",
                "100.127.255.255",
                "fd12::1",
                "fc00::1",
                "fec0::1",
                "::ffff:10.0.0.1",
                "64:ff9b::10.0.0.1",
            ],
        );
        check(Zone::Special, &["224.0.0.1", "255.255.255.255", "240.0.0.1", "ff02::1", "::ffff:224.0.0.1"]);
        check(
            Zone::Public,
            &["8.8.8.8", "172.32.0.1", "100.128.0.1", "168.63.129.17", "2a00:1450::1", "::ffff:8.8.8.8"],
        );
    }

    #[test]
    fn only_what_is_allowed_is_within_reach() {
        let outside = Reach { private: false, loopback: false, link_local: false, special: false };
        let check = |reach: Reach, address: &str, expected: Result<(), Zone>| {
            assert_eq!(reach.check(address.parse().unwrap()), expected, "{reach:?} {address}");
        };
        check(outside, "192.0.2.1", Ok(()));
        check(outside, "10.0.0.1", Err(Zone::Private));
        check(Reach { private: true, ..outside }, "10.0.0.1", Ok(()));
        check(Reach { private: true, ..outside }, "127.0.0.1", Err(Zone::Loopback));
        check(Reach { loopback: true, ..outside }, "127.0.0.1", Ok(()));
        check(Reach { loopback: true, ..outside }, "::ffff:169.254.169.254", Err(Zone::LinkLocal));
        check(Reach { link_local: true, ..outside }, "fd00:ec2::254", Ok(()));
        for address in ["10.0.0.1", "::1", "169.254.169.254", "224.0.0.1"] {
            check(Reach::ANYWHERE, address, Ok(()));
        }
    }
}
