//! What is probed and scraped over HTTP.

use std::collections::BTreeMap;

use hyper::header::{HeaderName, HeaderValue};

use super::Context;
use crate::config::{AppConfig, HttpExpectations, ScrapeConfig};
use crate::discovery::TargetGroup;
use crate::model::{GoRegex, Secret};
use crate::probe::http::Method;
use crate::scrape;
use crate::yaml::{Fields, Node};

impl Context<'_> {
    pub(super) fn app(&mut self, node: &Node) -> Option<AppConfig> {
        let mut fields = self.reader.fields("an app", node);
        let name = fields.require(&mut self.reader, "name").and_then(|node| self.name(node));
        let url = fields.take("url").map(|node| self.http_url("url", node));
        let metrics = fields.take("metrics").map(|node| self.http_url("metrics", node));
        if url.is_none() && metrics.is_none() {
            self.reader.error_with_hint(
                "missing-key",
                fields.place(),
                "an app needs `url`, `metrics` or both",
                "`url` is probed, `metrics` is scraped",
            );
        }
        let pace = self.pace(&mut fields);
        let expect = self.expectations(&mut fields);
        let method = fields.take("method").and_then(|node| self.method(node)).unwrap_or(Method::GET);
        let headers = fields.take("headers").map(|node| self.headers(node)).unwrap_or_default();
        let headers = headers.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        let body = fields.take("body").and_then(|node| self.reader.text("body", node)).map(Secret::new);
        let auth = self.auth(&mut fields);
        let tls = self.tls(&mut fields);
        let honor_labels = self.flag(&mut fields, "honor_labels", false);
        let labels = fields.take("labels").map(|node| self.labels("labels", node)).unwrap_or_default();
        fields.finish(&mut self.reader);
        Some(AppConfig {
            name: name?,
            url: url.flatten(),
            metrics: metrics.flatten(),
            pace,
            expect,
            method,
            headers,
            body,
            auth,
            tls,
            honor_labels,
            labels,
        })
    }

    pub(super) fn expectations(&mut self, fields: &mut Fields<'_>) -> HttpExpectations {
        let status = self.list(fields.take("valid_status_codes"), "valid_status_codes", |this, node| {
            this.reader.integer("valid_status_codes", node, 100..=599)
        });
        let mut patterns = |key: &'static str| {
            let found = self.list(fields.take(key), key, |this, node| {
                let text = this.reader.text(key, node)?;
                if let Err(error) = GoRegex::new(text) {
                    let message = format!("`{key}` is not a regular expression: {error}");
                    this.reader.error("bad-regex", node.place, message);
                }
                Some(text.to_owned())
            });
            found.into_iter().map(|(_, pattern)| pattern).collect()
        };
        let body_matches = patterns("body_matches");
        let body_not_matches = patterns("body_not_matches");
        let status = status.into_iter().filter_map(|(_, code)| u16::try_from(code).ok()).collect();
        let follow_redirects = self.flag(fields, "follow_redirects", true);
        HttpExpectations { status, body_matches, body_not_matches, follow_redirects }
    }

    pub(super) fn scrape(&mut self, node: &Node) -> Option<ScrapeConfig> {
        let mut fields = self.reader.fields("a scrape", node);
        let job = fields.require(&mut self.reader, "job").and_then(|node| self.name(node));
        let targets = self.list(fields.take("targets"), "targets", Self::target);
        let targets: Vec<String> = targets.into_iter().map(|(_, target)| target).collect();
        let files = self.list(fields.take("files"), "files", |this, node| this.reader_text("files", node));
        let files: Vec<String> = files.into_iter().map(|(_, file)| self.absolute(file)).collect();
        if targets.is_empty() && files.is_empty() {
            let hint = "`targets` lists `host:port`, `files` lists files with targets";
            self.reader.error_with_hint(
                "missing-key",
                fields.place(),
                "a scrape needs `targets` or `files`",
                hint,
            );
        }
        let scheme = self.scheme(&mut fields);
        let metrics_path =
            fields.take("metrics_path").and_then(|node| self.reader.text("metrics_path", node));
        let pace = self.pace_of(&mut fields, false);
        let honor_labels = self.flag(&mut fields, "honor_labels", false);
        let sample_limit = fields
            .take("sample_limit")
            .and_then(|node| self.reader.integer("sample_limit", node, 0..=u64::MAX))
            .unwrap_or(0);
        let scrape_native_histograms = self.flag(&mut fields, "scrape_native_histograms", false);
        let always_scrape_classic_histograms =
            self.flag(&mut fields, "always_scrape_classic_histograms", false);
        let auth = self.auth(&mut fields);
        let tls = self.tls(&mut fields);
        let labels = fields.take("labels").map(|node| self.labels("labels", node)).unwrap_or_default();
        fields.finish(&mut self.reader);
        Some(ScrapeConfig {
            job: job?,
            targets,
            files,
            scheme: scheme.unwrap_or_else(|| "http".to_owned()),
            metrics_path: metrics_path.unwrap_or("/metrics").to_owned(),
            interval: pace.interval,
            timeout: pace.timeout,
            honor_labels,
            sample_limit,
            scrape_native_histograms,
            always_scrape_classic_histograms,
            auth,
            tls,
            labels,
        })
    }

    /// `http` or `https`; nothing if the key is absent.
    pub(super) fn scheme(&mut self, fields: &mut Fields<'_>) -> Option<String> {
        fields.take("scheme").and_then(|node| match self.reader.text("scheme", node)? {
            scheme @ ("http" | "https") => Some(scheme.to_owned()),
            other => {
                let message = format!("`scheme` must be `http` or `https`, not `{other}`");
                self.reader.error("bad-scheme", node.place, message);
                None
            }
        })
    }

    fn target(&mut self, node: &Node) -> Option<String> {
        let address = self.reader.text("targets", node)?;
        let job = scrape::Config::new("any");
        if let Err(error) = scrape::Target::resolve(&job, &TargetGroup::default(), address) {
            self.reader.error("bad-target", node.place, format!("target `{address}`: {error}"));
        }
        Some(address.to_owned())
    }

    pub(super) fn method(&mut self, node: &Node) -> Option<Method> {
        let text = self.reader.text("method", node)?.to_uppercase();
        let method = Method::from_bytes(text.as_bytes()).ok();
        if method.is_none() {
            self.reader.error_with_hint(
                "bad-method",
                node.place,
                format!("`method` is not a request method: `{text}`"),
                "write `GET`, `HEAD` or `POST`",
            );
        }
        method
    }

    pub(super) fn headers(&mut self, node: &Node) -> BTreeMap<String, String> {
        self.texts("headers", node, |name, value| {
            // Neither message shows the value: it may be a secret.
            if HeaderName::try_from(name).is_err() {
                Err(format!("`{name}` is not the name of a header"))
            } else if HeaderValue::try_from(value).is_err() {
                Err(format!("the value of `{name}` has a character that cannot be sent"))
            } else {
                Ok(())
            }
        })
    }
}
