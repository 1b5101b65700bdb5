//! From the configuration to the servers that evaluate rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use prometheus_client::registry::Registry;

use crate::config::{SourceConfig, SourcesOfGroups, WriteBackConfig};
use crate::query::{
    LocalConfig, LocalSource, OverlaySource, QuerySource, RemoteConfig, RemoteMetrics, RemoteSource,
};
use crate::rulefmt::{RuleFile, RuleKind};
use crate::rules::{ALERT_SERIES, Origin, Origins};
use crate::storage::Appender;
use crate::tsdb::Tsdb;
use crate::write_back::{self, Receiver, WriteBack};

/// How long a receiver that the configuration no longer names is sent what still waits for it.
const GRACE: Duration = Duration::from_secs(5);

/// The sources that are in use.
pub(super) struct Sources {
    store: Arc<Tsdb>,
    /// How what concerns the store and a server is evaluated here.
    limits: LocalConfig,
    metrics: RemoteMetrics,
    write_back_metrics: write_back::Metrics,
    running: BTreeMap<String, Running>,
}

/// A source with the configuration that it was made from.
struct Running {
    config: SourceConfig,
    overlay: OverlaySource,
    origin: Arc<Origin>,
    write_back: Option<WriteBack>,
}

impl Running {
    /// Looks whether certificates in files have changed.
    fn look_again(&self) -> Result<()> {
        let name = &self.config.name;
        self.overlay.remote().look_again().with_context(|| format!("source `{name}`"))?;
        let receiver = self.write_back.as_ref().map_or(Ok(()), WriteBack::look_again);
        receiver.with_context(|| format!("`remote_write` of the source `{name}`"))
    }
}

/// Sources that are made but not yet in use.
pub(super) struct Prepared(Vec<New>);

struct New {
    config: SourceConfig,
    overlay: OverlaySource,
    receiver: Option<Receiver>,
}

impl Sources {
    pub(super) fn new(store: Arc<Tsdb>, limits: LocalConfig, registry: &mut Registry) -> Self {
        Self {
            store,
            limits,
            metrics: RemoteMetrics::register(registry),
            write_back_metrics: write_back::Metrics::register(registry),
            running: BTreeMap::new(),
        }
    }

    /// Makes the sources that are new or different; of the others only certificates in files are looked
    /// at again. Nothing else changes yet.
    pub(super) fn prepare(&self, configured: &[SourceConfig]) -> Result<Prepared> {
        for config in configured {
            match self.running.get(&config.name) {
                Some(running) if running.config == *config => running.look_again()?,
                _ => {}
            }
        }
        let new = configured
            .iter()
            .filter(|config| self.running.get(&config.name).is_none_or(|running| running.config != **config));
        let prepared = new.map(|config| {
            let remote = RemoteConfig {
                url: config.url.clone(),
                http: config.http.clone(),
                timeout: config.timeout,
                parameters: config.parameters.clone(),
            };
            let remote = RemoteSource::new(remote, self.metrics.of(&config.name))
                .with_context(|| format!("source `{}`", config.name))?;
            let overlay = OverlaySource::new(remote, self.store.clone(), self.limits.clone());
            let receiver = config.write_back.as_ref().map(|wanted| receiver(&config.name, wanted));
            Ok(New { config: config.clone(), overlay, receiver: receiver.transpose()? })
        });
        Ok(Prepared(prepared.collect::<Result<_>>()?))
    }

    /// Puts sources into use in place of those of before, and gives groups their origins. Those that did
    /// not change stay what they are, with what waits to be written back.
    pub(super) fn apply(
        &mut self,
        configured: &[SourceConfig],
        Prepared(new): Prepared,
        groups: &SourcesOfGroups,
        files: &[RuleFile],
    ) -> Origins {
        let names: BTreeSet<&str> = configured.iter().map(|config| config.name.as_str()).collect();
        let gone: Vec<String> =
            self.running.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        for name in gone {
            self.metrics.forget(&name);
            self.write_back_metrics.forget(&name);
            self.running.remove(&name).and_then(|running| running.write_back).into_iter().for_each(drain);
        }
        for New { config, overlay, receiver } in new {
            let previous = self.running.remove(&config.name);
            let (old_config, old) = previous.map(|running| (running.config, running.write_back)).unzip();
            let old_config = old_config.and_then(|config| config.write_back);
            let write_back = match old.flatten() {
                // Whom it asks has nothing to do with whom it writes to.
                Some(old) if config.write_back == old_config => Some(old),
                old => {
                    old.into_iter().for_each(drain);
                    receiver.map(|receiver| receiver.start(self.write_back_metrics.of(&config.name)))
                }
            };
            let store: Arc<dyn Appender> = self.store.clone();
            let appender = match &write_back {
                Some(write_back) => write_back.appender(store),
                None => store,
            };
            // Also the store: a state that was lost may have been one of this source's rules.
            let memories: Vec<Arc<dyn QuerySource>> = vec![
                Arc::new(overlay.remote()),
                Arc::new(LocalSource::new(self.store.clone(), self.limits.clone())),
            ];
            let origin = Arc::new(Origin { source: Arc::new(overlay.clone()), appender, memories });
            self.running.insert(config.name.clone(), Running { config, overlay, origin, write_back });
        }
        self.origins(groups, files)
    }

    /// The origins of groups. What the groups of a source record is from now on looked up in the store.
    fn origins(&self, groups: &SourcesOfGroups, files: &[RuleFile]) -> Origins {
        let mut origins = Origins::new();
        for (name, running) in &self.running {
            let mut own = BTreeSet::new();
            for file in files {
                for group in &file.groups {
                    let key = (file.name.clone(), group.name.clone());
                    if groups.get(&key) != Some(name) {
                        continue;
                    }
                    for rule in group.rules.iter() {
                        match &rule.kind {
                            RuleKind::Recording { record } => drop(own.insert(record.clone())),
                            RuleKind::Alerting { .. } => own.extend(ALERT_SERIES.map(str::to_owned)),
                        }
                    }
                    origins.insert(key, running.origin.clone());
                }
            }
            running.overlay.own_names(own);
        }
        origins
    }

    /// Sends what waits, for as long as `grace`.
    pub(super) async fn shutdown(self, grace: Duration) {
        let write_backs = self.running.into_values().filter_map(|running| running.write_back);
        futures_util::future::join_all(write_backs.map(|write_back| write_back.shutdown(grace))).await;
    }
}

fn receiver(source: &str, config: &WriteBackConfig) -> Result<Receiver> {
    let WriteBackConfig { url, timeout, http } = config.clone();
    Receiver::new(source, &write_back::Config { url, http, timeout })
        .with_context(|| format!("`remote_write` of the source `{source}`"))
}

/// Sends what still waits, and ends.
fn drain(write_back: WriteBack) {
    tokio::spawn(write_back.shutdown(GRACE));
}
