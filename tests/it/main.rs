//! The black-box tests, in one binary: one link, one place for shared fixtures.

mod artifacts;
mod certificate_files;
mod cli;
mod conformance;
mod corpora;
mod dashboards;
mod differential;
mod every_alert;
mod exposition;
mod first_steps;
mod helm;
mod http_probe;
mod isolation;
mod lifecycle;
mod paging;
mod postgres;
mod promqltest;
mod readiness;
mod real;
mod rule_tests;
mod scraped;
mod servers;
mod tidy;
mod tls_probe;
mod tools;
mod tsdb;
