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

    /// The same server and role, another database.
    pub(super) fn in_database(&self, dbname: &str) -> Self {
        Self { dbname: dbname.to_owned(), ..self.clone() }
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
    let mut parts = Parts::default();
    let mut errors: Vec<DsnError> = pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| parts.set(&name, value).err())
        .collect();
    let dsn = parts.finish(&mut errors);
    dsn.filter(|_| errors.is_empty()).ok_or(errors)
}

/// What has been said so far.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    hostaddr: Option<IpAddr>,
    port: Option<u16>,
    user: Option<String>,
    dbname: Option<String>,
    password: Option<Secret>,
    sslmode: Option<SslMode>,
    sslrootcert: Option<RootCertificates>,
    sslcert: Option<PathBuf>,
    sslkey: Option<PathBuf>,
    direct_tls: bool,
    channel_binding: Option<ChannelBinding>,
}

impl Parts {
    fn set(&mut self, name: &str, value: String) -> Result<(), DsnError> {
        match name {
            "host" if value.contains(',') => {
                return Err(invalid("host", "one host: each server is watched by a probe of its own"));
            }
            "host" => self.host = Some(value),
            "hostaddr" => {
                self.hostaddr = Some(value.parse().map_err(|_| invalid("hostaddr", "one IP address"))?);
            }
            "port" => {
                let port = value.parse().ok().filter(|port| *port > 0);
                self.port = Some(port.ok_or_else(|| invalid("port", "a number from 1 to 65535"))?);
            }
            "user" => self.user = Some(value),
            "dbname" => self.dbname = Some(value),
            "password" => self.password = Some(Secret::new(value)),
            "sslmode" => self.sslmode = Some(parse_sslmode(&value)?),
            "sslrootcert" if value == "system" => self.sslrootcert = Some(RootCertificates::System),
            "sslrootcert" => self.sslrootcert = Some(RootCertificates::File(value.into())),
            "sslcert" => self.sslcert = Some(value.into()),
            "sslkey" => self.sslkey = Some(value.into()),
            "sslnegotiation" => match value.as_str() {
                "direct" => self.direct_tls = true,
                "postgres" => self.direct_tls = false,
                _ => return Err(invalid("sslnegotiation", "`postgres` or `direct`")),
            },
            "channel_binding" => {
                self.channel_binding = Some(match value.as_str() {
                    "disable" => ChannelBinding::Disable,
                    "prefer" => ChannelBinding::Prefer,
                    "require" => ChannelBinding::Require,
                    _ => return Err(invalid("channel_binding", "`disable`, `prefer` or `require`")),
                });
            }
            // Harmless habits: the probe has a name, an encoding and a deadline of its own.
            "application_name" | "fallback_application_name" | "client_encoding" | "connect_timeout" => {}
            unknown => return Err(DsnError::Unknown(unknown.to_owned())),
        }
        Ok(())
    }

    /// How much is asked of TLS. As in libpq, whoever names an authority wants it checked, and the system's
    /// many authorities are good for nothing unless the name is. libpq would look at a file also with
    /// `prefer`, and go on without TLS where it does not fit: here that is an error, as the file would have
    /// no effect.
    fn sslmode(&self, errors: &mut Vec<DsnError>) -> SslMode {
        let mode = match (self.sslmode, &self.sslrootcert) {
            (Some(SslMode::Require), Some(RootCertificates::File(_))) => SslMode::VerifyCa,
            (None, Some(RootCertificates::System)) => SslMode::VerifyFull,
            (mode, _) => mode.unwrap_or(SslMode::Prefer),
        };
        match &self.sslrootcert {
            Some(RootCertificates::System) if mode < SslMode::VerifyFull => {
                errors.push(invalid("sslmode", "`verify-full` with `sslrootcert=system`"));
            }
            Some(RootCertificates::File(_)) if mode < SslMode::Require => {
                errors.push(invalid("sslmode", "at least `require` with `sslrootcert`"));
            }
            _ => {}
        }
        mode
    }

    /// Fills in what is implied and checks what belongs together.
    fn finish(self, errors: &mut Vec<DsnError>) -> Option<Dsn> {
        let sslmode = self.sslmode(errors);
        if self.direct_tls && sslmode < SslMode::Require {
            errors.push(invalid("sslmode", "at least `require` with `sslnegotiation=direct`"));
        }
        match (&self.sslcert, &self.sslkey) {
            (Some(_), None) => errors.push(DsnError::Missing("sslkey")),
            (None, Some(_)) => errors.push(DsnError::Missing("sslcert")),
            _ => {}
        }
        let Some(user) = self.user else {
            errors.push(DsnError::Missing("user"));
            return None;
        };
        let host = self.host.or_else(|| self.hostaddr.map(|address| address.to_string()));
        Some(Dsn {
            host: host.unwrap_or_else(|| "localhost".to_owned()),
            hostaddr: self.hostaddr,
            port: self.port.unwrap_or(5432),
            dbname: self.dbname.unwrap_or_else(|| user.clone()),
            user,
            password: self.password,
            sslmode,
            sslrootcert: self.sslrootcert.unwrap_or(RootCertificates::System),
            client_certificate: self.sslcert.zip(self.sslkey),
            direct_tls: self.direct_tls,
            channel_binding: self.channel_binding.unwrap_or(ChannelBinding::Prefer),
        })
    }
}

fn invalid(parameter: &'static str, expected: &'static str) -> DsnError {
    DsnError::Value { parameter, expected }
}

fn parse_sslmode(text: &str) -> Result<SslMode, DsnError> {
    Ok(match text {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            let expected = "`disable`, `prefer`, `require`, `verify-ca` or `verify-full`";
            return Err(invalid("sslmode", expected));
        }
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
        check("sslmode=verify-full sslrootcert=system", SslMode::VerifyFull);
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
        for mode in ["disable", "prefer", "require", "verify-ca"] {
            let expected = "invalid value for `sslmode`: expected `verify-full` with `sslrootcert=system`";
            check(&format!("user=u sslmode={mode} sslrootcert=system"), &[expected]);
        }
        for mode in ["", "sslmode=disable", "sslmode=prefer"] {
            let expected = "invalid value for `sslmode`: expected at least `require` with `sslrootcert`";
            check(&format!("user=u {mode} sslrootcert=/ca.pem"), &[expected]);
        }
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

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(postgres://)?([a-z0-9@:/?&=%',. \\\\\\[\\]-]|\\PC){0,60}") {
            if let Err(errors) = Dsn::parse(&text) {
                proptest::prop_assert!(!errors.is_empty());
            }
        }

        #[test]
        fn any_password_can_be_written_in_both_forms(password in "\\PC{1,20}") {
            let encoded: Vec<String> = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let encoded = encoded.concat();
            let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
            for text in [format!("postgres://u:{encoded}@h"), format!("user=u password='{quoted}'")] {
                let dsn = dsn(&text);
                proptest::prop_assert_eq!(dsn.password.as_ref().map(Secret::expose), Some(password.as_str()));
            }
        }
    }
}
