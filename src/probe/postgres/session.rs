//! One connection: opening it layer by layer, asking, closing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{ChannelBinding as PgChannelBinding, SslMode as PgSslMode, SslNegotiation};
use tokio_postgres::{Client, Config, SimpleQueryMessage};
use tokio_util::task::AbortOnDropHandle;

use super::super::{Deadline, names};
use super::dsn::{ChannelBinding, Dsn, SslMode};
use super::failure::{Failure, Layer};
use super::row::Row;
use super::socket::{Raw, Returning, Socket};
use super::tls::{Handshake, client_config};
use crate::model::Secret;

/// Where the password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// From the connection string, or none is needed.
    InDsn,
    /// This one.
    Value(Secret),
    /// The content of a file, without the newline at its end. It is read anew for each connection, so
    /// that a password can be changed while the program runs.
    File(PathBuf),
}

/// What a connection is for: it decides the settings of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Collecting facts: nothing can be written.
    Monitor,
    /// Collecting what is asked seldom. The same, but for hardly any patience with locks.
    Visit,
    /// Asking a pooler about itself: it knows no settings of a session.
    Pooler,
    /// Proving that one can log in. It leaves `default_transaction_read_only` alone, because the
    /// server's own value is what it looks at; its one statement is a `SELECT`.
    Canary,
}

impl Purpose {
    /// How long a statement may wait for a lock: nothing here should ever need to.
    fn lock_timeout(self) -> Duration {
        match self {
            Self::Monitor | Self::Pooler | Self::Canary => Duration::from_millis(100),
            Self::Visit => Duration::from_millis(10),
        }
    }
}

/// An open connection.
pub(super) struct Session {
    client: Client,
    /// Whether it is encrypted.
    pub(super) encrypted: bool,
    driver: AbortOnDropHandle<()>,
    returning: Returning,
}

