//! What valmis really exports: the series of probes of real things, with the labels of their schedule.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rcgen::{KeyPair, SerialNumber};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use url::Url;
use valmis::client::SecretSource;
use valmis::clock::SystemClock;
use valmis::exposition::{Entry, Format, Parser};
use valmis::model::{GoRegex, Labels};
use valmis::probe::certificate::{ServedCertificateConfig, TlsProber};
use valmis::probe::disk::{self, DiskProber};
use valmis::probe::http::{HttpConfig, HttpProber};
use valmis::probe::icmp::{IcmpConfig, IcmpProber};
use valmis::probe::node::{Config, EXCLUDED_UNITS, NodeProber, Paths, Units};
use valmis::probe::postgres::PostgresProber;
use valmis::probe::tls::TlsConfig;
use valmis::probe::{ProbeOutcome, Prober, describe};

use crate::node_systemd::replay;
use crate::postgres::{ROLES, monitor_dsn, probe_until, sum, target};
use crate::postgres_collectors::everything;
use crate::real::eventually;
use crate::real::postgres::Cluster;
use crate::real::valmis::{NO_DISK, Valmis};
use crate::servers::{Authority, HttpsServer, clock, params, probe, write};
use crate::tls_probe::ocsp_response;

/// Values by series.
pub(super) type Series = BTreeMap<Labels, f64>;

/// Adds what a probe found, labelled as its schedule does it.
fn add(series: &mut Series, outcome: ProbeOutcome, job: &str, instance: &str) {
    for sample in outcome.samples {
        let name = sample.labels.metric_name();
        assert!(describe(name).is_some(), "{name} is not described");
        let labels = sample.labels.builder().set("job", job).set("instance", instance).build();
        series.insert(labels, sample.value);
    }
}

/// Everything; nothing if something is missing that is looked at.
pub(super) async fn series() -> Option<Series> {
    let mut series = Series::new();
    served(&mut series).await;
    pinged(&mut series).await?;
    of_valmis(&mut series).await;
    postgres(&mut series).await?;
    machine(&mut series).await;
    Some(series)
}

/// A server with TLS that staples an OCSP response, probed over HTTP and for its certificates.
async fn served(series: &mut Series) {
    const GOOD: &[u8] = &[0x80, 0];
    let authority = Authority::root("root", 2030);
    let mut params = params("localhost", &["localhost"]);
    params.serial_number = Some(SerialNumber::from(0x00ab_cdef_u64));
    let identity = authority.sign(&params);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
    let response = ocsp_response(GOOD, &KeyPair::generate().unwrap(), None);
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert_with_ocsp(identity.chain, key, response).unwrap();
    let server = HttpsServer::start(config).await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = write(folder.path(), "ca.pem", &authority.pem);
    let tls = TlsConfig {
        ca: Some(SecretSource::File(ca_file)),
        server_name: Some("localhost".to_owned()),
        ..TlsConfig::default()
    };
    let target = server.address.to_string();
    let mut config = ServedCertificateConfig::parse(&target).unwrap();
    config.tls = tls.clone();
    let outcome = probe(&TlsProber::new(config, clock())).await;
    assert_eq!(outcome.result, Ok(()));
    add(series, outcome, "ssl", &target);
    let mut config = HttpConfig::new(Url::parse(&format!("https://{target}/")).unwrap());
    config.tls = tls;
    let outcome = probe(&HttpProber::new(config, clock()).unwrap()).await;
    assert_eq!(outcome.result, Ok(()));
    add(series, outcome, "blackbox", &target);
}

/// This machine, by ICMP; nothing where this process may not ping.
async fn pinged(series: &mut Series) -> Option<()> {
    let outcome = probe(&IcmpProber::new(IcmpConfig::default(), "127.0.0.1").unwrap()).await;
    if let Err(failure) = &outcome.result {
        crate::real::say(&format!("SKIPPED: {}", failure.reason));
        return None;
    }
    add(series, outcome, "icmp", "127.0.0.1");
    Some(())
}

/// What valmis says of itself in the words of blackbox exporter.
async fn of_valmis(series: &mut Series) {
    let valmis = Valmis::start(NO_DISK).await;
    let (_, page) = valmis.get("/metrics").await;
    let mut parser = Parser::new(page.as_bytes(), Format::Text).unwrap();
    while let Some(entry) = parser.next() {
        let Entry::Sample(sample) = entry.unwrap() else { continue };
        let labels = parser.labels();
        if labels.metric_name().starts_with("blackbox_exporter_") {
            let labels = labels.builder().set("job", "valmis").set("instance", "valmis:9090").build();
            series.insert(labels, sample.value);
        }
    }
}

