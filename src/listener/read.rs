//! From the text of a web configuration file to [`WebConfig`].
//!
//! Keys, defaults and the texts of faults are those of exporter-toolkit (`web/tls_config.go`,
//! `web/handler.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use bcrypt::HashParts;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::config::{ClientAuth, Pem, PemSource, RateLimit, TlsSettings, WebConfig};
use super::suites::Known;
use super::{curves, suites};
use crate::diag::Diagnostic;
use crate::model::{LineColumn, Secret};
use crate::yaml::{self, Fields, Node, NodeKind, Reader};

/// The headers that can be set, and the values they may have; no values: any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// A cost from which checking a password takes seconds.
const SLOW_COST: u32 = 15;
/// The costs that bcrypt knows.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// Reads a web configuration. `file` is its name in messages; paths in it are relative to `folder`. With
/// an error among the findings it is not to be used.
pub fn read(file: &str, text: &str, folder: &Path) -> (WebConfig, Vec<Diagnostic>) {
    let (tree, mut findings) = yaml::parse(file, text);
    let mut reader = WebReader { reader: Reader::new(file), folder };
    let config = reader.config(&tree);
    findings.extend(reader.reader.into_findings());
    findings.sort_by_key(|finding| finding.place);
    (config, findings)
}

struct WebReader<'a> {
    reader: Reader,
    folder: &'a Path,
}

