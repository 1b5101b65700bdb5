//! The ICMP probe: one echo request, with blackbox exporter's metrics.

use std::net::IpAddr;
use std::num::NonZeroU8;

use super::target::parse_host;
use super::{AddressPolicy, TargetError};

/// How to ping a host. Source: blackbox exporter `CONFIGURATION.md`, `<icmp_probe>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IcmpConfig {
    /// Which of the host's addresses to use.
    pub addresses: AddressPolicy,
    /// The address to send from.
    pub source: Option<IpAddr>,
    /// Whether routers may not split the packet. Of IPv4 only: routers never split packets of IPv6.
    pub dont_fragment: bool,
    /// How many bytes are to be echoed.
    pub payload_size: PayloadSize,
    /// How many routers the request may pass; `None` for the system's default.
    pub ttl: Option<NonZeroU8>,
}

/// The number of bytes that are echoed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadSize(u16);

impl PayloadSize {
    /// What fits into a packet of IPv4 beside its header and that of ICMP.
    pub const MAX_BYTES: u16 = 65_507;

    /// A size; 0 stands for the default, as in blackbox exporter. `None` if it does not fit into a packet.
    pub fn new(bytes: u64) -> Option<Self> {
        match u16::try_from(bytes) {
            Ok(0) => Some(Self::default()),
            Ok(bytes @ 1..=Self::MAX_BYTES) => Some(Self(bytes)),
            _ => None,
        }
    }

    /// In bytes.
    pub fn bytes(self) -> u16 {
        self.0
    }
}

/// 28 bytes. Source: blackbox exporter `prober/icmp.go`, which by default sends its name.
impl Default for PayloadSize {
    fn default() -> Self {
        Self(28)
    }
}

/// Pings one host.
pub struct IcmpProber {
    config: IcmpConfig,
    host: String,
}

impl IcmpProber {
    /// A prober of the host `target`, a name or an address.
    pub fn new(config: IcmpConfig, target: &str) -> Result<Self, TargetError> {
        Ok(Self { config, host: parse_host(target)? })
    }
}