/// A server with tables, an index that was left over, a slot, and a database of an application.
async fn postgres(series: &mut Series) -> Option<()> {
    const THINGS: &str = "\
        GRANT pg_read_all_data TO monitor;\
        CREATE TABLE things (id int PRIMARY KEY, word text);\
        CREATE INDEX things_word_ccnew ON things (id, word);\
        INSERT INTO things SELECT i, repeat('x', 100) FROM generate_series(1, 30000) i;\
        DELETE FROM things WHERE id % 2 = 0;\
        SELECT pg_create_physical_replication_slot('spare', true);";
    let cluster = Cluster::start("").await?;
    cluster.execute(ROLES).await;
    cluster.execute(THINGS).await;
    cluster.execute("VACUUM ANALYZE").await;
    cluster.execute("CREATE DATABASE shop").await;
    let prober = PostgresProber::new(valmis::probe::postgres::Target {
        selection: everything(),
        ..target(&monitor_dsn(&cluster))
    });
    // What is asked seldom is asked beside the first probe.
    let outcome = eventually("an estimate of bloat", async || {
        let outcome = probe_until(&prober, "ok").await;
        let known = sum(&outcome, "pg_bloat_btree_real_size", &[]).is_some();
        if known { Ok(outcome) } else { Err("no estimate of bloat yet") }
    })
    .await;
    add(series, outcome, "postgres", "db:5432");
    Some(())
}

/// What the kernel says of hardware that few test machines have.
const HARDWARE: &[(&str, &str)] = &[
    ("proc/stat", "cpu0 100 0 100 1000 0 0 0 0 0 0\nctxt 5\n"),
    ("proc/meminfo", "MemTotal: 100 kB\nMemFree: 50 kB\n"),
    ("proc/diskstats", "   8       0 sda 10 0 80 5 10 0 80 5 0 10 10\n"),
    (
        "proc/net/dev",
        "Inter-|   Receive |  Transmit\n face |bytes packets|bytes packets\n bond0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n",
    ),
    (
        "proc/mdstat",
        "Personalities : [raid1]\nmd0 : active raid1 sda1[0] sdb1[1]\n      90 blocks [2/2] [UU]\n\nunused devices: <none>\n",
    ),
    ("proc/sys/net/netfilter/nf_conntrack_count", "10\n"),
    ("proc/sys/net/netfilter/nf_conntrack_max", "100\n"),
    ("proc/spl/kstat/zfs/tank/state", "ONLINE\n"),
    ("sys/class/net/bonding_masters", "bond0\n"),
    ("sys/class/net/bond0/bonding/slaves", "a b\n"),
    ("sys/class/net/bond0/lower_a/bonding_slave/mii_status", "up\n"),
    ("sys/class/net/bond0/lower_b/bonding_slave/mii_status", "up\n"),
    ("sys/class/net/bond0/operstate", "up\n"),
    ("sys/class/net/bond0/speed", "1000\n"),
    ("sys/class/hwmon/hwmon0/name", "k10temp\n"),
    ("sys/class/hwmon/hwmon0/temp1_input", "40000\n"),
    ("sys/class/hwmon/hwmon0/temp1_max", "90000\n"),
    ("sys/class/hwmon/hwmon0/temp1_alarm", "0\n"),
    ("sys/class/hwmon/hwmon0/temp1_crit_alarm", "0\n"),
    ("sys/devices/system/edac/mc/mc0/ce_count", "0\n"),
    ("sys/devices/system/edac/mc/mc0/ue_count", "0\n"),
];

/// This machine, its file system, and a machine with rare hardware.
async fn machine(series: &mut Series) {
    let hardware = tempfile::tempdir().unwrap();
    for (name, text) in HARDWARE {
        let path: &Path = &hardware.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let root = hardware.path();
    let rare = Paths { procfs: root.join("proc"), sysfs: root.join("sys"), run: root.join("run") };
    replay(&rare.run);
    let units = Units { include: None, exclude: GoRegex::anchored(EXCLUDED_UNITS).unwrap() };
    for (paths, units, instance) in [(Paths::default(), None, "a:9100"), (rare, Some(units), "b:9100")] {
        let config = Config { paths, units, ..Config::default() };
        let prober: &dyn Prober = &NodeProber::new(config, Arc::new(SystemClock));
        let outcome = probe(prober).await;
        assert_eq!(outcome.result, Ok(()));
        add(series, outcome, "node", instance);
    }
    let kernel = Arc::new(disk::Kernel::default());
    let root = disk::Target { path: "/".into(), writable: false, mounted: true };
    let outcome = probe(&DiskProber::new(root, kernel.clone(), kernel)).await;
    assert_eq!(outcome.result, Ok(()));
    add(series, outcome, "node", "a:9100");
}
