//! Disks that stand in for one another: software RAID in `/proc/mdstat`, pools of ZFS.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{CollectError, ParseError};
use super::{Round, bounded};
use crate::probe::samples::SampleSet;

/// The states of `node_md_state`.
const STATES: [&str; 5] = ["active", "inactive", "recovering", "resync", "check"];

/// One array.
#[derive(Debug, PartialEq)]
struct Array<'a> {
    device: &'a str,
    /// One of [`STATES`], or one that `node_exporter` does not tell either, such as a reshape.
    state: &'a str,
    required: f64,
    active: f64,
    failed: f64,
    spare: f64,
    blocks: f64,
    blocks_synced: f64,
}

/// Reads the arrays. Each begins with `md0 : active raid1 sda1[0] sdb1[1]` and has indented lines below:
/// its size first, then perhaps a bitmap and how far a recovery is.
fn parse(text: &str) -> Result<Vec<Array<'_>>, ParseError> {
    let lines: Vec<&str> = text.lines().collect();
    let mut arrays = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some((device, described)) = line.split_once(" : ") else { continue };
        if device.starts_with(char::is_whitespace) || device == "Personalities" {
            continue;
        }
        let below: Vec<&str> = lines[index + 1..]
            .iter()
            .take_while(|line| line.starts_with(char::is_whitespace) && !line.trim().is_empty())
            .copied()
            .collect();
        let array = read_array(device.trim(), described, &below);
        arrays.push(array.ok_or(ParseError::Line { line: index + 2, expected: "the size of the array" })?);
    }
    Ok(arrays)
}

fn read_array<'a>(device: &'a str, described: &'a str, below: &[&str]) -> Option<Array<'a>> {
    let count = |mark: &str| described.matches(mark).count() as f64;
    let state = described.split_ascii_whitespace().next()?;
    let size = below.first()?;
    let blocks: f64 = size.split_ascii_whitespace().next()?.parse().ok()?;
    let is_striped = [" raid0 ", " linear "].iter().any(|level| described.contains(level));
    let (required, active) = if is_striped {
        // Without redundancy all disks are there or the array is not.
        (count("["), count("["))
    } else if state == "inactive" {
        (0.0, 0.0)
    } else {
        disks(size)?
    };
    let mut array = Array {
        device,
        state,
        required,
        active,
        failed: count("(F)"),
        spare: count("(S)"),
        blocks,
        blocks_synced: blocks,
    };
    let progress = [("recovery", "recovering"), ("resync", "resync"), ("check", "check")];
    let under_way = below[1..].iter().find_map(|line| {
        let (_, state) = progress.iter().find(|(word, _)| line.contains(word))?;
        Some((*line, *state))
    });
    if let Some((line, state)) = under_way {
        array.state = state;
        // One that waits for another array, or for the first write, has done nothing.
        array.blocks_synced = synced(line).unwrap_or_default();
    }
    Some(array)
}

/// Required and active disks: `... [4/3] [U_UU]`.
fn disks(size: &str) -> Option<(f64, f64)> {
    size.split('[').find_map(|part| {
        let (required, active) = part.split(']').next()?.split_once('/')?;
        Some((required.parse().ok()?, active.parse().ok()?))
    })
}

/// The blocks that are done: `recovery =  8.5% (16775552/195310144) finish=17.0min`.
fn synced(line: &str) -> Option<f64> {
    line.split_once('(')?.1.split_once('/')?.0.parse().ok()
}

/// `node_md_*`: of an array's disks and blocks as `/proc/mdstat` says, and what sysfs says beside it.
pub(super) fn mdadm(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let paths = round.paths;
    let text = paths.proc("mdstat")?;
    let arrays = parse(&text).map_err(|error| CollectError::Parse(paths.procfs.join("mdstat"), error))?;
    let arrays: BTreeMap<&str, Array<'_>> = arrays.into_iter().map(|array| (array.device, array)).collect();
    let listed = paths.list("block").unwrap_or_default();
    let in_sysfs = listed.iter().map(String::as_str).filter(|device| device.starts_with("md"));
    let devices: BTreeSet<&str> = arrays.keys().copied().chain(in_sysfs).collect();
    for name in bounded("mdadm", devices.into_iter(), samples) {
        let device = ("device", name);
        if let Some(array) = arrays.get(name) {
            array.tell(samples);
        }
        let attribute = |attribute: &str| paths.number(&format!("block/{name}/md/{attribute}"));
        if let Some(disks) = attribute("raid_disks") {
            samples.labelled("node_md_raid_disks", &[device], disks);
            // An array without redundancy has no such attribute: it cannot be degraded.
            samples.labelled("node_md_degraded", &[device], attribute("degraded").unwrap_or_default());
        }
    }
    Ok(())
}