impl WebReader<'_> {
    fn config(&mut self, tree: &Node) -> WebConfig {
        let mut fields = self.reader.fields("the web configuration", tree);
        let http = fields.take("http_server_config");
        let (http2, headers) = http.map_or((true, Vec::new()), |node| self.http(node));
        let tls = fields.take("tls_server_config").and_then(|node| self.tls(node, http2));
        let users = fields.take("basic_auth_users").map(|node| self.users(node)).unwrap_or_default();
        let rate_limit = fields.take("rate_limit").and_then(|node| self.rate_limit(node));
        fields.finish(&mut self.reader);
        WebConfig { tls, headers, users, rate_limit }
    }

    fn http(&mut self, node: &Node) -> (bool, Vec<(HeaderName, HeaderValue)>) {
        let mut fields = self.reader.fields("`http_server_config`", node);
        let http2 = fields.take("http2").and_then(|node| self.reader.boolean("http2", node)).unwrap_or(true);
        let headers = fields.take("headers").map(|node| self.headers(node)).unwrap_or_default();
        fields.finish(&mut self.reader);
        (http2, headers)
    }

    fn headers(&mut self, node: &Node) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        for (name, place, value) in self.entries("headers", node) {
            let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| known == name) else {
                let message = format!("HTTP header \"{name}\" can not be configured");
                self.reader.error("bad-entry", *place, message);
                continue;
            };
            let Some(text) = self.reader.text(name, value) else { continue };
            if !allowed.is_empty() && !allowed.contains(&text) {
                let message =
                    format!("invalid value for {name}. Expected one of: {allowed:?}, but got: {text:?}");
                self.reader.error("bad-entry", value.place, message);
                continue;
            }
            match (HeaderName::try_from(name), HeaderValue::try_from(text)) {
                (Ok(name), Ok(value)) => headers.push((name, value)),
                _ => {
                    let message = format!("`{name}` has a value that cannot be sent");
                    self.reader.error("bad-entry", value.place, message);
                }
            }
        }
        headers
    }

    fn tls(&mut self, node: &Node, http2: bool) -> Option<TlsSettings> {
        let mut fields = self.reader.fields("`tls_server_config`", node);
        let cert = self.pem(&mut fields, "cert", "cert_file");
        let key = self.pem(&mut fields, "key", "key_file");
        let client_ca = self.pem(&mut fields, "client_ca", "client_ca_file");
        let auth = fields.take("client_auth_type");
        let auth = auth.and_then(|node| Some((node.place, self.text("client_auth_type", node)?)));
        let client_auth = auth.map(|(place, name)| self.client_auth(place, name));
        let sans = fields.take("client_allowed_sans").map(|node| (node.place, self.names(node)));
        let versions = self.versions(&mut fields);
        let ciphers = fields.take("cipher_suites");
        let listed = ciphers.map(|node| (node.place, self.ciphers(node)));
        let curves = fields.take("curve_preferences").map(|node| self.curves(node)).unwrap_or_default();
        let prefer = fields.take("prefer_server_cipher_suites");
        let prefer_server_cipher_suites =
            prefer.and_then(|node| self.reader.boolean("prefer_server_cipher_suites", node)).unwrap_or(true);
        fields.finish(&mut self.reader);

        if cert.is_none() && key.is_none() && client_ca.is_none() && client_auth.is_none() {
            if matches!(&node.kind, NodeKind::Mapping(entries) if !entries.is_empty()) {
                let message = "`tls_server_config` names no certificate: plain HTTP is served";
                self.reader.warning("no-tls", node.place, message);
            }
            return None;
        }
        for (missing, message) in [
            (cert.is_none(), "missing one of cert or cert_file"),
            (key.is_none(), "missing one of key or key_file"),
        ] {
            if missing {
                self.reader.error("missing-key", node.place, message);
            }
        }
        let client_auth = client_auth.unwrap_or_default();
        if let (Some(ca), ClientAuth::NoClientCert) = (&client_ca, client_auth) {
            let message = "client CA's have been configured without a Client Auth Policy";
            self.reader.error("no-client-auth", ca.place, message);
        }
        if let (Some((place, _)), ClientAuth::NoClientCert) = (&sans, client_auth) {
            let message = "`client_allowed_sans` is of no effect: `client_auth_type` asks for no certificate";
            self.reader.warning("no-client-auth", *place, message);
        }
        let cipher_suites = self.offered(listed, &versions, http2);
        Some(TlsSettings {
            cert: cert?,
            key: key?,
            client_ca,
            client_auth,
            client_allowed_sans: sans.map(|(_, names)| names),
            versions,
            cipher_suites,
            prefer_server_cipher_suites,
            curves,
            http2,
        })
    }

    /// Something in PEM, in one of two keys. A file wins, as in exporter-toolkit.
    fn pem(&mut self, fields: &mut Fields<'_>, inline: &'static str, file: &'static str) -> Option<Pem> {
        let (text, path) = (fields.take(inline), fields.take(file));
        let place = |node: Option<&Node>| node.map(|node| node.place);
        let (text_place, path_place) = (place(text), place(path));
        let text = text.and_then(|node| self.text(inline, node));
        let path = path.and_then(|node| self.text(file, node));
        match (text.zip(text_place), path.zip(path_place)) {
            (inlined, Some((path, place))) => {
                if let Some((_, place)) = inlined {
                    let message = format!("`{inline}` is of no effect beside `{file}`");
                    self.reader.warning("two-sources", place, message);
                }
                Some(Pem { place, source: PemSource::File(self.folder.join(path)) })
            }
            (Some((text, place)), None) => Some(Pem { place, source: PemSource::Inline(Secret::new(text)) }),
            (None, None) => None,
        }
    }

    fn client_auth(&mut self, place: LineColumn, name: &str) -> ClientAuth {
        match name {
            "NoClientCert" => ClientAuth::NoClientCert,
            "RequestClientCert" => ClientAuth::RequestClientCert,
            "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAnyClientCert,
            "VerifyClientCertIfGiven" => ClientAuth::VerifyClientCertIfGiven,
            "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerifyClientCert,
            other => {
                self.reader.error_with_hint(
                    "unknown-value",
                    place,
                    format!("invalid ClientAuth: {other}"),
                    "known: NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, \
                     RequireAndVerifyClientCert",
                );
                // What was wanted is not nothing.
                ClientAuth::RequireAndVerifyClientCert
            }
        }
    }

    /// From `min_version` to `max_version`, of those that rustls has.
    fn versions(&mut self, fields: &mut Fields<'_>) -> Vec<&'static SupportedProtocolVersion> {
        let (min_node, max_node) = (fields.take("min_version"), fields.take("max_version"));
        let min = min_node.and_then(|node| self.version("min_version", node)).unwrap_or(12);
        let max = max_node.and_then(|node| self.version("max_version", node)).unwrap_or(13);
        if let (Some(node), true) = (min_node, min < 12) {
            let message = "TLS before 1.2 is not spoken: `min_version` is `TLS12`";
            self.reader.warning("old-tls", node.place, message);
        }
        let versions: Vec<_> =
            [(13, &TLS13), (12, &TLS12)].into_iter().filter(|(one, _)| (min..=max).contains(one)).collect();
        if let (Some(node), true) = (max_node.or(min_node), versions.is_empty()) {
            let message = "no supported versions satisfy `min_version` and `max_version`";
            self.reader.error_with_hint("no-tls-version", node.place, message, "TLS12 and TLS13 are spoken");
        }
        versions.into_iter().map(|(_, version)| version).collect()
    }

    /// A version as its two digits.
    fn version(&mut self, key: &'static str, node: &Node) -> Option<u8> {
        match self.reader.text(key, node)? {
            "TLS10" => Some(10),
            "TLS11" => Some(11),
            "TLS12" => Some(12),
            "TLS13" => Some(13),
            other => {
                let message = format!("unknown TLS version: {other}");
                let hint = "known: TLS12, TLS13";
                self.reader.error_with_hint("unknown-value", node.place, message, hint);
                None
            }
        }
    }

    /// The suites of a list that rustls has.
    fn ciphers(&mut self, node: &Node) -> Vec<rustls::SupportedCipherSuite> {
        let mut found = Vec::new();
        for node in self.reader.items("cipher_suites", node) {
            let Some(name) = self.reader.text("cipher_suites", node) else { continue };
            match suites::named(name) {
                Some(Known::Spoken(suite)) => found.push(suite),
                Some(Known::NotSpoken) => {
                    let message = format!("`{name}` is not spoken: valmis has no suites with CBC");
                    self.reader.warning("old-cipher", node.place, message);
                }
                None => self.reader.error("unknown-value", node.place, format!("unknown cipher: {name}")),
            }
        }
        found
    }

    /// The suites to offer: the list restricts those of TLS 1.2 alone.
    fn offered(
        &mut self,
        listed: Option<(LineColumn, Vec<rustls::SupportedCipherSuite>)>,
        versions: &[&SupportedProtocolVersion],
        http2: bool,
    ) -> Vec<rustls::SupportedCipherSuite> {
        let Some((place, listed)) = listed else {
            return rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES.to_vec();
        };
        let with_tls12 = versions.contains(&&TLS12);
        let old: Vec<_> = listed.iter().filter(|suite| suite.tls13().is_none()).copied().collect();
        if old.is_empty() && with_tls12 {
            if versions.contains(&&TLS13) {
                let message = "`cipher_suites` leaves none for TLS 1.2: only TLS 1.3 is spoken";
                self.reader.warning("no-cipher", place, message);
            } else {
                self.reader.error("no-cipher", place, "`cipher_suites` leaves none that can be spoken");
            }
        } else if http2 && with_tls12 && !suites::HTTP2.iter().any(|suite| old.contains(suite)) {
            self.reader.error_with_hint(
                "no-http2-cipher",
                place,
                "http2: TLSConfig.CipherSuites is missing an HTTP/2-required AES_128_GCM_SHA256 cipher (need at \
                 least one of TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)",
                "or set `http2: false` in `http_server_config`",
            );
        }
        suites::TLS13.into_iter().chain(old).collect()
    }

    fn curves(&mut self, node: &Node) -> Vec<&'static dyn rustls::crypto::SupportedKxGroup> {
        let mut found = Vec::new();
        for node in self.reader.items("curve_preferences", node) {
            let Some(name) = self.reader.text("curve_preferences", node) else { continue };
            match curves::named(name) {
                Some(curve) => found.push(curve),
                None => {
                    let message = format!("unknown curve: {name}");
                    let hint = format!("known: {}", curves::NAMES.join(", "));
                    self.reader.error_with_hint("unknown-value", node.place, message, hint);
                }
            }
        }
        found
    }

    fn names(&mut self, node: &Node) -> BTreeSet<String> {
        let items = self.reader.items("client_allowed_sans", node);
        let names = items.iter().filter_map(|node| self.reader.text("client_allowed_sans", node));
        names.map(ToOwned::to_owned).collect()
    }

    fn users(&mut self, node: &Node) -> BTreeMap<String, Secret> {
        let mut users = BTreeMap::new();
        for (name, place, value) in self.entries("basic_auth_users", node) {
            // Whatever stands there may be a password: it is not shown.
            let NodeKind::Scalar(hash) = &value.kind else {
                let message = format!("`basic_auth_users`: `{name}` needs a bcrypt hash");
                self.reader.error("bad-password", *place, message);
                continue;
            };
            match HashParts::from_str(hash) {
                Ok(parts) if COSTS.contains(&parts.get_cost()) => {
                    if parts.get_cost() >= SLOW_COST {
                        let message = format!(
                            "the password of `{name}` takes seconds to check: its hash has cost {}",
                            parts.get_cost()
                        );
                        self.reader.warning("slow-password", value.place, message);
                    }
                    users.insert(name.clone(), Secret::new(hash.as_str()));
                }
                _ => {
                    let message = format!("the password of `{name}` is not given as a bcrypt hash");
                    let hint =
                        "`htpasswd -nBC 10 \"\" | tr -d ':\\n'` asks for a password and prints its hash";
                    self.reader.error_with_hint("bad-password", value.place, message, hint);
                }
            }
        }
        users
    }

    fn rate_limit(&mut self, node: &Node) -> Option<RateLimit> {
        let mut fields = self.reader.fields("`rate_limit`", node);
        let interval = fields.take("interval").and_then(|node| self.interval(node)).unwrap_or_default();
        let burst = fields.take("burst");
        let count = burst.and_then(|node| self.reader.integer("burst", node, 0..=u64::from(u32::MAX)));
        fields.finish(&mut self.reader);
        if interval.is_zero() {
            return None;
        }
        let count = count.unwrap_or(0);
        if count == 0 {
            let place = burst.map_or(node.place, |node| node.place);
            self.reader.warning("no-burst", place, "`burst` is 0: every request is refused");
        }
        Some(RateLimit { interval, burst: u32::try_from(count).unwrap_or(u32::MAX) })
    }

    fn interval(&mut self, node: &Node) -> Option<Duration> {
        let text = self.reader.text("interval", node)?;
        let parsed = go_duration(text);
        if parsed.is_none() {
            let message = format!("`interval`: not a duration: `{text}`");
            let hint = "write a duration such as `1s`, `100ms` or `1m30s`";
            self.reader.error_with_hint("bad-duration", node.place, message, hint);
        }
        parsed
    }

    /// A text; an empty one is none at all, as in exporter-toolkit.
    fn text<'n>(&mut self, key: &'static str, node: &'n Node) -> Option<&'n str> {
        // What is no text may still hold a key.
        let NodeKind::Scalar(text) = &node.kind else {
            self.reader.error("wrong-type", node.place, format!("`{key}` must be a text"));
            return None;
        };
        Some(text.as_str()).filter(|text| !text.is_empty())
    }

    fn entries<'n>(&mut self, key: &'static str, node: &'n Node) -> &'n [(String, LineColumn, Node)] {
        if let NodeKind::Mapping(entries) = &node.kind {
            return entries;
        }
        let message = format!("`{key}` must be a mapping of names to texts");
        self.reader.error("wrong-type", node.place, message);
        &[]
    }
}

