//! From the configuration to the rules that are evaluated.

use std::time::Duration;

use crate::artifacts;
use crate::config::{Config, SourcesOfGroups};
use crate::diag::{Diagnostic, Severity};
use crate::model::Labels;
use crate::promql::Features;
use crate::rulefmt::{self, Loaded, RuleFile, SourceText};
use crate::rules;

/// The rules of all files, the bundled ones among them, and the sources of groups; or what is wrong with
/// them.
pub(super) fn files(config: &Config) -> Result<(Vec<RuleFile>, SourcesOfGroups), Vec<Diagnostic>> {
    let Loaded { mut files, mut findings, .. } =
        if config.rules.builtin { bundled() } else { Loaded::default() };
    let loaded = rulefmt::load(&config.rules.files, config.features);
    files.extend(loaded.files);
    findings.extend(loaded.findings);
    let (sources, unassigned) = config.rules.assign(&files);
    findings.extend(unassigned);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Error);
    for warning in warnings {
        tracing::warn!(file = warning.file, "{}", warning.message);
    }
    if errors.is_empty() { Ok((files, sources)) } else { Err(errors) }
}

/// The bundled rules.
pub(crate) fn bundled() -> Loaded {
    let mut loaded = Loaded::default();
    for artifact in artifacts::rules() {
        let name = format!("builtin/{}", artifact.name);
        let (files, findings) = rulefmt::parse(&name, artifact.text, Features::default());
        loaded.files.extend(files);
        loaded.findings.extend(findings);
        loaded.sources.push(SourceText { name, text: artifact.text.to_owned() });
    }
    loaded
}

/// After so long at most rules no longer wait for what is scraped seldom.
const MAX_SETTLE: Duration = Duration::from_mins(2);

/// How long after a pause everything has been scraped and probed again.
fn settle(config: &Config) -> Duration {
    let scrapes = config.scrapes.iter().map(|scrape| scrape.interval + scrape.timeout);
    let apps = config.apps.iter().map(|app| app.pace);
    let servers = config.postgres.iter().map(|server| server.pace);
    let disks = config.disks.iter().map(|disk| disk.pace);
    let probes = config.probes.iter().map(|probe| probe.pace);
    let paces = apps.chain(servers).chain(disks).chain(probes).map(|pace| pace.interval + pace.timeout);
    scrapes.chain(paces).max().unwrap_or_default().min(MAX_SETTLE)
}

/// The settings of all rules.
pub(super) fn settings(config: &Config, external_url: &str) -> rules::Config {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    rules::Config {
        evaluation_interval_ms: ms(config.evaluation_interval),
        resend_delay_ms: ms(config.rules.resend_delay),
        error_hold_ms: ms(config.rules.error_hold),
        catch_up_ms: ms(config.rules.catch_up),
        settle_ms: ms(settle(config)),
        features: config.features,
        external_labels: Labels::from_pairs(&config.external_labels),
        ledger_evidence: config.ledger.max_entries > 0,
        external_url: external_url.trim_end_matches('/').to_owned(),
        ..rules::Config::default()
    }
}
