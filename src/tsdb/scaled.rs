//! Values as whole numbers of some decimal unit: what differences of bits store badly.
//!
//! `0.1` has 52 significant bits, and two prices that differ by a cent have hardly a bit in common.
//! Most values were written in decimal, though: as numbers of tenths or hundredths they are small, and
//! so are their differences. A chunk is stored this way when it is finished, when every value of it
//! comes back bit for bit, and when that takes less room.

use crate::model::Point;

use super::bits::{BitReader, BitWriter};
use super::chunk::ReadValue;

/// How many units make 1. A division by one of these is rounded as reading the decimal number is.
const UNITS: [f64; 8] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e9];

/// Up to here a float holds every whole number.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// How the values of a chunk are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    /// An index into [`UNITS`].
    unit: u32,
    /// Whether it is the change of the change that is written: a counter at a steady rate.
    second_order: bool,
    /// The bits of a small change and of any change. A change is `0`, or `10` and a small one, or `11`
    /// and any one.
    small: u32,
    any: u32,
}

/// The whole numbers of these points' values and how to write them best. Nothing if one of the values
/// is no decimal number of few digits.
pub(super) fn plan(points: &[Point]) -> Option<(Vec<i64>, Scale)> {
    let mut unit = 0;
    for point in points {
        // What is a whole number of tenths is one of hundredths too.
        unit += UNITS[unit..].iter().position(|unit| whole(point.value, *unit).is_some())?;
    }
    // A later value may need a finer unit, in which an earlier one is not exact any more.
    let numbers: Option<Vec<i64>> = points.iter().map(|point| whole(point.value, UNITS[unit])).collect();
    let numbers = numbers?;
    let (scale, _) = [false, true]
        .map(|second_order| plan_order(&numbers, unit as u32, second_order))
        .into_iter()
        .min_by_key(|(_, bits)| *bits)?;
    Some((numbers, scale))
}

/// The value as a number of units, if that says it all.
pub(super) fn whole(value: f64, units: f64) -> Option<i64> {
    let number = (value * units).round();
    let whole = (number.abs() < MAX_WHOLE).then_some(number as i64)?;
    // By bits and by way of the integer, which has no negative zero.
    ((whole as f64 / units).to_bits() == value.to_bits()).then_some(whole)
}

/// How to write the changes of one order best, with the bits that they take.
fn plan_order(numbers: &[i64], unit: u32, second_order: bool) -> (Scale, u32) {
    let mut widths = [0_u32; 65];
    let mut changes = Changes::new(second_order, numbers[0]);
    for number in &numbers[1..] {
        widths[(64 - changes.encode(*number).leading_zeros()) as usize] += 1;
    }
    let any = widths.iter().rposition(|count| *count > 0).unwrap_or(0) as u32;
    let nonzero: u32 = widths[1..].iter().sum();
    let (mut small, mut bits) = (any, nonzero * (2 + any));
    let mut up_to = 0;
    for (width, count) in (1..any).zip(&widths[1..]) {
        up_to += count;
        let with = up_to * (2 + width) + (nonzero - up_to) * (2 + any);
        if with < bits {
            (small, bits) = (width, with);
        }
    }
    (Scale { unit, second_order, small, any }, widths[0] + bits)
}

/// Turns numbers into codes that are small for small changes, and back.
#[derive(Debug, Clone)]
struct Changes {
    second_order: bool,
    last: i64,
    last_change: i64,
}

impl Changes {
    fn new(second_order: bool, first: i64) -> Self {
        Self { second_order, last: first, last_change: 0 }
    }

    fn expected(&self) -> i64 {
        if self.second_order { self.last.wrapping_add(self.last_change) } else { self.last }
    }

    fn advance(&mut self, number: i64) {
        self.last_change = number.wrapping_sub(self.last);
        self.last = number;
    }

    fn encode(&mut self, number: i64) -> u64 {
        let change = number.wrapping_sub(self.expected());
        self.advance(number);
        (change << 1 ^ change >> 63) as u64
    }

    fn decode(&mut self, code: u64) -> i64 {
        let change = (code >> 1) as i64 ^ -((code & 1) as i64);
        let number = self.expected().wrapping_add(change);
        self.advance(number);
        number
    }
}