impl Array<'_> {
    fn tell(&self, samples: &mut SampleSet) {
        let device = ("device", self.device);
        samples.labelled("node_md_disks_required", &[device], self.required);
        for (state, disks) in [("active", self.active), ("failed", self.failed), ("spare", self.spare)] {
            samples.labelled("node_md_disks", &[device, ("state", state)], disks);
        }
        for state in STATES {
            samples.labelled("node_md_state", &[device, ("state", state)], f64::from(state == self.state));
        }
        samples.labelled("node_md_blocks", &[device], self.blocks);
        samples.labelled("node_md_blocks_synced", &[device], self.blocks_synced);
    }
}

/// The states of a pool of ZFS, as `node_exporter` has them.
const POOL_STATES: [&str; 7] =
    ["online", "degraded", "faulted", "offline", "removed", "unavail", "suspended"];

/// `node_zfs_zpool_state`.
pub(super) fn zfs(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    const FOLDER: &str = "spl/kstat/zfs";
    let paths = round.paths;
    let mut pools = Vec::new();
    for pool in paths.list_proc(FOLDER)? {
        match paths.proc(&format!("{FOLDER}/{pool}/state")) {
            Ok(state) => pools.push((pool, state)),
            // One of the files that lie beside the pools.
            Err(CollectError::NoData(_)) => {}
            Err(error) => return Err(error),
        }
    }
    for (pool, found) in bounded("zfs", pools.into_iter(), samples) {
        for state in POOL_STATES {
            let is = found.trim().eq_ignore_ascii_case(state);
            samples.labelled("node_zfs_zpool_state", &[("zpool", &pool), ("state", state)], f64::from(is));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_in_every_state() {
        let check = |text: &str, state: &str, disks: [f64; 4], blocks: [f64; 2]| {
            let text = format!("Personalities : [raid1] [raid0]\n\n{text}\n\nunused devices: <none>\n");
            let arrays = parse(&text).unwrap();
            let [array] = &arrays[..] else { panic!("{arrays:?}") };
            assert_eq!((array.device, array.state), ("md0", state), "{text}");
            assert_eq!([array.required, array.active, array.failed, array.spare], disks, "{text}");
            assert_eq!([array.blocks, array.blocks_synced], blocks, "{text}");
        };
        check(
            "md0 : active raid1 a[0] b[1]\n      90 blocks [2/2] [UU]",
            "active",
            [2.0, 2.0, 0.0, 0.0],
            [90.0; 2],
        );
        check(
            "md0 : active raid1 a[2](F) b[1](S) c[0]\n  90 blocks [2/1] [U_]\n  [=>..]  recovery =  8.5% (7/90) finish=1min",
            "recovering",
            [2.0, 1.0, 1.0, 1.0],
            [90.0, 7.0],
        );
        check(
            "md0 : active raid6 a[0] b[1](F)\n  90 blocks level 6, 512k chunk, algorithm 2 [2/1] [U_]\n  bitmap: 0/3 pages [0KB], 64KB chunk\n  resync=DELAYED",
            "resync",
            [2.0, 1.0, 1.0, 0.0],
            [90.0, 0.0],
        );
        check(
            "md0 : active raid0 a[0] b[1]\n  90 blocks 64k chunks",
            "active",
            [2.0, 2.0, 0.0, 0.0],
            [90.0; 2],
        );
        check(
            "md0 : inactive raid1 a[0](F) b[1](S)\n  90 blocks [2/2] [UU]",
            "inactive",
            [0.0, 0.0, 1.0, 1.0],
            [90.0; 2],
        );
    }

    #[test]
    fn an_array_without_a_size_is_refused() {
        let error = parse("md0 : active raid1 a[0]\n\nunused devices: <none>\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: expected the size of the array");
    }
}
