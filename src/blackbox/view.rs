//! A module as it may be shown: as it was written, without what is secret.

use std::fmt::{self, Write};

use url::Url;

use crate::yaml::{Node, NodeKind};

/// What stands where a secret is not shown. Source: `prometheus/common`, `config/config.go`.
const MASK: &str = "<secret>";

/// Keys whose values are secrets. What is sent to a target may hold a password too (`AUTH` of SMTP and
/// Redis, forms), though blackbox exporter shows it.
const SECRET_KEYS: [&str; 9] = [
    "password",
    "credentials",
    "bearer_token",
    "client_secret",
    "client_certificate_key",
    "key",
    "secrets",
    "body",
    "send",
];

/// Keys whose values are URLs, perhaps without their scheme, that hold credentials before an `@`.
const URL_KEYS: [&str; 2] = ["proxy_url", "token_url"];

/// Keys of mappings whose values are secrets, save for those of the names listed.
const SECRET_MAPPINGS: [(&str, &[&str]); 4] = [
    (
        "headers",
        &["host", "accept", "accept-encoding", "accept-language", "content-type", "origin", "user-agent"],
    ),
    ("proxy_connect_header", &[]),
    ("metadata", &[]),
    ("endpoint_params", &["grant_type", "audience", "resource", "scope"]),
];

/// A module's configuration without its secrets; it prints as YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View(Value);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Null,
    Text(String),
    List(Vec<Value>),
    Mapping(Vec<(String, Value)>),
}

impl View {
    pub(super) fn new(node: &Node) -> Self {
        Self(shown("", node))
    }

    /// Sets a value within mappings, which are made where there are none.
    pub(super) fn set(&mut self, path: &[&str], text: &str) {
        let mut value = &mut self.0;
        for key in path {
            if !matches!(value, Value::Mapping(_)) {
                *value = Value::Mapping(Vec::new());
            }
            let Value::Mapping(entries) = value else { return };
            let at = entries.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
                entries.push(((*key).to_owned(), Value::Null));
                entries.len() - 1
            });
            value = &mut entries[at].1;
        }
        *value = Value::Text(text.to_owned());
    }
}

fn shown(key: &str, node: &Node) -> Value {
    if SECRET_KEYS.contains(&key) {
        return masked(node);
    }
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Scalar(text) if URL_KEYS.contains(&key) => Value::Text(without_userinfo(text)),
        NodeKind::Scalar(text) => Value::Text(without_password(text)),
        NodeKind::Binary(bytes) => Value::Text(bytes.escape_ascii().to_string()),
        NodeKind::Sequence(items) => Value::List(items.iter().map(|item| shown("", item)).collect()),
        NodeKind::Mapping(entries) => {
            let harmless = SECRET_MAPPINGS.iter().find(|(name, _)| *name == key).map(|(_, names)| *names);
            let entry = |name: &str, value: &Node| match harmless {
                Some(names) if !names.contains(&name.to_ascii_lowercase().as_str()) => masked(value),
                Some(_) => shown("", value),
                None => shown(name, value),
            };
            Value::Mapping(
                entries.iter().map(|(name, _, value)| (name.clone(), entry(name, value))).collect(),
            )
        }
    }
}

/// The same shape with every text hidden.
fn masked(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Scalar(text) if text.is_empty() => Value::Text(String::new()),
        NodeKind::Scalar(_) | NodeKind::Binary(_) => Value::Text(MASK.to_owned()),
        NodeKind::Sequence(items) => Value::List(items.iter().map(masked).collect()),
        NodeKind::Mapping(entries) => {
            Value::Mapping(entries.iter().map(|(name, _, value)| (name.clone(), masked(value))).collect())
        }
    }
}

/// A URL, or one whose scheme is left out, without what stands before the last `@` of its authority: a password
/// may hold one.
pub(super) fn without_userinfo(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = text.split_at(start);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}{MASK}{}", &rest[at..]),
        None => text.to_owned(),
    }
}

/// A URL's password is hidden wherever it stands.
fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            // Only a URL without host refuses a password, and that one has none.
            let _ = url.set_password(Some("xxxxx"));
            url.into()
        }
        _ => text.to_owned(),
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        write_block(&mut text, &self.0, 0);
        f.write_str(text.trim_start_matches('\n'))
    }
}

/// Writes what stands behind a key or dash, up to the end of its last line.
fn write_block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push('\n'),
        Value::Text(text) => {
            out.push(' ');
            write_text(out, text);
            out.push('\n');
        }
        Value::List(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Mapping(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::List(items) => {
            out.push('\n');
            for item in items {
                write_item(out, item, indent);
            }
        }
        Value::Mapping(entries) => {
            out.push('\n');
            for (key, value) in entries {
                write_entry(out, key, value, indent);
            }
        }
    }
}

