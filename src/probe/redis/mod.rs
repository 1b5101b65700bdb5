//! Redis, and what talks like it (Valkey, `KeyDB`, Dragonfly): whether it answers, takes writes, follows its
//! master, and what it tells of itself.
//!
//! The metrics are `redis_exporter`'s. Nothing that it asks for looks at a key: `INFO`, the limit of
//! clients, the length of the slow log, and of a cluster its state.

mod info;
mod metadata;
mod resp;

use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::connect::{Route, connect, resolve};
use super::outcome::{in_time, waiting_here};
use super::samples::SampleSet;
use super::tls::TlsConfig;
use super::{AddressPolicy, Deadline, Log, ProbeFailure, ProbeOutcome, Prober};
use crate::client::SecretSource;
use crate::clock::SharedClock;
use crate::model::Secret;

pub use metadata::METADATA;

use info::Info;
use resp::Value;

/// The port of Redis.
const PORT: u16 = 6379;
/// What a server's refusal says at most.
const MAX_REASON_CHARS: usize = 200;

/// The server to ask.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// Where it is.
    pub address: RedisAddress,
    /// The user; the default one without.
    pub username: Option<String>,
    /// The password. A file is read again for each connection.
    pub password: Option<SecretSource>,
    /// How to talk TLS, if the address asks for it.
    pub tls: TlsConfig,
}

/// A host, a port, and whether TLS begins at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RedisAddress {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the scheme is `rediss`.
    pub tls: bool,
}

/// Why a text is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisAddressError {
    /// None of the forms.
    #[error("expected `host:port`, `redis://host:port` or `rediss://host:port`")]
    Malformed,
    /// Secrets have keys of their own.
    #[error("user and password do not belong into the address")]
    Credentials,
}

impl RedisAddress {
    /// Reads `host`, `host:port` or a URL with the scheme `redis` or `rediss` (TLS).
    pub fn parse(text: &str) -> Result<Self, RedisAddressError> {
        let absolute = if text.contains("://") { text.to_owned() } else { format!("redis://{text}") };
        let url = url::Url::parse(&absolute).map_err(|_| RedisAddressError::Malformed)?;
        let tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(RedisAddressError::Malformed),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RedisAddressError::Credentials);
        }
        let host = url.host_str().filter(|host| !host.is_empty() && ["", "/"].contains(&url.path()));
        let host = host.ok_or(RedisAddressError::Malformed)?.trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: url.port().unwrap_or(PORT), tls })
    }
}

impl std::fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Looks at one Redis server.
///
/// It is as it should be when it lets the user in, has loaded its data, has room for a write (or may evict
/// for one), and, being a replica, hears from its master.
pub struct RedisProber {
    config: RedisConfig,
    clock: SharedClock,
}

impl RedisProber {
    /// A prober of one server. The clock says which certificates are expired.
    pub fn new(config: RedisConfig, clock: SharedClock) -> Self {
        Self { config, clock }
    }

    async fn run(&self, deadline: Deadline) -> ProbeOutcome {
        let started = Instant::now();
        let mut look = Look { samples: SampleSet::default(), route: Route::default(), log: Log::default() };
        let looking = self.look(deadline, &mut look);
        let looked = in_time(deadline, looking).await;
        let found = looked.unwrap_or_else(|late| Err(late.failure("waiting for its answer")));
        let Look { mut samples, route, mut log } = look;
        // Up is what answers questions; that it cannot be written is told by other metrics.
        let is_up = found.is_ok();
        // Without a password, say, nothing is known of it.
        if !found.as_ref().is_err_and(|failure| failure.unknown) {
            samples.flag("redis_up", is_up);
        }
        samples.flag("redis_exporter_last_scrape_error", !is_up);
        samples.gauge("redis_exporter_last_scrape_duration_seconds", started.elapsed().as_secs_f64());
        route.emit(&mut samples);
        let result = found.and_then(|verdict| verdict);
        if let Err(failure) = &result {
            log.push(format!("failed: {}", failure.reason));
        }
        ProbeOutcome { result, samples: samples.into_samples(), log }
    }

