//! What tells the samples of components of the same kind apart: the label `instance`.

use super::{AppConfig, CertificateConfig, CertificateSource, PostgresConfig, RedisConfig, TlsServer};
use crate::probe::postgres::Dsn;

impl AppConfig {
    /// The URL that is probed, if one is.
    pub fn instance(&self) -> Option<String> {
        self.url.as_ref().map(ToString::to_string)
    }
}

impl PostgresConfig {
    /// `host:port` or the path of a socket; nothing if the connection string is faulty.
    pub fn instance(&self) -> Option<String> {
        Dsn::parse(self.dsn.expose()).ok().map(|dsn| dsn.address())
    }
}

impl RedisConfig {
    /// `host:port`.
    pub fn instance(&self) -> Option<String> {
        Some(self.address.to_string())
    }
}

impl CertificateConfig {
    /// The server, if there is one. Files are of the machine, and told apart by labels of their own.
    pub fn instance(&self) -> Option<String> {
        match &self.source {
            CertificateSource::Server(server) | CertificateSource::ServedFromFiles(server, _) => {
                Some(server.instance())
            }
            CertificateSource::Files(_) => None,
        }
    }
}

impl TlsServer {
    /// `host:port`.
    pub fn instance(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}
