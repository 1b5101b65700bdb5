//! The units of systemd, asked over D-Bus.
//!
//! Source of the behaviour: `node_exporter` `collector/systemd_linux.go`. What it tells of tasks and start times
//! when asked to is left out; restarts of services, which alerts of its mixin look at, are there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dbus::{Answer, Body, Bus, BusError, Call, WireError};
use super::files::CollectError;
use super::{Round, bounded};
use crate::model::GoRegex;
use crate::probe::samples::SampleSet;

/// How long systemd may take altogether, if so much is left.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where the bus of a machine listens, below `/run`.
const SYSTEM_BUS: &str = "dbus/system_bus_socket";
const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
/// The states of a unit that are told apart.
const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];
/// The type of the answer to `ListUnits`: name, description, load state, active state, sub state, what it
/// follows, object, and the number, type and object of a job.
const UNITS: &str = "a(ssssssouso)";

/// Units that are left out unless the configuration says otherwise: there are many, and others tell of
/// what they stand for. Source: `node_exporter`'s `--collector.systemd.unit-exclude`.
pub const EXCLUDED_UNITS: &str = r".+\.(automount|device|mount|scope|slice)";

/// Which units are told of: whole names match the one pattern and not the other.
#[derive(Debug, Clone)]
pub struct Units {
    /// Those that are told of; all without a pattern.
    pub include: Option<GoRegex>,
    /// Those of them that are not.
    pub exclude: GoRegex,
}

impl Units {
    fn wants(&self, unit: &Unit) -> bool {
        let included = self.include.as_ref().is_none_or(|pattern| pattern.is_match(&unit.name));
        unit.is_loaded && included && !self.exclude.is_match(&unit.name)
    }
}

/// A unit as the list of all has it.
#[derive(Debug, PartialEq)]
struct Unit {
    name: String,
    is_loaded: bool,
    active_state: String,
    /// The object that stands for it.
    path: String,
}

/// What is asked of a unit, by the end of its name: interface and property.
const TYPES: [(&str, &str, &str); 2] =
    [(".service", SERVICE_INTERFACE, "Type"), (".mount", "org.freedesktop.systemd1.Mount", "Type")];
const SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";
const SOCKET: &str = "org.freedesktop.systemd1.Socket";

/// The same for numbers, with the metric that each becomes and how many of it make one of the metric's unit.
const NUMBERS: [(&str, &str, &str, &str, f64); 5] = [
    (".service", SERVICE_INTERFACE, "NRestarts", "node_systemd_service_restart_total", 1.0),
    (
        ".timer",
        "org.freedesktop.systemd1.Timer",
        "LastTriggerUSec",
        "node_systemd_timer_last_trigger_seconds",
        1e6,
    ),
    (".socket", SOCKET, "NAccepted", "node_systemd_socket_accepted_connections_total", 1.0),
    (".socket", SOCKET, "NConnections", "node_systemd_socket_current_connections", 1.0),
    (".socket", SOCKET, "NRefused", "node_systemd_socket_refused_connections_total", 1.0),
];

impl From<WireError> for CollectError {
    fn from(error: WireError) -> Self {
        Self::Bus(error.into())
    }
}

/// A question for a property.
fn property<'a>(path: &'a str, arguments: &'a [&'a str; 2]) -> Call<'a> {
    Call {
        destination: SERVICE,
        path,
        interface: "org.freedesktop.DBus.Properties",
        member: "Get",
        arguments,
    }
}

/// `node_systemd_*`.
pub(super) fn systemd(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let Some(wanted) = round.units else { return Ok(()) };
    let mut bus = Bus::connect(&round.paths.run.join(SYSTEM_BUS), round.patience.min(PATIENCE))?;
    manager(&mut bus, samples)?;
    let list = Call {
        destination: SERVICE,
        path: MANAGER,
        interface: "org.freedesktop.systemd1.Manager",
        member: "ListUnits",
        arguments: &[],
    };
    let units = read_units(&bus.ask(&list)?)?;
    for (state, count) in summary(&units) {
        samples.labelled("node_systemd_units", &[("state", state)], count);
    }
    let units = units.into_iter().filter(|unit| wanted.wants(unit));
    let units = bounded("systemd", units, samples);
    states(&mut bus, &units, samples)?;
    numbers(&mut bus, &units, samples)?;
    Ok(())
}

/// What is said of systemd itself.
fn manager(bus: &mut Bus, samples: &mut SampleSet) -> Result<(), CollectError> {
    const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
    let properties = ["Version", "SystemState", "Virtualization"].map(|name| [INTERFACE, name]);
    let calls: Vec<Call<'_>> = properties.iter().map(|property_of| property(MANAGER, property_of)).collect();
    let answers = bus.ask_all(&calls)?;
    let mut texts = answers.iter().map(|answer| match answer {
        Ok(body) => body.property_text().map(Some),
        Err(_) => Ok(None),
    });
    let mut next = || texts.next().expect("each question has an answer");
    if let Some((number, version)) = next()?.and_then(version) {
        samples.labelled("node_systemd_version", &[("version", version)], number);
    }
    if let Some(state) = next()? {
        samples.flag("node_systemd_system_running", state == "running");
    }
    let virtualization = match next()? {
        None => "unknown",
        // A machine that is none in another.
        Some("") => "none",
        Some(virtualization) => virtualization,
    };
    let labels = [("virtualization_type", virtualization)];
    samples.labelled("node_systemd_virtualization_info", &labels, 1.0);
    Ok(())
}

