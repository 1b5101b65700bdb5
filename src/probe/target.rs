//! Whom to probe, as targets are written.

use std::net::Ipv6Addr;

/// Why a text is no target of a prober.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a host with a port.
    #[error("`{0}` is not `host:port`")]
    HostPort(String),
    /// There is no host in it.
    #[error("`{0}` names no host")]
    NoHost(String),
    /// Not a port.
    #[error("port `{0}` is not a number from 1 to 65535")]
    Port(String),
    /// A scheme that the prober does not know.
    #[error("scheme `{0}` is not {1}")]
    Scheme(String, &'static str),
    /// A user before the host, perhaps with a password: the message leaves the target out.
    #[error("a target must not hold a user or password")]
    Credentials,
    /// Not an absolute path.
    #[error("`{0}` is not the path of a socket")]
    Path(String),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// Reads `host:port`, of which an IPv6 address stands in brackets.
    pub fn parse(target: &str) -> Result<Self, TargetError> {
        match split(target)? {
            (host, Some(port)) => Ok(Self { host, port }),
            (_, None) => Err(TargetError::HostPort(target.to_owned())),
        }
    }

    /// Reads `host:port`, or a host alone, with or without brackets.
    pub fn parse_or(target: &str, default_port: u16) -> Result<Self, TargetError> {
        let (host, port) = split(target)?;
        Ok(Self { host, port: port.unwrap_or(default_port) })
    }
}

/// Reads the target of a probe that knows no ports.
pub(super) fn parse_host(target: &str) -> Result<String, TargetError> {
    match split(target)? {
        (host, None) => Ok(host),
        (_, Some(port)) => Err(TargetError::Port(port.to_string())),
    }
}

fn split(target: &str) -> Result<(String, Option<u16>), TargetError> {
    if target.contains('@') {
        return Err(TargetError::Credentials);
    }
    let no_host = || TargetError::NoHost(target.to_owned());
    let (host, port) = if let Some(inner) = target.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or_else(no_host)?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(TargetError::HostPort(target.to_owned())),
        }
    } else if target.parse::<Ipv6Addr>().is_ok() {
        (target, None)
    } else {
        match target.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => return Err(TargetError::HostPort(target.to_owned())),
            Some((host, port)) => (host, Some(port)),
            None => (target, None),
        }
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        return Err(no_host());
    }
    let port = port.map(|port| match port.parse() {
        Ok(0) | Err(_) => Err(TargetError::Port(port.to_owned())),
        Ok(number) => Ok(number),
    });
    Ok((host.to_owned(), port.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_with_or_without_port() {
        let check = |target: &str, expected: Result<(&str, Option<u16>), &str>| {
            let found = split(target).map_err(|error| error.to_string());
            let found = found.as_ref().map(|(host, port)| (host.as_str(), *port));
            assert_eq!(found.map_err(String::as_str), expected, "{target}");
        };
        check("a.example:25", Ok(("a.example", Some(25))));
        check("a.example", Ok(("a.example", None)));
        check("127.0.0.1:25", Ok(("127.0.0.1", Some(25))));
        check("[::1]:25", Ok(("::1", Some(25))));
        check("[::1]", Ok(("::1", None)));
        check("::1", Ok(("::1", None)));
        check("", Err("`` names no host"));
        check(":0", Err("`:0` names no host"));
        check("[::1", Err("`[::1` names no host"));
        check("[::1]25", Err("`[::1]25` is not `host:port`"));
        check("a:b:25", Err("`a:b:25` is not `host:port`"));
        check("http://a", Err("port `//a` is not a number from 1 to 65535"));
        check("a:0", Err("port `0` is not a number from 1 to 65535"));
        check("a:65536", Err("port `65536` is not a number from 1 to 65535"));
        check("a b:1", Err("`a b:1` names no host"));
        for target in ["u:hunter2@a:1", "http://u:hunter2@a", "hunter2@a", "[::1]@hunter2"] {
            check(target, Err("a target must not hold a user or password"));
        }
    }

    #[test]
    fn a_port_may_be_required_optional_or_out_of_place() {
        let port = |found: Result<HostPort, TargetError>| found.map(|target| target.port);
        assert_eq!(port(HostPort::parse("a")), Err(TargetError::HostPort("a".to_owned())));
        assert_eq!(port(HostPort::parse_or("a", 53)), Ok(53));
        assert_eq!(port(HostPort::parse_or("a:5353", 53)), Ok(5353));
        assert_eq!(parse_host("::1"), Ok("::1".to_owned()));
        assert_eq!(parse_host("a:1"), Err(TargetError::Port("1".to_owned())));
    }
}