impl Session {
    /// Connects and logs in.
    pub(super) async fn open(
        dsn: &Dsn,
        password: &Password,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Self, Failure> {
        let began = Instant::now();
        let by = deadline.instant();
        let timed_out = |layer| Failure::timeout(layer, began.elapsed());

        let mut config = base_config(dsn, purpose, deadline);
        let preparing = async { tokio::try_join!(read_password(dsn, password), read_tls(dsn)) };
        let (password, tls) = timeout_at(by, preparing).await.map_err(|_| timed_out(Layer::Tcp))??;
        if let Some(password) = password {
            config.password(password.expose());
        }
        let raw = timeout_at(by, connect(dsn, by)).await.map_err(|_| timed_out(Layer::Tcp))??;
        let (socket, returning) = Socket::new(raw);
        let encrypted = Arc::new(AtomicBool::new(false));
        let handshake = Handshake::<Socket>::new(tls, &dsn.host, Arc::clone(&encrypted));
        let attempt = timeout_at(by, config.connect_raw(socket, handshake)).await;
        let encrypted = encrypted.load(Ordering::Relaxed);
        let awaits_tls = wants_tls(dsn) && !encrypted;
        let layer = if awaits_tls { Layer::Tls } else { Layer::Authentication };
        match attempt {
            Err(_elapsed) => Err(timed_out(layer)),
            Ok(Err(error)) => Err(Failure::from_postgres(layer, &error)),
            Ok(Ok((client, connection))) => {
                let driver = tokio::spawn(async move {
                    // Its errors reach whoever asks through the client.
                    let _ = connection.await;
                });
                let session = Self { client, encrypted, driver: AbortOnDropHandle::new(driver), returning };
                session.prepare(purpose, deadline).await?;
                Ok(session)
            }
        }
    }

    /// Makes a session that stays what it has to be. It is done with `SET` and not at login, so that the
    /// server still tells its own settings beside those of the session (`reset_val`).
    async fn prepare(&self, purpose: Purpose, deadline: Deadline) -> Result<(), Failure> {
        if matches!(purpose, Purpose::Canary | Purpose::Pooler) {
            return Ok(());
        }
        let statements = settings(purpose, deadline).map(|(name, value)| format!("SET {name} = {value}"));
        self.query(&statements.collect::<Vec<_>>().join("; "), deadline).await.map(drop)
    }

    /// Asks; all values come as text.
    pub(super) async fn query(&self, sql: &str, deadline: Deadline) -> Result<Vec<Row>, Failure> {
        let began = Instant::now();
        match timeout_at(deadline.instant(), self.client.simple_query(sql)).await {
            Err(_elapsed) => Err(Failure::timeout(Layer::Query, began.elapsed())),
            Ok(Err(error)) => Err(Failure::from_postgres(Layer::Query, &error)),
            Ok(Ok(messages)) => Ok(messages.iter().filter_map(row_of).collect()),
        }
    }

    /// Runs what has to be a single statement and answers nothing.
    pub(super) async fn prepare_and_execute(&self, sql: &str, deadline: Deadline) -> Result<(), Failure> {
        let began = Instant::now();
        match timeout_at(deadline.instant(), self.client.execute(sql, &[])).await {
            Err(_elapsed) => Err(Failure::timeout(Layer::Query, began.elapsed())),
            Ok(Err(error)) => Err(Failure::from_postgres(Layer::Query, &error)),
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// Whether the connection is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Closes the connection and waits until the server has let go of it, too, but not past the
    /// deadline.
    pub(super) async fn close(self, deadline: Deadline) {
        let Self { client, driver, returning, .. } = self;
        drop(client);
        let closing = async {
            // It ends when it has said goodbye; how is of no interest any more.
            let _ = driver.await;
            returning.closed_by_server().await;
        };
        // A server that does not close in time does so later: the socket itself is gone either way.
        let _ = timeout_at(deadline.instant(), closing).await;
    }
}

fn row_of(message: &SimpleQueryMessage) -> Option<Row> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    let columns = row.columns().iter().enumerate();
    Some(Row::new(columns.map(|(index, column)| (column.name(), row.get(index)))))
}

/// Whether the connection string asks for TLS at all; a Unix socket never has it.
pub(super) fn wants_tls(dsn: &Dsn) -> bool {
    dsn.sslmode != SslMode::Disable && !dsn.is_unix_socket()
}

/// How long the server may work on one statement: a little less than the probe has, so that its refusal
/// still arrives.
pub(super) fn statement_timeout(deadline: Deadline) -> Duration {
    statement_time(deadline.remaining()).max(Duration::from_millis(1))
}

/// The part of `time` in which the server may work on a statement.
pub(super) fn statement_time(time: Duration) -> Duration {
    time * 4 / 5
}

fn base_config(dsn: &Dsn, purpose: Purpose, deadline: Deadline) -> Config {
    let mut config = Config::new();
    config
        .user(&dsn.user)
        .dbname(&dsn.dbname)
        .application_name("valmis")
        .ssl_mode(match dsn.sslmode {
            _ if !wants_tls(dsn) => PgSslMode::Disable,
            SslMode::Prefer => PgSslMode::Prefer,
            _ => PgSslMode::Require,
        })
        .ssl_negotiation(if dsn.direct_tls { SslNegotiation::Direct } else { SslNegotiation::Postgres })
        .channel_binding(match dsn.channel_binding {
            ChannelBinding::Disable => PgChannelBinding::Disable,
            ChannelBinding::Prefer => PgChannelBinding::Prefer,
            ChannelBinding::Require => PgChannelBinding::Require,
        });
    // As part of the login, so that the canary's one question is all it has to ask.
    if purpose == Purpose::Canary {
        let settings = settings(purpose, deadline).map(|(name, value)| format!("-c {name}={value}"));
        config.options(settings.collect::<Vec<_>>().join(" "));
    }
    config
}

/// What a session is to be like, in the server's terms.
fn settings(purpose: Purpose, deadline: Deadline) -> impl Iterator<Item = (&'static str, String)> {
    let statement_timeout = statement_timeout(deadline).as_millis().to_string();
    [
        ("search_path", Some("pg_catalog".to_owned())),
        ("lock_timeout", Some(purpose.lock_timeout().as_millis().to_string())),
        ("idle_in_transaction_session_timeout", Some(statement_timeout.clone())),
        ("statement_timeout", Some(statement_timeout)),
        ("default_transaction_read_only", (purpose != Purpose::Canary).then(|| "on".to_owned())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

async fn read_password(dsn: &Dsn, password: &Password) -> Result<Option<Secret>, Failure> {
    match password {
        Password::InDsn => Ok(dsn.password.clone()),
        Password::Value(secret) => Ok(Some(secret.clone())),
        Password::File(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))),
            Err(error) => {
                let reason = format!("password file `{}`: {error}", path.display());
                Err(Failure::new(Layer::Tcp, "config", reason))
            }
        },
    }
}

/// Reads the certificates anew for each connection, so that they, too, can be changed.
async fn read_tls(dsn: &Dsn) -> Result<ClientConfig, Failure> {
    let dsn = dsn.clone();
    let config = |reason: String| Failure::new(Layer::Tcp, "config", reason);
    let read = tokio::task::spawn_blocking(move || client_config(&dsn)).await;
    read.map_err(|error| config(error.to_string()))?.map_err(|error| config(error.to_string()))
}

/// Connects to the first address that answers. Each gets its share of the time, so that one that
/// swallows packets leaves some for the next.
async fn connect(dsn: &Dsn, by: Instant) -> Result<Raw, Failure> {
    if dsn.is_unix_socket() {
        let path = dsn.socket_path();
        let connected = UnixStream::connect(&path).await;
        return connected
            .map(Raw::Unix)
            .map_err(|error| Failure::new(Layer::Tcp, "connect", format!("`{}`: {error}", path.display())));
    }
    let addresses: Vec<SocketAddr> = match dsn.hostaddr {
        Some(address) => vec![(address, dsn.port).into()],
        None => {
            let found = names::look_up(&dsn.host, dsn.port).await;
            found.map_err(|error| Failure::new(Layer::Tcp, "resolve", format!("`{}`: {error}", dsn.host)))?
        }
    };
    let mut failures = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let left = by.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it small packets wait for one another; that they may is no reason to fail.
                let _ = stream.set_nodelay(true);
                return Ok(Raw::Tcp(stream));
            }
            Ok(Err(error)) => failures.push((false, format!("{address}: {error}"))),
            Err(_elapsed) => failures.push((true, format!("{address}: no answer within {share:.1?}"))),
        }
    }
    let kind = if failures.iter().any(|(timed_out, _)| *timed_out) { "timeout" } else { "connect" };
    let reasons: Vec<String> = failures.into_iter().map(|(_, reason)| reason).collect();
    Err(Failure::new(Layer::Tcp, kind, reasons.join("; ")))
}
