//! How servers are reached: Prometheus' `tls_config`, credentials, headers and proxies.
//! Source of the rules and their words: `prometheus/common`, `config/http_config.go`.

use hyper::header::HeaderName;
use serde_json::Value;
use url::Url;

use super::ModuleReader;
use crate::client::{Header, HttpAuth, SecretSource};
use crate::model::Secret;
use crate::probe::http::{
    AssertionConfig, Credentials, Grant, JWT_BEARER, OAuth2Config, ProxyConfig, ProxyServer, SigningAlgorithm,
};
use crate::probe::tls::{ClientIdentity, TlsConfig, TlsVersions};
use crate::yaml::{Fields, Node, NodeKind};

/// Headers that a module may not set. Source: `prometheus/common`, `config/headers.go`, `ReservedHeaders`.
const RESERVED_HEADERS: [&str; 17] = [
    "Authorization",
    "Host",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "User-Agent",
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Www-Authenticate",
    "Accept-Encoding",
    "X-Prometheus-Remote-Write-Version",
    "X-Prometheus-Remote-Read-Version",
    "X-Prometheus-Scrape-Timeout-Seconds",
    "X-Amz-Date",
    "X-Amz-Security-Token",
];

impl ModuleReader<'_> {
    pub(super) fn tls(&mut self, fields: &mut Fields<'_>) -> TlsConfig {
        let Some(node) = fields.take("tls_config") else { return TlsConfig::default() };
        let mut fields = self.reader.fields("`tls_config`", node);
        let insecure_skip_verify = self.flag(&mut fields, "insecure_skip_verify", false);
        let ca = self.secret(
            &mut fields,
            ["ca", "ca_file"],
            "at most one of ca, ca_file & ca_ref must be configured",
        );
        let cert = self.secret(
            &mut fields,
            ["cert", "cert_file"],
            "at most one of cert, cert_file & cert_ref must be configured",
        );
        let key = self.secret(
            &mut fields,
            ["key", "key_file"],
            "at most one of key and key_file must be configured",
        );
        let server_name = self.text(&mut fields, "server_name");
        let (min, max) = (self.text(&mut fields, "min_version"), self.text(&mut fields, "max_version"));
        let versions = TlsVersions::parse(min.as_deref(), max.as_deref()).unwrap_or_else(|error| {
            self.reader.error("bad-tls", node.place, error.to_string());
            TlsVersions::default()
        });
        fields.finish(self.reader);
        let client_certificate = match (cert, key) {
            (Some(cert), Some(key)) => Some(ClientIdentity { cert, key }),
            (None, None) => None,
            (cert, _) => {
                let (missing, given) = if cert.is_some() { ("key", "certificate") } else { ("cert", "key") };
                let message = format!(
                    "exactly one of {missing} or {missing}_file must be configured when a client {given} is \
                     configured"
                );
                self.reader.error("missing-key", node.place, message);
                None
            }
        };
        TlsConfig { insecure_skip_verify, ca, server_name, client_certificate, versions }
    }

    pub(super) fn credentials(&mut self, fields: &mut Fields<'_>) -> Option<Credentials> {
        let place = fields.place();
        let bearer = self.secret(
            fields,
            ["bearer_token", "bearer_token_file"],
            "at most one of bearer_token & bearer_token_file must be configured",
        );
        let basic = fields.take("basic_auth");
        let authorization = fields.take("authorization");
        let oauth2 = fields.take("oauth2");
        let fault = match (&bearer, basic, authorization, oauth2) {
            (Some(_), Some(_), ..) | (Some(_), _, _, Some(_)) => {
                Some("at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured")
            }
            (Some(_), _, Some(_), _) => {
                Some("authorization is not compatible with bearer_token & bearer_token_file")
            }
            (None, Some(_), Some(_), _) | (None, Some(_), _, Some(_)) | (None, _, Some(_), Some(_)) => {
                Some("at most one of basic_auth, oauth2 & authorization must be configured")
            }
            _ => None,
        };
        if let Some(message) = fault {
            self.reader.error("two-credentials", place, message);
        }
        let basic = basic.map(|node| Credentials::Static(self.basic_auth(node)));
        let authorization = authorization.and_then(|node| self.authorization(node)).map(Credentials::Static);
        let oauth2 =
            oauth2.and_then(|node| self.oauth2(node)).map(|found| Credentials::OAuth2(Box::new(found)));
        let bearer = bearer.map(|token| Credentials::Static(HttpAuth::Bearer(token)));
        basic.or(authorization).or(oauth2).or(bearer)
    }

    fn basic_auth(&mut self, node: &Node) -> HttpAuth {
        let mut fields = self.reader.fields("`basic_auth`", node);
        let username = self.secret(
            &mut fields,
            ["username", "username_file"],
            "at most one of basic_auth username, username_file & username_ref must be configured",
        );
        let password = self.secret(
            &mut fields,
            ["password", "password_file"],
            "at most one of basic_auth password, password_file & password_ref must be configured",
        );
        fields.finish(self.reader);
        HttpAuth::Basic { username: username.unwrap_or_else(empty), password: password.unwrap_or_else(empty) }
    }

    fn authorization(&mut self, node: &Node) -> Option<HttpAuth> {
        let mut fields = self.reader.fields("`authorization`", node);
        let scheme = self.text(&mut fields, "type").unwrap_or_default().trim().to_owned();
        let credentials = self.secret(
            &mut fields,
            ["credentials", "credentials_file"],
            "at most one of authorization credentials & credentials_file must be configured",
        );
        fields.finish(self.reader);
        let credentials = credentials.unwrap_or_else(empty);
        match scheme.to_ascii_lowercase().as_str() {
            "" => Some(HttpAuth::Bearer(credentials)),
            "basic" => {
                let message = "authorization type cannot be set to \"basic\", use \"basic_auth\" instead";
                self.reader.error("bad-authorization", node.place, message);
                None
            }
            _ => Some(HttpAuth::Other { scheme, credentials }),
        }
    }

    fn oauth2(&mut self, node: &Node) -> Option<OAuth2Config> {
        let mut fields = self.reader.fields("`oauth2`", node);
        let client_id = self.text(&mut fields, "client_id");
        let grant = self.grant(&mut fields);
        let scopes = self.texts(&mut fields, "scopes");
        let token_url = fields.take("token_url").map(|node| (node, self.reader.text("token_url", node)));
        let endpoint_params = fields.take("endpoint_params").map(|node| {
            self.entries(node, "endpoint_params", |this, name, value| {
                let text = this.reader.text("endpoint_params", value)?;
                Some((name.to_owned(), Secret::new(text)))
            })
        });
        let tls = self.tls(&mut fields);
        let proxy = self.proxy(&mut fields);
        fields.finish(self.reader);
        if client_id.is_none() {
            self.reader.error("missing-key", node.place, "oauth2 client_id must be configured");
        }
        let token_url = match token_url {
            None | Some((_, None | Some(""))) => {
                self.reader.error("missing-key", node.place, "oauth2 token_url must be configured");
                None
            }
            Some((at, Some(text))) => match Url::parse(text) {
                Ok(url) if matches!(url.scheme(), "http" | "https") => Some(url),
                _ => {
                    let message = "`token_url` must be a URL that begins with `http://` or `https://`";
                    self.reader.error("bad-url", at.place, message);
                    None
                }
            },
        };
        Some(OAuth2Config {
            client_id: client_id?,
            grant,
            token_url: token_url?,
            scopes,
            endpoint_params: endpoint_params.unwrap_or_default(),
            tls,
            proxy,
        })
    }

    /// What a client of OAuth 2.0 gets tokens for. What belongs to the other grant is read and counts for
    /// nothing, as in Prometheus.
    fn grant(&mut self, fields: &mut Fields<'_>) -> Grant {
        let node = fields.take("grant_type");
        let text = node.and_then(|node| self.reader.text("grant_type", node)).unwrap_or_default();
        let known = ["", "client_credentials", JWT_BEARER];
        if let Some(node) = node.filter(|_| !known.contains(&text)) {
            let message =
                format!("`grant_type` must be `client_credentials` or `{JWT_BEARER}`, not `{text}`");
            self.reader.error("unsupported", node.place, message);
        }
        let secret = self.secret(
            fields,
            ["client_secret", "client_secret_file"],
            "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured \
             using grant-type=client_credentials",
        );
        let key = self.secret(
            fields,
            ["client_certificate_key", "client_certificate_key_file"],
            "at most one of oauth2 client_certificate_key, client_certificate_key_file & \
             client_certificate_key_ref must be configured using \
             grant-type=urn:ietf:params:oauth:grant-type:jwt-bearer",
        );
        let key_id = self.text(fields, "client_certificate_key_id");
        let algorithm = fields.take("signature_algorithm").and_then(|node| {
            let text = self.reader.text("signature_algorithm", node).filter(|text| !text.is_empty())?;
            let algorithm = SigningAlgorithm::from_name(text);
            if algorithm.is_none() {
                let message = "valid signature algorithms are RS256, RS384 and RS512";
                self.reader.error("bad-name", node.place, message);
            }
            algorithm
        });
        let (issuer, audience) = (self.text(fields, "iss"), self.text(fields, "audience"));
        let claims = fields
            .take("claims")
            .map(|node| self.entries(node, "claims", |_, name, value| Some((name.to_owned(), claim(value)))));
        if text != JWT_BEARER {
            return Grant::ClientSecret(secret.unwrap_or_else(empty));
        }
        Grant::Assertion(Box::new(AssertionConfig {
            key: key.unwrap_or_else(empty),
            key_id,
            algorithm: algorithm.unwrap_or_default(),
            issuer,
            audience,
            claims: claims.into_iter().flatten().collect(),
        }))
    }

    pub(super) fn proxy(&mut self, fields: &mut Fields<'_>) -> ProxyConfig {
        let place = fields.place();
        let url = fields.take("proxy_url").and_then(|node| {
            let text = self.reader.text("proxy_url", node).filter(|text| !text.is_empty())?;
            match ProxyServer::parse(text) {
                Ok(server) => Some(server),
                Err(error) => {
                    self.reader.error("bad-url", node.place, format!("`proxy_url`: {error}"));
                    None
                }
            }
        });
        let no_proxy = self.text(fields, "no_proxy");
        let from_environment = self.flag(fields, "proxy_from_environment", false);
        let connect_headers = fields.take("proxy_connect_header").map(|node| {
            self.entries(node, "proxy_connect_header", |this, name, values| {
                let values = this.reader.items("proxy_connect_header", values);
                Some(values.iter().filter_map(|value| this.header(name, value)).collect::<Vec<_>>())
            })
        });
        let connect_headers: Vec<Header> =
            connect_headers.unwrap_or_default().into_iter().flatten().collect();
        let mut fault = |wrong: bool, message: &str| {
            if wrong {
                self.reader.error("bad-proxy", place, message);
            }
        };
        fault(
            !connect_headers.is_empty() && url.is_none() && !from_environment,
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
        );
        fault(
            from_environment && url.is_some(),
            "if proxy_from_environment is configured, proxy_url must not be configured",
        );
        fault(
            from_environment && no_proxy.is_some(),
            "if proxy_from_environment is configured, no_proxy must not be configured",
        );
        fault(
            url.is_none() && no_proxy.is_some() && !from_environment,
            "if no_proxy is configured, proxy_url must also be configured",
        );
        let proxy = if from_environment {
            ProxyConfig::from_environment(self.surroundings.environment).unwrap_or_else(|error| {
                self.reader.error("bad-proxy", place, format!("the environment: {error}"));
                ProxyConfig::default()
            })
        } else {
            url.map(|server| ProxyConfig::through(server, no_proxy.as_deref().unwrap_or_default()))
                .unwrap_or_default()
        };
        ProxyConfig { connect_headers, ..proxy }
    }

    pub(super) fn http_headers(&mut self, fields: &mut Fields<'_>) -> Vec<Header> {
        self.headers_from(fields, "http_headers", &RESERVED_HEADERS)
    }

    /// Names with `values`, `secrets` and `files`. A text counts as a value: blackbox exporter's own example
    /// is written so. Names that are `reserved` are not allowed.
    pub(super) fn headers_from(
        &mut self,
        fields: &mut Fields<'_>,
        key: &'static str,
        reserved: &[&str],
    ) -> Vec<Header> {
        let Some(node) = fields.take(key) else { return Vec::new() };
        let headers = self.entries(node, key, |this, name, node| {
            if let Some(reserved) = reserved.iter().find(|one| one.eq_ignore_ascii_case(name)) {
                let message = format!("setting header \"{reserved}\" is not allowed");
                this.reader.error("bad-entry", node.place, message);
            }
            if let NodeKind::Scalar(_) = node.kind {
                return Some(this.header(name, node).into_iter().collect());
            }
            let mut fields = this.reader.fields("a header", node);
            let mut headers = Vec::new();
            for key in ["values", "secrets"] {
                let items = fields.take(key).map(|list| this.reader.items(key, list)).unwrap_or_default();
                headers.extend(items.iter().filter_map(|value| this.header(name, value)));
            }
            for file in this.texts(&mut fields, "files") {
                let value = SecretSource::File(this.surroundings.folder.join(file));
                headers.extend(this.header_name(name, node).map(|name| Header { name, value }));
            }
            fields.finish(this.reader);
            Some(headers)
        });
        headers.into_iter().flatten().collect()
    }

    fn header(&mut self, name: &str, value: &Node) -> Option<Header> {
        let text = self.reader.text(name, value)?;
        let source = SecretSource::Value(Secret::new(text));
        self.header_name(name, value).map(|name| Header { name, value: source })
    }

    pub(super) fn header_name(&mut self, name: &str, at: &Node) -> Option<HeaderName> {
        let found = HeaderName::try_from(name).ok();
        if found.is_none() {
            self.reader.error("bad-entry", at.place, format!("`{name}` is not the name of a header"));
        }
        found
    }
}

fn empty() -> SecretSource {
    SecretSource::Value(Secret::new(""))
}

/// A value of a claim. Scalars are texts, as Prometheus documents them.
fn claim(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Scalar(text) => text.as_str().into(),
        NodeKind::Binary(bytes) => String::from_utf8_lossy(bytes).into(),
        NodeKind::Sequence(items) => items.iter().map(claim).collect(),
        NodeKind::Mapping(entries) => {
            entries.iter().map(|(name, _, value)| (name.clone(), claim(value))).collect()
        }
    }
}
