//! Redis servers.

use super::Pace;
use crate::client::{SecretSource, TlsConfig};
use crate::probe::redis::RedisAddress;

/// A Redis server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RedisConfig {
    /// The component's name.
    pub name: String,
    /// Where it is.
    pub address: RedisAddress,
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretSource>,
    /// TLS, for an address that asks for it.
    pub tls: TlsConfig,
    /// When.
    pub pace: Pace,
}
