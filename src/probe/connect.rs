//! Getting a TCP connection to a host: its addresses, in the preferred order, one after the other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tokio::net::{TcpSocket, TcpStream};

use super::MetricMetadata;
use super::names;
use super::outcome::Course;
use super::reach::Reach;
use super::samples::SampleSet;
use super::{Deadline, Log, ProbeFailure};

/// How many addresses of a host are tried at most.
const MAX_ADDRESSES: usize = 4;

/// The metrics of name resolution, which every prober that connects to a host emits.
pub(super) const METADATA: &[MetricMetadata] = &[
    ("probe_dns_lookup_time_seconds", "gauge", "Returns the time taken for probe dns lookup in seconds"),
    ("probe_ip_protocol", "gauge", "Specifies whether probe ip protocol is IP4 or IP6"),
    (
        "probe_ip_addr_hash",
        "gauge",
        "Specifies the hash of IP address. It's useful to detect if the IP address changes.",
    ),
];

/// A version of the Internet Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpProtocol {
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

/// Which of a host's addresses a probe uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPolicy {
    /// The version to try first.
    pub preferred: IpProtocol,
    /// Whether the other version may be used where the preferred one does not exist or cannot be
    /// connected to.
    pub fallback: bool,
    /// Where the addresses may be. `resolve` yields no others, so that no prober can connect to them.
    pub reach: Reach,
    /// Whether somebody asks for the probe, who may name any hosts: of those fewer are looked up at once.
    pub asked_for: bool,
}

/// Source: blackbox exporter, `preferred_ip_protocol: ip6` and `ip_protocol_fallback: true`.
impl Default for AddressPolicy {
    fn default() -> Self {
        Self { preferred: IpProtocol::Ip6, fallback: true, reach: Reach::ANYWHERE, asked_for: false }
    }
}

impl AddressPolicy {
    /// The same for what the operator has chosen and no target can change, such as a proxy.
    pub(super) fn anywhere(self) -> Self {
        Self { reach: Reach::ANYWHERE, ..self }
    }

    /// The addresses to try in turn: preferred and other version alternate (as in RFC 8305), so that a
    /// host with many dead addresses of one version still gets the other one tried.
    fn order(self, addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let wanted = |address: &SocketAddr| address.is_ipv6() == (self.preferred == IpProtocol::Ip6);
        let (preferred, mut other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(wanted);
        if !self.fallback {
            other.clear();
        }
        let mut ordered = Vec::with_capacity(MAX_ADDRESSES);
        let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
        loop {
            let pair = [preferred.next(), other.next()];
            if pair == [None, None] || ordered.len() >= MAX_ADDRESSES {
                ordered.truncate(MAX_ADDRESSES);
                return ordered;
            }
            ordered.extend(pair.into_iter().flatten());
        }
    }
}

/// The addresses of `host` (a name or an address without brackets) in the order in which to try them;
/// at least one, and none that the policy's reach forbids.
pub(super) async fn resolve(
    host: &str,
    port: u16,
    policy: AddressPolicy,
) -> Result<Vec<SocketAddr>, ProbeFailure> {
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let looked_up = if policy.asked_for {
                names::look_up_asked_for(host, port).await
            } else {
                names::look_up(host, port).await
            };
            looked_up.map_err(|error| {
                ProbeFailure::new("resolve", format!("`{host}` does not resolve: {error}"))
            })?
        }
    };
    let found = within_reach(host, found, policy.reach)?;
    let ordered = policy.order(found);
    if ordered.is_empty() {
        let version = if policy.preferred == IpProtocol::Ip6 { "IPv6" } else { "IPv4" };
        return Err(ProbeFailure::new("resolve", format!("`{host}` has no {version} address")));
    }
    Ok(ordered)
}

/// Those of a host's addresses that are within reach. A host all of whose addresses are out of reach is a
/// failure that names the first.
fn within_reach(host: &str, found: Vec<SocketAddr>, reach: Reach) -> Result<Vec<SocketAddr>, ProbeFailure> {
    let mut forbidden = None;
    let mut within = Vec::with_capacity(found.len());
    for address in found {
        match reach.check(address.ip()) {
            Ok(()) => within.push(address),
            Err(zone) => forbidden = forbidden.or(Some((address.ip(), zone))),
        }
    }
    match forbidden {
        Some((address, zone)) if within.is_empty() => {
            let zone = zone.as_str();
            let reason = format!("`{host}` leads to the {zone} address `{address}`, which may not be probed");
            Err(ProbeFailure::new("forbidden", reason))
        }
        _ => Ok(within),
    }
}

