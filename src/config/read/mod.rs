//! From the text of the file to [`Config`].

mod alertmanagers;
mod apps;
mod blackbox;
mod certificates;
mod connections;
mod drills;
mod heartbeats;
mod ledger;
mod machine;
mod postgres;
mod probes;
mod queries;
mod redis;
mod relabel;
mod sources;
#[cfg(test)]
mod tests;
mod values;
mod web;

use std::collections::BTreeSet;
use std::path::PathBuf;

use self::sources::RulesEntry;
use super::{
    AppConfig, CertificateConfig, Config, PostgresConfig, RedisConfig, RulesConfig, ScrapeConfig,
    SourceConfig, StorageConfig, Surroundings,
};
use crate::diag::Diagnostic;
use crate::model::LineColumn;
use crate::yaml::{self, Node, Reader};

/// Reads a configuration. `file` is its name in messages. With findings the configuration is not to be
/// used: it lacks what could not be read.
pub fn read(file: &str, text: &str, surroundings: &Surroundings<'_>) -> (Config, Vec<Diagnostic>) {
    let (tree, mut findings) = yaml::parse(file, text);
    let mut context = Context { reader: Reader::new(file), surroundings, of_other_files: Vec::new() };
    let config = context.config(&tree);
    findings.extend(context.of_other_files);
    findings.extend(context.reader.into_findings());
    blackbox::in_order(file, &mut findings);
    (config, findings)
}

struct Context<'a> {
    reader: Reader,
    surroundings: &'a Surroundings<'a>,
    /// What is wrong with files that the configuration names and that are part of it.
    of_other_files: Vec<Diagnostic>,
}

