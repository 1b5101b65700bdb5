//! Connection strings as libpq reads them: `postgresql://…` and `key=value`.
//!
//! A monitor looks at one server, so a list of hosts is refused, and so is every parameter that would
//! be ignored: a setting that has no effect is worse than an error. Messages never repeat a value.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::model::Secret;

/// Where to connect and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    /// Name or address of the server, or the directory of its Unix socket (it then begins with `/`).
    pub host: String,
    /// The address to connect to instead of looking `host` up.
    pub hostaddr: Option<IpAddr>,
    /// TCP port, or the number in the name of the Unix socket.
    pub port: u16,
    /// Role to log in as.
    pub user: String,
    /// Database to connect to.
    pub dbname: String,
    /// Password, unless it comes from elsewhere.
    pub password: Option<Secret>,
    /// Encryption and verification.
    pub sslmode: SslMode,
    /// What certificates are verified against.
    pub sslrootcert: RootCertificates,
    /// Files of a client certificate and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Whether TLS begins without asking first (PostgreSQL 17).
    pub direct_tls: bool,
    /// Whether SCRAM is tied to the TLS session.
    pub channel_binding: ChannelBinding,
}

/// How much is asked of TLS, as in libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server offers it, unverified. A handshake that fails is reported; libpq would try again
    /// without TLS.
    Prefer,
    /// TLS, unverified: against eavesdroppers who only listen.
    Require,
    /// TLS with a certificate of a known authority, whatever its name.
    VerifyCa,
    /// TLS with a certificate of a known authority for this host.
    VerifyFull,
}

/// Who may sign the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCertificates {
    /// The authorities that the operating system trusts (`sslrootcert=system`). This is the default;
    /// libpq looks for `~/.postgresql/root.crt`, which a service does not have.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

/// Whether SCRAM is tied to the TLS session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If the server can.
    Prefer,
    /// Always, or there is no connection.
    Require,
}

