//! The rows of blackbox exporter's `prober/dns_test.go`, and name servers that mean no good.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use valmis::dns::{Class, Question, RecordType, ResponseCode};
use valmis::probe::dns::{DnsConfig, DnsProber, METADATA, RecordRules, Transport};
use valmis::probe::{AddressPolicy, IpProtocol, Pattern, ProbeOutcome};

use super::{END_OF_2026, LITTLE, Trusted, assert_values, kind, run, run_within};
use crate::servers::{clock, listen, value};

const QUERY_BYTES: usize = 12 + 13 + 4;

/// A question about `example.com` as a server sees it.
struct Query<'a>(&'a [u8]);

impl Query<'_> {
    fn recursion_desired(&self) -> bool {
        self.0[2] & 1 == 1
    }

    fn record_type(&self) -> u16 {
        u16::from_be_bytes([self.0[25], self.0[26]])
    }

    fn class(&self) -> u16 {
        u16::from_be_bytes([self.0[27], self.0[28]])
    }

    /// An answer with this code and the records of the three sections.
    fn answer(&self, code: u8, sections: &[Vec<Vec<u8>>; 3]) -> Vec<u8> {
        let mut message = self.0[..QUERY_BYTES].to_vec();
        message[2] |= 0x80;
        message[3] = code;
        for (at, section) in [7, 9, 11].into_iter().zip(sections) {
            message[at] = u8::try_from(section.len()).unwrap();
        }
        message.extend(sections.concat().concat());
        message
    }
}

fn record(name: &[u8], record_type: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut record = name.to_vec();
    record.extend(record_type.to_be_bytes());
    record.extend(class.to_be_bytes());
    record.extend(ttl.to_be_bytes());
    record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    record.extend(data);
    record
}

/// The name of the question.
const SAME: &[u8] = &[192, 12];
const NS1: &[u8] = b"\x03ns1\x03isp\x03net\0";
const NS2: &[u8] = b"\x03ns2\x03isp\x03net\0";

/// A resolver that refuses to do without asking others.
fn recursive(query: &Query<'_>) -> Vec<u8> {
    if !query.recursion_desired() {
        return query.answer(5, &[Vec::new(), Vec::new(), Vec::new()]);
    }
    let address = |last| record(SAME, 1, 1, 3600, &[127, 0, 0, last]);
    query.answer(0, &[vec![address(1), address(2)], Vec::new(), Vec::new()])
}

fn authoritative(query: &Query<'_>) -> Vec<u8> {
    let answer = match (query.record_type(), query.class()) {
        (6, _) => {
            let numbers = [1000_u32, 7200, 3600, 1_209_600, 3600].map(u32::to_be_bytes).concat();
            record(SAME, 6, 1, 3600, &[b"\x02ns\xc0\x0c\x03noc\xc0\x0c".as_slice(), &numbers].concat())
        }
        (16, 3) => record(SAME, 16, 3, 3600, b"\x07goCHAOS"),
        _ => record(SAME, 1, 1, 3600, &[127, 0, 0, 1]),
    };
    let authority = [NS1, NS2].map(|server| record(SAME, 2, 1, 7200, server));
    let additional = [
        record(NS1, 1, 1, 7200, &[127, 0, 0, 1]),
        record(NS1, 28, 1, 7200, &std::net::Ipv6Addr::LOCALHOST.octets()),
        record(NS2, 1, 1, 7200, &[127, 0, 0, 2]),
    ];
    query.answer(0, &[vec![answer], authority.to_vec(), additional.to_vec()])
}

fn failing(query: &Query<'_>) -> Vec<u8> {
    query.answer(2, &[Vec::new(), Vec::new(), Vec::new()])
}

/// A name server that answers each question with these datagrams.
async fn udp_server(respond: impl Fn(&Query<'_>) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            for datagram in respond(&Query(&buffer[..length])) {
                socket.send_to(&datagram, from).await.unwrap();
            }
        }
    });
    address
}