impl Context<'_> {
    fn config(&mut self, tree: &Node) -> Config {
        let default = Config::default();
        let mut fields = self.reader.fields("the configuration", tree);
        let listen =
            fields.take("listen").and_then(|node| self.address("listen", node)).unwrap_or(default.listen);
        let web = fields.take("web").map(|node| self.web(node)).unwrap_or_default();
        let external_url = fields.take("external_url").and_then(|node| self.http_url("external_url", node));
        let storage = fields.take("storage").map_or(default.storage, |node| self.storage(node));
        let ledger = fields.take("ledger").map_or(default.ledger, |node| self.ledger(node));
        let query = fields.take("query").map_or(default.query, |node| self.query(node));
        let features = fields.take("features").map_or(default.features, |node| self.features(node));
        let external_labels = fields
            .take("external_labels")
            .map(|node| self.labels("external_labels", node))
            .unwrap_or_default();
        let max_series_per_component = fields
            .take("max_series_per_component")
            .and_then(|node| self.series("max_series_per_component", node))
            .unwrap_or(default.max_series_per_component);
        let evaluation_interval = fields
            .take("evaluation_interval")
            .and_then(|node| self.reader.duration("evaluation_interval", node))
            .unwrap_or(default.evaluation_interval);
        let apps = self.list(fields.take("apps"), "apps", Self::app);
        let postgres = self.list(fields.take("postgres"), "postgres", Self::postgres);
        let redis = self.list(fields.take("redis"), "redis", Self::redis);
        let machine = fields.take("machine").map_or(default.machine, |node| self.machine(node));
        let disks = self.list(fields.take("disks"), "disks", Self::disk);
        let certificates = self.list(fields.take("certificates"), "certificates", Self::certificate);
        let blackbox = self.blackbox(fields.take("blackbox"));
        let probe = |this: &mut Self, node: &Node| this.probe(&blackbox.modules, node);
        let probes = self.list(fields.take("probes"), "probes", probe);
        let scrapes = self.list(fields.take("scrapes"), "scrapes", Self::scrape);
        let sources = self.list(fields.take("sources"), "sources", Self::source);
        let sources = self.unique("sources", sources, |source| source.name.clone());
        let alertmanagers = self.list(fields.take("alertmanagers"), "alertmanagers", Self::alertmanager);
        let alert_relabel = self.relabelling(&mut fields, "alert_relabel_configs");
        let drills = self.list(fields.take("drills"), "drills", Self::drill);
        let heartbeat = self.list(fields.take("heartbeat"), "heartbeat", Self::heartbeat);
        let pings = self.list(fields.take("pings"), "pings", Self::ping);
        let resend_delay = fields
            .take("resend_delay")
            .and_then(|node| self.reader.duration("resend_delay", node))
            .unwrap_or(default.rules.resend_delay);
        let error_hold = fields
            .take("error_hold")
            .and_then(|node| self.reader.duration("error_hold", node))
            .unwrap_or(default.rules.error_hold);
        let catch_up = fields
            .take("catch_up")
            .and_then(|node| self.reader.duration("catch_up", node))
            .unwrap_or(default.rules.catch_up);
        let rules =
            RulesConfig { resend_delay, error_hold, catch_up, ..self.rules(fields.take("rules"), &sources) };
        fields.finish(&mut self.reader);
        self.jobs(&apps, &scrapes);
        self.told_apart("apps", &apps, AppConfig::instance);
        self.told_apart("postgres", &postgres, PostgresConfig::instance);
        self.told_apart("redis", &redis, RedisConfig::instance);
        self.told_apart("certificates", &certificates, CertificateConfig::instance);
        Config {
            listen,
            web,
            external_url,
            storage,
            ledger,
            query,
            features,
            external_labels,
            max_series_per_component,
            evaluation_interval,
            apps: self.unique("apps", apps, |app| app.name.clone()),
            postgres: self.unique("postgres", postgres, |server| server.name.clone()),
            redis: self.unique("redis", redis, |server| server.name.clone()),
            machine,
            disks: self.unique("disks", disks, |disk| disk.path.display().to_string()),
            certificates: self.unique("certificates", certificates, |certificate| certificate.name.clone()),
            blackbox,
            probes: self.unique("probes", probes, |probe| probe.name.clone()),
            scrapes: self.unique("scrapes", scrapes, |scrape| scrape.job.clone()),
            sources,
            alertmanagers: alertmanagers.into_iter().map(|(_, alertmanager)| alertmanager).collect(),
            alert_relabel,
            drills: self.unique("drills", drills, |scheduled| scheduled.drill.alert.clone()),
            heartbeat: self.unique("heartbeat", heartbeat, |heartbeat| heartbeat.name.clone()),
            pings: self.unique("pings", pings, |ping| ping.name.clone()),
            rules,
        }
    }

    /// The items of a list with their places; those with faults are left out.
    fn list<T>(
        &mut self,
        node: Option<&Node>,
        what: &str,
        mut item: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Vec<(LineColumn, T)> {
        let Some(node) = node else { return Vec::new() };
        let nodes = self.reader.items(what, node);
        nodes.iter().filter_map(|node| item(self, node).map(|item| (node.place, item))).collect()
    }

    /// Names identify components; two with the same name would be one on every chart.
    fn unique<T>(&mut self, what: &str, items: Vec<(LineColumn, T)>, name: impl Fn(&T) -> String) -> Vec<T> {
        let mut seen = BTreeSet::new();
        for (place, item) in &items {
            if !seen.insert(name(item)) {
                let message = format!("two entries of `{what}` have the name `{}`", name(item));
                self.reader.error("duplicate-name", *place, message);
            }
        }
        items.into_iter().map(|(_, item)| item).collect()
    }

    /// The samples of two components of one kind differ in nothing but their instances: with the same one they
    /// would be each other's.
    fn told_apart<T>(
        &mut self,
        what: &str,
        items: &[(LineColumn, T)],
        instance: impl Fn(&T) -> Option<String>,
    ) {
        let mut seen = BTreeSet::new();
        for (place, item) in items {
            let Some(instance) = instance(item) else { continue };
            if seen.contains(&instance) {
                self.reader.error_with_hint(
                    "duplicate-instance",
                    *place,
                    format!("two entries of `{what}` look at `{instance}`: their samples would be the same series"),
                    "leave one out; the entries of `probes` may look at the same, for their names are the label `job`",
                );
            }
            seen.insert(instance);
        }
    }

    fn storage(&mut self, node: &Node) -> StorageConfig {
        let default = StorageConfig::default();
        let mut fields = self.reader.fields("`storage`", node);
        let path = fields
            .take("path")
            .and_then(|node| self.reader.text("path", node))
            .map_or(default.path, PathBuf::from);
        let retention = fields
            .take("retention")
            .and_then(|node| self.reader.duration("retention", node))
            .unwrap_or(default.retention);
        let max_memory_bytes = fields
            .take("max_memory")
            .and_then(|node| {
                let bytes = self.reader.size_bytes("max_memory", node)?;
                if bytes < 8 << 20 {
                    self.reader.error("bad-size", node.place, "`max_memory` must be at least `8MiB`");
                }
                Some(bytes)
            })
            .unwrap_or(default.max_memory_bytes);
        let remote_write_receiver = self.flag(&mut fields, "remote_write_receiver", false);
        fields.finish(&mut self.reader);
        StorageConfig { path, retention, max_memory_bytes, remote_write_receiver }
    }

    fn rules(&mut self, node: Option<&Node>, sources: &[SourceConfig]) -> RulesConfig {
        let Some(node) = node else { return RulesConfig::default() };
        let mut rules = RulesConfig { builtin: false, ..RulesConfig::default() };
        let mut sourced = Vec::new();
        for (_, entry) in self.list(Some(node), "rules", Self::rules_entry) {
            match entry {
                RulesEntry::Builtin => rules.builtin = true,
                RulesEntry::Files(pattern) => rules.files.push(pattern),
                RulesEntry::Sourced(place, entry) => {
                    rules.files.extend(entry.files.iter().cloned());
                    sourced.push((place, entry));
                }
            }
        }
        self.known_sources(sources, &sourced);
        rules.sources = sourced.into_iter().map(|(_, entry)| entry).collect();
        rules
    }

    /// The metrics of an app are a scrape job, too, and jobs are told apart by their names.
    fn jobs(&mut self, apps: &[(LineColumn, AppConfig)], scrapes: &[(LineColumn, ScrapeConfig)]) {
        let scraped = apps.iter().filter(|(_, app)| app.metrics.is_some());
        let names: BTreeSet<&str> = scraped.map(|(_, app)| app.name.as_str()).collect();
        for (place, scrape) in scrapes.iter().filter(|(_, scrape)| names.contains(scrape.job.as_str())) {
            self.reader.error_with_hint(
                "duplicate-name",
                *place,
                format!("the app `{0}` is scraped as job `{0}` already", scrape.job),
                "give this job another name, or leave `metrics` of the app out",
            );
        }
    }
}
