//! Patterns over targets. Pure.
//!
//! A pattern is compared with a target part by part (scheme, host, port, path), never as one text: a `*` in
//! the host can then not be satisfied by a path, a query or a user name.

use std::fmt;
use std::net::IpAddr;

use url::Url;

use crate::probe::Zone;

/// A target, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// What a probe of HTTP or of a WebSocket asks.
    Url(Url),
    /// A host, with or without port.
    Host { host: String, port: Option<u16> },
    /// A socket of this machine.
    Path(String),
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing.
    #[error("a pattern must not be empty")]
    Empty,
    /// There is no host in it.
    #[error("`{0}` names no host")]
    NoHost(String),
    /// Not a port.
    #[error("port `{0}` is neither a number from 1 to 65535 nor `*`")]
    Port(String),
    /// Not a scheme of URLs that are probed.
    #[error("scheme `{0}` is none of `http`, `https`, `ws`, `wss` and `*`")]
    Scheme(String),
    /// A URL's user or password.
    #[error("a pattern must not hold a user or password")]
    Credentials,
}

/// Which targets are meant, such as `https://*.example.org/*`, `db.example.org:5432` or `/run/app.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPattern {
    text: String,
    parts: Parts,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Parts {
    Everything,
    Exactly(Subject),
    Path(String),
    Host { scheme: Option<String>, host: HostPattern, port: Port, rest: Option<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    /// The pattern says nothing: the scheme's own port, or none.
    Usual,
    Any,
    Is(u16),
}

/// Which hosts are meant: a name or address, in which `*` stands for any characters. One that ends in `*`
/// means addresses only, so that `10.0.0.*` is not also `10.0.0.example.org`; `*` alone means every host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern(String);

impl HostPattern {
    /// Reads a pattern. An address stands without brackets.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/@?#\\".contains(c);
        if text.is_empty() || text.contains(odd) {
            return Err(PatternError::NoHost(text.to_owned()));
        }
        Ok(Self(normal(text)))
    }

    /// Whether this host is meant.
    pub fn matches(&self, host: &str) -> bool {
        let host = normal(host);
        let open = self.0 != "*" && self.0.ends_with('*');
        glob(&self.0, &host) && (!open || host.parse::<IpAddr>().is_ok())
    }

    /// Whether this names, without any `*`, this machine.
    fn names_loopback(&self) -> bool {
        let local = self.0 == "localhost" || self.0.ends_with(".localhost");
        local || self.0.parse().is_ok_and(|address| Zone::of(address) == Zone::Loopback)
    }
}

/// Case and the dot at the end make no other host.
fn normal(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix('.').map(ToOwned::to_owned).unwrap_or(host)
}

impl TargetPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let parts = match text {
            "" => return Err(PatternError::Empty),
            "*" => Parts::Everything,
            path if path.starts_with('/') => Parts::Path(path.to_owned()),
            _ => parse_host(text)?,
        };
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The pattern that means one target, whatever characters it holds.
    pub(super) fn exactly(text: &str, subject: Subject) -> Self {
        Self { text: text.to_owned(), parts: Parts::Exactly(subject) }
    }

    pub(super) fn matches(&self, subject: &Subject) -> bool {
        match (&self.parts, subject) {
            (Parts::Everything, _) => true,
            (Parts::Exactly(one), other) => one == other,
            (Parts::Path(pattern), Subject::Path(path)) => path_matches(pattern, path),
            (Parts::Host { scheme, host, port, rest }, Subject::Url(url)) => {
                let scheme = match scheme.as_deref() {
                    Some(scheme) => scheme == "*" || scheme == url.scheme(),
                    None => matches!(url.scheme(), "http" | "ws"),
                };
                let port = match port {
                    Port::Any => true,
                    Port::Usual => url.port().is_none(),
                    Port::Is(number) => url.port_or_known_default() == Some(*number),
                };
                let found = &url[url::Position::BeforePath..url::Position::AfterQuery];
                let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
                scheme && port && host.matches(name) && glob(rest.as_deref().unwrap_or("/"), found)
            }
            (
                Parts::Host { scheme: None, host, port: wanted, rest: None },
                Subject::Host { host: name, port },
            ) => {
                let port = match wanted {
                    Port::Any => true,
                    Port::Usual => port.is_none(),
                    Port::Is(number) => *port == Some(*number),
                };
                port && host.matches(name)
            }
            _ => false,
        }
    }

    /// Whether every target is meant.
    pub(super) fn is_everything(&self) -> bool {
        self.parts == Parts::Everything
    }

    /// Whether the operator wrote down this very machine.
    pub(super) fn names_loopback(&self) -> bool {
        match &self.parts {
            Parts::Host { host, .. } => host.names_loopback(),
            Parts::Exactly(Subject::Url(url)) => {
                let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
                HostPattern::parse(host).is_ok_and(|host| host.names_loopback())
            }
            Parts::Exactly(Subject::Host { host, .. }) => {
                HostPattern::parse(host).is_ok_and(|host| host.names_loopback())
            }
            _ => false,
        }
    }
}

