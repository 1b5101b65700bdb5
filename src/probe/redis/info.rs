//! What Redis tells of itself in `INFO`: pure reading, and the samples that come of it.

use std::collections::HashMap;

use super::metadata::FIELDS;
use crate::probe::samples::SampleSet;

/// Of how many commands, kinds of errors, databases and replicas is told at most, each. Redis has 400
/// commands; of errors clients can make up kinds, in scripts.
const MAX_LABELLED: usize = 512;

/// The fields of `INFO` or `CLUSTER INFO`: `name:value`, below headings that begin with `#`.
#[derive(Debug, Default)]
pub(super) struct Info<'a> {
    fields: HashMap<&'a str, &'a str>,
    /// In their order, for those of which there are many.
    lines: Vec<(&'a str, &'a str)>,
}

impl<'a> Info<'a> {
    /// Reads the text. What is no field is passed over, as every client does.
    pub(super) fn parse(text: &'a str) -> Self {
        let fields = text.lines().filter(|line| !line.starts_with('#'));
        let lines: Vec<_> = fields.filter_map(|line| line.trim_end().split_once(':')).collect();
        Self { fields: lines.iter().copied().collect(), lines }
    }

    /// The text of a field; empty without one.
    pub(super) fn text(&self, field: &str) -> &'a str {
        self.fields.get(field).copied().unwrap_or_default()
    }

    /// The number of a field; statuses are 1 or 0.
    pub(super) fn number(&self, field: &str) -> Option<f64> {
        match *self.fields.get(field)? {
            "ok" | "true" => Some(1.0),
            "err" | "fail" | "false" => Some(0.0),
            text => text.parse().ok().filter(|number: &f64| number.is_finite()),
        }
    }

    /// The fields whose name is a prefix and something else, which is given with the parts of the value:
    /// `db0:keys=1,expires=0` is `0` and these two.
    fn many(&self, prefix: &str) -> impl Iterator<Item = (&'a str, Parts<'a>)> {
        let named = self.lines.iter().filter_map(move |(name, value)| {
            Some((name.strip_prefix(prefix)?, Parts(value))).filter(|(name, _)| !name.is_empty())
        });
        named.take(MAX_LABELLED)
    }
}

/// `calls=21,usec=175`.
#[derive(Debug, Clone, Copy)]
struct Parts<'a>(&'a str);