/// What is wrong with a connection string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// The text is neither form.
    #[error("expected a connection string `postgresql://user@host/database` or `host=… user=…`: {0}")]
    Syntax(&'static str),
    /// A parameter that libpq does not know or that has no effect here.
    #[error("unknown connection parameter `{0}`")]
    Unknown(String),
    /// A value that the parameter cannot have.
    #[error("invalid value for `{parameter}`: expected {expected}")]
    Value {
        /// The parameter.
        parameter: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// Nobody to log in as.
    #[error("missing connection parameter `{0}`")]
    Missing(&'static str),
}

impl Dsn {
    /// Reads a connection string; says everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<DsnError>> {
        let uri = ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let pairs = match uri {
            Some(rest) => uri_pairs(rest),
            None => keyword_pairs(text),
        };
        build(pairs.map_err(|error| vec![error])?)
    }

    /// `host:port` as people know the server; for a Unix socket its path. Without secrets.
    pub fn address(&self) -> String {
        if self.is_unix_socket() {
            self.socket_path().display().to_string()
        } else if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether the server is reached through a Unix socket.
    pub fn is_unix_socket(&self) -> bool {
        self.hostaddr.is_none() && self.host.starts_with('/')
    }

    /// The Unix socket.
    pub fn socket_path(&self) -> PathBuf {
        PathBuf::from(&self.host).join(format!(".s.PGSQL.{}", self.port))
    }
}

fn build(pairs: Vec<(String, String)>) -> Result<Dsn, Vec<DsnError>> {
    let mut errors = Vec::new();
    let (mut host, mut hostaddr, mut port, mut user, mut dbname) = (None, None, 5432, None, None);
    let (mut password, mut sslmode, mut roots) = (None, None, None);
    let (mut certificate, mut key, mut direct_tls) = (None, None, false);
    let mut channel_binding = ChannelBinding::Prefer;
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        let wrong = match name.as_str() {
            "host" if value.contains(',') => {
                Some(("host", "one host: each server is watched by a probe of its own"))
            }
            "host" => {
                host = Some(value);
                None
            }
            "hostaddr" => {
                hostaddr = value.parse().ok();
                hostaddr.is_none().then_some(("hostaddr", "one IP address"))
            }
            "port" => match value.parse() {
                Ok(number) if number > 0 => {
                    port = number;
                    None
                }
                _ => Some(("port", "a number from 1 to 65535")),
            },
            "user" => {
                user = Some(value);
                None
            }
            "dbname" => {
                dbname = Some(value);
                None
            }
            "password" => {
                password = Some(Secret::new(value));
                None
            }
            "sslmode" => {
                sslmode = parse_sslmode(&value);
                let expected = "`disable`, `prefer`, `require`, `verify-ca` or `verify-full`";
                sslmode.is_none().then_some(("sslmode", expected))
            }
            "sslrootcert" => {
                let system = value == "system";
                roots = Some(if system {
                    RootCertificates::System
                } else {
                    RootCertificates::File(value.into())
                });
                None
            }
            "sslcert" => {
                certificate = Some(PathBuf::from(value));
                None
            }
            "sslkey" => {
                key = Some(PathBuf::from(value));
                None
            }
            "sslnegotiation" => {
                direct_tls = value == "direct";
                let known = direct_tls || value == "postgres";
                (!known).then_some(("sslnegotiation", "`postgres` or `direct`"))
            }
            "channel_binding" => match value.as_str() {
                "disable" | "prefer" | "require" => {
                    channel_binding = match value.as_str() {
                        "disable" => ChannelBinding::Disable,
                        "require" => ChannelBinding::Require,
                        _ => ChannelBinding::Prefer,
                    };
                    None
                }
                _ => Some(("channel_binding", "`disable`, `prefer` or `require`")),
            },
            // Harmless habits: the probe has a name, an encoding and a deadline of its own.
            "application_name" | "fallback_application_name" | "client_encoding" | "connect_timeout" => None,
            _ => {
                errors.push(DsnError::Unknown(name));
                None
            }
        };
        if let Some((parameter, expected)) = wrong {
            errors.push(DsnError::Value { parameter, expected });
        }
    }
    let host = host.or_else(|| hostaddr.map(|address: IpAddr| address.to_string()));
    let sslmode = match (sslmode, &roots) {
        // As in libpq: whoever names an authority wants it checked.
        (Some(SslMode::Require), Some(RootCertificates::File(_))) => SslMode::VerifyCa,
        (None, Some(RootCertificates::System)) => SslMode::VerifyFull,
        (mode, _) => mode.unwrap_or(SslMode::Prefer),
    };
    if direct_tls && sslmode < SslMode::Require {
        let expected = "at least `require` with `sslnegotiation=direct`";
        errors.push(DsnError::Value { parameter: "sslmode", expected });
    }
    let client_certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            errors.push(DsnError::Missing("sslkey"));
            None
        }
        (None, Some(_)) => {
            errors.push(DsnError::Missing("sslcert"));
            None
        }
    };
    let Some(user) = user else {
        errors.push(DsnError::Missing("user"));
        return Err(errors);
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Dsn {
        host: host.unwrap_or_else(|| "localhost".to_owned()),
        hostaddr,
        port,
        dbname: dbname.unwrap_or_else(|| user.clone()),
        user,
        password,
        sslmode,
        sslrootcert: roots.unwrap_or(RootCertificates::System),
        client_certificate,
        direct_tls,
        channel_binding,
    })
}

fn parse_sslmode(text: &str) -> Option<SslMode> {
    Some(match text {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => return None,
    })
}

type Pairs = Result<Vec<(String, String)>, DsnError>;

/// `user:password@host:port/database?name=value&…`, every part optional and percent-encoded.
fn uri_pairs(rest: &str) -> Pairs {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, location) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = match location.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']').ok_or(DsnError::Syntax("missing `]`"))?;
            (host, after.strip_prefix(':').unwrap_or(after))
        }
        None => location.rsplit_once(':').unwrap_or((location, "")),
    };
    let mut pairs = Vec::new();
    let parts = [("user", user), ("password", password), ("host", host), ("port", port), ("dbname", dbname)];
    for (name, value) in parts {
        pairs.push((name.to_owned(), percent_decoded(value)?));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(DsnError::Syntax("missing `=` in a parameter"))?;
        let name = percent_decoded(name)?;
        // An alias that JDBC has brought into circulation and libpq honours.
        let (name, value) = match (name.as_str(), value) {
            ("ssl", "true") => ("sslmode".to_owned(), "require"),
            _ => (name, value),
        };
        pairs.push((name, percent_decoded(value)?));
    }
    Ok(pairs)
}

fn percent_decoded(text: &str) -> Result<String, DsnError> {
    let wrong = DsnError::Syntax("invalid percent-encoding");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(wrong) };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| wrong)
}

