//! The black-box tests, in one binary: one link, one place for shared fixtures.

mod exposition;
mod tidy;
