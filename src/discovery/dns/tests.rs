use prometheus_client::registry::Registry;

use super::*;
use crate::discovery::testing::{NameServer, Reply};

fn discovery(server: &NameServer, names: &[&str], record_type: RecordType) -> DnsDiscovery {
    let config = DnsConfig {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        record_type,
        port: 9093,
        refresh: DEFAULT_REFRESH,
    };
    DnsDiscovery::new(config, server.resolver(&["search.example"]))
}

fn metrics() -> Metrics {
    Metrics::register(&mut Registry::default())
}

fn targets(groups: &[TargetGroup]) -> Vec<&str> {
    groups.iter().flat_map(|group| &group.targets).map(String::as_str).collect()
}

#[tokio::test]
async fn addresses_and_services_become_targets_with_labels() {
    let server = NameServer::start().await;
    server.answer("am.example.", &[Reply::Alias, Reply::A([10, 0, 0, 2]), Reply::A([10, 0, 0, 1])]);
    server.answer("six.example.", &[Reply::Aaaa([0, 0, 0, 0, 0, 0, 0, 1])]);
    server.answer("_am._tcp.example.", &[Reply::Srv("n2.example.", 9094), Reply::Srv("n1.example.", 9093)]);
    let found = discovery(&server, &["am.example"], RecordType::A).refresh(&metrics()).await;
    assert_eq!(targets(&found), ["10.0.0.1:9093", "10.0.0.2:9093"]);
    assert_eq!(found[0].labels["__meta_dns_name"], "am.example");
    let found = discovery(&server, &["six.example"], RecordType::Aaaa).refresh(&metrics()).await;
    assert_eq!(targets(&found), ["[::1]:9093"]);
    let found = discovery(&server, &["_am._tcp.example"], RecordType::Srv).refresh(&metrics()).await;
    assert_eq!(targets(&found), ["n1.example:9093", "n2.example:9094"]);
    assert_eq!(found[1].labels["__meta_dns_srv_record_target"], "n2.example.");
    assert_eq!(found[1].labels["__meta_dns_srv_record_port"], "9094");
}

#[tokio::test]
async fn a_name_is_completed_from_the_search_list() {
    let server = NameServer::start().await;
    server.answer("am.search.example.", &[Reply::A([10, 0, 0, 1])]);
    let found = discovery(&server, &["am"], RecordType::A).refresh(&metrics()).await;
    assert_eq!(targets(&found), ["10.0.0.1:9093"]);
    assert_eq!(found[0].labels["__meta_dns_name"], "am");
}

#[tokio::test]
async fn the_last_good_answer_is_kept_while_nobody_can_say() {
    let server = NameServer::start().await;
    let metrics = metrics();
    let mut discovery = discovery(&server, &["am.example.", "other.example."], RecordType::A);
    server.answer("am.example.", &[Reply::A([10, 0, 0, 1])]);
    server.answer("other.example.", &[Reply::A([10, 0, 0, 9])]);
    assert_eq!(targets(&discovery.refresh(&metrics).await), ["10.0.0.1:9093", "10.0.0.9:9093"]);
    server.fail("am.example.");
    server.answer("other.example.", &[Reply::A([10, 0, 0, 8])]);
    assert_eq!(targets(&discovery.refresh(&metrics).await), ["10.0.0.1:9093", "10.0.0.8:9093"]);
    assert_eq!((metrics.dns_lookups.get(), metrics.dns_lookup_failures.get()), (4, 1));
    // Somebody who knows says that there is nothing.
    server.forget("am.example.");
    assert_eq!(targets(&discovery.refresh(&metrics).await), ["10.0.0.8:9093"]);
}

#[tokio::test]
async fn what_does_not_fit_into_a_datagram_is_asked_for_over_tcp() {
    let server = NameServer::start().await;
    let many: Vec<Reply> = (0..250).map(|host| Reply::A([10, 0, 1, host])).collect();
    server.answer("am.example.", &many);
    let found = discovery(&server, &["am.example."], RecordType::A).refresh(&metrics()).await;
    assert_eq!(found.len(), 250);
    assert_eq!(server.asked_over_tcp(), 1);
}

#[tokio::test]
async fn the_next_server_is_asked_if_one_does_not_answer() {
    let (server, broken) = (NameServer::start().await, NameServer::start().await);
    server.answer("am.example.", &[Reply::A([10, 0, 0, 1])]);
    broken.fail("am.example.");
    let servers = Servers { addresses: vec![broken.address, server.address], search: Vec::new(), ndots: 1 };
    let resolver = Resolver::fixed(servers);
    let records = resolver.lookup("am.example", RecordType::A).await.expect("an answer");
    assert_eq!(records, [Record::A([10, 0, 0, 1].into())]);
    let error = Resolver::fixed(Servers { addresses: vec![broken.address], search: Vec::new(), ndots: 1 })
        .lookup("am.example", RecordType::A)
        .await
        .expect_err("no answer");
    let expected = format!("could not resolve `am.example.`: {}: it answered with code 2", broken.address);
    assert_eq!(error.to_string(), expected);
}
