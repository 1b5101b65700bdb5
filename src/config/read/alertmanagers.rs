//! Where alerts go, with the keys that Prometheus' `alertmanagers` have.
//! Source: Prometheus 3.14 `config/config.go`, `AlertmanagerConfig`, and `discovery/`.

use std::time::Duration;

use super::Context;
use crate::discovery::{self, DnsConfig, FileConfig, RecordType, TargetGroup};
use crate::discovery::{DEFAULT_DNS_REFRESH, DEFAULT_FILE_REFRESH};
use crate::model::LineColumn;
use crate::notifier::AlertmanagerSet;
use crate::yaml::{Fields, Node};

impl Context<'_> {
    pub(super) fn alertmanager(&mut self, node: &Node) -> Option<AlertmanagerSet> {
        let mut fields = self.reader.fields("an Alertmanager", node);
        let default = AlertmanagerSet::default();
        let url = fields.take("url");
        let discovery = self.discovery(&mut fields);
        let scheme = self.scheme(&mut fields);
        let path_prefix = fields.take("path_prefix");
        let prefix = path_prefix.and_then(|node| self.reader_text("path_prefix", node));
        let timeout = fields.take("timeout").and_then(|node| self.reader.duration("timeout", node));
        if let Some(node) = fields.take("api_version")
            && let Some(text) = self.reader.text("api_version", node)
            && text != "v2"
        {
            let message = format!("expected Alertmanager api version to be one of [v2] but got {text}");
            self.reader.error("bad-version", node.place, message);
        }
        let http = self.http(&mut fields);
        let relabel = self.relabelling(&mut fields, "relabel_configs");
        let alert_relabel = self.relabelling(&mut fields, "alert_relabel_configs");
        fields.finish(&mut self.reader);
        let located = if let Some(node) = url {
            if scheme.is_some() || path_prefix.is_some() || discovery.is_some() {
                self.reader.error_with_hint(
                    "two-addresses",
                    node.place,
                    "`url` says where an Alertmanager is, and so does another key",
                    "`scheme`, `path_prefix` and discovery stand in place of `url`",
                );
            }
            AlertmanagerSet::of_url(&self.http_url("url", node)?)
        } else {
            if discovery.is_none() {
                self.reader.error_with_hint(
                    "missing-key",
                    node.place,
                    "an Alertmanager needs `url`, or where to find it",
                    "give `url`, `static_configs`, `dns_sd_configs` or `file_sd_configs`",
                );
            }
            AlertmanagerSet {
                discovery: discovery.unwrap_or_default(),
                scheme: scheme.unwrap_or(default.scheme),
                path_prefix: prefix.unwrap_or_default(),
                ..AlertmanagerSet::default()
            }
        };
        let timeout = timeout.unwrap_or(default.timeout);
        Some(AlertmanagerSet { timeout, http, relabel, alert_relabel, ..located })
    }

    /// Where targets are found; nothing if no key says so.
    fn discovery(&mut self, fields: &mut Fields<'_>) -> Option<discovery::Config> {
        let [groups, files, dns] =
            ["static_configs", "file_sd_configs", "dns_sd_configs"].map(|key| fields.take(key));
        groups.or(files).or(dns)?;
        let groups = self.list(groups, "static_configs", |this, node| Some(this.target_group(node)));
        let files = self.list(files, "file_sd_configs", |this, node| Some(this.target_files(node)));
        let dns = self.list(dns, "dns_sd_configs", Self::target_names);
        Some(discovery::Config { groups: values(groups), files: values(files), dns: values(dns) })
    }

    fn target_group(&mut self, node: &Node) -> TargetGroup {
        let mut fields = self.reader.fields("a static configuration", node);
        let targets = fields.require(&mut self.reader, "targets");
        let targets = self.list(targets, "targets", |this, node| this.reader_text("targets", node));
        let labels = fields.take("labels").map(|node| self.labels("labels", node)).unwrap_or_default();
        fields.finish(&mut self.reader);
        let group = TargetGroup { targets: values(targets), labels };
        for fault in group.check().err().into_iter().flatten() {
            self.reader.error("bad-target", node.place, fault.to_string());
        }
        group
    }

    fn target_files(&mut self, node: &Node) -> FileConfig {
        let mut fields = self.reader.fields("a file discovery", node);
        let files = fields.require(&mut self.reader, "files");
        let patterns = self.list(files, "files", |this, node| this.path("files", node));
        let refresh = self.refresh_interval(&mut fields);
        fields.finish(&mut self.reader);
        FileConfig { patterns: values(patterns), refresh: refresh.unwrap_or(DEFAULT_FILE_REFRESH) }
    }

    fn target_names(&mut self, node: &Node) -> Option<DnsConfig> {
        let mut fields = self.reader.fields("a DNS discovery", node);
        let names = fields.require(&mut self.reader, "names");
        let names = self.list(names, "names", |this, node| this.reader_text("names", node));
        let record_type = fields.take("type").map_or(Some(RecordType::Srv), |node| {
            let text = self.reader.text("type", node)?;
            let known = match text.to_uppercase().as_str() {
                "A" => Some(RecordType::A),
                "AAAA" => Some(RecordType::Aaaa),
                "SRV" => Some(RecordType::Srv),
                _ => None,
            };
            if known.is_none() {
                let message = format!("invalid DNS-SD records type {text}");
                let hint = "write `A`, `AAAA` or `SRV`";
                self.reader.error_with_hint("bad-type", node.place, message, hint);
            }
            known
        });
        let port = fields.take("port").and_then(|node| self.reader.integer("port", node, 1..=65535));
        let refresh = self.refresh_interval(&mut fields);
        fields.finish(&mut self.reader);
        if port.is_none() && record_type != Some(RecordType::Srv) {
            let message = "a port is required in DNS-SD configs for all record types except SRV";
            self.reader.error("missing-key", node.place, message);
        }
        Some(DnsConfig {
            names: values(names),
            record_type: record_type?,
            port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
            refresh: refresh.unwrap_or(DEFAULT_DNS_REFRESH),
        })
    }

    fn refresh_interval(&mut self, fields: &mut Fields<'_>) -> Option<Duration> {
        fields.take("refresh_interval").and_then(|node| self.reader.duration("refresh_interval", node))
    }
}

fn values<T>(items: Vec<(LineColumn, T)>) -> Vec<T> {
    items.into_iter().map(|(_, item)| item).collect()
}