    /// Fails if the server cannot be asked; what it yields is the verdict on what it answers.
    async fn look(
        &self,
        deadline: Deadline,
        look: &mut Look,
    ) -> Result<Result<(), ProbeFailure>, ProbeFailure> {
        let RedisAddress { host, port, tls } = &self.config.address;
        let password = self.password().await?;
        let started = Instant::now();
        let resolved = resolve(host, *port, AddressPolicy::default()).await;
        look.route.lookup_seconds = started.elapsed().as_secs_f64();
        let addresses = resolved?;
        look.route.address = addresses.first().map(std::net::SocketAddr::ip);
        let prepared = if *tls { Some(self.config.tls.prepare(host, &[], &self.clock).await?) } else { None };
        let (stream, address) = connect(&addresses, deadline, &mut look.log).await?;
        look.route.address = Some(address.ip());
        look.log.push(format!("connected to {address}"));
        let connected = started.elapsed().as_secs_f64();
        match prepared {
            None => {
                look.samples.gauge("redis_exporter_last_scrape_connect_time_seconds", connected);
                self.ask(&mut Connection::new(stream, password), look).await
            }
            Some(prepared) => {
                let handshake = prepared.handshake();
                let stream = prepared.connect(stream).await;
                handshake.facts().emit(&mut look.samples);
                let connected = started.elapsed().as_secs_f64();
                look.samples.gauge("redis_exporter_last_scrape_connect_time_seconds", connected);
                self.ask(&mut Connection::new(stream?, password), look).await
            }
        }
    }

    async fn password(&self) -> Result<Option<Secret>, ProbeFailure> {
        let Some(source) = &self.config.password else { return Ok(None) };
        match waiting_here("reading the password", source.read()).await {
            Ok(password) => Ok(Some(password)),
            Err(error) => Err(ProbeFailure::unknown("password", format!("the password: {error}"))),
        }
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: &mut Connection<S>,
        look: &mut Look,
    ) -> Result<Result<(), ProbeFailure>, ProbeFailure> {
        if let Some(password) = connection.password.clone() {
            let mut words = vec!["AUTH"];
            words.extend(self.config.username.as_deref());
            words.push(password.expose());
            connection.text(&words).await?;
        }
        let text = connection.text(&["INFO", "all"]).await?;
        let info = Info::parse(&text);
        info::emit(&info, self.clock.now() as f64 / 1000.0, &mut look.samples);
        // What follows is worth less than what is known: a user who may not ask for it gets the rest.
        if let Ok(Value::Array(Some(pair))) = connection.ask(&["CONFIG", "GET", "maxclients"]).await
            && let [_, Value::Text(Some(limit))] = &pair[..]
            && let Ok(limit) = limit.parse()
        {
            look.samples.gauge("redis_config_maxclients", limit);
        } else if let Some(limit) = info.number("maxclients") {
            look.samples.gauge("redis_config_maxclients", limit);
        }
        match connection.ask(&["SLOWLOG", "LEN"]).await {
            Ok(Value::Integer(length)) => look.samples.gauge("redis_slowlog_length", length as f64),
            Ok(_) => {}
            Err(failure) => look.log.push(failure.reason),
        }
        if info.number("cluster_enabled") == Some(1.0) {
            match connection.text(&["CLUSTER", "INFO"]).await {
                Ok(text) => info::emit_fields(&Info::parse(&text), &mut look.samples),
                Err(failure) => look.log.push(failure.reason),
            }
        }
        let version = info.text("redis_version");
        look.log.push(format!("Redis {version}, {}", info.text("role")));
        Ok(judge(&info))
    }
}

impl Prober for RedisProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.run(deadline).boxed()
    }
}

/// What a probe has found so far.
struct Look {
    samples: SampleSet,
    route: Route,
    log: Log,
}

fn judge(info: &Info<'_>) -> Result<(), ProbeFailure> {
    if info.number("loading") == Some(1.0) {
        return Err(ProbeFailure::new("loading", "its data are still being loaded"));
    }
    if let Some(failure) = judge_memory(info) {
        return Err(failure);
    }
    if info.text("role") == "slave" && info.text("master_link_status") != "up" {
        let (host, port) = (info.text("master_host"), info.text("master_port"));
        return Err(ProbeFailure::new(
            "replication",
            format!("the link to its master {host}:{port} is down"),
        ));
    }
    Ok(())
}

/// Whether writes are refused for want of memory. A replica does not heed `maxmemory` (unless
/// `replica-ignore-maxmemory` is off), and buffers for replicas and for the append-only file do not count.
/// Source: Redis `src/evict.c`, `getMaxmemoryState`.
fn judge_memory(info: &Info<'_>) -> Option<ProbeFailure> {
    if info.text("role") == "slave" || info.text("maxmemory_policy") != "noeviction" {
        return None;
    }
    let (used, limit) = (info.number("used_memory")?, info.number("maxmemory")?);
    let used = used - info.number("mem_not_counted_for_evict").unwrap_or(0.0);
    let reason = format!("{used} bytes are used of `maxmemory` {limit}, and nothing may be evicted");
    (limit > 0.0 && used > limit).then(|| ProbeFailure::new("memory", reason))
}

