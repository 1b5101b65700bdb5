//! The HTTP client of a job.

use std::time::Duration;

use reqwest::redirect::Policy;

use super::Config;
use super::error::ConfigError;
use crate::client::{ClientError, RenewingClient, TlsConfig, USER_AGENT};

/// How long an idle connection is kept for the next scrape beyond the interval. Source: Prometheus
/// keeps it for five minutes (`config.NewClientFromConfig`).
const IDLE: Duration = Duration::from_mins(5);

/// The client of a job; reads files, so it blocks.
pub(super) fn build(config: &Config) -> Result<RenewingClient, ConfigError> {
    let (tls, follow_redirects) = (config.tls.clone(), config.follow_redirects);
    Ok(RenewingClient::new(&config.tls, move || client(&tls, follow_redirects))?)
}

fn client(tls: &TlsConfig, follow_redirects: bool) -> Result<reqwest::Client, ClientError> {
    let redirects = if follow_redirects { Policy::default() } else { Policy::none() };
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.client_config()?)
        .user_agent(USER_AGENT)
        // Decompression has a limit, which the client's own does not know.
        .no_gzip()
        .no_proxy()
        .redirect(redirects)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(1);
    Ok(builder.build()?)
}
