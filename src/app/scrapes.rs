//! From the configuration to the jobs that are scraped.

use crate::config::{AppConfig, Config, ScrapeConfig};
use crate::discovery::TargetGroup;
use crate::scrape;

/// The jobs of all applications with metrics, and those that are configured as such.
pub(super) fn jobs(config: &Config) -> Vec<scrape::Config> {
    let apps = config.apps.iter().filter_map(|app| Some(app_job(app, app.metrics.as_ref()?)));
    apps.chain(config.scrapes.iter().map(job)).collect()
}

fn app_job(app: &AppConfig, url: &url::Url) -> scrape::Config {
    scrape::Config {
        interval: app.pace.interval,
        timeout: app.pace.timeout,
        honor_labels: app.honor_labels,
        labels: app.labels.clone(),
        authorization: app.auth.clone(),
        tls: app.tls.clone(),
        ..scrape::Config::for_url(&app.name, url)
    }
}

fn job(job: &ScrapeConfig) -> scrape::Config {
    scrape::Config {
        targets: vec![TargetGroup::of(job.targets.clone())],
        files: job.files.iter().map(Into::into).collect(),
        scheme: job.scheme.clone(),
        metrics_path: job.metrics_path.clone(),
        interval: job.interval,
        timeout: job.timeout,
        honor_labels: job.honor_labels,
        sample_limit: usize::try_from(job.sample_limit).ok().filter(|limit| *limit > 0),
        labels: job.labels.clone(),
        authorization: job.auth.clone(),
        tls: job.tls.clone(),
        ..scrape::Config::new(&job.job)
    }
}