impl fmt::Display for TargetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The schemes of URLs that are probed, and what stands for all of them.
const SCHEMES: [&str; 5] = ["http", "https", "ws", "wss", "*"];

fn parse_host(text: &str) -> Result<Parts, PatternError> {
    let (scheme, after) = match text.split_once("://") {
        Some((scheme, after)) => (Some(scheme.to_ascii_lowercase()), after),
        None => (None, text),
    };
    if let Some(scheme) = scheme.as_deref().filter(|scheme| !SCHEMES.contains(scheme)) {
        return Err(PatternError::Scheme(scheme.to_owned()));
    }
    let (authority, rest) = match after.find(['/', '?']) {
        Some(at) => (&after[..at], Some(&after[at..])),
        None => (after, None),
    };
    if authority.contains('@') {
        return Err(PatternError::Credentials);
    }
    let no_host = || PatternError::NoHost(text.to_owned());
    let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
        let (host, behind) = inner.split_once(']').ok_or_else(no_host)?;
        (host, behind.strip_prefix(':'))
    } else if authority.matches(':').count() > 1 {
        (authority, None)
    } else {
        authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
    };
    let port = match port {
        None => Port::Usual,
        Some("*") => Port::Any,
        Some(text) => match text.parse() {
            Ok(number @ 1..) => usual_or(number, scheme.as_deref()),
            _ => return Err(PatternError::Port(text.to_owned())),
        },
    };
    let rest = rest.map(|rest| if rest.starts_with('?') { format!("/{rest}") } else { rest.to_owned() });
    Ok(Parts::Host { scheme, host: HostPattern::parse(host)?, port, rest })
}

/// `http://a:80` is `http://a`.
fn usual_or(number: u16, scheme: Option<&str>) -> Port {
    match (scheme, number) {
        (Some("http" | "ws"), 80) | (Some("https" | "wss"), 443) => Port::Usual,
        _ => Port::Is(number),
    }
}

/// A path with its pattern, folder by folder: `*` does not stand for a `/`, and there is no way up.
fn path_matches(pattern: &str, path: &str) -> bool {
    let way_up = path.split('/').any(|part| part == "..");
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    !way_up
        && loop {
            match (wanted.next(), found.next()) {
                (None, None) => break true,
                (Some(pattern), Some(part)) if glob(pattern, part) => {}
                _ => break false,
            }
        }
}

