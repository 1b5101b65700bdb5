//! When a file system will be full, told from how its free space went so far.
//!
//! A straight line through the last hours (`predict_linear`) takes every file system for one that fills up
//! whose space is freed in jumps: by a rotation of logs, a nightly clean-up, a vacuum. Here the history is
//! cut where space was freed. What counts is whether the low points before these jumps sink, and how fast
//! space goes only where it never came back.

use std::collections::VecDeque;

/// For how long one point stands: the least space that was available meanwhile.
const STEP_SECONDS: f64 = 300.0;
/// How many points are kept: two days, so that something nightly has been seen twice.
const MAX_POINTS: usize = 576;
/// How much has to be behind us before anything is said.
const LEAST_SECONDS: f64 = 3600.0;
/// How many of the latest points tell how fast space goes: six hours.
const MAX_POINTS_OF_SLOPE: usize = 72;
/// How many tell of something that has just begun: an hour.
const MAX_POINTS_OF_BURST: usize = 12;
/// Less than this share of the size is noise, not space that was freed …
const NOISE_OF_SIZE: f64 = 0.01;
/// … nor is less than this share of all that the history went up and down.
const NOISE_OF_RANGE: f64 = 0.15;
/// Below this share of the size space may have been freed in an emergency: that it came back once says
/// nothing of the next time.
const RESCUE: f64 = 0.10;
/// The share of pairs of points that must agree for a slope to be one. Of random points half do.
const LEAST_AGREEMENT: f64 = 0.7;
/// The same within an hour, where little is known.
const LEAST_AGREEMENT_OF_BURST: f64 = 0.95;

/// What was available, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Seconds since any fixed instant.
    pub at: f64,
    /// Bytes available.
    pub available: f64,
}

/// When a file system will be full.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Seconds until nothing is available; infinite if nothing speaks for it.
    pub full_in_seconds: f64,
    /// How far what was seen agrees with it, from 0 to 1.
    pub confidence: f64,
}

impl Forecast {
    const fn never(confidence: f64) -> Self {
        Self { full_in_seconds: f64::INFINITY, confidence }
    }
}

/// What is remembered of one file system: 9 kB at most.
#[derive(Debug, Default)]
pub struct History {
    points: VecDeque<Point>,
    size: f64,
}

impl History {
    /// Takes in what is available of `size` bytes at a time that never falls. A file system of another
    /// size begins anew; that of a ZFS dataset moves with every write, since it is what is used and what is
    /// left of the pool.
    pub fn note(&mut self, at: f64, available: f64, size: f64) {
        if (self.size - size).abs() > self.size * NOISE_OF_SIZE {
            self.points.clear();
        }
        self.size = size;
        match self.points.back_mut() {
            Some(last) if at - last.at < STEP_SECONDS => last.available = last.available.min(available),
            _ => self.points.push_back(Point { at, available }),
        }
        if self.points.len() > MAX_POINTS {
            self.points.pop_front();
        }
    }

    /// What follows from it; nothing while too little is known.
    pub fn forecast(&self) -> Option<Forecast> {
        let points: Vec<Point> = self.points.iter().copied().collect();
        forecast(&points, self.size)
    }
}

