//! Pinging this machine, as far as the tests may.

use std::num::NonZeroU8;

use valmis::probe::icmp::{IcmpConfig, IcmpProber, METADATA, PayloadSize};
use valmis::probe::{AddressPolicy, IpProtocol, ProbeOutcome};

use super::{assert_values, kind, run};
use crate::servers::value;

/// The outcome; `None` where this process may not ping, which the outcome must say.
async fn ping(target: &str, change: impl FnOnce(&mut IcmpConfig)) -> Option<ProbeOutcome> {
    let mut config = IcmpConfig::default();
    change(&mut config);
    let outcome = run(&IcmpProber::new(config, target).unwrap(), METADATA).await;
    match &outcome.result {
        Err(failure) if failure.kind == "permission" => {
            assert!(failure.unknown && failure.reason.contains("CAP_NET_RAW"), "{failure:?}");
            None
        }
        _ => Some(outcome),
    }
}

#[tokio::test]
async fn this_machine_answers() {
    for (target, protocol) in [("127.0.0.1", 4.0), ("::1", 6.0)] {
        let Some(outcome) = ping(target, |_| {}).await else { continue };
        if protocol == 6.0 && kind(&outcome) == "unreachable" {
            // There are machines without IPv6.
            continue;
        }
        assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
        assert_values(&outcome, &[("probe_ip_protocol", protocol), ("probe_icmp_reply_hop_limit", 64.0)]);
        let rtt = value(&outcome, "probe_icmp_duration_seconds", &[("phase", "rtt")]).unwrap();
        assert!(rtt > 0.0 && rtt < 5.0, "{rtt}");
        for phase in ["resolve", "setup"] {
            assert!(value(&outcome, "probe_icmp_duration_seconds", &[("phase", phase)]).is_some());
        }
    }
}

#[tokio::test]
async fn payload_hops_source_and_fragments_are_as_configured() {
    let sizes = [1_u64, 1400, u64::from(PayloadSize::MAX_BYTES)];
    for size in sizes {
        let sized = |config: &mut IcmpConfig| config.payload_size = PayloadSize::new(size).unwrap();
        let Some(outcome) = ping("127.0.0.1", sized).await else { return };
        assert_eq!(outcome.result, Ok(()), "{size}: {:?}", outcome.log);
        let sent = format!("sending {} bytes", size + 8);
        assert!(outcome.log.iter().any(|event| event.starts_with(&sent)), "{:?}", outcome.log);
    }
    let configured = |config: &mut IcmpConfig| {
        config.ttl = NonZeroU8::new(1);
        config.source = Some("127.0.0.5".parse().unwrap());
        config.dont_fragment = true;
        config.addresses =
            AddressPolicy { preferred: IpProtocol::Ip4, fallback: false, ..AddressPolicy::default() };
    };
    let Some(outcome) = ping("localhost", configured).await else { return };
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    assert_eq!(PayloadSize::new(u64::from(PayloadSize::MAX_BYTES) + 1), None);
    assert_eq!(PayloadSize::new(0).map(PayloadSize::bytes), Some(28));
}

#[tokio::test]
async fn what_is_no_host_fails() {
    assert!(IcmpProber::new(IcmpConfig::default(), "127.0.0.1:80").is_err());
    let Some(outcome) = ping("host.invalid", |_| {}).await else { return };
    assert_eq!(kind(&outcome), "resolve");
    assert_values(&outcome, &[("probe_ip_protocol", 0.0)]);
    assert_eq!(value(&outcome, "probe_icmp_reply_hop_limit", &[]), None);
}