/// Those of `addresses` that can be reached from `source`.
fn reachable_from(
    source: Option<IpAddr>,
    mut addresses: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, ProbeFailure> {
    let Some(source) = source else { return Ok(addresses) };
    addresses.retain(|address| address.is_ipv4() == source.is_ipv4());
    if addresses.is_empty() {
        return Err(ProbeFailure::new("resolve", format!("no address can be reached from `{source}`")));
    }
    Ok(addresses)
}

/// Connects to the first of `addresses` that answers. Each gets an equal share of the time that is left,
/// so that one that swallows packets leaves time for the next.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    deadline: Deadline,
    log: &mut Log,
) -> Result<(TcpStream, SocketAddr), ProbeFailure> {
    connect_from(None, addresses, deadline, log).await
}

/// [`connect`], from this address of the machine.
async fn connect_from(
    source: Option<IpAddr>,
    addresses: &[SocketAddr],
    deadline: Deadline,
    log: &mut Log,
) -> Result<(TcpStream, SocketAddr), ProbeFailure> {
    let mut faults = Vec::new();
    let mut all_timed_out = true;
    for (index, address) in addresses.iter().enumerate() {
        let attempts_left = u32::try_from(addresses.len() - index).expect("at most MAX_ADDRESSES");
        let share = deadline.remaining() / attempts_left;
        let started = Instant::now();
        let fault = match tokio::time::timeout(share, open(source, *address)).await {
            Ok(Ok(stream)) => {
                // Small requests must not wait for the acknowledgement of earlier ones; a probe works
                // without that too, if slower.
                let _ = stream.set_nodelay(true);
                return Ok((stream, *address));
            }
            Ok(Err(error)) => {
                all_timed_out = false;
                error.to_string()
            }
            Err(_) => format!("no answer in {:.3} s", started.elapsed().as_secs_f64()),
        };
        log.push(format!("cannot connect to `{address}`: {fault}"));
        faults.push(format!("`{address}`: {fault}"));
    }
    let kind = if all_timed_out { "timeout" } else { "connect" };
    Err(ProbeFailure::new(kind, format!("cannot connect to {}", faults.join(", "))))
}

async fn open(source: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await
}

/// What is known of the way to a host, in blackbox exporter's metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Route {
    /// How long the name took to resolve.
    pub(super) lookup_seconds: f64,
    /// The address that was connected to, or tried first.
    pub(super) address: Option<IpAddr>,
}

impl Route {
    /// [`resolve`], of which it notes what came of it; only addresses that can be reached from `source`.
    pub(super) async fn resolve(
        &mut self,
        host: &str,
        port: u16,
        policy: AddressPolicy,
        source: Option<IpAddr>,
        course: &mut Course,
    ) -> Result<Vec<SocketAddr>, ProbeFailure> {
        course.begin("resolving the name");
        let started = Instant::now();
        let resolved = resolve(host, port, policy).await;
        self.lookup_seconds = started.elapsed().as_secs_f64();
        let addresses = reachable_from(source, resolved?)?;
        self.address = addresses.first().map(SocketAddr::ip);
        Ok(addresses)
    }

    /// [`connect`] from `source`, of which it notes what came of it.
    pub(super) async fn connect(
        &mut self,
        source: Option<IpAddr>,
        addresses: &[SocketAddr],
        deadline: Deadline,
        course: &mut Course,
    ) -> Result<TcpStream, ProbeFailure> {
        course.begin("connecting");
        let (stream, address) = connect_from(source, addresses, deadline, &mut course.log).await?;
        self.address = Some(address.ip());
        course.note(format!("connected to {address}"));
        Ok(stream)
    }

    /// Adds the samples; 0 stands for what is not known, as in blackbox exporter.
    pub(super) fn emit(&self, samples: &mut SampleSet) {
        samples.gauge("probe_dns_lookup_time_seconds", self.lookup_seconds);
        let protocol = self.address.map_or(0, |address| if address.is_ipv4() { 4 } else { 6 });
        samples.gauge("probe_ip_protocol", f64::from(protocol));
        samples.gauge("probe_ip_addr_hash", f64::from(self.address.map_or(0, address_hash)));
    }
}

