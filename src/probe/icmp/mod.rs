//! The ICMP probe: one echo request, with blackbox exporter's metrics.

mod packet;
mod ping;
mod socket;

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::connect::{self, Route};
use super::outcome::{self, Course, Findings, observe};
use super::samples::SampleSet;
use super::target::parse_host;
use super::{AddressPolicy, Deadline, MetricMetadata, ProbeFailure, ProbeOutcome, Prober, TargetError};

/// The metrics of the ICMP prober alone. Source of names, meanings and help texts: blackbox exporter
/// `prober/icmp.go`.
const OWN_METADATA: &[MetricMetadata] = &[
    ("probe_icmp_duration_seconds", "gauge", "Duration of icmp request by phase"),
    ("probe_icmp_reply_hop_limit", "gauge", "Replied packet hop limit (TTL for ipv4)"),
];

/// The metrics of the ICMP prober.
pub const METADATA: &[&[MetricMetadata]] = &[outcome::METADATA, connect::METADATA, OWN_METADATA];

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

#[derive(Debug, Default)]
struct Seen {
    course: Course,
    route: Route,
    /// How long it took to be able to send.
    setup: Duration,
    /// The time from the request to the reply, and the hops that the reply had left.
    reply: Option<(Duration, Option<u8>)>,
}

impl Findings for Seen {
    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn emit(&self, samples: &mut SampleSet) {
        self.route.emit(samples);
        let rtt = self.reply.map_or(Duration::ZERO, |(rtt, _)| rtt);
        let phases = [
            ("resolve", self.route.lookup_seconds),
            ("setup", self.setup.as_secs_f64()),
            ("rtt", rtt.as_secs_f64()),
        ];
        for (phase, seconds) in phases {
            samples.labelled("probe_icmp_duration_seconds", &[("phase", phase)], seconds);
        }
        if let Some((_, Some(hop_limit))) = self.reply {
            samples.gauge("probe_icmp_reply_hop_limit", f64::from(hop_limit));
        }
    }
}

impl IcmpProber {
    async fn look(&self, seen: &mut Seen) -> Result<(), ProbeFailure> {
        let Self { config, host } = self;
        // There are no ports.
        let addresses =
            seen.route.resolve(host, 0, config.addresses, config.source, &mut seen.course).await?;
        let mut failure = None;
        for address in addresses {
            match self.ping(address, seen).await {
                // A version of the protocol that this machine does not speak: the next address may do.
                Err(ping::Fault::NoRoute(error)) => {
                    seen.course.note(format!("cannot send to `{}`: {error}", address.ip()));
                    failure.get_or_insert((address, error));
                }
                Err(ping::Fault::Failed(failure)) => return Err(failure),
                Ok(()) => return Ok(()),
            }
        }
        let (address, error) = failure.expect("resolving yields an address");
        Err(ProbeFailure::new("unreachable", format!("cannot send to `{}`: {error}", address.ip())))
    }
}

impl Prober for IcmpProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        observe(deadline, Seen::default(), async move |seen: &mut Seen| self.look(seen).await).boxed()
    }
}
