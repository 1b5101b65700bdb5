//! Values as Go's YAML reader takes them.

use std::net::IpAddr;
use std::time::Duration;

use super::ModuleReader;
use crate::client::SecretSource;
use crate::model::Secret;
use crate::probe::{AddressPolicy, IpProtocol, Pattern};
use crate::yaml::{Fields, Node, NodeKind};

/// The longest timeout of a module. Nobody waits longer, and an instant that far away can be computed.
const MAX_TIMEOUT: Duration = Duration::from_hours(24);

impl ModuleReader<'_> {
    /// Go reads the words of YAML 1.1 where a boolean is wanted.
    pub(super) fn flag(&mut self, fields: &mut Fields<'_>, key: &'static str, default: bool) -> bool {
        let Some(node) = fields.take(key) else { return default };
        let Some(text) = self.reader.text(key, node) else { return default };
        match text {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => true,
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => false,
            _ => self.reader.boolean(key, node).unwrap_or(default),
        }
    }

    /// A text; none if it is absent or empty, which Go does not tell apart.
    pub(super) fn text(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<String> {
        let node = fields.take(key)?;
        self.reader.text(key, node).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
    }

    pub(super) fn texts(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Vec<String> {
        let Some(node) = fields.take(key) else { return Vec::new() };
        let items = self.reader.items(key, node);
        items.iter().filter_map(|item| self.reader.text(key, item).map(ToOwned::to_owned)).collect()
    }

    /// Names with what `value` reads behind each.
    pub(super) fn entries<'n, T>(
        &mut self,
        node: &'n Node,
        what: &'static str,
        mut value: impl FnMut(&mut Self, &'n str, &'n Node) -> Option<T>,
    ) -> Vec<T> {
        match &node.kind {
            NodeKind::Mapping(entries) => {
                entries.iter().filter_map(|(name, _, node)| value(self, name, node)).collect()
            }
            other => {
                let message =
                    format!("`{what}` must be a mapping of names to values, not {}", other.describe());
                self.reader.error("wrong-type", node.place, message);
                Vec::new()
            }
        }
    }

    /// A module's timeout; 0 is none, as in blackbox exporter.
    pub(super) fn timeout(&mut self, fields: &mut Fields<'_>) -> Option<Duration> {
        let node = fields.take("timeout")?;
        let text = self.reader.text("timeout", node)?;
        match go_duration(text) {
            Some(timeout) if timeout <= MAX_TIMEOUT => (!timeout.is_zero()).then_some(timeout),
            _ => {
                self.reader.error_with_hint(
                    "bad-duration",
                    node.place,
                    format!("`timeout` must be a duration of at most a day, not `{text}`"),
                    "write a duration such as `5s`, `1.5s` or `1m30s`",
                );
                None
            }
        }
    }

    pub(super) fn addresses(&mut self, fields: &mut Fields<'_>) -> AddressPolicy {
        let default = AddressPolicy::default();
        let preferred = fields.take("preferred_ip_protocol").and_then(|node| {
            match self.reader.text("preferred_ip_protocol", node)? {
                "" => None,
                "ip4" => Some(IpProtocol::Ip4),
                "ip6" => Some(IpProtocol::Ip6),
                other => {
                    let message = format!("`preferred_ip_protocol` must be `ip4` or `ip6`, not `{other}`");
                    self.reader.error("bad-protocol", node.place, message);
                    None
                }
            }
        });
        let fallback = self.flag(fields, "ip_protocol_fallback", default.fallback);
        AddressPolicy { preferred: preferred.unwrap_or(default.preferred), fallback, ..default }
    }

    pub(super) fn source_address(&mut self, fields: &mut Fields<'_>) -> Option<IpAddr> {
        let node = fields.take("source_ip_address")?;
        let text = self.reader.text("source_ip_address", node).filter(|text| !text.is_empty())?;
        let address = text.parse().ok();
        if address.is_none() {
            let message = format!("`source_ip_address` must be an IP address, not `{text}`");
            self.reader.error("bad-address", node.place, message);
        }
        address
    }

    /// A regular expression; blackbox exporter's words for one that is none.
    pub(super) fn pattern(&mut self, what: &str, node: &Node) -> Option<Pattern> {
        let text = self.reader.text(what, node)?;
        match Pattern::new(text) {
            Ok(pattern) => Some(pattern),
            Err(fault) => {
                let message = format!("\"Could not compile regular expression\" regexp=\"{text}\"");
                self.reader.error_with_hint("bad-regex", node.place, message, fault.to_string());
                None
            }
        }
    }

    pub(super) fn patterns(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Vec<Pattern> {
        let Some(node) = fields.take(key) else { return Vec::new() };
        let items = self.reader.items(key, node);
        items.iter().filter_map(|item| self.pattern(key, item)).collect()
    }

    /// A secret as it is or in a file. `exclusive` is what blackbox exporter says of both.
    pub(super) fn secret(
        &mut self,
        fields: &mut Fields<'_>,
        [value_key, file_key]: [&'static str; 2],
        exclusive: &str,
    ) -> Option<SecretSource> {
        let value = self.text(fields, value_key).map(|text| SecretSource::Value(Secret::new(text)));
        let place = fields.place();
        let file = fields.take(file_key);
        let at = file.map_or(place, |node| node.place);
        let file = file
            .and_then(|node| self.reader.text(file_key, node))
            .filter(|text| !text.is_empty())
            .map(|text| SecretSource::File(self.surroundings.folder.join(text)));
        if value.is_some() && file.is_some() {
            self.reader.error("two-credentials", at, exclusive);
        }
        value.or(file)
    }
}

/// A duration as Go writes it, such as `1m30s`, `1.5s` or `300ms`. Source: Go `time.ParseDuration`.
fn go_duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number * unit;
        rest = &rest[letters..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

/// A size in bytes: numbers with `B`, `KB`, `KiB` and so on, all of them powers of 1024.
/// Source: `alecthomas/units`, `ParseBase2Bytes`.
pub(super) fn size_bytes(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if let Ok(plain) = rest.parse() {
        return Some(plain);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..letters];
        let prefix = unit.strip_suffix("iB").or_else(|| unit.strip_suffix('B'))?;
        let power =
            if prefix.is_empty() { 0 } else { "KMGTPE".find(prefix).filter(|_| prefix.len() == 1)? + 1 };
        total += number * 1024_f64.powi(i32::try_from(power).expect("at most 6"));
        rest = &rest[letters..];
    }
    (total < u64::MAX as f64 && !text.is_empty()).then_some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let check = |text: &str, expected_ms: Option<u64>| {
            assert_eq!(go_duration(text), expected_ms.map(Duration::from_millis), "{text}");
        };
        check("5s", Some(5_000));
        check("1.5s", Some(1_500));
        check("1m30s", Some(90_000));
        check("300ms", Some(300));
        check("1h0.5m", Some(3_630_000));
        check("0", Some(0));
        check("5", None);
        check("5d", None);
        check("-5s", None);
        check("", None);
        check("s", None);
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(size_bytes(text), expected, "{text}");
        check("1MB", Some(1 << 20));
        check("1MiB", Some(1 << 20));
        check("1.5KB", Some(1536));
        check("1KB512B", Some(1536));
        check("100", Some(100));
        check("1mb", None);
        check("1KMB", None);
        check("MB", None);
        check("", None);
    }
}
