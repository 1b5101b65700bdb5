//! Every bundled alert is proved against a real thing: it fires when the thing is broken and ends when it
//! is repaired. The four that page, and those about valmis' own deliveries and disk, are in `paging.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use valmis::artifacts;

use crate::real::app::App;
use crate::real::disk::Disk;
use crate::real::postgres::Cluster;
use crate::real::tls_server::TlsServer;
use crate::real::valmis::{Valmis, all_quick_rules};
use crate::real::{eventually, say, turn};
use crate::servers::Authority;

/// Alerts that `paging.rs` proves up to the notification.
const PAGED: &[&str] = &[
    "ApplicationDown",
    "CertificateExpired",
    "DatabaseDown",
    "DiskAlmostFull",
    "HighErrorRate",
    "NotificationsFailing",
    "StateNotSaved",
    "Watchdog",
];

/// Alerts that `isolation.rs` proves.
const OF_FLOODS: &[&str] = &["ComponentSeriesDropped"];

/// Alerts that `redis.rs` proves.
const OF_REDIS: &[&str] = &["RedisDown", "RedisMemoryAlmostFull"];

/// Alerts that this file proves.
const PROVED: &[&str] = &[
    "ApplicationDegraded",
    "CertificateExpiresSoon",
    "CertificateExpiresVerySoon",
    "CertificateNotReloaded",
    "CertificateNotSeen",
    "CertificateNotTrusted",
    "ConfigReloadFailed",
    "DiskTurnedReadOnly",
    "HeartbeatFailed",
    "HeartbeatMissing",
    "InodesAlmostGone",
    "PostgresArchivingFails",
    "PostgresConnectionsNearLimit",
    "RevocationListStale",
    "RuleEvaluationFailing",
    "TargetDown",
    "TargetsGone",
];

/// Alerts that no test can wait for, and why; their expressions are tested over samples by `rules/tests`.
const TOO_LONG: &[(&str, &str)] = &[
    ("DiskFillsWithinFourHours", "an hour of samples"),
    ("DiskFillsWithinOneDay", "six hours of samples"),
    ("DiskNotReadable", "a file system that hangs"),
    ("PostgresCacheHitRatioLow", "a hundred blocks a second from disk"),
    ("PostgresLongTransaction", "half an hour"),
    ("PostgresReplicationLag", "five minutes"),
    ("PostgresSlotKeepsWal", "10 GiB of WAL"),
    ("ProbeStale", "a file system that hangs"),
    ("StoreAtCeiling", "a store that stays full"),
];

#[test]
fn every_bundled_alert_is_proved_or_has_a_reason() {
    let bundled: BTreeSet<&str> = artifacts::rules()
        .iter()
        .flat_map(|file| file.text.lines())
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let reasons = TOO_LONG.iter().map(|(alert, _)| alert);
    let listed: Vec<&str> =
        PAGED.iter().chain(OF_FLOODS).chain(OF_REDIS).chain(PROVED).chain(reasons).copied().collect();
    assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), bundled);
    assert_eq!(listed.len(), bundled.len(), "an alert is listed twice");
}

/// A rule whose evaluation fails as soon as there are two states of components, and there always are.
const FAILING: &str = "groups: [{name: failing, interval: 1s, rules: [{record: x, \
    expr: 'label_replace(valmis_component_state, \"state\", \"\", \"\", \"\")'}]}]\n";

/// The things that are broken all at once.
struct Things {
    shop: [App; 2],
    node: App,
    gone: App,
    /// Each has a fault of its own: expires soon, very soon, is not trusted, does not answer, was not reloaded.
    certificates: [TlsServer; 5],
    /// With their authorities.
    folder: TempDir,
    inodes: Disk,
    read_only: Disk,
    cluster: Cluster,
}

impl Things {
    async fn start() -> Option<Self> {
        let cluster = Cluster::start(
            "max_connections = 20\nsuperuser_reserved_connections = 3\n\
             archive_mode = on\narchive_command = 'false'",
        );
        let things = Self {
            cluster: cluster.await?,
            folder: tempfile::tempdir().unwrap(),
            inodes: Disk::mount()?,
            read_only: Disk::mount()?,
            shop: [App::start().await, App::start().await],
            node: App::start().await,
            gone: App::start().await,
            certificates: [
                TlsServer::start().await,
                TlsServer::start().await,
                TlsServer::start().await,
                TlsServer::start().await,
                TlsServer::start().await,
            ],
        };
        for (number, server) in things.certificates.iter().enumerate() {
            server.write_authority(&things.authority(number));
            server.write_certificate(&things.on_disk(number));
        }
        things.revoke(2100);
        Some(things)
    }

