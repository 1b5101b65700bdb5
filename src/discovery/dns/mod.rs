//! Targets that are found by asking the domain name system.
//! Source: Prometheus 3.14 `discovery/dns/dns.go`, of which the settings, labels and addresses are.
//!
//! The client is this project's: it asks and takes what it is told, whereas the crates for it bring a
//! resolver with cache and policies of its own between the servers' answers and what Prometheus makes of
//! them.

mod records;
mod resolver;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use tracing::{info, warn};

use self::records::Record;
use super::{Metrics, TargetGroup};

pub use self::records::RecordType;
pub use self::resolver::{LookupError, Resolver, Servers};

/// Names that stand for targets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DnsConfig {
    /// The names that are asked for.
    pub names: Vec<String>,
    /// What they are asked for.
    pub record_type: RecordType,
    /// The port of the targets; a service's record has its own.
    pub port: u16,
    /// How often they are asked for.
    pub refresh: Duration,
}

/// How often names are asked for. Source: `DefaultSDConfig`.
pub const DEFAULT_REFRESH: Duration = Duration::from_secs(30);

/// What some names stood for when somebody last could say.
#[derive(Debug)]
pub(super) struct DnsDiscovery {
    config: DnsConfig,
    resolver: Resolver,
    known: BTreeMap<String, Vec<TargetGroup>>,
    /// The names for which there was no answer the last time.
    failing: BTreeSet<String>,
}

impl DnsDiscovery {
    pub(super) fn new(config: DnsConfig, resolver: Resolver) -> Self {
        Self { config, resolver, known: BTreeMap::new(), failing: BTreeSet::new() }
    }

    /// How long to wait between two refreshes.
    pub(super) fn refresh_interval(&self) -> Duration {
        self.config.refresh
    }

    /// Asks for all names at once. A name that nobody could answer keeps what it had.
    pub(super) async fn refresh(&mut self, metrics: &Metrics) -> Vec<TargetGroup> {
        let (resolver, config) = (&self.resolver, &self.config);
        let lookups = config.names.iter().map(async |name| {
            metrics.dns_lookups.inc();
            (name, resolver.lookup(name, config.record_type).await)
        });
        for (name, answer) in join_all(lookups).await {
            match answer {
                Ok(records) => {
                    if self.failing.remove(name) {
                        info!(%name, "The name `{name}` is resolved again");
                    }
                    self.known.insert(name.clone(), groups(name, records, config.port));
                }
                Err(error) => {
                    metrics.dns_lookup_failures.inc();
                    if self.failing.insert(name.clone()) {
                        warn!(%name, %error, "DNS discovery keeps what it knows of `{name}`: {error}");
                    }
                }
            }
        }
        self.known.values().flatten().cloned().collect()
    }
}

/// The targets that a name's records stand for, in an order that does not depend on that of the answer.
fn groups(name: &str, mut records: Vec<Record>, port: u16) -> Vec<TargetGroup> {
    records.sort();
    records.dedup();
    let group = |record| {
        let mut labels = BTreeMap::from([("__meta_dns_name".to_owned(), name.to_owned())]);
        let target = match record {
            Record::A(address) => format!("{address}:{port}"),
            Record::Aaaa(address) => format!("[{address}]:{port}"),
            Record::Srv(host, port) => {
                let target = format!("{}:{port}", host.trim_end_matches('.'));
                labels.insert("__meta_dns_srv_record_target".to_owned(), host);
                labels.insert("__meta_dns_srv_record_port".to_owned(), port.to_string());
                target
            }
        };
        TargetGroup { targets: vec![target], labels }
    };
    records.into_iter().map(group).collect()
}

#[cfg(test)]
mod tests;
