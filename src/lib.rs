//! valmis watches whether a system is ready for production, and pages when it is not.
//!
//! Probes and scrapes write samples into an embedded store; PromQL, rules and readiness checks judge
//! them; alerts leave through a durable outbox for Alertmanager; `/metrics`, an HTTP API that Grafana
//! reads and a page show all of it. ARCHITECTURE.md is the map.

// The vocabulary.
pub mod diag;
pub mod model;

// Seams and what every client of a server needs.
pub mod client;
pub mod clock;
pub mod dns;
pub mod schedule;
pub mod storage;
pub mod yaml;

// Engines.
pub mod exposition;
pub mod probe;
pub mod promql;
pub mod relabel;
pub mod template;
pub mod tsdb;

// Services.
pub mod artifacts;
pub mod backtest;
pub mod blackbox;
pub mod discovery;
pub mod drill;
pub mod heartbeat;
pub mod lint;
pub mod listener;
pub mod notifier;
pub mod query;
pub mod readiness;
pub mod rulefmt;
pub mod rules;
pub mod ruletest;
pub mod scrape;
pub mod state;
pub mod textfile;
pub mod write_back;

// Edges.
pub mod api;
pub mod cli;
pub mod config;
pub mod web;

// The whole.
pub mod app;
pub mod telemetry;