    fn authority(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("{number}.pem"))
    }

    /// The file from which the server could take its certificate.
    fn on_disk(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("{number}.crt"))
    }

    /// A file with a revocation list.
    fn revocation_list(&self) -> PathBuf {
        self.folder.path().join("clients.crl")
    }

    /// Has an authority write a list that holds until this year begins.
    fn revoke(&self, year: i32) {
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(year, 1, 1),
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&Authority::root("clients", 2100).issuer).unwrap();
        fs::write(self.revocation_list(), list.pem().unwrap()).unwrap();
    }

    /// The configuration, with or without the job that is to go, and the rule files that it names.
    fn configuration(&self, with_job: bool, rules: &str) -> String {
        let batch = if with_job { Some(("batch", &self.gone)) } else { None };
        let jobs = [("shop", &self.shop[0]), ("shop", &self.shop[1]), ("node", &self.node)];
        let targets = |job: &str| {
            let apps = jobs.iter().chain(&batch).filter(|(name, _)| *name == job);
            apps.map(|(_, app)| app.address.to_string()).collect::<Vec<_>>()
        };
        let scrape = |job: &str| json!({"job": job, "interval": "1s", "targets": targets(job)});
        let certificate = |(number, server): (usize, &TlsServer)| {
            json!({
                "name": format!("c{number}"),
                "url": format!("localhost:{}", server.address.port()),
                "interval": "1s",
                "tls": {"ca_file": self.authority(number)},
            })
        };
        let disk = |disk: &Disk| json!({"path": disk.path(), "interval": "1s"});
        let dsn = format!("postgres://monitor:right@127.0.0.1:{}/postgres", self.cluster.port);
        let names = ["shop", "node"].into_iter().chain(batch.map(|(job, _)| job));
        let scrapes: Vec<_> = names.map(scrape).collect();
        let mut certificates: Vec<_> = self.certificates.iter().enumerate().map(certificate).collect();
        certificates[4]["file"] = json!(self.on_disk(4));
        certificates.push(json!({"name": "clients", "file": self.revocation_list(), "interval": "1s"}));
        // JSON is YAML, too.
        let configuration = json!({
            "evaluation_interval": "1s",
            "rules": ["./rules/*.yaml", rules],
            "scrapes": scrapes,
            "certificates": certificates,
            "pings": [
                {"name": "often", "period": "1s", "grace": "4s"},
                {"name": "daily", "period": "1d"},
            ],
            "disks": [disk(&self.inodes), disk(&self.read_only)],
            "postgres": [{"name": "db", "interval": "1s", "dsn": dsn}],
        });
        configuration.to_string()
    }

    fn rules(&self) -> Vec<(String, String)> {
        let mut rules = all_quick_rules();
        if self.inodes.in_memory {
            for (_, text) in &mut rules {
                *text = text.replace("\"tmpfs|", "\"");
            }
        }
        rules
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alert_fires_when_its_thing_breaks_and_ends_when_it_is_repaired() {
    let _turn = turn().await;
    let Some(mut things) = Things::start().await else { return };
    let cluster = &things.cluster;
    cluster.execute("CREATE ROLE monitor LOGIN PASSWORD 'right'; GRANT pg_monitor TO monitor;").await;
    let healthy = things.configuration(true, "./none/*.yaml");
    let valmis = Valmis::start_with(&healthy, &things.rules()).await;
    fs::create_dir(valmis.file("failing")).unwrap();
    fs::write(valmis.file("failing/failing.yaml"), FAILING).unwrap();
    let often = valmis.ping_often("often");
    valmis.wait_all_ready().await;
    valmis.wait_two_evaluations().await;
    assert_eq!(valmis.alerts().await, [], "nothing is wrong yet");

    often.abort();
    assert_eq!(valmis.post("/ping/daily/fail").await.0, StatusCode::OK);
    things.shop[1].stop().await;
    things.node.stop().await;
    let [soon, very_soon, distrusted, silent, behind] = &things.certificates;
    soon.leave_days(14);
    very_soon.leave_days(3);
    distrusted.distrust();
    silent.hang_up();
    behind.fall_behind();
    things.revoke(2021);
    things.inodes.use_inodes();
    things.read_only.remount("ro");
    let mut sessions = Vec::new();
    for _ in 0..14 {
        sessions.push(cluster.superuser().await);
    }
    // Until now there was nothing to archive.
    cluster.execute("CREATE TABLE t ()").await;
    cluster.execute("SELECT pg_switch_wal()").await;
    valmis.configure(&things.configuration(false, "./failing/*.yaml"));
    assert_eq!(valmis.post("/-/reload").await.0, StatusCode::OK, "{}", valmis.log());
    valmis.configure("nonsense: true\n");
    assert_eq!(valmis.post("/-/reload").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let broken = Instant::now();
    // Some end by themselves: PostgreSQL tries a failing archiver three times and then rests a minute.
    let mut fired = BTreeSet::new();
    eventually("alert of each kind", async || {
        let now = valmis.alerts().await.into_iter().filter(|(state, _)| state == "firing");
        for (_, alert) in now {
            if fired.insert(alert.clone()) {
                say(&format!("{alert} fires {:.0?} after everything broke", broken.elapsed()));
            }
        }
        let missing: Vec<_> = PROVED.iter().filter(|alert| !fired.contains(**alert)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("nothing of {missing:?}")) }
    })
    .await;
    assert!(fired.iter().all(|alert| PROVED.contains(&alert.as_str())), "others fire, too: {fired:?}");

    cluster.execute("ALTER SYSTEM SET archive_command = 'true'").await;
    cluster.execute("SELECT pg_reload_conf()").await;
    drop(sessions);
    things.shop[1].restart().await;
    things.node.restart().await;
    things.certificates.iter().for_each(TlsServer::renew);
    things.revoke(2100);
    things.inodes.free_inodes();
    things.read_only.remount("rw");
    valmis.configure(&healthy);
    assert_eq!(valmis.post("/-/reload").await.0, StatusCode::OK, "{}", valmis.log());
    let _often = valmis.ping_often("often");
    assert_eq!(valmis.post("/ping/daily").await.0, StatusCode::OK);
    let repaired = Instant::now();
    eventually("end of all alerts", async || {
        let alerts = valmis.alerts().await;
        if alerts.is_empty() { Ok(()) } else { Err(format!("{alerts:?}")) }
    })
    .await;
    say(&format!("all have ended {:.0?} after everything was repaired", repaired.elapsed()));
}
