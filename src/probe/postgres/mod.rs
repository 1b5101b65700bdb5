//! PostgreSQL: whether one can log in and be answered, and what its statistics say.
//!
//! A probe never has more than two connections: one that is held and collects facts, and a canary that
//! logs in anew each time, asks one thing and leaves. When no more connections are to be had the canary
//! says so, and the held connection goes on telling how full the server is.
//!
//! `pg_up` is 1 when the canary was answered: a new login works. `valmis_postgres_up` says the same
//! layer by layer (`tcp`, `tls`, `authentication`, `query`, `new_connection`, `writable`); a layer that
//! was not reached is absent. Facts are `postgres_exporter`'s; one that the role may not see is absent,
//! never 0.
//!
//! It talks to the server itself, not to a pooler in front of it, which would neither pass on the
//! session's settings nor let a login prove anything about the server.
//!
//! A role for it: `CREATE ROLE valmis LOGIN PASSWORD '…' CONNECTION LIMIT 3; GRANT pg_monitor TO valmis;`
//! (two connections, and one that the server has not quite closed after a restart of the program).

pub mod collector;
mod dsn;
mod failure;
mod metadata;
mod monitor;
mod prober;
mod row;
mod session;
mod socket;
mod tls;

pub use dsn::{ChannelBinding, Dsn, DsnError, RootCertificates, SslMode};
pub use failure::{FAILURE_KINDS, Layer};
pub use metadata::metadata;
pub use prober::{PostgresProber, Role, Target};
pub use row::Row;
pub use session::Password;
pub use tls::TlsSetupError;
