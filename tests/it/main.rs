//! The black-box tests, in one binary: one link, one place for shared fixtures.

mod artifacts;
mod certificate_files;
mod conformance;
mod corpora;
mod dashboards;
mod exposition;
mod helm;
mod http_probe;
mod paging;
mod postgres;
mod promqltest;
mod readiness;
mod real;
mod servers;
mod tidy;
mod tls_probe;
mod tools;
mod tsdb;
