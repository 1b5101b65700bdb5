//! The black-box tests, in one binary: one link, one place for shared fixtures.

mod artifacts;
mod dashboards;
mod helm;
mod promql_syntax;
mod tidy;
mod tools;
