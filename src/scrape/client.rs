//! The HTTP client of a job.

use std::time::Duration;

use reqwest::redirect::Policy;

use super::Config;
use super::error::ConfigError;
use crate::client::USER_AGENT;

/// How long an idle connection is kept for the next scrape beyond the interval. Source: Prometheus
/// keeps it for five minutes (`config.NewClientFromConfig`).
const IDLE: Duration = Duration::from_mins(5);

/// The client of a job; reads files, so it blocks.
pub(super) fn build(config: &Config) -> Result<reqwest::Client, ConfigError> {
    let redirects = if config.follow_redirects { Policy::default() } else { Policy::none() };
    reqwest::Client::builder()
        .tls_backend_preconfigured(config.tls.client_config()?)
        .user_agent(USER_AGENT)
        // Decompression has a limit, which the client's own does not know.
        .no_gzip()
        .no_proxy()
        .redirect(redirects)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(1)
        .build()
        .map_err(|error| ConfigError::Client(error.to_string()))
}