/// Writes the values of a chunk.
#[derive(Debug)]
pub(super) struct ScaledWriter {
    scale: Scale,
    changes: Changes,
}

impl ScaledWriter {
    /// Writes the scale and the first number.
    pub(super) fn start(scale: Scale, first: i64, bits: &mut BitWriter) -> Self {
        bits.write(u64::from(scale.unit), 3);
        bits.write(u64::from(scale.second_order), 1);
        bits.write(u64::from(scale.small), 7);
        bits.write(u64::from(scale.any), 7);
        bits.write(first as u64, 64);
        Self { scale, changes: Changes::new(scale.second_order, first) }
    }

    /// Writes a further number.
    pub(super) fn write(&mut self, number: i64, bits: &mut BitWriter) {
        let code = self.changes.encode(number);
        if code == 0 {
            bits.write(0, 1);
        } else if 64 - code.leading_zeros() <= self.scale.small {
            bits.write(0b10, 2);
            bits.write(code, self.scale.small);
        } else {
            bits.write(0b11, 2);
            bits.write(code, self.scale.any);
        }
    }
}

/// Reads the values of a chunk.
#[derive(Debug, Clone)]
pub(super) struct ScaledReader {
    units: f64,
    small: u32,
    any: u32,
    changes: Changes,
}

impl ScaledReader {
    /// Reads the scale and the first value; nothing if there is none.
    pub(super) fn start(bits: &mut BitReader<'_>) -> Option<(Self, f64)> {
        let units = UNITS[bits.read(3)? as usize];
        let second_order = bits.read(1)? == 1;
        let (small, any) = (bits.read(7)? as u32, bits.read(7)? as u32);
        let first = bits.read(64)? as i64;
        let sound = small <= any && any <= 64;
        let reader = Self { units, small, any, changes: Changes::new(second_order, first) };
        sound.then_some((reader, first as f64 / units))
    }
}

impl ReadValue for ScaledReader {
    #[inline]
    fn read(&mut self, bits: &mut BitReader<'_>) -> Option<f64> {
        let width = match bits.read_ones(2)? {
            0 => 0,
            1 => self.small,
            _ => self.any,
        };
        let code = if width == 0 { 0 } else { bits.read(width)? };
        Some(self.changes.decode(code) as f64 / self.units)
    }

    #[inline]
    fn read_short(&mut self, ahead: u64) -> Option<(f64, u32)> {
        let (prefix, width) = match ahead >> 62 {
            0 | 1 => (1, 0),
            2 => (2, self.small),
            _ => (2, self.any),
        };
        // Two shifts, since one by 64 is none.
        let code = if width <= 61 { ahead << prefix >> 1 >> (63 - width) } else { return None };
        Some((self.changes.decode(code) as f64 / self.units, prefix + width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_number_of_units_only_if_nothing_is_lost() {
        let check = |value: f64, units: f64, expected: Option<i64>| {
            assert_eq!(whole(value, units), expected, "{value} in 1/{units}");
        };
        check(3.0, 1.0, Some(3));
        check(-3.5, 10.0, Some(-35));
        check(0.1 + 0.2, 10.0, None);
        check(0.3, 10.0, Some(3));
        check(1.15, 100.0, Some(115));
        check(1.15, 10.0, None);
        check(-0.0, 1.0, None);
        check(f64::NAN, 1.0, None);
        check(f64::INFINITY, 1.0, None);
        check(MAX_WHOLE, 1.0, None);
        check(1.0 / 3.0, 1e9, None);
    }

    #[test]
    fn the_unit_and_the_order_fit_the_values() {
        let check = |values: &[f64], unit: f64, second_order: bool, any: u32| {
            let points: Vec<_> = values.iter().map(|value| Point { at: 0, value: *value }).collect();
            let (_, scale) = plan(&points).expect("decimal numbers");
            assert_eq!(
                (UNITS[scale.unit as usize], scale.second_order, scale.any),
                (unit, second_order, any)
            );
        };
        check(&[5.0, 5.0, 5.0], 1.0, false, 0);
        check(&[1.0, 2.5, 2.25], 100.0, false, 9);
        check(&[0.0, 700.0, 1_401.0, 2_100.0, 2_800.0, 3_500.0, 4_200.0], 1.0, true, 11);
    }
}