/// `name = value name = 'quoted value'`, backslash before a quote or a backslash.
fn keyword_pairs(text: &str) -> Pairs {
    let mut pairs = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(pairs);
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            name.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') {
            return Err(DsnError::Syntax("missing `=` after a name"));
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                Some('\\') => value.extend(chars.next()),
                Some('\'') if quoted => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                Some(c) => value.push(c),
                None if quoted => return Err(DsnError::Syntax("missing closing quote")),
                None => break,
            }
        }
        pairs.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dsn(text: &str) -> Dsn {
        Dsn::parse(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
    }

    #[test]
    fn both_forms_say_the_same() {
        let check = |text: &str, address: &str, user: &str, dbname: &str, password: Option<&str>| {
            let dsn = dsn(text);
            assert_eq!(dsn.address(), address, "{text}");
            assert_eq!((dsn.user.as_str(), dsn.dbname.as_str()), (user, dbname), "{text}");
            assert_eq!(dsn.password.as_ref().map(Secret::expose), password, "{text}");
        };
        check("postgresql://u@h", "h:5432", "u", "u", None);
        check("postgres://u:p@h:5433/d", "h:5433", "u", "d", Some("p"));
        check("postgresql://u:p%40%2F%3A@[::1]:1/d%20e?sslmode=disable", "[::1]:1", "u", "d e", Some("p@/:"));
        check("postgresql://%2Frun%2Fpostgresql/d?user=u", "/run/postgresql/.s.PGSQL.5432", "u", "d", None);
        check("postgresql://u:a:b@c@h/d", "h:5432", "u", "d", Some("a:b@c"));
        check("host=h user=u", "h:5432", "u", "u", None);
        check(" host = h  port=5433 user = 'u' dbname='d e' ", "h:5433", "u", "d e", None);
        check(r"user=u password='it\'s \\ a = b'", "localhost:5432", "u", "u", Some(r"it's \ a = b"));
        check(r"user=u password=a\ b host=/run", "/run/.s.PGSQL.5432", "u", "u", Some("a b"));
        check("hostaddr=127.0.0.1 user=u", "127.0.0.1:5432", "u", "u", None);
    }

    #[test]
    fn tls_is_as_strict_as_libpq_makes_it() {
        let check = |parameters: &str, mode: SslMode| {
            assert_eq!(dsn(&format!("user=u {parameters}")).sslmode, mode, "{parameters}");
        };
        check("", SslMode::Prefer);
        check("sslmode=disable", SslMode::Disable);
        check("sslmode=require", SslMode::Require);
        check("sslmode=require sslrootcert=/ca.pem", SslMode::VerifyCa);
        check("sslmode=verify-ca sslrootcert=/ca.pem", SslMode::VerifyCa);
        check("sslmode=verify-full", SslMode::VerifyFull);
        check("sslrootcert=system", SslMode::VerifyFull);
        assert_eq!(dsn("postgres://u@h?ssl=true").sslmode, SslMode::Require);
        assert!(dsn("user=u sslmode=require sslnegotiation=direct").direct_tls);
    }

    #[test]
    fn everything_wrong_is_said_and_no_value_is_repeated() {
        let check = |text: &str, expected: &[&str]| {
            let errors: Vec<String> = Dsn::parse(text).unwrap_err().iter().map(ToString::to_string).collect();
            assert_eq!(errors, expected, "{text}");
            assert!(!errors.concat().contains("hunter2"), "{text}");
        };
        check(
            "port=0 sslmode=allow target=hunter2 host=a,b",
            &[
                "invalid value for `port`: expected a number from 1 to 65535",
                "invalid value for `sslmode`: expected `disable`, `prefer`, `require`, `verify-ca` or `verify-full`",
                "unknown connection parameter `target`",
                "invalid value for `host`: expected one host: each server is watched by a probe of its own",
                "missing connection parameter `user`",
            ],
        );
        let syntax = "expected a connection string `postgresql://user@host/database` or `host=… user=…`";
        check("hunter2", &[&format!("{syntax}: missing `=` after a name")]);
        check("password='hunter2", &[&format!("{syntax}: missing closing quote")]);
        check("postgres://u:hunter2%4@h", &[&format!("{syntax}: invalid percent-encoding")]);
        check("postgres://u:hunter2@[::1/d", &[&format!("{syntax}: missing `]`")]);
        check("user=u sslcert=/c", &["missing connection parameter `sslkey`"]);
        check(
            "user=u sslnegotiation=direct",
            &["invalid value for `sslmode`: expected at least `require` with `sslnegotiation=direct`"],
        );
    }

    #[test]
    fn printing_hides_the_password() {
        let printed = format!("{:?}", dsn("postgres://u:hunter2@h/d"));
        assert!(printed.contains("<secret>") && !printed.contains("hunter2"), "{printed}");
    }
}
