//! How other servers are reached: when, where, whom to trust, and as whom.

use std::time::Duration;

use url::Url;

use super::Context;
use crate::client::{HttpAuth, SecretSource, TlsConfig, TlsError};
use crate::config::{AlertmanagerConfig, Pace};
use crate::model::Secret;
use crate::yaml::{Fields, Node};

impl Context<'_> {
    pub(super) fn alertmanager(&mut self, node: &Node) -> Option<AlertmanagerConfig> {
        let mut fields = self.reader.fields("an Alertmanager", node);
        let url = fields.require(&mut self.reader, "url").and_then(|node| self.http_url("url", node));
        let timeout = fields
            .take("timeout")
            .and_then(|node| self.reader.duration("timeout", node))
            .unwrap_or(Duration::from_secs(10));
        let auth = self.auth(&mut fields);
        let tls = self.tls(&mut fields);
        let alert_relabel = self.relabelling(&mut fields, "alert_relabel_configs");
        fields.finish(&mut self.reader);
        Some(AlertmanagerConfig { url: url?, timeout, auth, tls, alert_relabel })
    }

    pub(super) fn pace(&mut self, fields: &mut Fields<'_>) -> Pace {
        self.pace_of(fields, true)
    }

    pub(super) fn pace_of(&mut self, fields: &mut Fields<'_>, thresholds: bool) -> Pace {
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

    pub(super) fn tls(&mut self, fields: &mut Fields<'_>) -> TlsConfig {
        let Some(node) = fields.take("tls") else { return TlsConfig::default() };
        let mut fields = self.reader.fields("`tls`", node);
        let insecure_skip_verify = self.flag(&mut fields, "insecure_skip_verify", false);
        let ca_file = fields.take("ca_file");
        let ca_place = ca_file.map(|node| node.place);
        let ca_file = ca_file.and_then(|node| self.path("ca_file", node));
        let server_name = fields.take("server_name");
        let name_place = server_name.map(|node| node.place);
        let server_name = server_name.and_then(|node| self.reader_text("server_name", node));
        fields.finish(&mut self.reader);
        let config = TlsConfig { insecure_skip_verify, ca_file, server_name };
        if let Err(error) = config.client_config() {
            let place = match &error {
                TlsError::CaFile { .. } => ca_place,
                TlsError::ServerName(_) => name_place,
                TlsError::Setup(_) => None,
            };
            self.reader.error("bad-tls", place.unwrap_or(node.place), format!("`tls`: {error}"));
        }
        config
    }

    pub(super) fn auth(&mut self, fields: &mut Fields<'_>) -> Option<HttpAuth> {
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
    pub(super) fn secret(
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

    pub(super) fn http_url(&mut self, key: &str, node: &Node) -> Option<Url> {
        let text = self.reader.text(key, node)?;
        let fault = match Url::parse(text) {
            // A URL is shown in many places.
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.reader.error_with_hint(
                    "credentials-in-url",
                    node.place,
                    format!("`{key}` must not hold a user or password"),
                    "leave them out; to log in there, give `basic_auth: {username: …, password_file: …}`",
                );
                return None;
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => return Some(url),
            Ok(_) => "it must begin with `http://` or `https://`".to_owned(),
            Err(error) => error.to_string(),
        };
        let message = format!("`{key}` is not a usable URL: {fault}");
        self.reader.error("bad-url", node.place, message);
        None
    }
}