/// A name server that answers each question with these bytes, after their length or what it says of it.
async fn tcp_server(respond: impl Fn(&Query<'_>) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let respond = Arc::new(respond);
    listen(move |mut stream| {
        let respond = respond.clone();
        async move {
            let mut query = [0; 2 + QUERY_BYTES];
            stream.read_exact(&mut query).await.unwrap();
            let _ = stream.write_all(&respond(&Query(&query[2..]))).await;
        }
    })
    .await
}

fn with_length(message: Vec<u8>) -> Vec<u8> {
    [u16::try_from(message.len()).unwrap().to_be_bytes().to_vec(), message].concat()
}

fn question(record_type: &str, class: &str) -> Question {
    let record_type = RecordType::from_name(record_type).unwrap();
    Question::new("example.com", record_type, Class::from_name(class).unwrap()).unwrap()
}

fn config(change: impl FnOnce(&mut DnsConfig)) -> DnsConfig {
    let mut config = DnsConfig::new(question("ANY", "IN"));
    config.addresses = AddressPolicy { preferred: IpProtocol::Ip4, ..AddressPolicy::default() };
    change(&mut config);
    config
}

fn patterns(patterns: &[&str]) -> Vec<Pattern> {
    patterns.iter().map(|pattern| Pattern::new(pattern).unwrap()).collect()
}

/// The rules `fail_if_matches` and `fail_if_not_matches`.
fn rules(matches: &[&str], not_matches: &[&str]) -> RecordRules {
    RecordRules {
        fail_if_matches: patterns(matches),
        fail_if_not_matches: patterns(not_matches),
        ..RecordRules::default()
    }
}

fn codes(names: &[&str]) -> Vec<ResponseCode> {
    names.iter().map(|name| ResponseCode::from_name(name).unwrap()).collect()
}

async fn ask(config: DnsConfig, target: &str) -> ProbeOutcome {
    run(&DnsProber::new(config, target, clock()).unwrap(), METADATA).await
}

/// Probes a server over UDP and over TCP.
async fn check(
    respond: fn(&Query<'_>) -> Vec<u8>,
    change: impl Fn(&mut DnsConfig),
    expected: &str,
    counts: [f64; 3],
) -> [ProbeOutcome; 2] {
    let udp = udp_server(move |query| vec![respond(query)]).await;
    let tcp = tcp_server(move |query| with_length(respond(query))).await;
    let mut outcomes = Vec::new();
    for (transport, address) in [(Transport::Udp, udp), (Transport::Tcp, tcp)] {
        let config = DnsConfig { transport, ..config(&change) };
        let outcome = ask(config, &address.to_string()).await;
        assert_eq!(kind(&outcome), expected, "{:?} {:?}", outcome.result, outcome.log);
        assert_values(
            &outcome,
            &[
                ("probe_dns_query_succeeded", 1.0),
                ("probe_dns_answer_rrs", counts[0]),
                ("probe_dns_authority_rrs", counts[1]),
                ("probe_dns_additional_rrs", counts[2]),
                ("probe_ip_protocol", 4.0),
            ],
        );
        for phase in ["resolve", "connect", "request"] {
            assert!(value(&outcome, "probe_dns_duration_seconds", &[("phase", phase)]).is_some());
        }
        outcomes.push(outcome);
    }
    outcomes.try_into().unwrap()
}

#[tokio::test]
async fn a_resolvers_answer_is_judged() {
    let two = [2.0, 0.0, 0.0];
    check(recursive, |_| {}, "ok", two).await;
    check(recursive, |config| config.valid_rcodes = codes(&["SERVFAIL", "NXDOMAIN"]), "rcode", two).await;
    let change = |config: &mut DnsConfig| config.validate_answer = rules(&[".*7200.*"], &[".*3600.*"]);
    check(recursive, change, "ok", two).await;
    let change = |config: &mut DnsConfig| config.validate_authority = rules(&[".*7200.*"], &[]);
    check(recursive, change, "ok", two).await;
    let change = |config: &mut DnsConfig| config.validate_additional = rules(&[], &[".*3600.*"]);
    check(recursive, change, "records", two).await;
    check(recursive, |config| config.recursion_desired = false, "rcode", [0.0; 3]).await;
}

#[tokio::test]
async fn the_answer_of_a_zones_server_is_judged() {
    let all = [1.0, 2.0, 3.0];
    check(authoritative, |_| {}, "ok", all).await;
    let outcomes = check(authoritative, |config| config.question = question("SOA", "IN"), "ok", all).await;
    for outcome in outcomes {
        assert_values(&outcome, &[("probe_dns_serial", 1000.0)]);
    }
    let chaos = |config: &mut DnsConfig| {
        config.question = question("TXT", "CH");
        config.validate_answer = rules(&[".*IN.*"], &[".*CH.*"]);
    };
    check(authoritative, chaos, "ok", all).await;
    check(authoritative, |config| config.valid_rcodes = codes(&["SERVFAIL", "NXDOMAIN"]), "rcode", all).await;
    let check_rules = async |change: &dyn Fn(&mut DnsConfig), expected| {
        check(authoritative, change, expected, all).await;
    };
    let both = |text| rules(&[text], &[text]);
    check_rules(&|config| config.validate_answer = both(".*3600.*"), "records").await;
    check_rules(&|config| config.validate_answer = both(".*7200.*"), "records").await;
    let exact = ["^example\\.com\\.\t3600\tIN\tA\t127\\.0\\.0\\.1$"];
    check_rules(&|config| config.validate_answer = rules(&[], &exact), "ok").await;
    check_rules(&|config| config.validate_authority = rules(&[], &["ns.*.isp.net"]), "ok").await;
    check_rules(&|config| config.validate_additional = rules(&[], &["^ns.*.isp"]), "ok").await;
    check_rules(&|config| config.validate_additional = rules(&["^ns.*.isp"], &[]), "records").await;
    // The name says otherwise, but so it works in blackbox exporter: every record has to match.
    for (pattern, expected) in [(".*127.0.0.*", "records"), (".*7200.*", "ok")] {
        let change = |config: &mut DnsConfig| {
            config.validate_additional.fail_if_all_match = patterns(&[pattern]);
        };
        check_rules(&change, expected).await;
    }
    for (pattern, expected) in [(".*127.0.0.3.*", "records"), (".*127.0.0.2.*", "ok")] {
        let change = |config: &mut DnsConfig| {
            config.validate_additional.fail_if_none_matches = patterns(&[pattern]);
        };
        check_rules(&change, expected).await;
    }
}

#[tokio::test]
async fn a_zone_without_serial_has_none() {
    let ask_for = |config: &mut DnsConfig| config.question = question("SOA", "IN");
    for outcome in check(recursive, ask_for, "ok", [2.0, 0.0, 0.0]).await {
        assert_eq!(value(&outcome, "probe_dns_serial", &[]), None);
    }
}

#[tokio::test]
async fn a_code_that_is_expected_is_a_good_answer() {
    check(failing, |_| {}, "rcode", [0.0; 3]).await;
    check(failing, |config| config.valid_rcodes = codes(&["SERVFAIL", "NXDOMAIN"]), "ok", [0.0; 3]).await;
}

#[tokio::test]
async fn questions_may_travel_in_tls() {
    let trusted = Trusted::new();
    let acceptor = trusted.acceptor.clone();
    let address = listen(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut query = [0; 2 + QUERY_BYTES];
            stream.read_exact(&mut query).await.unwrap();
            stream.write_all(&with_length(recursive(&Query(&query[2..])))).await.unwrap();
        }
    })
    .await;
    let in_tls = || config(|config| config.transport = Transport::Tls(trusted.tls()));
    let outcome = ask(in_tls(), &format!("localhost:{}", address.port())).await;
    assert_eq!(outcome.result, Ok(()));
    let expiry = ("probe_ssl_earliest_cert_expiry", END_OF_2026);
    assert_values(&outcome, &[("probe_dns_query_succeeded", 1.0), expiry]);
    let outcome = ask(in_tls(), &address.to_string()).await;
    assert_eq!(kind(&outcome), "certificate");
    assert_values(&outcome, &[("probe_dns_query_succeeded", 0.0), expiry]);
}

