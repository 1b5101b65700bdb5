//! What is broken when a rule is to fire: which values the series have then.

/// Course of the values of some series from the start of a test.
#[derive(Debug, Clone, Copy)]
pub(super) enum Course {
    /// The same value all the time.
    Stays(f64),
    /// From a value on by so much each second.
    Moves(f64, f64),
    /// One value in the first half, another in the second.
    Jumps(f64, f64),
    /// By so much each second in the first half, by so much in the second.
    Quickens(f64, f64),
}
use Course::{Jumps, Moves, Quickens, Stays};

const DAY: f64 = 86_400.0;
const MINUTES_OF_A_DAY: u32 = 24 * 60;

/// A broken state. Series that it does not name have the value that valmis exported, all the time.
#[derive(Clone, Copy)]
pub(super) struct State {
    pub(super) alert: &'static str,
    /// Which series are otherwise, as selectors, and how.
    pub(super) broken: &'static [(&'static str, Course)],
    /// How long it lasts.
    pub(super) minutes: u32,
}

const fn state(alert: &'static str, broken: &'static [(&'static str, Course)]) -> State {
    State { alert, broken, minutes: 30 }
}

const fn lasting(minutes: u32, state: State) -> State {
    State { minutes, ..state }
}

/// One for each rule.
pub(super) const STATES: &[State] = &[
    // Blackbox exporter.
    state("BlackboxProbeFailed", &[("probe_success", Stays(0.0))]),
    state(
        "BlackboxConfigurationReloadFailure",
        &[("blackbox_exporter_config_last_reload_successful", Stays(0.0))],
    ),
    state("BlackboxSlowProbe", &[("probe_duration_seconds", Stays(3.0))]),
    state("BlackboxProbeHttpFailure", &[("probe_http_status_code", Stays(503.0))]),
    state("BlackboxSslCertificateWillExpireSoon", &[("probe_ssl_earliest_cert_expiry", Stays(10.0 * DAY))]),
    state(
        "BlackboxSslCertificateWillExpireVerySoon",
        &[("probe_ssl_earliest_cert_expiry", Stays(2.0 * DAY))],
    ),
    state("BlackboxSslCertificateExpired", &[("probe_ssl_earliest_cert_expiry", Stays(-DAY))]),
    state("BlackboxProbeSlowHttp", &[(r#"probe_http_duration_seconds{phase="processing"}"#, Stays(2.0))]),
    state("BlackboxProbeSlowPing", &[(r#"probe_icmp_duration_seconds{phase="rtt"}"#, Stays(2.0))]),
    // SSL exporter.
    state("SslCertificateProbeFailed", &[("ssl_probe_success", Stays(0.0))]),
    state("SslCertificateOcspStatusUnknown", &[("ssl_ocsp_response_status", Stays(2.0))]),
    state("SslCertificateRevoked", &[("ssl_ocsp_response_status", Stays(1.0))]),
    state("SslCertificateExpiry(<7Days)", &[("ssl_verified_cert_not_after", Stays(3.0 * DAY))]),
    // PostgreSQL exporter.
    state("PostgresqlDown", &[("pg_up", Stays(0.0))]),
    state("PostgresqlRestarted", &[("pg_postmaster_start_time_seconds", Stays(600.0))]),
    state("PostgresqlExporterError", &[("pg_exporter_last_scrape_error", Stays(1.0))]),
    state(
        "PostgresqlTableNotAutoVacuumed",
        &[
            ("pg_stat_user_tables_n_tup_del", Stays(1e6)),
            ("pg_stat_user_tables_last_autovacuum", Stays(-20.0 * DAY)),
        ],
    ),
    state(
        "PostgresqlTableNotAutoAnalyzed",
        &[
            ("pg_stat_user_tables_n_tup_del", Stays(1e6)),
            ("pg_stat_user_tables_last_autoanalyze", Stays(-20.0 * DAY)),
        ],
    ),
    state("PostgresqlTooManyConnections", &[(r#"pg_stat_activity_count{state="idle"}"#, Stays(95.0))]),
    state("PostgresqlNotEnoughConnections", &[("pg_stat_activity_count", Stays(0.0))]),
    state("PostgresqlDeadLocks", &[("pg_stat_database_deadlocks", Moves(0.0, 1.0))]),
    state(
        "PostgresqlHighRollbackRate",
        &[
            ("pg_stat_database_xact_rollback", Moves(0.0, 1.0)),
            ("pg_stat_database_xact_commit", Moves(0.0, 9.0)),
        ],
    ),
    state("PostgresqlCommitRateLow", &[("pg_stat_database_xact_commit", Moves(1e6, 0.01))]),
    state("PostgresqlLowXidConsumption", &[("pg_txid_current", Moves(1e6, 0.1))]),
    state(
        "PostgresqlUnusedReplicationSlot",
        &[("pg_replication_slots_active", Stays(0.0)), ("pg_replication_is_replica", Stays(0.0))],
    ),
    state(
        "PostgresqlTooManyDeadTuples",
        &[
            ("pg_stat_user_tables_n_dead_tup", Stays(20_000.0)),
            ("pg_stat_user_tables_n_live_tup", Stays(80_000.0)),
        ],
    ),
    state("PostgresqlConfigurationChanged", &[("pg_settings_work_mem_bytes", Jumps(4e6, 8e6))]),
    state("PostgresqlSslCompressionActive", &[("pg_stat_ssl_compression", Stays(1.0))]),
    state("PostgresqlTooManyLocksAcquired", &[("pg_locks_count", Stays(10_000.0))]),
    lasting(
        120,
        state(
            "PostgresqlBloatIndexHigh(>80%)",
            &[("pg_bloat_btree_bloat_pct", Stays(90.0)), ("pg_bloat_btree_real_size", Stays(2e8))],
        ),
    ),
    lasting(
        120,
        state(
            "PostgresqlBloatTableHigh(>80%)",
            &[("pg_bloat_table_bloat_pct", Stays(90.0)), ("pg_bloat_table_real_size", Stays(3e8))],
        ),
    ),
    // An index that was left over is all it takes.
    lasting(7 * 60, state("PostgresqlInvalidIndex", &[])),
    state("PostgresqlReplicationLag", &[("pg_replication_lag_seconds", Stays(60.0))]),
    // Node exporter.
    state(
        "HostOutOfMemory",
        &[("node_memory_MemAvailable_bytes", Stays(5.0)), ("node_memory_MemTotal_bytes", Stays(100.0))],
    ),
    state("HostMemoryUnderMemoryPressure", &[("node_vmstat_pgmajfault", Moves(0.0, 2000.0))]),
    state(
        "HostMemoryIsUnderutilized",
        &[("node_memory_MemFree_bytes", Stays(95.0)), ("node_memory_MemTotal_bytes", Stays(100.0))],
    ),
    state("HostUnusualNetworkThroughputIn", &[("node_network_receive_bytes_total", Moves(0.0, 120e6))]),
    state("HostUnusualNetworkThroughputOut", &[("node_network_transmit_bytes_total", Moves(0.0, 120e6))]),
    state("HostDiskIoUtilizationHigh", &[("node_disk_io_time_seconds_total", Moves(0.0, 0.95))]),
    state(
        "HostOutOfDiskSpace",
        &[("node_filesystem_avail_bytes", Stays(5.0)), ("node_filesystem_size_bytes", Stays(100.0))],
    ),
    state("HostDiskMayFillIn24Hours", &[("node_filesystem_avail_bytes", Moves(1e9, -2e4))]),
    state(
        "HostOutOfInodes",
        &[("node_filesystem_files_free", Stays(5.0)), ("node_filesystem_files", Stays(100.0))],
    ),
    state("HostFilesystemDeviceError", &[("node_filesystem_device_error", Stays(1.0))]),
    state("HostInodesMayFillIn24Hours", &[("node_filesystem_files_free", Moves(1e6, -20.0))]),
    state(
        "HostUnusualDiskReadLatency",
        &[
            ("node_disk_read_time_seconds_total", Moves(0.0, 0.9)),
            ("node_disk_reads_completed_total", Moves(0.0, 3.0)),
        ],
    ),
    state(
        "HostUnusualDiskWriteLatency",
        &[
            ("node_disk_write_time_seconds_total", Moves(0.0, 0.9)),
            ("node_disk_writes_completed_total", Moves(0.0, 3.0)),
        ],
    ),
    state("HostHighCpuLoad", &[(r#"node_cpu_seconds_total{mode="idle"}"#, Moves(0.0, 0.05))]),
    lasting(
        8 * MINUTES_OF_A_DAY,
        state("HostCpuIsUnderutilized", &[(r#"node_cpu_seconds_total{mode="idle"}"#, Moves(0.0, 0.95))]),
    ),
    state("HostCpuStealNoisyNeighbor", &[(r#"node_cpu_seconds_total{mode="steal"}"#, Moves(0.0, 0.3))]),
    state("HostCpuHighIowait", &[(r#"node_cpu_seconds_total{mode="iowait"}"#, Moves(0.0, 0.3))]),
    state("HostUnusualDiskIo", &[("node_disk_io_time_seconds_total", Moves(0.0, 0.95))]),
    lasting(
        2 * MINUTES_OF_A_DAY,
        state("HostContextSwitchingHigh", &[("node_context_switches_total", Quickens(1e3, 1e4))]),
    ),
    state(
        "HostSwapIsFillingUp",
        &[("node_memory_SwapFree_bytes", Stays(5.0)), ("node_memory_SwapTotal_bytes", Stays(100.0))],
    ),
    state("HostSystemdServiceCrashed", &[(r#"node_systemd_unit_state{state="failed"}"#, Stays(1.0))]),
    state("HostPhysicalComponentTooHot", &[("node_hwmon_temp_celsius", Stays(120.0))]),
    state("HostNodeOvertemperatureAlarm", &[("node_hwmon_temp_alarm", Stays(1.0))]),
    state("HostSoftwareRaidInsufficientDrives", &[(r#"node_md_disks{state="active"}"#, Stays(1.0))]),
    state("HostSoftwareRaidDiskFailure", &[(r#"node_md_disks{state="failed"}"#, Stays(1.0))]),
    state("HostKernelVersionDeviations", &[]),
    state("HostOomKillDetected", &[("node_vmstat_oom_kill", Jumps(0.0, 3.0))]),
    state("HostEdacCorrectableErrorsDetected", &[("node_edac_correctable_errors_total", Moves(0.0, 0.1))]),
    state("HostEdacUncorrectableErrorsDetected", &[("node_edac_uncorrectable_errors_total", Stays(1.0))]),
    state(
        "HostNetworkReceiveErrors",
        &[
            ("node_network_receive_errs_total", Moves(0.0, 5.0)),
            ("node_network_receive_packets_total", Moves(0.0, 100.0)),
        ],
    ),
    state(
        "HostNetworkTransmitErrors",
        &[
            ("node_network_transmit_errs_total", Moves(0.0, 5.0)),
            ("node_network_transmit_packets_total", Moves(0.0, 100.0)),
        ],
    ),
    state("HostNetworkBondDegraded", &[("node_bonding_active", Stays(1.0))]),
    state(
        "HostConntrackLimit",
        &[("node_nf_conntrack_entries", Stays(90.0)), ("node_nf_conntrack_entries_limit", Stays(100.0))],
    ),
    state("HostClockSkew", &[("node_timex_offset_seconds", Moves(0.1, 0.001))]),
    state(
        "HostClockNotSynchronising",
        &[("node_timex_sync_status", Stays(0.0)), ("node_timex_maxerror_seconds", Stays(16.0))],
    ),
    // Node exporter, of ZFS.
    state(
        "ZfsOfflinePool",
        &[
            (r#"node_zfs_zpool_state{state="online"}"#, Stays(0.0)),
            (r#"node_zfs_zpool_state{state="degraded"}"#, Stays(1.0)),
        ],
    ),
];

/// Rules that cannot fire over the exporters' metrics either, and why.
pub(super) const WRONG: &[(&str, &str)] = &[
    (
        "HostKernelVersionDeviations",
        "waits for another value of `node_uname_info`, which is always 1: another kernel is another series",
    ),
    (
        "PostgresqlTableNotAutoAnalyzed",
        "compares series of tables with a setting, which has no labels `datname`, `schemaname`, `relname`",
    ),
    (
        "PostgresqlTableNotAutoVacuumed",
        "compares series of tables with a setting, which has no labels `datname`, `schemaname`, `relname`",
    ),
    (
        "PostgresqlTooManyLocksAcquired",
        "divides what is summed by `instance` by series that have the label `job` too",
    ),
    ("PostgresqlUnusedReplicationSlot", "joins slots with a series that has no label `slot_name`"),
];
