//! From the text of the file to [`Config`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{
    AlertmanagerConfig, AppConfig, CertificateConfig, CertificateSource, Config, DisksConfig,
    HttpExpectations, Pace, PostgresConfig, RulesConfig, ScrapeConfig, StorageConfig, Surroundings,
};
use crate::client::{HttpAuth, SecretSource, TlsConfig};
use crate::diag::Diagnostic;
use crate::model::{LineColumn, METRIC_NAME, Secret};
use crate::probe::postgres::Dsn;
use crate::yaml::{self, Fields, Node, NodeKind, Reader};

/// Reads a configuration. `file` is its name in messages.
pub fn read(file: &str, text: &str, surroundings: &Surroundings<'_>) -> Result<Config, Vec<Diagnostic>> {
    let tree = yaml::parse(file, text).map_err(|fault| vec![fault])?;
    let mut context = Context { reader: Reader::new(file), surroundings };
    let config = context.config(&tree);
    let findings = context.reader.into_findings();
    if findings.is_empty() { Ok(config) } else { Err(findings) }
}

struct Context<'a> {
    reader: Reader,
    surroundings: &'a Surroundings<'a>,
}

impl Context<'_> {
    fn config(&mut self, tree: &Node) -> Config {
        let default = Config::default();
        let mut fields = self.reader.fields("the configuration", tree);
        let listen = fields.take("listen").and_then(|node| self.address(node)).unwrap_or(default.listen);
        let external_url = fields.take("external_url").and_then(|node| self.http_url("external_url", node));
        let storage = fields.take("storage").map_or(default.storage, |node| self.storage(node));
        let external_labels = fields
            .take("external_labels")
            .map(|node| self.labels("external_labels", node))
            .unwrap_or_default();
        let evaluation_interval = fields
            .take("evaluation_interval")
            .and_then(|node| self.reader.duration("evaluation_interval", node))
            .unwrap_or(default.evaluation_interval);
        let apps = self.list(fields.take("apps"), "apps", Self::app);
        let postgres = self.list(fields.take("postgres"), "postgres", Self::postgres);
        let disks = self.disks(fields.take("disks"));
        let certificates = self.list(fields.take("certificates"), "certificates", Self::certificate);
        let scrapes = self.list(fields.take("scrapes"), "scrapes", Self::scrape);
        let alertmanagers = self.list(fields.take("alertmanagers"), "alertmanagers", Self::alertmanager);
        let resend_delay = fields
            .take("resend_delay")
            .and_then(|node| self.reader.duration("resend_delay", node))
            .unwrap_or(default.rules.resend_delay);
        let rules = RulesConfig { resend_delay, ..self.rules(fields.take("rules")) };
        fields.finish(&mut self.reader);
        Config {
            listen,
            external_url,
            storage,
            external_labels,
            evaluation_interval,
            apps: self.unique("apps", apps, |app| &app.name),
            postgres: self.unique("postgres", postgres, |server| &server.name),
            disks,
            certificates: self.unique("certificates", certificates, |certificate| &certificate.name),
            scrapes: scrapes.into_iter().map(|(_, scrape)| scrape).collect(),
            alertmanagers: alertmanagers.into_iter().map(|(_, alertmanager)| alertmanager).collect(),
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
    fn unique<T>(&mut self, what: &str, items: Vec<(LineColumn, T)>, name: impl Fn(&T) -> &String) -> Vec<T> {
        let mut seen = BTreeSet::new();
        for (place, item) in &items {
            if !seen.insert(name(item).clone()) {
                let message = format!("two entries of `{what}` have the name `{}`", name(item));
                self.reader.error("duplicate-name", *place, message);
            }
        }
        items.into_iter().map(|(_, item)| item).collect()
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

    fn app(&mut self, node: &Node) -> Option<AppConfig> {
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
        let method = fields
            .take("method")
            .and_then(|node| self.reader.text("method", node))
            .map_or_else(|| "GET".to_owned(), str::to_uppercase);
        let headers = fields.take("headers").map(|node| self.texts("headers", node)).unwrap_or_default();
        let body = fields.take("body").and_then(|node| self.reader.text("body", node)).map(ToOwned::to_owned);
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

    fn expectations(&mut self, fields: &mut Fields<'_>) -> HttpExpectations {
        let status = self.list(fields.take("valid_status_codes"), "valid_status_codes", |this, node| {
            this.reader.integer("valid_status_codes", node, 100..=599)
        });
        let mut patterns = |key: &'static str| {
            let found = self.list(fields.take(key), key, |this, node| {
                let text = this.reader.text(key, node)?;
                if let Err(error) = regex::bytes::Regex::new(text) {
                    let line = error.to_string().lines().last().unwrap_or_default().to_owned();
                    let message = format!("`{key}` is not a regular expression: {line}");
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

    fn postgres(&mut self, node: &Node) -> Option<PostgresConfig> {
        let mut fields = self.reader.fields("a PostgreSQL server", node);
        let name = fields.require(&mut self.reader, "name").and_then(|node| self.name(node));
        let dsn = fields.require(&mut self.reader, "dsn").and_then(|node| {
            let text = self.reader.text("dsn", node)?;
            // These errors name parameters, never their values.
            for error in Dsn::parse(text).err().unwrap_or_default() {
                let message = format!("`dsn` cannot be used: {error}");
                self.reader.error("bad-dsn", node.place, message);
            }
            Some(Secret::new(text))
        });
        let password = self.secret(&mut fields, ["password", "password_file", "password_env"]);
        let pace = self.pace(&mut fields);
        fields.finish(&mut self.reader);
        Some(PostgresConfig { name: name?, dsn: dsn?, password, pace })
    }

    fn disks(&mut self, node: Option<&Node>) -> DisksConfig {
        let mut pace = Pace::default();
        let paths = self.list(node, "disks", |this, node| {
            let mut fields = this.reader.fields("a disk", node);
            let path = fields.require(&mut this.reader, "path").and_then(|node| {
                let path = PathBuf::from(this.reader.text("path", node)?);
                if path.is_relative() {
                    let message = format!("`path` must begin with `/`, not `{}`", path.display());
                    this.reader.error("relative-path", node.place, message);
                }
                Some(path)
            });
            pace = this.pace(&mut fields);
            fields.finish(&mut this.reader);
            path
        });
        DisksConfig { paths: paths.into_iter().map(|(_, path)| path).collect(), pace }
    }

    fn certificate(&mut self, node: &Node) -> Option<CertificateConfig> {
        let mut fields = self.reader.fields("a certificate", node);
        let name = fields.require(&mut self.reader, "name").and_then(|node| self.name(node));
        let server = fields.take("url").map(|node| self.tls_server(node));
        let files = fields.take("file").map(|node| {
            let pattern = self.reader_text("file", node)?;
            Some(CertificateSource::Files(self.absolute(pattern)))
        });
        let source = match (server, files) {
            (Some(server), None) => server,
            (None, Some(files)) => files,
            (both, _) => {
                let what = if both.is_some() { "not both" } else { "one of them" };
                let message = format!("a certificate needs `url` or `file`, {what}");
                self.reader.error("missing-key", fields.place(), message);
                None
            }
        };
        let tls = self.tls(&mut fields);
        let pace = self.pace(&mut fields);
        fields.finish(&mut self.reader);
        Some(CertificateConfig { name: name?, source: source?, tls, pace })
    }

    fn scrape(&mut self, node: &Node) -> Option<ScrapeConfig> {
        let mut fields = self.reader.fields("a scrape", node);
        let job = fields.require(&mut self.reader, "job").and_then(|node| self.name(node));
        let mut texts = |key: &'static str| {
            let found = self
                .list(fields.take(key), key, |this, node| this.reader.text(key, node).map(ToOwned::to_owned));
            found.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        let targets = texts("targets");
        let files = texts("files");
        if targets.is_empty() && files.is_empty() {
            let hint = "`targets` lists `host:port`, `files` lists files with targets";
            self.reader.error_with_hint(
                "missing-key",
                fields.place(),
                "a scrape needs `targets` or `files`",
                hint,
            );
        }
        let files = files.into_iter().map(|file| self.absolute(file)).collect();
        let scheme = fields.take("scheme").and_then(|node| match self.reader.text("scheme", node)? {
            scheme @ ("http" | "https") => Some(scheme.to_owned()),
            other => {
                let message = format!("`scheme` must be `http` or `https`, not `{other}`");
                self.reader.error("bad-scheme", node.place, message);
                None
            }
        });
        let metrics_path =
            fields.take("metrics_path").and_then(|node| self.reader.text("metrics_path", node));
        let pace = self.pace_of(&mut fields, false);
        let honor_labels = self.flag(&mut fields, "honor_labels", false);
        let sample_limit = fields
            .take("sample_limit")
            .and_then(|node| self.reader.integer("sample_limit", node, 0..=u64::MAX))
            .unwrap_or(0);
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
            auth,
            tls,
            labels,
        })
    }

    fn alertmanager(&mut self, node: &Node) -> Option<AlertmanagerConfig> {
        let mut fields = self.reader.fields("an Alertmanager", node);
        let url = fields.require(&mut self.reader, "url").and_then(|node| self.http_url("url", node));
        let timeout = fields
            .take("timeout")
            .and_then(|node| self.reader.duration("timeout", node))
            .unwrap_or(Duration::from_secs(10));
        let auth = self.auth(&mut fields);
        let tls = self.tls(&mut fields);
        fields.finish(&mut self.reader);
        Some(AlertmanagerConfig { url: url?, timeout, auth, tls })
    }

    fn rules(&mut self, node: Option<&Node>) -> RulesConfig {
        let Some(node) = node else { return RulesConfig::default() };
        let entries = self
            .list(Some(node), "rules", |this, node| this.reader.text("rules", node).map(ToOwned::to_owned));
        let (builtin, files): (Vec<_>, Vec<_>) =
            entries.into_iter().map(|(_, entry)| entry).partition(|entry| entry == "builtin");
        RulesConfig {
            builtin: !builtin.is_empty(),
            files: files.into_iter().map(|file| self.absolute(file)).collect(),
            ..RulesConfig::default()
        }
    }

    fn pace(&mut self, fields: &mut Fields<'_>) -> Pace {
        self.pace_of(fields, true)
    }

    fn pace_of(&mut self, fields: &mut Fields<'_>, thresholds: bool) -> Pace {
        let default = Pace::default();
        let interval = fields.take("interval").and_then(|node| self.reader.duration("interval", node));
        let interval = interval.unwrap_or(default.interval);
        let timeout = fields.take("timeout").and_then(|node| {
            let timeout = self.reader.duration("timeout", node)?;
            if timeout > interval {
                self.reader.error_with_hint(
                    "timeout-over-interval",
                    node.place,
                    "`timeout` is longer than `interval`",
                    "a probe must end before the next one begins",
                );
            }
            Some(timeout)
        });
        let mut threshold = |key: &'static str, default: u32| {
            fields
                .take(key)
                .and_then(|node| self.reader.integer(key, node, 1..=100))
                .and_then(|value| u32::try_from(value).ok())
                .unwrap_or(default)
        };
        let (failure_threshold, success_threshold) = if thresholds {
            (
                threshold("failure_threshold", default.failure_threshold),
                threshold("success_threshold", default.success_threshold),
            )
        } else {
            (default.failure_threshold, default.success_threshold)
        };
        let timeout = timeout.unwrap_or_else(|| default.timeout.min(interval));
        Pace { interval, timeout, failure_threshold, success_threshold }
    }

    fn tls(&mut self, fields: &mut Fields<'_>) -> TlsConfig {
        let Some(node) = fields.take("tls") else { return TlsConfig::default() };
        let mut fields = self.reader.fields("`tls`", node);
        let insecure_skip_verify = self.flag(&mut fields, "insecure_skip_verify", false);
        let ca_file = fields.take("ca_file").and_then(|node| self.path("ca_file", node));
        let server_name = fields.take("server_name").and_then(|node| self.reader_text("server_name", node));
        fields.finish(&mut self.reader);
        TlsConfig { insecure_skip_verify, ca_file, server_name }
    }

    fn auth(&mut self, fields: &mut Fields<'_>) -> Option<HttpAuth> {
        let basic = fields.take("basic_auth").map(|node| {
            let mut fields = self.reader.fields("`basic_auth`", node);
            let username = fields
                .require(&mut self.reader, "username")
                .and_then(|node| self.reader_text("username", node));
            let password = self.secret(&mut fields, ["password", "password_file", "password_env"]);
            fields.finish(&mut self.reader);
            let password = password.unwrap_or_else(|| SecretSource::Value(Secret::new("")));
            Some((node.place, HttpAuth::Basic { username: username?, password }))
        });
        let bearer = self.secret(fields, ["bearer_token", "bearer_token_file", "bearer_token_env"]);
        match (basic.flatten(), bearer) {
            (Some((place, _)), Some(_)) => {
                self.reader.error("two-credentials", place, "give `basic_auth` or a bearer token, not both");
                None
            }
            (Some((_, basic)), None) => Some(basic),
            (None, bearer) => bearer.map(HttpAuth::Bearer),
        }
    }

    /// A secret given in one of three ways: as it is, in a file, in an environment variable.
    fn secret(
        &mut self,
        fields: &mut Fields<'_>,
        [value_key, file_key, environment_key]: [&'static str; 3],
    ) -> Option<SecretSource> {
        let value = fields.take(value_key).and_then(|node| {
            Some((node.place, SecretSource::Value(Secret::new(self.reader.text(value_key, node)?))))
        });
        let file = fields
            .take(file_key)
            .and_then(|node| Some((node.place, SecretSource::File(self.path(file_key, node)?))));
        let environment = fields.take(environment_key).and_then(|node| {
            let name = self.reader.text(environment_key, node)?;
            let Some(secret) = (self.surroundings.environment)(name) else {
                let message = format!("`{environment_key}`: the environment has no variable `{name}`");
                self.reader.error("missing-variable", node.place, message);
                return None;
            };
            Some((node.place, SecretSource::Value(Secret::new(secret))))
        });
        let mut given = [value, file, environment].into_iter().flatten();
        let (_, first) = given.next()?;
        if let Some((place, _)) = given.next() {
            let message =
                format!("give one of `{value_key}`, `{file_key}` and `{environment_key}`, not several");
            self.reader.error("two-credentials", place, message);
        }
        Some(first)
    }

    fn flag(&mut self, fields: &mut Fields<'_>, key: &'static str, default: bool) -> bool {
        fields.take(key).and_then(|node| self.reader.boolean(key, node)).unwrap_or(default)
    }

    fn reader_text(&mut self, key: &str, node: &Node) -> Option<String> {
        self.reader.text(key, node).map(ToOwned::to_owned)
    }

    fn path(&mut self, key: &str, node: &Node) -> Option<PathBuf> {
        self.reader_text(key, node).map(|path| self.surroundings.folder.join(path))
    }

    /// A pattern of files, relative to the folder of the configuration.
    fn absolute(&self, pattern: String) -> String {
        self.surroundings.folder.join(pattern).to_string_lossy().into_owned()
    }

    fn name(&mut self, node: &Node) -> Option<String> {
        let name = self.reader.text("name", node)?;
        if name.trim().is_empty() {
            self.reader.error("empty-name", node.place, "a name must not be empty");
            return None;
        }
        Some(name.to_owned())
    }

    fn address(&mut self, node: &Node) -> Option<SocketAddr> {
        let text = self.reader.text("listen", node)?;
        let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
        // A name such as `localhost:9797` resolves from the machine's own table.
        let address = full.parse().ok().or_else(|| full.to_socket_addrs().ok()?.next());
        if address.is_none() {
            self.reader.error_with_hint(
                "bad-address",
                node.place,
                format!("`listen` must be an address with a port, not `{text}`"),
                "write `127.0.0.1:9797`, or `:9797` for all interfaces",
            );
        }
        address
    }

    fn http_url(&mut self, key: &str, node: &Node) -> Option<Url> {
        let text = self.reader.text(key, node)?;
        let fault = match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => return Some(url),
            Ok(_) => "it must begin with `http://` or `https://`".to_owned(),
            Err(error) => error.to_string(),
        };
        let message = format!("`{key}` is not a usable URL: {fault}");
        self.reader.error("bad-url", node.place, message);
        None
    }

    /// `https://host`, `https://host:port` or `host:port`.
    fn tls_server(&mut self, node: &Node) -> Option<CertificateSource> {
        let text = self.reader.text("url", node)?;
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        match Url::parse(&full) {
            Ok(url) if matches!(url.scheme(), "https" | "tls" | "tcp") && url.host_str().is_some() => {
                let host = url.host_str().unwrap_or_default();
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                Some(CertificateSource::Server { host, port: url.port().unwrap_or(443) })
            }
            _ => {
                self.reader.error_with_hint(
                    "bad-url",
                    node.place,
                    format!("`url` must be that of a TLS server, not `{text}`"),
                    "write `https://host:port`",
                );
                None
            }
        }
    }

    fn texts(&mut self, what: &'static str, node: &Node) -> BTreeMap<String, String> {
        let NodeKind::Mapping(entries) = &node.kind else {
            let found = node.kind.describe();
            let message = format!("`{what}` must be a mapping of names to texts, not {found}");
            self.reader.error("wrong-type", node.place, message);
            return BTreeMap::new();
        };
        entries
            .iter()
            .filter_map(|(key, _, value)| Some((key.clone(), self.reader.text(key, value)?.to_owned())))
            .collect()
    }

    fn labels(&mut self, what: &'static str, node: &Node) -> BTreeMap<String, String> {
        let labels = self.texts(what, node);
        for name in labels.keys() {
            if name.is_empty() || name == METRIC_NAME {
                let message = format!("`{what}`: `{name}` is not a label that can be set");
                self.reader.error("bad-label", node.place, message);
            }
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read_text(text: &str) -> Result<Config, Vec<Diagnostic>> {
        let environment = |name: &str| (name == "TOKEN").then(|| "t0ken".to_owned());
        let folder = Path::new("/etc/valmis");
        read("valmis.yaml", text, &Surroundings { environment: &environment, folder })
    }

    fn findings(text: &str) -> String {
        let findings = read_text(text).expect_err("a bad configuration");
        findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    const DOCUMENTED: &str = r"
listen: 127.0.0.1:9797
storage: {path: ./valmis-data, retention: 24h, max_memory: 256MiB}
external_labels: {cluster: dev}
apps:
  - name: backend
    url: http://127.0.0.1:3000/health        # probed
    metrics: http://127.0.0.1:3000/metrics   # scraped, job=backend
    interval: 5s
postgres:
  - name: appdb
    dsn: postgres://valmis@127.0.0.1:5432/appdb?sslmode=prefer
    password_file: /run/secrets/pg
disks:
  - path: /
certificates:
  - name: web
    url: https://127.0.0.1:8443
  - name: ingress
    file: /etc/valmis/tls/*.pem
alertmanagers:
  - url: http://127.0.0.1:9093
rules:
  - builtin
  - ./my-rules/*.yaml
";

    #[test]
    fn the_documented_configuration_is_understood() {
        let config = read_text(DOCUMENTED).expect("a good configuration");
        assert_eq!(config.listen.to_string(), "127.0.0.1:9797");
        assert_eq!(config.storage.retention, Duration::from_hours(24));
        assert_eq!(config.storage.max_memory_bytes, 256 << 20);
        assert_eq!(config.external_labels["cluster"], "dev");
        assert_eq!(config.apps[0].pace.interval, Duration::from_secs(5));
        assert_eq!(config.apps[0].pace.timeout, Duration::from_secs(5));
        assert_eq!(config.postgres[0].password, Some(SecretSource::File("/run/secrets/pg".into())));
        assert_eq!(config.disks.paths, [PathBuf::from("/")]);
        let server = CertificateSource::Server { host: "127.0.0.1".to_owned(), port: 8443 };
        assert_eq!(config.certificates[0].source, server);
        let files = CertificateSource::Files("/etc/valmis/tls/*.pem".to_owned());
        assert_eq!(config.certificates[1].source, files);
        assert!(config.rules.builtin);
        assert_eq!(config.rules.files, ["/etc/valmis/./my-rules/*.yaml"]);
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(read_text("").expect("nothing to object to"), Config::default());
        assert_eq!(read_text("# only a comment\n").expect("nothing to object to"), Config::default());
    }

    #[test]
    fn secrets_come_from_the_file_or_the_environment() {
        let text = "apps: [{name: a, url: 'http://h', bearer_token_env: TOKEN}]";
        let config = read_text(text).expect("a good configuration");
        let token = HttpAuth::Bearer(SecretSource::Value(Secret::new("t0ken")));
        assert_eq!(config.apps[0].auth, Some(token));
    }

    #[test]
    fn every_fault_is_reported_with_its_place() {
        let text = "listen: nowhere
intervall: 5s
apps:
  - name: a
    url: ftp://h/
    interval: 5 minutes
    timeout: 1h
  - nam: b
    metrics: http://h/metrics
certificates: {name: x}
postgres:
  - name: db
    dsn: postgres://u@h:notaport/d
    password_env: NOPE
";
        insta::assert_snapshot!(findings(text), @r#"
        valmis.yaml:1:9: `listen` must be an address with a port, not `nowhere`
          hint: write `127.0.0.1:9797`, or `:9797` for all interfaces
        valmis.yaml:2:1: the configuration has no key `intervall`
          hint: known keys: listen, external_url, storage, external_labels, evaluation_interval, apps, postgres, disks, certificates, scrapes, alertmanagers, resend_delay, rules
        valmis.yaml:5:10: `url` is not a usable URL: it must begin with `http://` or `https://`
        valmis.yaml:6:15: `interval`: unknown unit " minutes" in duration "5 minutes"
          hint: write a duration such as `15s`, `5m` or `1h30m`
        valmis.yaml:7:14: `timeout` is longer than `interval`
          hint: a probe must end before the next one begins
        valmis.yaml:8:5: an app needs a value for `name`
        valmis.yaml:8:5: an app has no key `nam`
          hint: did you mean `name`?
        valmis.yaml:10:15: `certificates` must be a list, not a mapping
          hint: begin each item on a line of its own with `- `
        valmis.yaml:13:10: `dsn` cannot be used: invalid value for `port`: expected a number from 1 to 65535
        valmis.yaml:14:19: `password_env`: the environment has no variable `NOPE`
        "#);
    }

    #[test]
    fn two_components_with_one_name_are_refused() {
        let text = "apps:\n  - {name: a, url: 'http://h'}\n  - {name: a, url: 'http://i'}\n";
        assert_eq!(findings(text), "valmis.yaml:3:5: two entries of `apps` have the name `a`");
    }

    #[test]
    fn connection_strings_may_say_all_that_libpq_understands() {
        let dsn = "host=localhost hostaddr=127.0.0.1 user=u dbname=d sslmode=verify-full sslrootcert=/ca.crt";
        read_text(&format!("postgres:\n  - {{name: db, dsn: '{dsn}'}}\n")).expect("a good configuration");
    }

    #[test]
    fn a_secret_never_appears_in_a_finding() {
        let text = "postgres:\n  - name: db\n    dsn: postgres://u:hunter2@h:bad/d\n";
        assert!(!findings(text).contains("hunter2"));
    }
}
