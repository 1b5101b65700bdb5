//! How patient the server is with its clients, and how much it takes from them.

use std::time::Duration;

/// What a client may take of time and room. The defaults are what valmis serves with.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many connections are open at once; others wait. Source: Prometheus `--web.max-connections`.
    pub connections: usize,
    /// How long a client may take to agree upon TLS.
    pub handshake: Duration,
    /// How long it may take to send a head, and how long a connection may be idle: more than most intervals
    /// of scrapes.
    pub head: Duration,
    /// How long it may take to send a body. By then who writes remotely has given up by itself.
    /// Source: Prometheus `remote_timeout`.
    pub body: Duration,
    /// How long it may take to receive an answer: as long as a query may take.
    /// Source: Prometheus `--query.timeout`.
    pub answer: Duration,
    /// The largest head, in bytes: room for the longest URL that is understood, 65,534 bytes, and headers.
    pub head_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(75),
            body: Duration::from_secs(30),
            answer: Duration::from_mins(2),
            head_bytes: 128 << 10,
        }
    }
}