/// A connection on which one question is asked after the other.
struct Connection<S> {
    stream: S,
    /// What has come and was not read yet.
    buffer: Vec<u8>,
    password: Option<Secret>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S, password: Option<Secret>) -> Self {
        Self { stream, buffer: Vec::new(), password }
    }

    /// Asks, and waits for the answer.
    async fn ask(&mut self, words: &[&str]) -> Result<Value, ProbeFailure> {
        let lost =
            |error: std::io::Error| ProbeFailure::new("connection", format!("the connection broke: {error}"));
        self.stream.write_all(&resp::command(words)).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        loop {
            let parsed = resp::parse(&self.buffer);
            if let Some((value, length)) =
                parsed.map_err(|error| ProbeFailure::new("protocol", error.to_string()))?
            {
                self.buffer.drain(..length);
                return Ok(value);
            }
            if self.stream.read_buf(&mut self.buffer).await.map_err(lost)? == 0 {
                return Err(ProbeFailure::new("connection", "the server closed the connection"));
            }
        }
    }

    /// Asks for a text.
    async fn text(&mut self, words: &[&str]) -> Result<String, ProbeFailure> {
        match self.ask(words).await? {
            Value::Text(Some(text)) => Ok(text),
            Value::Error(error) => Err(self.refused(&error)),
            _ => Err(ProbeFailure::new("protocol", format!("`{}` was not answered with a text", words[0]))),
        }
    }

    /// What a refusal means. A server or a proxy may repeat what it was sent: the password is taken out.
    fn refused(&self, error: &str) -> ProbeFailure {
        let secret = self.password.as_ref().map(Secret::expose).filter(|secret| !secret.is_empty());
        let shown = secret.map_or_else(|| error.to_owned(), |secret| error.replace(secret, "<secret>"));
        let shown: String = shown.chars().take(MAX_REASON_CHARS).collect();
        let kind = match error.split(' ').next().unwrap_or_default() {
            "NOAUTH" | "WRONGPASS" | "NOPERM" => "auth",
            // As it was before Redis 6.
            _ if error.starts_with("ERR invalid password") || error.contains("without any password") => {
                "auth"
            }
            "LOADING" => "loading",
            _ => "refused",
        };
        ProbeFailure::new(kind, format!("the server refuses: {shown}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_or_a_url() {
        let check = |text: &str, expected: Result<(&str, bool), RedisAddressError>| {
            let read = RedisAddress::parse(text).map(|address| (address.to_string(), address.tls));
            assert_eq!(read, expected.map(|(address, tls)| (address.to_owned(), tls)), "{text}");
        };
        check("cache", Ok(("cache:6379", false)));
        check("cache:7000", Ok(("cache:7000", false)));
        check("redis://cache", Ok(("cache:6379", false)));
        check("rediss://[::1]:6380/", Ok(("[::1]:6380", true)));
        check("http://cache", Err(RedisAddressError::Malformed));
        check("a b", Err(RedisAddressError::Malformed));
        check("redis://cache/0", Err(RedisAddressError::Malformed));
        check("redis://u:p@cache", Err(RedisAddressError::Credentials));
    }

    #[test]
    fn what_it_tells_is_judged() {
        let check = |text: &str, expected: Option<&str>| {
            let kind = judge(&Info::parse(text)).err().map(|failure| failure.kind);
            assert_eq!(kind, expected, "{text}");
        };
        check("role:master\nused_memory:5\nmaxmemory:0\nmaxmemory_policy:noeviction\n", None);
        check("used_memory:6\nmaxmemory:5\nmaxmemory_policy:noeviction\n", Some("memory"));
        check("used_memory:5\nmaxmemory:5\nmaxmemory_policy:noeviction\n", None);
        check("used_memory:6\nmaxmemory:5\nmaxmemory_policy:allkeys-lru\n", None);
        let full = "used_memory:9\nmaxmemory:5\nmaxmemory_policy:noeviction\n";
        check(&format!("role:slave\nmaster_link_status:up\n{full}"), None);
        check(&format!("role:master\n{full}mem_not_counted_for_evict:4\n"), None);
        check(&format!("role:master\n{full}mem_not_counted_for_evict:3\n"), Some("memory"));
        check("loading:1\n", Some("loading"));
        check("role:slave\nmaster_link_status:up\n", None);
        check("role:slave\nmaster_link_status:down\n", Some("replication"));
    }

    #[test]
    fn a_refusal_never_repeats_the_password() {
        let (one, _) = tokio::io::duplex(1);
        let connection = Connection::new(one, Some(Secret::new("hunter2")));
        let check = |text: &str, kind: &str, reason: &str| {
            let failure = connection.refused(text);
            assert_eq!((failure.kind, failure.reason.as_str()), (kind, reason));
        };
        check("WRONGPASS invalid", "auth", "the server refuses: WRONGPASS invalid");
        check(
            "ERR unknown command `AUTH`, with args beginning with: `hunter2`",
            "refused",
            "the server refuses: ERR unknown command `AUTH`, with args beginning with: `<secret>`",
        );
    }
}