impl<'a> Parts<'a> {
    fn text(self, name: &str) -> Option<&'a str> {
        self.0
            .split(',')
            .filter_map(|part| part.split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    fn number(self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok()
    }
}

/// Adds everything that is told of a server.
pub(super) fn emit(info: &Info<'_>, now_seconds: f64, samples: &mut SampleSet) {
    emit_fields(info, samples);
    if let Some(limit) = info.number("maxmemory") {
        samples.gauge("redis_config_maxmemory", limit);
    }
    if let Some(microseconds) = info.number("latest_fork_usec") {
        samples.gauge("redis_latest_fork_seconds", microseconds / 1e6);
    }
    if let Some(uptime) = info.number("uptime_in_seconds") {
        samples.gauge("redis_start_time_seconds", (now_seconds - uptime).floor());
    }
    let labels = [
        "role",
        "redis_version",
        "redis_build_id",
        "redis_mode",
        "os",
        "maxmemory_policy",
        "tcp_port",
        "run_id",
        "process_id",
        "master_replid",
        "valkey_version",
        "valkey_release_stage",
    ];
    samples.labelled("redis_instance_info", &labels.map(|label| (label, info.text(label))), 1.0);
    databases(info, samples);
    commands(info, samples);
    replication(info, samples);
}

/// Adds the fields that become metrics as they are.
pub(super) fn emit_fields(info: &Info<'_>, samples: &mut SampleSet) {
    for (field, name) in FIELDS {
        if let Some(value) = info.number(field) {
            samples.gauge(name, value);
        }
    }
}

fn databases(info: &Info<'_>, samples: &mut SampleSet) {
    for (number, parts) in info.many("db") {
        if number.bytes().any(|byte| !byte.is_ascii_digit()) {
            continue;
        }
        let database = format!("db{number}");
        let labels = [("db", database.as_str())];
        for (part, name, unit) in [
            ("keys", "redis_db_keys", 1.0),
            ("expires", "redis_db_keys_expiring", 1.0),
            ("avg_ttl", "redis_db_avg_ttl_seconds", 1e-3),
        ] {
            if let Some(value) = parts.number(part) {
                samples.labelled(name, &labels, value * unit);
            }
        }
    }
}

fn commands(info: &Info<'_>, samples: &mut SampleSet) {
    for (command, parts) in info.many("cmdstat_") {
        for (part, name, unit) in [
            ("calls", "redis_commands_total", 1.0),
            ("usec", "redis_commands_duration_seconds_total", 1e-6),
            ("rejected_calls", "redis_commands_rejected_calls_total", 1.0),
            ("failed_calls", "redis_commands_failed_calls_total", 1.0),
        ] {
            if let Some(value) = parts.number(part) {
                samples.labelled(name, &[("cmd", command)], value * unit);
            }
        }
    }
    for (kind, parts) in info.many("errorstat_") {
        if let Some(count) = parts.number("count") {
            samples.labelled("redis_errors_total", &[("err", kind)], count);
        }
    }
}

fn replication(info: &Info<'_>, samples: &mut SampleSet) {
    let replicas = info.many("slave").filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    for (_, parts) in replicas {
        let text = |name: &str| parts.text(name).unwrap_or_default();
        let labels = [("slave_ip", text("ip")), ("slave_port", text("port")), ("slave_state", text("state"))];
        for (part, name) in
            [("offset", "redis_connected_slave_offset_bytes"), ("lag", "redis_connected_slave_lag_seconds")]
        {
            if let Some(value) = parts.number(part) {
                samples.labelled(name, &labels, value);
            }
        }
    }
    if info.text("role") != "slave" {
        return;
    }
    let master = [("master_host", info.text("master_host")), ("master_port", info.text("master_port"))];
    let is_up = info.text("master_link_status") == "up";
    samples.labelled("redis_master_link_up", &master, f64::from(is_up));
    for (field, name) in [
        ("master_last_io_seconds_ago", "redis_master_last_io_seconds_ago"),
        ("master_sync_in_progress", "redis_master_sync_in_progress"),
        ("slave_repl_offset", "redis_slave_repl_offset"),
    ] {
        if let Some(value) = info.number(field) {
            samples.labelled(name, &master, value);
        }
    }
    let labels = [master[0], master[1], ("read_only", info.text("slave_read_only"))];
    samples.labelled("redis_slave_info", &labels, 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: &str = "# Server\r\nredis_version:7.0.15\r\ntcp_port:6379\r\nuptime_in_seconds:100\r\n\r\n# Memory\r\n\
        used_memory:1000\r\nmaxmemory:4000\r\nmaxmemory_policy:noeviction\r\nmem_fragmentation_ratio:1.5\r\n\
        # Persistence\r\nrdb_last_bgsave_status:err\r\nlatest_fork_usec:250\r\n# Replication\r\nrole:master\r\n\
        connected_slaves:1\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=42,lag=1\r\n# Commandstats\r\n\
        cmdstat_config|get:calls=3,usec=1500,usec_per_call=500.00,rejected_calls=1,failed_calls=2\r\n\
        # Errorstats\r\nerrorstat_WRONGTYPE:count=4\r\n# Keyspace\r\ndb0:keys=5,expires=2,avg_ttl=1500\r\n\
        database_x:1\r\n";
    const REPLICA: &str = "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6380\r\nmaster_link_status:down\r\n\
        master_last_io_seconds_ago:-1\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:40\r\nslave_read_only:1\r\n";

    fn check(text: &str, expected: &[(&str, f64)]) {
        let mut samples = SampleSet::default();
        emit(&Info::parse(text), 1_000.5, &mut samples);
        let samples = samples.into_samples();
        let described: Vec<_> = super::super::METADATA.concat();
        for sample in &samples {
            let name = sample.labels.metric_name();
            assert!(described.iter().any(|(known, ..)| *known == name), "{name} is not described");
        }
        let found: HashMap<String, f64> =
            samples.iter().map(|sample| (sample.labels.to_string(), sample.value)).collect();
        for (labels, value) in expected {
            assert_eq!(found.get(*labels), Some(value), "{labels} in {found:#?}");
        }
    }

    #[test]
    fn a_master_is_told_of_under_redis_exporters_names() {
        check(
            MASTER,
            &[
                (r#"{__name__="redis_memory_used_bytes"}"#, 1000.0),
                (r#"{__name__="redis_memory_max_bytes"}"#, 4000.0),
                (r#"{__name__="redis_config_maxmemory"}"#, 4000.0),
                (r#"{__name__="redis_mem_fragmentation_ratio"}"#, 1.5),
                (r#"{__name__="redis_rdb_last_bgsave_status"}"#, 0.0),
                (r#"{__name__="redis_latest_fork_seconds"}"#, 250e-6),
                (r#"{__name__="redis_start_time_seconds"}"#, 900.0),
                (r#"{__name__="redis_connected_slaves"}"#, 1.0),
                (
                    r#"{__name__="redis_connected_slave_lag_seconds", slave_ip="10.0.0.2", slave_port="6379", slave_state="online"}"#,
                    1.0,
                ),
                (r#"{__name__="redis_commands_total", cmd="config|get"}"#, 3.0),
                (r#"{__name__="redis_commands_duration_seconds_total", cmd="config|get"}"#, 0.0015),
                (r#"{__name__="redis_commands_failed_calls_total", cmd="config|get"}"#, 2.0),
                (r#"{__name__="redis_errors_total", err="WRONGTYPE"}"#, 4.0),
                (r#"{__name__="redis_db_keys", db="db0"}"#, 5.0),
                (r#"{__name__="redis_db_keys_expiring", db="db0"}"#, 2.0),
                (r#"{__name__="redis_db_avg_ttl_seconds", db="db0"}"#, 1.5),
                (
                    r#"{__name__="redis_instance_info", maxmemory_policy="noeviction", redis_version="7.0.15", role="master", tcp_port="6379"}"#,
                    1.0,
                ),
            ],
        );
    }

    #[test]
    fn a_replica_that_lost_its_master_says_so() {
        check(
            REPLICA,
            &[
                (r#"{__name__="redis_master_link_up", master_host="10.0.0.1", master_port="6380"}"#, 0.0),
                (
                    r#"{__name__="redis_master_last_io_seconds_ago", master_host="10.0.0.1", master_port="6380"}"#,
                    -1.0,
                ),
                (
                    r#"{__name__="redis_slave_info", master_host="10.0.0.1", master_port="6380", read_only="1"}"#,
                    1.0,
                ),
            ],
        );
    }

    #[test]
    fn made_up_kinds_of_errors_are_bounded() {
        let lines: Vec<String> =
            (0..2 * MAX_LABELLED).map(|index| format!("errorstat_E{index}:count=1\r\n")).collect();
        let text = lines.concat();
        assert_eq!(Info::parse(&text).many("errorstat_").count(), MAX_LABELLED);
    }
}
