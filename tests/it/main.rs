//! The black-box tests, in one binary: one link, one place for shared fixtures.

mod promql_syntax;
mod certificate_files;
mod http_probe;
mod servers;
mod postgres;
mod real;
mod promqltest;
mod tidy;
mod tls_probe;