/// When a file system of `size` bytes will be full, going by `points`, which are ordered by time.
pub fn forecast(points: &[Point], size: f64) -> Option<Forecast> {
    let (first, last) = (points.first()?, points.last()?);
    if size <= 0.0 {
        return None;
    }
    if last.available <= 0.0 {
        return Some(Forecast { full_in_seconds: 0.0, confidence: 1.0 });
    }
    if last.at - first.at < LEAST_SECONDS {
        return None;
    }
    let (lows, since_freed) = cut(points, size);
    let noise = noise(points, size);
    match &lows[..] {
        // Space has come back more than once: the low points tell, unless it has gone further than they let
        // expect, or the next of them would be below nothing.
        [.., before, low] => {
            let slope = theil_sen(&lows)?;
            let period = low.at - before.at;
            let next = low.available + slope.bytes_per_second.min(0.0) * period;
            if next > 0.0 && last.available >= next - noise {
                return Some(slope.until_empty(*low, last.at));
            }
        }
        // It has come back once, with room to spare.
        [low] if last.available >= low.available - noise && low.available >= size * RESCUE => {
            return Some(Forecast::never(0.5));
        }
        _ => {}
    }
    let tail = |points: &'_ [Point], count: usize| points.len().saturating_sub(count);
    let recent = &since_freed[tail(since_freed, MAX_POINTS_OF_SLOPE)..];
    // Right after space was freed, how it goes now is not known: as before, then.
    let is_enough = recent.last()?.at - recent.first()?.at >= LEAST_SECONDS / 2.0;
    let recent = if is_enough { recent } else { &points[tail(points, MAX_POINTS_OF_SLOPE)..] };
    let slow = theil_sen(recent)?.until_empty(*last, last.at);
    // What has begun within the last hour has not moved the median of six yet.
    let fast = theil_sen(&recent[tail(recent, MAX_POINTS_OF_BURST)..])
        .filter(|slope| slope.agreement >= LEAST_AGREEMENT_OF_BURST)
        .map(|slope| slope.until_empty(*last, last.at))
        .filter(|fast| fast.full_in_seconds < slow.full_in_seconds);
    Some(fast.unwrap_or(slow))
}

fn noise(points: &[Point], size: f64) -> f64 {
    let available = || points.iter().map(|point| point.available);
    let range = available().fold(f64::MIN, f64::max) - available().fold(f64::MAX, f64::min);
    (size * NOISE_OF_SIZE).max(range * NOISE_OF_RANGE)
}

/// The low points after which space was freed, and the points since that was last so.
fn cut(points: &[Point], size: f64) -> (Vec<Point>, &[Point]) {
    let noise = noise(points, size);
    let mut lows = Vec::new();
    let (mut low, mut high) = (0, 0);
    // Whether space is being freed at the moment: then the next thing to find is a high point.
    let mut rising = false;
    let mut began = 0;
    for (index, point) in points.iter().enumerate() {
        if rising {
            if point.available >= points[high].available {
                high = index;
            } else if points[high].available - point.available >= noise {
                (rising, low, began) = (false, index, high);
            }
        } else if point.available <= points[low].available {
            low = index;
        } else if point.available - points[low].available >= noise {
            // The beginning is no low point: what was before it is not known.
            if low > 0 {
                lows.push(points[low]);
            }
            (rising, high) = (true, index);
        }
    }
    (lows, &points[if rising { high } else { began }..])
}

/// How fast space goes.
struct Slope {
    bytes_per_second: f64,
    /// The share of pairs of points whose own slope has the same sign.
    agreement: f64,
}

impl Slope {
    /// When nothing is left, beginning at `from`, as seen `now`.
    fn until_empty(&self, from: Point, now: f64) -> Forecast {
        if self.bytes_per_second >= 0.0 || self.agreement < LEAST_AGREEMENT {
            return Forecast::never(self.agreement);
        }
        let empty_at = from.at + from.available / -self.bytes_per_second;
        Forecast { full_in_seconds: (empty_at - now).max(0.0), confidence: self.agreement }
    }
}

