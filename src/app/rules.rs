//! From the configuration to the rules that are evaluated.

use crate::artifacts;
use crate::config::Config;
use crate::diag::{Diagnostic, Severity};
use crate::model::Labels;
use crate::promql::Features;
use crate::rulefmt::{self, Loaded, RuleFile, SourceText};
use crate::rules;

/// The rules of all files, the bundled ones among them; or what is wrong with them.
pub(super) fn files(config: &Config) -> Result<Vec<RuleFile>, Vec<Diagnostic>> {
    let Loaded { mut files, mut findings, .. } =
        if config.rules.builtin { bundled() } else { Loaded::default() };
    let loaded = rulefmt::load(&config.rules.files, config.features);
    files.extend(loaded.files);
    findings.extend(loaded.findings);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Error);
    for warning in warnings {
        tracing::warn!(file = warning.file, "{}", warning.message);
    }
    if errors.is_empty() { Ok(files) } else { Err(errors) }
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

/// The settings of all rules.
pub(super) fn settings(config: &Config, external_url: &str) -> rules::Config {
    let ms = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    rules::Config {
        evaluation_interval_ms: ms(config.evaluation_interval),
        resend_delay_ms: ms(config.rules.resend_delay),
        error_hold_ms: ms(config.rules.error_hold),
        features: config.features,
        external_labels: Labels::from_pairs(&config.external_labels),
        ledger_evidence: config.ledger.max_entries > 0,
        external_url: external_url.trim_end_matches('/').to_owned(),
        ..rules::Config::default()
    }
}
