//! How other servers are reached: when, where, whom to trust, and as whom.

use hyper::header::HeaderName;
use url::Url;

use super::Context;
use crate::client::{
    ClientCertificate, Header, HttpAuth, HttpConfig, Proxy, SecretSource, TlsConfig, TlsError,
};
use crate::config::Pace;
use crate::model::{LineColumn, Secret};
use crate::yaml::{Fields, Node, NodeKind};

/// Headers that say how a request is to be read, or that have keys of their own.
/// Source: `prometheus/common`, `config/headers.go`, `ReservedHeaders`, as far as requests have them.
const RESERVED_HEADERS: [&str; 12] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

impl Context<'_> {
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
        // The second is Prometheus' name, so that its settings can be copied.
        let Some(node) = self.either(fields, "tls", "tls_config") else { return TlsConfig::default() };
        let mut fields = self.reader.fields("`tls`", node);
        let insecure_skip_verify = self.flag(&mut fields, "insecure_skip_verify", false);
        let mut file = |key: &'static str| {
            let node = fields.take(key)?;
            Some((node.place, self.path(key, node)?))
        };
        let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
        let server_name = fields.take("server_name");
        let name_place = server_name.map(|node| node.place);
        let server_name = server_name.and_then(|node| self.reader_text("server_name", node));
        fields.finish(&mut self.reader);
        let (ca_place, cert_place) = (place_of(ca_file.as_ref()), place_of(cert_file.as_ref()));
        let client_certificate = match (cert_file, key_file) {
            (Some((_, cert_file)), Some((_, key_file))) => Some(ClientCertificate { cert_file, key_file }),
            (None, None) => None,
            (Some((place, _)), None) | (None, Some((place, _))) => {
                let message = "`cert_file` and `key_file` are only of use together";
                self.reader.error("missing-key", place, message);
                None
            }
        };
        let ca_file = ca_file.map(|(_, path)| path);
        let config = TlsConfig { insecure_skip_verify, ca_file, server_name, client_certificate };
        if let Err(error) = config.client_config() {
            let place = match &error {
                TlsError::CaFile { .. } => ca_place,
                TlsError::ClientCertificate { .. } => cert_place,
                TlsError::ServerName(_) => name_place,
                TlsError::Setup(_) => None,
            };
            self.reader.error("bad-tls", place.unwrap_or(node.place), format!("`tls`: {error}"));
        }
        config
    }

    /// The value of a key that has two names.
    fn either<'n>(
        &mut self,
        fields: &mut Fields<'n>,
        key: &'static str,
        other: &'static str,
    ) -> Option<&'n Node> {
        let (one, two) = (fields.take(key), fields.take(other));
        if let (Some(_), Some(two)) = (one, two) {
            let message = format!("`{key}` and `{other}` mean the same; give one of them");
            self.reader.error("two-names", two.place, message);
        }
        one.or(two)
    }

    /// How a server is reached over HTTP, and as whom, with the keys that Prometheus has.
    pub(super) fn http(&mut self, fields: &mut Fields<'_>) -> HttpConfig {
        let auth = self.auth(fields);
        let tls = self.tls(fields);
        let headers = fields.take("http_headers").map(|node| self.http_headers(node)).unwrap_or_default();
        let url = fields.take("proxy_url").and_then(|node| self.proxy_url(node));
        let no_proxy = fields.take("no_proxy");
        let direct = no_proxy.and_then(|node| self.reader_text("no_proxy", node)).unwrap_or_default();
        if let (Some(node), None) = (no_proxy, &url) {
            self.reader.error("missing-key", node.place, "`no_proxy` needs a `proxy_url`");
        }
        let proxy = url.map(|url| Proxy { url, no_proxy: direct });
        HttpConfig { auth, tls, headers, proxy }
    }

    /// A proxy's URL, which may hold a user and a password.
    fn proxy_url(&mut self, node: &Node) -> Option<Secret> {
        let text = self.reader.text("proxy_url", node)?;
        // The message must not show what may be a password.
        let usable =
            Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !usable {
            let message = "`proxy_url` is not a usable URL: it must begin with `http://` or `https://`";
            self.reader.error("bad-url", node.place, message);
        }
        usable.then(|| Secret::new(text))
    }

    /// Headers of requests: each a text, or Prometheus' lists of `values`, `secrets` and `files`.
    fn http_headers(&mut self, node: &Node) -> Vec<Header> {
        let NodeKind::Mapping(entries) = &node.kind else {
            let found = node.kind.describe();
            let message = format!("`http_headers` must be a mapping of names to values, not {found}");
            self.reader.error("wrong-type", node.place, message);
            return Vec::new();
        };
        let mut headers = Vec::new();
        for (text, place, node) in entries {
            let name = match HeaderName::try_from(text) {
                Ok(name) if RESERVED_HEADERS.contains(&name.as_str()) => {
                    let message = format!("setting header `{text}` is not allowed");
                    self.reader.error("bad-entry", *place, message);
                    continue;
                }
                Ok(name) => name,
                Err(_) => {
                    let message = format!("`http_headers`: `{text}` is not the name of a header");
                    self.reader.error("bad-entry", *place, message);
                    continue;
                }
            };
            let header = |value| Header { name: name.clone(), value };
            headers.extend(self.header_values(node).into_iter().map(header));
        }
        headers
    }

    fn header_values(&mut self, node: &Node) -> Vec<SecretSource> {
        if let NodeKind::Scalar(text) = &node.kind {
            return vec![SecretSource::Value(Secret::new(text.as_str()))];
        }
        let mut fields = self.reader.fields("a header", node);
        let mut values = Vec::new();
        for key in ["values", "secrets"] {
            let texts = self.list(fields.take(key), key, |this, node| this.reader_text(key, node));
            values.extend(texts.into_iter().map(|(_, text)| SecretSource::Value(Secret::new(text))));
        }
        let files = self.list(fields.take("files"), "files", |this, node| this.path("files", node));
        values.extend(files.into_iter().map(|(_, path)| SecretSource::File(path)));
        fields.finish(&mut self.reader);
        values
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
            Some((
                node.place,
                HttpAuth::Basic { username: SecretSource::Value(Secret::new(username?)), password },
            ))
        });
        let bearer = self.secret(fields, ["bearer_token", "bearer_token_file", "bearer_token_env"]);
        let authorization = fields.take("authorization").map(|node| {
            let mut fields = self.reader.fields("`authorization`", node);
            let scheme = fields.take("type").and_then(|node| self.reader_text("type", node));
            let keys = ["credentials", "credentials_file", "credentials_env"];
            let credentials = self.secret(&mut fields, keys);
            fields.finish(&mut self.reader);
            let credentials = credentials.unwrap_or_else(|| SecretSource::Value(Secret::new("")));
            let scheme = scheme.map_or_else(|| "Bearer".to_owned(), |scheme| scheme.trim().to_owned());
            let auth = match scheme.to_ascii_lowercase().as_str() {
                "bearer" => HttpAuth::Bearer(credentials),
                "basic" => {
                    let message = "`authorization` type cannot be set to `basic`, use `basic_auth` instead";
                    self.reader.error("bad-authorization", node.place, message);
                    return None;
                }
                _ => HttpAuth::Other { scheme, credentials },
            };
            Some((node.place, auth))
        });
        let bearer = bearer.map(|token| (fields.place(), HttpAuth::Bearer(token)));
        let mut given = [basic.flatten(), bearer, authorization.flatten()].into_iter().flatten();
        let (place, auth) = given.next()?;
        if given.next().is_some() {
            let message = "give one of `basic_auth`, a bearer token and `authorization`, not several";
            self.reader.error("two-credentials", place, message);
            return None;
        }
        Some(auth)
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

fn place_of<T>(given: Option<&(LineColumn, T)>) -> Option<LineColumn> {
    given.map(|(place, _)| *place)
}
