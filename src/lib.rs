//! valmis watches whether a system is ready for production, and pages when it is not.
//!
//! Probes and scrapes write samples into an embedded store; PromQL, rules and readiness checks judge
//! them; alerts leave through a durable outbox for Alertmanager; `/metrics`, an HTTP API that Grafana
//! reads and a page show all of it. ARCHITECTURE.md is the map.

// The vocabulary.
pub mod diag;
pub mod model;

// Seams.
pub mod clock;
pub mod schedule;
pub mod storage;

// Engines.
pub mod exposition;
pub mod probe;
pub mod promql;

// Services.
pub mod discovery;
pub mod query;
pub mod rules;
pub mod scrape;
