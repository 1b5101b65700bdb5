//! What valmis ships beside its program: alert rules, dashboards and runbooks, each with a version.
//!
//! The files lie in `rules/`, `dashboards/` and `docs/runbooks/` and are part of the binary; a test sees
//! to it that none is forgotten here. `artifacts.json` holds their versions and checksums.

mod prometheus_rule;

use std::sync::LazyLock;

use serde::Deserialize;

pub use prometheus_rule::{PrometheusRule, with_links};

/// A bundled file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Artifact {
    /// Its name: that of the file without its extension.
    pub name: &'static str,
    /// Its version. Major: an alert, a panel or a dashboard has gone or been renamed, or an alert's
    /// severity has changed. Minor: one has come, or an expression has changed. Patch: texts.
    pub version: &'static str,
    /// The SHA-256 checksum of the text, in lower-case hexadecimal digits.
    pub sha256: &'static str,
    /// Its contents.
    pub text: &'static str,
}

/// The kinds of artifacts that have versions.
const KINDS: [(&str, Texts); 2] = [("rules", RULES), ("dashboards", DASHBOARDS)];

/// Names with contents.
type Texts = &'static [(&'static str, &'static str)];

macro_rules! texts {
    ($folder:literal, $extension:literal, [$($name:literal),* $(,)?]) => {
        &[$(($name, include_str!(concat!("../../", $folder, "/", $name, $extension)))),*]
    };
}

const RULES: Texts = texts!(
    "rules",
    ".yaml",
    [
        "valmis-certificates",
        "valmis-critical",
        "valmis-disk",
        "valmis-postgres",
        "valmis-redis",
        "valmis-self"
    ]
);

const DASHBOARDS: Texts = texts!("dashboards", ".json", ["valmis-overview"]);

const RUNBOOKS: Texts = texts!(
    "docs/runbooks",
    ".md",
    [
        "ApplicationDegraded",
        "ApplicationDown",
        "CertificateExpired",
        "CertificateExpiresSoon",
        "CertificateExpiresVerySoon",
        "CertificateNotReloaded",
        "CertificateNotSeen",
        "CertificateNotTrusted",
        "ComponentSeriesDropped",
        "ConfigReloadFailed",
        "DatabaseDown",
        "DiskAlmostFull",
        "DiskFillsWithinFourHours",
        "DiskFillsWithinOneDay",
        "DiskNotReadable",
        "DiskTurnedReadOnly",
        "HeartbeatFailed",
        "HeartbeatMissing",
        "HighErrorRate",
        "InodesAlmostGone",
        "NotificationsFailing",
        "PostgresArchivingFails",
        "PostgresCacheHitRatioLow",
        "PostgresConnectionsNearLimit",
        "PostgresLongTransaction",
        "PostgresReplicationLag",
        "PostgresSlotKeepsWal",
        "ProbeStale",
        "RedisDown",
        "RedisMemoryAlmostFull",
        "RevocationListStale",
        "RuleEvaluationFailing",
        "StateNotSaved",
        "StoreAtCeiling",
        "TargetDown",
        "TargetsGone",
        "Watchdog",
    ]
);

/// The rule files, ordered by name. Each can be loaded by Prometheus 2.42 or later.
pub fn rules() -> &'static [Artifact] {
    &ARTIFACTS[0]
}

/// The Grafana dashboards (classic model), ordered by name.
pub fn dashboards() -> &'static [Artifact] {
    &ARTIFACTS[1]
}

/// The runbooks, ordered by alert: its name and the page in Markdown.
pub fn runbooks() -> &'static [(&'static str, &'static str)] {
    RUNBOOKS
}

/// The runbook of an alert, in Markdown.
pub fn runbook(alert: &str) -> Option<&'static str> {
    RUNBOOKS.iter().find(|(name, _)| *name == alert).map(|(_, text)| *text)
}

/// The versions and checksums of all artifacts, as JSON.
pub fn manifest() -> &'static str {
    include_str!("../../artifacts.json")
}

static ARTIFACTS: LazyLock<[Vec<Artifact>; 2]> = LazyLock::new(|| {
    let manifest: Manifest<'static> =
        serde_json::from_str(manifest()).expect("a test reads the manifest that is built in");
    KINDS.map(|(kind, texts)| {
        texts
            .iter()
            .map(|&(name, text)| {
                let entry = manifest.artifacts.iter().find(|entry| entry.kind == kind && entry.name == name);
                let entry = entry.expect("a test sees to it that the manifest lists every artifact");
                Artifact { name, version: entry.version, sha256: entry.sha256, text }
            })
            .collect()
    })
});

#[derive(Deserialize)]
struct Manifest<'a> {
    #[serde(borrow)]
    artifacts: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    kind: &'a str,
    name: &'a str,
    version: &'a str,
    sha256: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_artifact_has_a_version() {
        for artifact in rules().iter().chain(dashboards()) {
            assert_eq!(artifact.version.split('.').count(), 3, "{}: {}", artifact.name, artifact.version);
            assert_eq!(artifact.sha256.len(), 64, "{}", artifact.name);
        }
    }

    #[test]
    fn runbooks_are_found_by_the_exact_name_of_the_alert() {
        assert!(runbook("DatabaseDown").is_some_and(|text| text.starts_with("# DatabaseDown\n")));
        assert_eq!(runbook("databasedown"), None);
        assert_eq!(runbook("../../Cargo.toml"), None);
    }
}
