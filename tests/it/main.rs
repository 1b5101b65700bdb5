//! The black-box tests, in one binary: one link, one place for shared fixtures.

mod postgres;
mod readiness;
mod real;
mod tidy;