/// Whether the whole text is as the pattern says, in which `*` stands for any characters. Takes time
/// proportional to the product of the lengths at most.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where the last `*` was, and how much of the text it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((position, covered)) => {
                    star = Some((position, covered + 1));
                    at = position + 1;
                    seen = covered + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Subject {
        Subject::Url(Url::parse(text).unwrap())
    }

    fn host(host: &str, port: Option<u16>) -> Subject {
        Subject::Host { host: host.to_owned(), port }
    }

    #[test]
    fn a_pattern_means_the_targets_that_it_names() {
        let check = |pattern: &str, subject: &Subject, expected: bool| {
            let found = TargetPattern::parse(pattern).unwrap().matches(subject);
            assert_eq!(found, expected, "{pattern} {subject:?}");
        };
        check("https://www.example.org/", &url("https://www.example.org"), true);
        check("https://www.example.org", &url("https://WWW.example.org./"), true);
        check("https://www.example.org", &url("https://www.example.org/login"), false);
        check("https://www.example.org:443", &url("https://www.example.org"), true);
        check("https://www.example.org", &url("http://www.example.org"), false);
        check("www.example.org", &url("http://www.example.org"), true);
        check("*://www.example.org", &url("https://www.example.org"), true);
        check("https://*.example.org/*", &url("https://a.b.example.org/x/y?z=1"), true);
        check("https://*.example.org/health", &url("https://a.example.org/health?verbose"), false);
        check("https://*.example.org/*", &url("https://a.example.org:8443/"), false);
        check("https://*.example.org:*/*", &url("https://a.example.org:8443/"), true);
        check("http://[::1]:8080/", &url("http://[::1]:8080/"), true);
        check("http://10.0.0.*/", &url("http://10.0.0.7/"), true);
        check("wss://*.example.org/*", &url("wss://a.example.org:443/chat"), true);
        check("wss://*.example.org/*", &url("https://a.example.org/chat"), false);
        check("www.example.org", &url("ws://www.example.org"), true);
        check("db.example.org:5432", &host("DB.example.org", Some(5432)), true);
        check("db.example.org:5432", &host("db.example.org", Some(22)), false);
        check("db.example.org", &host("db.example.org", Some(22)), false);
        check("db.example.org", &host("db.example.org", None), true);
        check("db.example.org:*", &host("db.example.org", None), true);
        check("[::1]:53", &host("::1", Some(53)), true);
        check("::1", &host("::1", None), true);
        check("*", &host("anything", Some(1)), true);
        check("*", &Subject::Path("/run/x".to_owned()), true);
        check("/run/*/app.sock", &Subject::Path("/run/one/app.sock".to_owned()), true);
        check("/run/*/app.sock", &Subject::Path("/run/one/two/app.sock".to_owned()), false);
    }

    #[test]
    fn no_way_of_writing_gets_another_host_past_a_pattern() {
        let allowed = TargetPattern::parse("https://*.example.org/*").unwrap();
        for target in [
            "https://evil.example/.example.org/",
            "https://evil.example/?x=.example.org/",
            "https://evil.example/#.example.org/",
            "https://evil.example\\.example.org/",
            "https://example.org.evil.example/",
            "https://xexample.org/",
            "https://evil.example:443/a.example.org/",
            "http://a.example.org/",
            "https://a.example.org%2eevil.example/",
        ] {
            // What is no URL at all cannot be asked for either.
            if let Ok(found) = Url::parse(target) {
                assert!(!allowed.matches(&Subject::Url(found.clone())), "{target} is {found}");
            }
        }
        let addresses = TargetPattern::parse("http://10.0.0.*/").unwrap();
        for target in ["http://10.0.0.evil.example/", "http://10.0.0.1.evil.example/", "http://10.0.1.1/"] {
            assert!(!addresses.matches(&url(target)), "{target}");
        }
        let socket = TargetPattern::parse("/run/app/*").unwrap();
        for path in ["/run/app/../docker.sock", "/run/app/x/y", "/run/docker.sock", "/run/app"] {
            assert!(!socket.matches(&Subject::Path(path.to_owned())), "{path}");
        }
    }

    #[test]
    fn this_machine_counts_only_where_it_is_written_down() {
        let check = |pattern: &str, expected: bool| {
            assert_eq!(TargetPattern::parse(pattern).unwrap().names_loopback(), expected, "{pattern}");
        };
        check("http://localhost:8080/*", true);
        check("http://127.0.0.1/", true);
        check("[::1]:53", true);
        check("*", false);
        check("http://*/", false);
        check("http://local*/", false);
        check("http://127.*/", false);
        check("a.example", false);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let check = |text: &str, expected: &str| {
            assert_eq!(TargetPattern::parse(text).unwrap_err().to_string(), expected, "{text}");
        };
        check("", "a pattern must not be empty");
        check("ftp://a", "scheme `ftp` is none of `http`, `https`, `ws`, `wss` and `*`");
        check("https:///x", "`` names no host");
        check("https://u:p@a/", "a pattern must not hold a user or password");
        check("a:0", "port `0` is neither a number from 1 to 65535 nor `*`");
        check("a:http", "port `http` is neither a number from 1 to 65535 nor `*`");
        check("a b", "`a b` names no host");
        check("[::1", "`[::1` names no host");
    }
}
