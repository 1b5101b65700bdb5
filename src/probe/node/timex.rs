//! How well the kernel's clock keeps time, as it tells whoever disciplines it: `adjtimex(2)`.

use rtime_clock::adjtime::{Timex, adjtimex};

use super::Round;
use super::files::CollectError;
use crate::probe::samples::SampleSet;

/// What the call returns while nothing disciplines the clock. Source: `adjtimex(2)`, `TIME_ERROR`.
const UNSYNCHRONIZED: i32 = 5;
/// The bit of the status that says that the kernel counts in nanoseconds, not in microseconds.
/// Source: `adjtimex(2)`, `STA_NANO`.
const COUNTS_NANOSECONDS: i32 = 0x2000;
const NANOSECONDS: f64 = 1e9;
const MICROSECONDS: f64 = 1e6;
/// Frequencies are told in parts per million, with 16 bits behind the point.
/// Source: `adjtimex(2)`, notes.
const PARTS: f64 = 1e6 * 65_536.0;

/// `node_timex_*`. The call changes nothing, since it is asked to change nothing, and so needs no rights.
pub(super) fn timex(_: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let mut clock = Timex::new();
    let state = adjtimex(&mut clock).map_err(|error| CollectError::Call("adjtimex", error))?;
    tell(state, &clock, samples);
    Ok(())
}

/// What the kernel's answer means.
fn tell(state: i32, Timex(clock): &Timex, samples: &mut SampleSet) {
    let resolution = if clock.status & COUNTS_NANOSECONDS != 0 { NANOSECONDS } else { MICROSECONDS };
    samples.flag("node_timex_sync_status", state != UNSYNCHRONIZED);
    let values = [
        ("node_timex_status", clock.status as f64),
        ("node_timex_offset_seconds", clock.offset as f64 / resolution),
        ("node_timex_frequency_adjustment_ratio", 1.0 + clock.freq as f64 / PARTS),
        ("node_timex_maxerror_seconds", clock.maxerror as f64 / MICROSECONDS),
        ("node_timex_estimated_error_seconds", clock.esterror as f64 / MICROSECONDS),
        ("node_timex_loop_time_constant", clock.constant as f64),
        ("node_timex_tick_seconds", clock.tick as f64 / MICROSECONDS),
        ("node_timex_tai_offset_seconds", clock.tai as f64),
        ("node_timex_pps_frequency_hertz", clock.ppsfreq as f64 / PARTS),
        ("node_timex_pps_jitter_seconds", clock.jitter as f64 / resolution),
        ("node_timex_pps_shift_seconds", clock.shift as f64),
        ("node_timex_pps_stability_hertz", clock.stabil as f64 / PARTS),
        ("node_timex_pps_jitter_total", clock.jitcnt as f64),
        ("node_timex_pps_calibration_total", clock.calcnt as f64),
        ("node_timex_pps_error_total", clock.errcnt as f64),
        ("node_timex_pps_stability_exceeded_total", clock.stbcnt as f64),
    ];
    for (name, value) in values {
        samples.gauge(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_seconds_in_either_unit_that_the_kernel_counts_in() {
        let check = |state: i32, status: i32, expected: [f64; 6]| {
            let mut clock = Timex::new();
            clock.0.status = status;
            clock.0.offset = -2_000;
            clock.0.jitter = 3_000;
            clock.0.maxerror = 16_000_000;
            clock.0.freq = 65_536 * 100;
            clock.0.tai = 37;
            let mut samples = SampleSet::default();
            tell(state, &clock, &mut samples);
            let samples = samples.into_samples();
            let names = [
                "node_timex_sync_status",
                "node_timex_offset_seconds",
                "node_timex_pps_jitter_seconds",
                "node_timex_maxerror_seconds",
                "node_timex_frequency_adjustment_ratio",
                "node_timex_tai_offset_seconds",
            ];
            for (name, expected) in names.iter().zip(expected) {
                let found = samples.iter().find(|sample| sample.labels.metric_name() == *name).unwrap();
                assert!((found.value - expected).abs() < 1e-15, "{name}: {}, not {expected}", found.value);
            }
        };
        check(0, COUNTS_NANOSECONDS, [1.0, -2e-6, 3e-6, 16.0, 1.0001, 37.0]);
        check(1, 0, [1.0, -2e-3, 3e-3, 16.0, 1.0001, 37.0]);
        check(UNSYNCHRONIZED, 64, [0.0, -2e-3, 3e-3, 16.0, 1.0001, 37.0]);
    }
}
