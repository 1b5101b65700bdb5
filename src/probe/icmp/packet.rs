//! Echo requests and what comes back. Pure. Source: RFC 792, RFC 4443.

use crate::probe::IpProtocol;

const HEADER_BYTES: usize = 8;
const IPV6_HEADER_BYTES: usize = 40;

/// A question to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Echo {
    pub(super) protocol: IpProtocol,
    /// `None` if the kernel chooses it and sees to it that only its replies arrive.
    pub(super) id: Option<u16>,
    pub(super) sequence: u16,
    pub(super) payload_size: u16,
}

/// What a packet says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The host is there.
    Echo,
    /// Somebody on the way, or the host itself, says why there will be no reply.
    Error(String),
}

/// The message within a packet of IPv4, as raw sockets give it, and how many hops it had left.
pub(super) fn strip_ipv4_header(packet: &[u8]) -> Option<(&[u8], u8)> {
    let first = *packet.first()?;
    let header_bytes = usize::from(first & 0xf) * 4;
    let is_header = first >> 4 == 4 && header_bytes >= 20;
    let message = packet.get(header_bytes..).filter(|_| is_header)?;
    Some((message, packet[8]))
}

impl Echo {
    /// The request as it is sent.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (request, _) = self.types();
        let mut message = vec![request, 0, 0, 0];
        message.extend_from_slice(&self.id.unwrap_or(0).to_be_bytes());
        message.extend_from_slice(&self.sequence.to_be_bytes());
        message.extend((0..self.payload_size).map(payload_byte));
        if self.protocol == IpProtocol::Ip4 {
            // That of IPv6 covers addresses which the kernel chooses, and so does the kernel.
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// What a message has to say of this request, if anything.
    pub(super) fn judge(&self, message: &[u8]) -> Option<Reply> {
        let (request, reply) = self.types();
        let (kind, code) = (*message.first()?, *message.get(1)?);
        if kind == reply {
            let payload = message.get(HEADER_BYTES..)?;
            let is_echo = payload.len() == usize::from(self.payload_size)
                && payload.iter().zip(0..).all(|(byte, at)| *byte == payload_byte(at));
            return (is_echo && self.is_mine(message)).then_some(Reply::Echo);
        }
        let error = self.error(kind, code)?;
        let quoted = message.get(HEADER_BYTES..)?;
        let inner = match self.protocol {
            IpProtocol::Ip4 => strip_ipv4_header(quoted)?.0,
            IpProtocol::Ip6 => quoted.get(IPV6_HEADER_BYTES..)?,
        };
        (inner.first() == Some(&request) && self.is_mine(inner)).then_some(Reply::Error(error))
    }

    /// Whether the message has the id and the sequence number of this request.
    fn is_mine(&self, message: &[u8]) -> bool {
        let word = |at: usize| message.get(at..at + 2).map(|word| u16::from_be_bytes([word[0], word[1]]));
        word(6) == Some(self.sequence) && self.id.is_none_or(|id| word(4) == Some(id))
    }

    /// The types of request and reply.
    fn types(&self) -> (u8, u8) {
        match self.protocol {
            IpProtocol::Ip4 => (8, 0),
            IpProtocol::Ip6 => (128, 129),
        }
    }

    /// What an error of this type and code says; `None` if it is none.
    pub(super) fn error(&self, kind: u8, code: u8) -> Option<String> {
        let text = match (self.protocol, kind, code) {
            (IpProtocol::Ip4, 3, 0) => "the network is unreachable",
            (IpProtocol::Ip4, 3, 1) | (IpProtocol::Ip6, 1, 3) => "the host is unreachable",
            (IpProtocol::Ip4, 3, 4) | (IpProtocol::Ip6, 2, _) => "the packet is too large for the way",
            (IpProtocol::Ip4, 3, 9 | 10 | 13) | (IpProtocol::Ip6, 1, 1) => "the way is forbidden",
            (IpProtocol::Ip6, 1, 0) => "there is no route",
            (IpProtocol::Ip4, 11, 0) | (IpProtocol::Ip6, 3, 0) => "the way has too many hops",
            (IpProtocol::Ip4, 3 | 11, _) | (IpProtocol::Ip6, 1 | 3, _) => "the host cannot be reached",
            _ => return None,
        };
        Some(format!("{text} (ICMP type {kind}, code {code})"))
    }
}

/// A byte that is found in its place only.
fn payload_byte(at: u16) -> u8 {
    const NAME: &[u8] = b"valmis ";
    NAME[usize::from(at) % NAME.len()]
}

/// The complement of the sum of 16-bit words in ones' complement. Source: RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    // At most 32 Ki words of 16 bits.
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    /// A packet of IPv4 around a message.
    fn ipv4(ttl: u8, message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, ttl, 1, 0, 0];
        packet.extend_from_slice(&Ipv4Addr::LOCALHOST.octets());
        packet.extend_from_slice(&Ipv4Addr::LOCALHOST.octets());
        packet.extend_from_slice(message);
        packet
    }

    fn echo(protocol: IpProtocol) -> Echo {
        Echo { protocol, id: Some(0x1234), sequence: 7, payload_size: 9 }
    }

    #[test]
    fn a_request_is_encoded_as_the_standard_says() {
        let message = echo(IpProtocol::Ip4).encode();
        assert_eq!(message[..2], [8, 0]);
        assert_eq!(&message[4..], b"\x12\x34\0\x07valmis va");
        assert_eq!(checksum(&message), 0, "the sum over all with its checksum is 0");
        assert_eq!(echo(IpProtocol::Ip6).encode()[..4], [128, 0, 0, 0]);
        assert_eq!(checksum(&[0x45, 0x00, 0x00, 0x73, 0xff]), !0x4474);
    }

    #[test]
    fn only_the_own_reply_counts() {
        let check = |protocol, change: &dyn Fn(&mut Vec<u8>), expected: Option<Reply>| {
            let mut message = echo(protocol).encode();
            message[0] = if protocol == IpProtocol::Ip4 { 0 } else { 129 };
            change(&mut message);
            assert_eq!(echo(protocol).judge(&message), expected, "{protocol:?} {message:?}");
        };
        check(IpProtocol::Ip4, &|_| {}, Some(Reply::Echo));
        check(IpProtocol::Ip6, &|_| {}, Some(Reply::Echo));
        // The request itself, which a raw socket sees on the way to this machine.
        check(IpProtocol::Ip4, &|message| message[0] = 8, None);
        check(IpProtocol::Ip4, &|message| message[5] = 0, None);
        check(IpProtocol::Ip4, &|message| message[7] = 8, None);
        check(IpProtocol::Ip4, &|message| message[9] = b'X', None);
        check(IpProtocol::Ip4, &|message| message.push(0), None);
        check(IpProtocol::Ip4, &|message| message.truncate(3), None);
        let chosen_by_kernel = Echo { id: None, ..echo(IpProtocol::Ip4) };
        let mut message = echo(IpProtocol::Ip4).encode();
        message[0] = 0;
        assert_eq!(chosen_by_kernel.judge(&message), Some(Reply::Echo));
    }

    #[test]
    fn errors_about_the_own_request_are_told() {
        let check = |protocol, kind: u8, code: u8, sequence: u16, expected: Option<&str>| {
            let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
            let request = Echo { sequence, ..echo(protocol) }.encode();
            match protocol {
                IpProtocol::Ip4 => message.extend(ipv4(1, &request)),
                IpProtocol::Ip6 => message.extend([&[0; 40], request.as_slice()].concat()),
            }
            let expected = expected.map(|text| Reply::Error(text.to_owned()));
            assert_eq!(echo(protocol).judge(&message), expected);
        };
        check(IpProtocol::Ip4, 11, 0, 7, Some("the way has too many hops (ICMP type 11, code 0)"));
        check(IpProtocol::Ip4, 3, 1, 7, Some("the host is unreachable (ICMP type 3, code 1)"));
        check(IpProtocol::Ip4, 3, 1, 8, None);
        check(IpProtocol::Ip4, 5, 1, 7, None);
        check(IpProtocol::Ip6, 2, 0, 7, Some("the packet is too large for the way (ICMP type 2, code 0)"));
    }

    #[test]
    fn the_header_of_a_packet_tells_the_hops() {
        assert_eq!(strip_ipv4_header(&ipv4(63, b"abc")), Some((b"abc".as_slice(), 63)));
        assert_eq!(strip_ipv4_header(b"\x45"), None);
        assert_eq!(strip_ipv4_header(b"\x41\0\0\0\0\0\0\0\0"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_judging_panic(bytes: Vec<u8>, kind in 0_u8..12) {
            for protocol in [IpProtocol::Ip4, IpProtocol::Ip6] {
                let quoting = [&[kind, 0, 0, 0, 0, 0, 0, 0], bytes.as_slice()].concat();
                prop_assert_ne!(echo(protocol).judge(&bytes), Some(Reply::Echo));
                drop(echo(protocol).judge(&quoting));
            }
            let inner = strip_ipv4_header(&bytes).map_or(0, |(message, _)| message.len());
            prop_assert!(inner <= bytes.len());
        }
    }
}