fn write_entry(out: &mut String, key: &str, value: &Value, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
    write_text(out, key);
    out.push(':');
    write_block(out, value, indent + 2);
}

/// A mapping begins on the line of its dash.
fn write_item(out: &mut String, item: &Value, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
    out.push('-');
    match item {
        Value::Mapping(entries) if !entries.is_empty() => {
            for (index, (key, value)) in entries.iter().enumerate() {
                if index == 0 {
                    out.push(' ');
                    write_text(out, key);
                    out.push(':');
                    write_block(out, value, indent + 4);
                } else {
                    write_entry(out, key, value, indent + 2);
                }
            }
        }
        other => write_block(out, other, indent + 2),
    }
}

/// Plain where that cannot be read as anything else, or else in double quotes.
fn write_text(out: &mut String, text: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./<>-+@:%=".contains(c);
    let safe = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/<".contains(c))
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !matches!(text.to_ascii_lowercase().as_str(), "null" | "y" | "n");
    if safe {
        out.push_str(text);
    } else {
        write!(out, "{}", serde_json::Value::from(text)).expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn view(text: &str) -> View {
        let (node, findings) = yaml::parse("f", text);
        assert_eq!(findings, []);
        View::new(&node)
    }

    #[test]
    fn every_field_that_may_hold_a_secret_is_masked() {
        let text = "
prober: http
http:
  basic_auth: {username: u, password: canary}
  bearer_token: canary
  authorization: {credentials: canary}
  oauth2:
    client_id: id
    client_secret: canary
    client_certificate_key: canary
    endpoint_params: {grant_type: password, password: canary, user: canary}
    tls_config: {key: canary}
  headers: {Host: a.example, X-API-Key: canary, Cookie: canary}
  http_headers: {X-Two: {values: [seen], secrets: [canary]}}
  proxy_url: user:canary@p@proxy:3128
  proxy_connect_header: {Proxy-Authorization: [canary]}
  body: canary
grpc: {metadata: {authorization: [canary]}}
tcp: {query_response: [{send: AUTH canary}, {send: !!binary Y2FuYXJ5}]}
";
        let shown = view(text).to_string();
        assert!(!shown.contains("canary"), "{shown}");
        for expected in ["a.example", "seen", "username: u", "grant_type: password", ": <secret>@proxy:3128"]
        {
            assert!(shown.contains(expected), "no `{expected}` in {shown}");
        }
        assert_eq!(shown.matches(MASK).count(), 17, "{shown}");
    }

    #[test]
    fn of_urls_what_stands_before_the_host_is_hidden() {
        let check = |text: &str, expected: &str| assert_eq!(without_userinfo(text), expected, "{text}");
        check("http://user:hunter2@proxy:3128/", "http://<secret>@proxy:3128/");
        check("user:hunter2@proxy:3128", "<secret>@proxy:3128");
        check("http://token@proxy", "http://<secret>@proxy");
        check("u:p@ss@[::1]:80?x", "<secret>@[::1]:80?x");
        check("http://a.example/@x?y=u@v", "http://a.example/@x?y=u@v");
        check("/run/user@1000/app.sock", "/run/user@1000/app.sock");
        check("proxy:3128", "proxy:3128");
    }

    #[test]
    fn what_is_shown_is_yaml_again() {
        let text = "
prober: tcp
timeout: 5s
tcp:
  query_response:
  - expect: '^220 ([^ ]+) ESMTP (.+)$'
    labels:
    - {name: a, value: '${1}'}
  - starttls: true
  tls_config:
  none: []
  odd: \"a: b\\n\\tc #\"
  list: [yes, 'null', '']
";
        let first = view(text);
        let again = view(&first.to_string());
        assert_eq!(first, again, "{first}");
    }

    #[test]
    fn values_can_be_set() {
        let mut one = view("prober: tcp\ntcp:\n  tls: true\n");
        one.set(&["tcp", "tls_config", "server_name"], "a.example");
        assert_eq!(
            one.to_string(),
            "prober: tcp\ntcp:\n  tls: true\n  tls_config:\n    server_name: a.example\n"
        );
        let mut one = view("prober: http\nhttp:\n");
        one.set(&["http", "headers", "Host"], "a.example");
        assert_eq!(one.to_string(), "prober: http\nhttp:\n  headers:\n    Host: a.example\n");
    }
}
