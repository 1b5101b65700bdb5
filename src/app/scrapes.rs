//! From the configuration to the jobs that are scraped.

use std::time::Duration;

use url::Url;

use super::own::OwnPages;
use crate::config::{AppConfig, Config, ScrapeConfig};
use crate::discovery::TargetGroup;
use crate::scrape;

/// The job under which valmis keeps its own figures, for the rules that watch over it.
const OWN_JOB: &str = "valmis";

/// The jobs of all applications with metrics, those that are configured as such, and valmis itself
/// unless a job of its name is configured.
pub(super) fn jobs(config: &Config, own: &OwnPages) -> Vec<scrape::Config> {
    let apps = config.apps.iter().filter_map(|app| Some(app_job(app, app.metrics.as_ref()?)));
    let mut jobs: Vec<_> = apps.chain(config.scrapes.iter().map(job)).collect();
    if jobs.iter().all(|job| job.job_name != OWN_JOB) {
        jobs.push(own_job(config, own));
    }
    jobs
}

/// Its own figures alone: what its probes found is in the store already.
fn own_job(config: &Config, own: &OwnPages) -> scrape::Config {
    let interval = config.evaluation_interval;
    let timeout = interval.min(Duration::from_secs(5));
    scrape::Config {
        interval,
        timeout,
        honor_labels: true,
        authorization: own.auth(),
        labels: own.labels(),
        ..scrape::Config::for_url(OWN_JOB, &own.page("/metrics/valmis"))
    }
}

fn app_job(app: &AppConfig, url: &Url) -> scrape::Config {
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
        scrape_native_histograms: job.scrape_native_histograms,
        always_scrape_classic_histograms: job.always_scrape_classic_histograms,
        labels: job.labels.clone(),
        authorization: job.auth.clone(),
        tls: job.tls.clone(),
        ..scrape::Config::new(&job.job)
    }
}
