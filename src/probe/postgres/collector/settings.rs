//! The server's settings, in seconds and bytes.

use super::super::row::Row;
use super::{ALWAYS, Collector, Yields};
use crate::model::{Labels, METRIC_NAME, Sample};

/// What their names begin with.
const PREFIX: &str = "pg_settings_";

/// Every setting that is a number or a yes or no. Those that the role may not see are not among the rows.
/// What the session has set for itself is shown as the server has it.
pub(super) static SETTINGS: Collector = Collector {
    name: "settings",
    sql: "\
SELECT name, unit, vartype,
       CASE WHEN name = 'transaction_read_only'
            THEN (SELECT CASE WHEN pg_is_in_recovery() THEN 'on' ELSE reset_val END
                  FROM pg_settings WHERE name = 'default_transaction_read_only')
            WHEN source = 'session' THEN reset_val
            ELSE setting
       END AS setting
FROM pg_settings
WHERE vartype IN ('bool', 'integer', 'real')",
    yields: Yields::Setting,
    ..ALWAYS
};

/// Type and help text of a setting's metric, if that is what `name` is.
///
/// Extensions add settings of their own, so there is no list of them.
pub fn describe(name: &str) -> Option<(&'static str, &'static str)> {
    let help = "A setting of the server; times in seconds, sizes in bytes, yes and no as 1 and 0.";
    name.starts_with(PREFIX).then_some(("gauge", help))
}

/// The sample of a row of `pg_settings`. A value that is no number, as some providers' own settings have,
/// or one in an unknown unit is left out.
pub(super) fn sample(row: &Row) -> Option<Sample> {
    let name = row.text("name")?.replace(['.', '-'], "_");
    let (suffix, value) = match row.text("vartype")? {
        "bool" => ("", f64::from(row.text("setting")? == "on")),
        _ => normalised(row.text("setting")?, row.text("unit").unwrap_or_default())?,
    };
    let metric = format!("{PREFIX}{name}{suffix}");
    Some(Sample::new(Labels::from_pairs([(METRIC_NAME, metric.as_str())]), 0, value))
}

/// The suffix for the unit, and the value in seconds or bytes. -1 stands for "off" or "without limit" in
/// every unit and stays what it is. Source: `postgres_exporter` 0.20 `collector/pg_setting.go`.
fn normalised(setting: &str, unit: &str) -> Option<(&'static str, f64)> {
    let value: f64 = setting.parse().ok()?;
    let (suffix, value) = match unit {
        "" => ("", value),
        "us" => ("_seconds", value / 1e6),
        "ms" => ("_seconds", value / 1e3),
        "s" => ("_seconds", value),
        "min" => ("_seconds", value * 60.0),
        "h" => ("_seconds", value * 3600.0),
        "d" => ("_seconds", value * 86400.0),
        size => ("_bytes", value * bytes_in(size)?),
    };
    Some((suffix, if setting == "-1" { -1.0 } else { value }))
}

/// How many bytes a unit such as `8kB` has.
fn bytes_in(unit: &str) -> Option<f64> {
    let digits = unit.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = unit.split_at(digits);
    let count: u32 = if count.is_empty() { 1 } else { count.parse().ok()? };
    let shift = match unit {
        "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return None,
    };
    Some(f64::from(count) * f64::from(2_u32).powi(shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_in_base_units() {
        let check = |name: &str, setting: &str, unit: &str, vartype: &str, expected: Option<&str>| {
            let unit = (!unit.is_empty()).then_some(unit);
            let row = Row::new(
                [
                    ("name", Some(name)),
                    ("setting", Some(setting)),
                    ("unit", unit),
                    ("vartype", Some(vartype)),
                ]
                .into_iter(),
            );
            let sample = sample(&row).map(|s| format!("{} {}", s.labels.metric_name(), s.value));
            assert_eq!(sample.as_deref(), expected, "{name}");
        };
        check("fsync", "on", "", "bool", Some("pg_settings_fsync 1"));
        check("ssl", "off", "", "bool", Some("pg_settings_ssl 0"));
        check("max_connections", "100", "", "integer", Some("pg_settings_max_connections 100"));
        check("shared_buffers", "1024", "8kB", "integer", Some("pg_settings_shared_buffers_bytes 8388608"));
        check("max_wal_size", "1024", "MB", "integer", Some("pg_settings_max_wal_size_bytes 1073741824"));
        check(
            "wal_segment_size",
            "16777216",
            "B",
            "integer",
            Some("pg_settings_wal_segment_size_bytes 16777216"),
        );
        check("deadlock_timeout", "1000", "ms", "integer", Some("pg_settings_deadlock_timeout_seconds 1"));
        check(
            "log_rotation_age",
            "1440",
            "min",
            "integer",
            Some("pg_settings_log_rotation_age_seconds 86400"),
        );
        check(
            "log_min_duration_statement",
            "-1",
            "ms",
            "integer",
            Some("pg_settings_log_min_duration_statement_seconds -1"),
        );
        check("vacuum_cost_delay", "2.5", "ms", "real", Some("pg_settings_vacuum_cost_delay_seconds 0.0025"));
        check(
            "pg_stat_statements.max",
            "5000",
            "",
            "integer",
            Some("pg_settings_pg_stat_statements_max 5000"),
        );
        check("odd", "12MB", "", "integer", None);
        check("odd", "1", "parsec", "integer", None);
    }

    #[test]
    fn settings_are_described_by_their_prefix() {
        assert!(describe("pg_settings_max_connections").is_some());
        assert!(describe("pg_up").is_none());
    }
}