/// FNV-1a of the address' bytes. Source: blackbox exporter `prober/utils.go`, `ipHash`.
fn address_hash(address: IpAddr) -> u32 {
    const OFFSET_BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
    };
    // An IPv4 address in IPv6 clothes is the same address.
    match address.to_canonical() {
        IpAddr::V4(address) => fnv(&address.octets()),
        IpAddr::V6(address) => fnv(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 80)).collect()
    }

    #[test]
    fn addresses_alternate_and_start_with_the_preferred_protocol() {
        let check = |preferred, fallback, input: &[&str], expected: &[&str]| {
            let policy = AddressPolicy { preferred, fallback, ..AddressPolicy::default() };
            assert_eq!(policy.order(addresses(input)), addresses(expected), "{policy:?}");
        };
        let both = ["10.0.0.1", "10.0.0.2", "::1"];
        check(IpProtocol::Ip6, true, &both, &["::1", "10.0.0.1", "10.0.0.2"]);
        check(IpProtocol::Ip4, true, &both, &["10.0.0.1", "::1", "10.0.0.2"]);
        check(IpProtocol::Ip6, false, &both, &["::1"]);
        check(IpProtocol::Ip4, false, &["::1"], &[]);
        let many = ["::1", "::2", "::3", "::4", "::5", "10.0.0.1"];
        check(IpProtocol::Ip6, true, &many, &["::1", "10.0.0.1", "::2", "::3"]);
    }

    #[test]
    fn the_hash_is_fnv_1a_of_the_address() {
        assert_eq!(address_hash("0.0.0.0".parse().unwrap()), 0x4b95_f515);
        assert_eq!(address_hash("127.0.0.1".parse().unwrap()), 0xdaaf_40ed);
        assert_eq!(address_hash("::ffff:127.0.0.1".parse().unwrap()), 0xdaaf_40ed);
    }

    #[tokio::test]
    async fn a_dead_address_gives_way_to_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        let dead = {
            let closed = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
            closed.local_addr().unwrap()
        };
        let deadline = Deadline::after(Duration::from_secs(10));
        let mut log = Log::default();
        let (_, used) = connect(&[dead, alive], deadline, &mut log).await.unwrap();
        assert_eq!(used, alive);
        assert_eq!(log.len(), 1, "{log:?}");
        let failure = connect(&[dead], deadline, &mut log).await.unwrap_err();
        assert_eq!(failure.kind, "connect");
    }

    #[tokio::test]
    async fn a_connection_comes_from_the_configured_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let source: IpAddr = "127.0.0.3".parse().unwrap();
        let deadline = Deadline::after(Duration::from_secs(10));
        let (stream, _) = connect_from(Some(source), &[target], deadline, &mut Log::default()).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), source);
        let reachable = |texts: &[&str]| reachable_from(Some(source), addresses(texts));
        assert_eq!(reachable(&["::1", "10.0.0.1"]), Ok(addresses(&["10.0.0.1"])));
        let failure = reachable(&["::1"]).unwrap_err();
        assert_eq!(failure.reason, "no address can be reached from `127.0.0.3`");
    }

    #[tokio::test]
    async fn a_literal_of_the_wrong_protocol_without_fallback_does_not_resolve() {
        let policy = AddressPolicy { fallback: false, ..AddressPolicy::default() };
        let failure = resolve("127.0.0.1", 80, policy).await.unwrap_err();
        assert_eq!((failure.kind, failure.reason.as_str()), ("resolve", "`127.0.0.1` has no IPv6 address"));
    }

    #[tokio::test]
    async fn a_host_out_of_reach_does_not_resolve_however_it_is_written() {
        let reach = Reach { private: true, loopback: false, link_local: false, special: false };
        let policy = AddressPolicy { reach, ..AddressPolicy::default() };
        // The system's resolver reads all of these as addresses.
        for host in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "127.1",
            "0",
            "localhost",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "169.254.43518",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
        ] {
            let failure = resolve(host, 80, policy).await.unwrap_err();
            assert_eq!(failure.kind, "forbidden", "{host}: {}", failure.reason);
        }
        assert!(resolve("10.0.0.1", 80, policy).await.is_ok());
        assert!(resolve("localhost", 80, AddressPolicy::default()).await.is_ok());
    }

    #[test]
    fn addresses_out_of_reach_are_left_out() {
        let reach = Reach { loopback: false, ..Reach::ANYWHERE };
        let found = within_reach("a", addresses(&["127.0.0.1", "192.0.2.1"]), reach).unwrap();
        assert_eq!(found, addresses(&["192.0.2.1"]));
        let failure = within_reach("a", addresses(&["127.0.0.1", "::1"]), reach).unwrap_err();
        assert_eq!(failure.reason, "`a` leads to the loopback address `127.0.0.1`, which may not be probed");
    }
}
