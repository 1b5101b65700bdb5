//! The black-box tests, in one binary: one link, one place for shared fixtures.

mod certificate_files;
mod exposition;
mod http_probe;
mod postgres;
mod artifacts;
mod dashboards;
mod helm;
mod promql_syntax;
mod promqltest;
mod readiness;
mod real;
mod servers;
mod tidy;
mod tls_probe;
mod tsdb;
mod tools;