/// `252.39-1~deb12u2` as a number, 252.39, beside the text. Distributions write more than a number.
fn version(text: &str) -> Option<(f64, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let starts = (0..text.len()).filter(|at| text.is_char_boundary(*at));
    let start = starts.into_iter().find(|at| digits(&text[*at..]) >= 3)?;
    let whole = digits(&text[start..]);
    let fraction = text[start + whole..].strip_prefix('.').map_or(0, digits);
    let end = start + whole + if fraction > 0 { 1 + fraction } else { 0 };
    Some((text[start..end].parse().ok()?, text))
}

/// The list of all units.
fn read_units(body: &Body) -> Result<Vec<Unit>, WireError> {
    let mut reader = body.read(UNITS)?;
    let end = reader.list(8)?;
    let mut units = Vec::new();
    while reader.before(end) {
        reader.align(8);
        let name = reader.text()?.to_owned();
        let _description = reader.text()?;
        let is_loaded = reader.text()? == "loaded";
        let active_state = reader.text()?.to_owned();
        let (_sub_state, _followed) = (reader.text()?, reader.text()?);
        let path = reader.text()?.to_owned();
        let (_job, _job_type, _job_path) = (reader.number()?, reader.text()?, reader.text()?);
        units.push(Unit { name, is_loaded, active_state, path });
    }
    Ok(units)
}

/// How many of all units are in each state; also in such as came with a newer systemd.
fn summary(units: &[Unit]) -> BTreeMap<&str, f64> {
    let mut counts: BTreeMap<&str, f64> = STATES.iter().map(|state| (*state, 0.0)).collect();
    for unit in units {
        *counts.entry(&unit.active_state).or_default() += 1.0;
    }
    counts
}

/// The states of the units, with the types of those that have one.
fn states(bus: &mut Bus, units: &[Unit], samples: &mut SampleSet) -> Result<(), CollectError> {
    let typed = |unit: &Unit| {
        TYPES
            .iter()
            .find(|(end, ..)| unit.name.ends_with(end))
            .map(|(_, interface, name)| [*interface, *name])
    };
    let asked: Vec<(&Unit, [&str; 2])> = units.iter().filter_map(|unit| Some((unit, typed(unit)?))).collect();
    let answers = ask_properties(bus, &asked)?;
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    for ((unit, _), answer) in asked.iter().zip(&answers) {
        if let Ok(body) = answer {
            types.insert(&unit.name, body.property_text()?);
        }
    }
    for unit in units {
        let kind = types.get(unit.name.as_str()).copied().unwrap_or_default();
        for state in STATES {
            let labels = [("name", unit.name.as_str()), ("state", state), ("type", kind)];
            samples.labelled("node_systemd_unit_state", &labels, f64::from(state == unit.active_state));
        }
    }
    Ok(())
}

/// What services, timers and sockets count.
fn numbers(bus: &mut Bus, units: &[Unit], samples: &mut SampleSet) -> Result<(), CollectError> {
    let asked = units.iter().flat_map(|unit| {
        let of_unit = NUMBERS.iter().filter(|(end, ..)| unit.name.ends_with(end));
        of_unit.map(move |number| (unit, number))
    });
    let asked: Vec<_> = asked.collect();
    let properties: Vec<(&Unit, [&str; 2])> =
        asked.iter().map(|(unit, (_, interface, name, ..))| (*unit, [*interface, *name])).collect();
    let answers = ask_properties(bus, &properties)?;
    for ((unit, (.., metric, per_unit)), answer) in asked.iter().zip(&answers) {
        // An older systemd does not count all of it, and a unit can be gone by now.
        let Ok(body) = answer else { continue };
        let value = body.property_number()? as f64 / per_unit;
        samples.labelled(metric, &[("name", &unit.name)], value);
    }
    Ok(())
}

fn ask_properties(bus: &mut Bus, asked: &[(&Unit, [&str; 2])]) -> Result<Vec<Answer>, BusError> {
    let calls: Vec<Call<'_>> = asked.iter().map(|(unit, name)| property(&unit.path, name)).collect();
    bus.ask_all(&calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, active_state: &str) -> Unit {
        Unit {
            name: name.to_owned(),
            is_loaded: true,
            active_state: active_state.to_owned(),
            path: "/".to_owned(),
        }
    }

    #[test]
    fn versions_of_distributions_are_numbers() {
        let check = |text: &str, expected: Option<f64>| {
            assert_eq!(version(text), expected.map(|number| (number, text)), "{text}");
        };
        check("252.39-1~deb12u2", Some(252.39));
        check("255 (255.4-1ubuntu8)", Some(255.0));
        check("v257-rc1", Some(257.0));
        check("12", None);
        check("", None);
    }

    #[test]
    fn units_are_chosen_by_their_whole_names() {
        let check = |include: Option<&str>, name: &str, expected: bool| {
            let include = include.map(|pattern| GoRegex::anchored(pattern).unwrap());
            let units = Units { include, exclude: GoRegex::anchored(EXCLUDED_UNITS).unwrap() };
            assert_eq!(
                units.wants(&unit(name, "active")),
                expected,
                "{include:?} {name}",
                include = units.include
            );
        };
        check(None, "ssh.service", true);
        check(None, "home.mount", false);
        check(None, "dev-sda.device", false);
        check(Some("ssh|cron"), "ssh.service", false);
        check(Some("(ssh|cron).service"), "ssh.service", true);
        check(Some(".+"), "user.slice", false);
        let masked = Unit { is_loaded: false, ..unit("ssh.service", "inactive") };
        let all = Units { include: None, exclude: GoRegex::anchored("").unwrap() };
        assert!(!all.wants(&masked));
    }

    #[test]
    fn states_are_counted_even_if_nobody_knows_them() {
        let units = [unit("a", "active"), unit("b", "active"), unit("c", "maintenance")];
        let counted = summary(&units);
        assert_eq!((counted["active"], counted["failed"], counted["maintenance"]), (2.0, 0.0, 1.0));
    }
}
