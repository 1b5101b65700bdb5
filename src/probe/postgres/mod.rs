//! PostgreSQL: whether one can log in and be answered, and what its statistics say.
//!
//! There are never more than two connections: one that is held and collects facts, and a second one, by
//! turns for a canary that logs in anew at each probe, asks one thing and leaves, and for visits that
//! collect what is asked seldom, in one database after the other. When no more connections are to be had
//! the canary says so, and the held connection goes on telling how full the server is.
//!
//! `pg_up` is 1 when the canary was answered: a new login works. `valmis_postgres_up` says the same
//! layer by layer (`tcp`, `tls`, `authentication`, `query`, `new_connection`, `writable`); a layer that
//! was not reached is absent. Facts are `postgres_exporter`'s; one that the role may not see is absent,
//! never 0.
//!
//! It talks to the server itself, not to a pooler in front of it, which would neither pass on the
//! session's settings nor let a login prove anything about the server. A pooler is something to watch by
//! itself: `PgBouncer`'s database `pgbouncer` is recognized and asked in its own words.
//!
//! `valmis postgres role` prints the SQL of a role for it.

mod answer;
mod bound;
mod capability;
pub mod collector;
pub mod custom;
mod databases;
mod dsn;
mod facts;
mod failure;
mod layers;
mod metadata;
mod monitor;
mod pages;
mod pooler;
mod prober;
mod question;
mod row;
mod selection;
mod session;
mod slot;
mod socket;
mod tls;
mod visit;

pub use dsn::{ChannelBinding, Dsn, DsnError, RootCertificates, SslMode};
pub use failure::{FAILURE_KINDS, Layer};
pub use metadata::{collected, describe, metadata};
pub use prober::{PostgresProber, Role, Target};
pub use row::Row;
pub use selection::{Choice, Databases, Selection};
pub use session::Password;
pub use tls::TlsSetupError;
