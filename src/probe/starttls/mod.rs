//! Asking a server by its own protocol to go on in TLS, so that its certificates can be seen.

mod negotiate;

pub(super) use self::negotiate::before_tls;

/// A protocol that begins in plain text and goes on in TLS when asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StartTls {
    /// PostgreSQL's `SSLRequest`.
    Postgres,
    /// SMTP's `STARTTLS` (RFC 3207).
    Smtp,
    /// LMTP, which greets otherwise and goes on as SMTP (RFC 2033).
    Lmtp,
    /// IMAP's `STARTTLS` (RFC 9051).
    Imap,
    /// POP3's `STLS` (RFC 2595).
    Pop3,
    /// FTP's `AUTH TLS` (RFC 4217).
    Ftp,
    /// LDAP's extended request (RFC 4511).
    Ldap,
    /// `SSLRequest` of `MySQL` and `MariaDB`.
    Mysql,
    /// XMPP's `starttls` from a client (RFC 6120).
    Xmpp,
}

impl StartTls {
    /// All protocols.
    pub const ALL: [Self; 9] = [
        Self::Postgres,
        Self::Smtp,
        Self::Lmtp,
        Self::Imap,
        Self::Pop3,
        Self::Ftp,
        Self::Ldap,
        Self::Mysql,
        Self::Xmpp,
    ];

    /// Its name in the configuration, which is also the scheme of a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Ftp => "ftp",
            Self::Ldap => "ldap",
            Self::Mysql => "mysql",
            Self::Xmpp => "xmpp",
        }
    }

    /// The protocol of this name; `postgresql` is one of `postgres`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "postgresql" { "postgres" } else { name };
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == name)
    }

    /// The port where the protocol is spoken if nothing is said.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Smtp => 25,
            Self::Lmtp => 24,
            Self::Imap => 143,
            Self::Pop3 => 110,
            Self::Ftp => 21,
            Self::Ldap => 389,
            Self::Mysql => 3306,
            Self::Xmpp => 5222,
        }
    }
}