/// A duration as Go writes it: numbers, perhaps with a fraction, each with its unit; a number alone
/// counts nanoseconds. Source: Go `time.ParseDuration`, and `yaml.v2` for a number alone.
fn go_duration(text: &str) -> Option<Duration> {
    if let Ok(nanoseconds) = text.parse::<u64>() {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let unit = rest[number..].find(|c: char| c.is_ascii_digit() || c == '.');
        let end = unit.map_or(rest.len(), |unit| number + unit);
        let value: f64 = rest[..number].parse().ok()?;
        seconds += value
            * match &rest[number..end] {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        read("web.yml", text, Path::new("/etc")).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        let text = "tls_server_config:\n  cert_file: c\n  client_auth_type: x\n  min_version: TLS9\n  \
                    cipher_suites: [NONE]\n  curve_preferences: [P1]\nbasic_auth_users: {u: hunter2}\n\
                    rate_limit: {interval: soon}\nhttp_server_config: {headers: {X: y, X-Frame-Options: z}}\nnew: 1\n";
        let found = findings(text);
        let firsts: Vec<_> = found.iter().map(|one| one.lines().next().unwrap()).collect();
        assert_eq!(
            firsts,
            [
                "web.yml:2:3: missing one of key or key_file",
                "web.yml:3:21: invalid ClientAuth: x",
                "web.yml:4:16: unknown TLS version: TLS9",
                "web.yml:5:18: warning: `cipher_suites` leaves none for TLS 1.2: only TLS 1.3 is spoken",
                "web.yml:5:19: unknown cipher: NONE",
                "web.yml:6:23: unknown curve: P1",
                "web.yml:7:23: the password of `u` is not given as a bcrypt hash",
                "web.yml:8:24: `interval`: not a duration: `soon`",
                "web.yml:9:32: HTTP header \"X\" can not be configured",
                "web.yml:9:55: invalid value for X-Frame-Options. Expected one of: [\"deny\", \"sameorigin\"], \
                 but got: \"z\"",
                "web.yml:10:1: the web configuration has no key `new`",
            ]
        );
        assert!(!found.concat().contains("hunter2"));
    }

    #[test]
    fn what_works_otherwise_than_it_reads_is_a_warning() {
        let check = |text: &str, expected: &[&str]| assert_eq!(findings(text), expected, "{text}");
        let tls = |more: &str| format!("tls_server_config: {{cert_file: c, key_file: k, {more}}}\n");
        check("", &[]);
        check("tls_server_config:\n", &[]);
        check(
            &tls("min_version: TLS10"),
            &["web.yml:1:61: warning: TLS before 1.2 is not spoken: `min_version` is `TLS12`"],
        );
        check(&tls("cert: x"), &["web.yml:1:54: warning: `cert` is of no effect beside `cert_file`"]);
        check(
            "tls_server_config: {min_version: TLS13}\n",
            &["web.yml:1:20: warning: `tls_server_config` names no certificate: plain HTTP is served"],
        );
        check(
            "rate_limit: {interval: 1s}\n",
            &["web.yml:1:13: warning: `burst` is 0: every request is refused"],
        );
        check("rate_limit: {interval: 0, burst: 1}\n", &[]);
    }

    #[test]
    fn versions_that_leave_nothing_are_refused() {
        for range in ["max_version: TLS11", "min_version: TLS13, max_version: TLS12"] {
            let found = findings(&format!("tls_server_config: {{cert: c, key: k, {range}}}\n"));
            assert!(
                found.iter().any(|one| one.contains("no supported versions satisfy")),
                "{range}: {found:?}"
            );
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(go_duration(text), expected.map(Duration::from_micros), "{text}");
        };
        check("1s", Some(1_000_000));
        check("1m30s", Some(90_000_000));
        check("1.5ms", Some(1500));
        check("20µs", Some(20));
        check("5000", Some(5));
        check("0", Some(0));
        for text in ["", "s", "1x", "-1s", "1s2", "1..0s"] {
            check(text, None);
        }
    }
}