#[tokio::test]
async fn datagrams_that_answer_something_else_are_passed_over() {
    let server = udp_server(|query| {
        let right = recursive(query);
        let change = |at: usize| {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            wrong
        };
        // Another id, another name, another type, no answer at all, and then the right one.
        vec![change(0), change(14), change(25), query.0.to_vec(), b"x".to_vec(), right]
    })
    .await;
    let outcome = ask(config(|_| {}), &server.to_string()).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    let ignored = outcome.log.iter().filter(|event| event.starts_with("ignoring")).count();
    assert_eq!(ignored, 5);
}

#[tokio::test]
async fn hostile_name_servers_are_left_in_time() {
    let nothing = |outcome: &ProbeOutcome| {
        assert_values(outcome, &[("probe_dns_query_succeeded", 0.0), ("probe_dns_answer_rrs", 0.0)]);
    };
    let little = async |config: DnsConfig, target: SocketAddr| {
        let prober = DnsProber::new(config, &target.to_string(), clock()).unwrap();
        run_within(LITTLE, &prober, METADATA).await
    };
    let over_tcp = || config(|config| config.transport = Transport::Tcp);

    let silent = udp_server(|_| Vec::new()).await;
    let outcome = little(config(|_| {}), silent).await;
    let expected = "out of time after 0.400 s, while waiting for the answer";
    assert_eq!(outcome.result.as_ref().unwrap_err().reason, expected);
    nothing(&outcome);

    let forging = udp_server(|query| {
        let mut forged = recursive(query);
        forged[1] ^= 1;
        vec![forged; 1000]
    })
    .await;
    let outcome = little(config(|_| {}), forging).await;
    assert_eq!(kind(&outcome), "timeout");
    nothing(&outcome);

    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(kind(&ask(config(|_| {}), &closed.to_string()).await), "connect");

    // A name that goes on where it began, a record that ends too early, and one that ends too late.
    for (name, cut) in [([192, QUERY_BYTES as u8], 0), ([192, 12], 1), ([192, 12], 0)] {
        let respond = move |query: &Query<'_>| {
            let data: &[u8] = if cut == 0 && name == [192, 12] { &[1, 2, 3] } else { &[127, 0, 0, 1] };
            let mut message = query.answer(0, &[vec![record(&name, 1, 1, 60, data)], Vec::new(), Vec::new()]);
            message.truncate(message.len() - cut);
            message
        };
        let udp = udp_server(move |query| vec![respond(query)]).await;
        assert_eq!(kind(&ask(config(|_| {}), &udp.to_string()).await), "answer");
        let tcp = tcp_server(move |query| with_length(respond(query))).await;
        assert_eq!(kind(&ask(over_tcp(), &tcp.to_string()).await), "answer");
    }

    // What is said to be cut may be.
    let cutting = udp_server(|query| {
        let mut message = recursive(query);
        message[2] |= 2;
        message.truncate(message.len() - 1);
        vec![message]
    })
    .await;
    let outcome = ask(config(|_| {}), &cutting.to_string()).await;
    assert_eq!(outcome.result, Ok(()));
    assert_values(&outcome, &[("probe_dns_answer_rrs", 1.0)]);

    let short = tcp_server(|query| [&[0xff, 0xff], recursive(query).as_slice()].concat()).await;
    assert_eq!(kind(&ask(over_tcp(), &short.to_string()).await), "connection");
    let wrong = tcp_server(|query| {
        let mut message = recursive(query);
        message[0] ^= 1;
        with_length(message)
    })
    .await;
    assert_eq!(kind(&ask(over_tcp(), &wrong.to_string()).await), "answer");
    // 65,535 bytes of records whose names point to the longest name there is.
    let large = tcp_server(|query| {
        let mut message = query.answer(0, &[Vec::new(), Vec::new(), Vec::new()]);
        let records = (usize::from(u16::MAX) - message.len()) / 16;
        message[6..8].copy_from_slice(&u16::try_from(records).unwrap().to_be_bytes());
        message.extend((0..records).flat_map(|_| record(SAME, 1, 1, 60, &[127, 0, 0, 1])));
        with_length(message)
    })
    .await;
    let change = |config: &mut DnsConfig| {
        config.transport = Transport::Tcp;
        config.validate_answer = rules(&["7200"], &["127"]);
    };
    let outcome = ask(config(change), &large.to_string()).await;
    assert_eq!(outcome.result, Ok(()));
    assert_values(&outcome, &[("probe_dns_answer_rrs", 4094.0)]);
    assert!(outcome.log.len() < 300, "{} events", outcome.log.len());
}