/// The median of the slopes between all pairs of points (Theil and Sen): up to 29 % of the points may be
/// anything without moving it far.
fn theil_sen(points: &[Point]) -> Option<Slope> {
    let pairs = points.iter().enumerate().flat_map(|(index, one)| {
        points[index + 1..].iter().map(move |two| (two.available - one.available) / (two.at - one.at))
    });
    let mut slopes: Vec<f64> = pairs.filter(|slope| slope.is_finite()).collect();
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let bytes_per_second = slopes[slopes.len() / 2];
    let alike = slopes.iter().filter(|slope| slope.signum() == bytes_per_second.signum()).count();
    Some(Slope { bytes_per_second, agreement: alike as f64 / slopes.len() as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: f64 = 100e9;
    const HOUR: f64 = 3600.0;
    /// The horizon that alerts look at.
    const HORIZON: f64 = 4.0 * HOUR;

    /// Available bytes as a function of time.
    type Trace = fn(f64) -> f64;

    /// A number between -1 and 1 that looks random and is the same at each run.
    fn jitter(at: f64) -> f64 {
        let hash = ((at as u64).wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((hash >> 40) as f64 / f64::from(1 << 23)) - 1.0
    }

    /// The part of a period that has passed, from 0 to 1.
    fn phase(at: f64, period: f64) -> f64 {
        (at / period).fract()
    }

    const QUIET: Trace = |at| SIZE * (0.15 + 0.002 * jitter(at));
    const FILLS_STEADILY: Trace = |at| SIZE * (0.5 - at / (60.0 * HOUR) + 0.002 * jitter(at));
    const FILLS_SUDDENLY: Trace =
        |at| SIZE * (0.4 - (at - 40.0 * HOUR).max(0.0) / (14.0 * HOUR) + 0.002 * jitter(at));
    const ROTATED_HOURLY: Trace = |at| SIZE * (0.18 - 0.1 * phase(at, HOUR));
    const ROTATED_EVERY_SIX_HOURS: Trace = |at| SIZE * (0.25 - 0.2 * phase(at, 6.0 * HOUR));
    const CLEANED_NIGHTLY: Trace = |at| SIZE * (0.40 - 0.35 * phase(at, 24.0 * HOUR));
    const CLEANED_LESS_EACH_TIME: Trace =
        |at| SIZE * (0.75 - 0.25 * phase(at, 12.0 * HOUR) - at / (90.0 * HOUR));
    const CLEANING_STOPS: Trace = |at| {
        let cleaned = 0.5 - 0.2 * phase(at, 12.0 * HOUR);
        SIZE * if at < 36.0 * HOUR { cleaned } else { 0.5 - (at - 36.0 * HOUR) / (60.0 * HOUR) }
    };
    const A_LARGE_FILE_FOR_AN_HOUR: Trace =
        |at| SIZE * if (30.0 * HOUR..31.0 * HOUR).contains(&at) { 0.12 } else { 0.35 };
    const NOISE: Trace = |at| SIZE * (0.2 + 0.05 * jitter(at));

    /// Labelled by themselves: a file system fills within the horizon where its own future says so.
    const TRACES: &[Trace] = &[
        QUIET,
        FILLS_STEADILY,
        FILLS_SUDDENLY,
        ROTATED_HOURLY,
        ROTATED_EVERY_SIX_HOURS,
        CLEANED_NIGHTLY,
        CLEANED_LESS_EACH_TIME,
        CLEANING_STOPS,
        A_LARGE_FILE_FOR_AN_HOUR,
        NOISE,
    ];

    const STEP: f64 = 300.0;
    const TRACE_HOURS: f64 = 66.0;

    fn points(trace: Trace, from: f64, to: f64) -> Vec<Point> {
        let steps = ((to - from) / STEP) as usize;
        (0..=steps)
            .map(|step| from + step as f64 * STEP)
            .map(|at| Point { at, available: trace(at).max(0.0) })
            .collect()
    }

    /// Least squares over the last six hours, as `predict_linear` has it.
    fn predict_linear(points: &[Point], ahead: f64) -> f64 {
        let last = points.last().unwrap();
        let recent: Vec<_> = points.iter().filter(|point| point.at > last.at - 6.0 * HOUR).collect();
        let count = recent.len() as f64;
        let mean = |of: &dyn Fn(&Point) -> f64| recent.iter().map(|point| of(point)).sum::<f64>() / count;
        let (x, y) = (mean(&|point| point.at), mean(&|point| point.available));
        let slope = recent.iter().map(|point| (point.at - x) * (point.available - y)).sum::<f64>()
            / recent.iter().map(|point| (point.at - x).powi(2)).sum::<f64>();
        y + slope * (last.at + ahead - x)
    }

    #[derive(Debug, Default)]
    struct Counts {
        hit: f64,
        false_alarm: f64,
        missed: f64,
    }

    impl Counts {
        fn note(&mut self, said: bool, so: bool) {
            match (said, so) {
                (true, true) => self.hit += 1.0,
                (true, false) => self.false_alarm += 1.0,
                (false, true) => self.missed += 1.0,
                (false, false) => {}
            }
        }

        fn precision(&self) -> f64 {
            self.hit / (self.hit + self.false_alarm)
        }

        fn recall(&self) -> f64 {
            self.hit / (self.hit + self.missed)
        }
    }

    /// Every quarter of an hour from the second day on: will it be full within four hours?
    fn compare(traces: &[Trace]) -> (Counts, Counts) {
        let (mut own, mut linear) = (Counts::default(), Counts::default());
        for &trace in traces {
            let all = points(trace, 0.0, TRACE_HOURS * HOUR);
            let instants = (96..).map(|quarter| f64::from(quarter) * 900.0);
            for now in instants.take_while(|now| *now + HORIZON <= TRACE_HOURS * HOUR) {
                let known = &all[..=(now / STEP) as usize];
                if known.last().unwrap().available <= 0.0 {
                    break;
                }
                let ahead = &all[(now / STEP) as usize..=((now + HORIZON) / STEP) as usize];
                let so = ahead.iter().any(|point| point.available <= 0.0);
                let kept = &known[known.len().saturating_sub(MAX_POINTS)..];
                own.note(forecast(kept, SIZE).unwrap().full_in_seconds <= HORIZON, so);
                linear.note(predict_linear(known, HORIZON) < 0.0, so);
            }
        }
        (own, linear)
    }

    #[test]
    fn it_is_right_more_often_than_a_straight_line() {
        let (own, linear) = compare(TRACES);
        assert!(own.precision() >= 0.9 && own.recall() >= 0.9, "{own:?}");
        assert!(own.precision() > linear.precision() + 0.3, "{own:?} {linear:?}");
        assert!(own.recall() > linear.recall() + 0.1, "{own:?} {linear:?}");
    }

    #[test]
    fn nothing_is_said_before_an_hour_has_passed() {
        let mut history = History::default();
        for minute in 0..60 {
            history.note(f64::from(minute) * 60.0, 50e9 - f64::from(minute) * 0.5e9, SIZE);
            assert_eq!(history.forecast(), None);
        }
        history.note(HOUR, -10e9 + 50e9, SIZE);
        assert!(history.forecast().is_some());
        history.note(HOUR + 60.0, 1e9, SIZE * 2.0);
        assert_eq!(history.forecast(), None);
    }

    #[test]
    fn a_full_file_system_is_full_now_and_one_whose_size_wobbles_keeps_its_history() {
        let mut history = History::default();
        history.note(0.0, 0.0, SIZE);
        assert_eq!(history.forecast(), Some(Forecast { full_in_seconds: 0.0, confidence: 1.0 }));
        let mut history = History::default();
        for minute in 0..=120 {
            let used = f64::from(minute) * 60.0 * 1e6;
            history.note(f64::from(minute) * 60.0, 50e9 - used, SIZE - used / 10.0);
        }
        let found = history.forecast().unwrap();
        assert!((40_000.0..50_000.0).contains(&found.full_in_seconds), "{found:?}");
    }

    #[test]
    fn a_steady_loss_is_extrapolated() {
        let line: Vec<Point> = (0..40)
            .map(|step| f64::from(step) * STEP)
            .map(|at| Point { at, available: 50e9 - at * 1e6 })
            .collect();
        let found = forecast(&line, SIZE).unwrap();
        let expected = line.last().unwrap().available / 1e6;
        assert!((found.full_in_seconds - expected).abs() < 1.0, "{found:?}");
        assert_eq!(found.confidence, 1.0);
    }

    #[test]
    fn memory_is_bounded_and_a_point_is_the_least_of_its_time() {
        let mut history = History::default();
        for step in 0..5_000 {
            history.note(f64::from(step) * 60.0, 1e9 + f64::from(step), SIZE);
        }
        assert_eq!(history.points.len(), MAX_POINTS);
        let mut history = History::default();
        for available in [5.0, 3.0, 4.0] {
            history.note(10.0, available, SIZE);
        }
        assert_eq!(history.points, [Point { at: 10.0, available: 3.0 }]);
    }
}
