//! Bounded answers: which of many rows become samples.
//!
//! The heaviest rows are kept, but one that is kept stays until it is clearly beaten: otherwise two rows
//! of about the same weight would take turns, and each turn begins new series.

use std::collections::BTreeSet;

use super::collector::Bound;
use super::row::Row;

/// The rows that were kept, by their identity.
pub(super) type Members = BTreeSet<Vec<String>>;

/// How many rows have to be asked for so that a member can be found again where it has fallen behind.
pub(super) fn candidates(rows: usize) -> usize {
    rows.saturating_mul(2)
}

/// Keeps at most `rows` of the answer, which is ordered by weight. Yields how many rows were dropped, those
/// included that the server held back, and notes the new members.
///
/// A newcomer needs to stand in less than half the place of a member to take its seat.
pub(super) fn keep(answer: &mut Vec<Row>, bound: &Bound, rows: usize, members: &mut Members) -> usize {
    let all = answer.first().and_then(|row| row.number("all_rows")).unwrap_or(0.0) as usize;
    let all = all.max(answer.len());
    let mut places: Vec<(usize, usize)> = answer
        .iter()
        .enumerate()
        .map(|(place, row)| {
            let bonus = if members.contains(&identity(row, bound)) { 1 } else { 2 };
            (place * bonus, place)
        })
        .collect();
    places.sort_unstable();
    places.truncate(rows);
    let seats: BTreeSet<usize> = places.into_iter().map(|(_, place)| place).collect();
    let mut places = 0..;
    answer.retain(|_| places.next().is_some_and(|place| seats.contains(&place)));
    *members = answer.iter().map(|row| identity(row, bound)).collect();
    all - answer.len()
}

fn identity(row: &Row, bound: &Bound) -> Vec<String> {
    bound.identity.iter().map(|column| row.text(column).unwrap_or_default().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound { rows: 0, identity: &["id"] };

    fn rows(names: &str, all: usize) -> Vec<Row> {
        let all = all.to_string();
        let row = |name| Row::new([("id", Some(name)), ("all_rows", Some(all.as_str()))].into_iter());
        names.split_whitespace().map(row).collect()
    }

    fn check(before: &str, answer: &str, all: usize, expected: &str, dropped: usize) {
        let mut members: Members = before.split_whitespace().map(|name| vec![name.to_owned()]).collect();
        let mut kept = rows(answer, all);
        assert_eq!(keep(&mut kept, &BOUND, 3, &mut members), dropped, "{answer}");
        let names: Vec<&str> = kept.iter().filter_map(|row| row.text("id")).collect();
        assert_eq!(names.join(" "), expected, "{answer}");
        assert_eq!(members.len(), kept.len());
    }

    #[test]
    fn the_heaviest_rows_are_kept_and_the_others_counted() {
        check("", "a b", 2, "a b", 0);
        check("", "a b c", 3, "a b c", 0);
        check("", "a b c d e f", 100, "a b c", 97);
        check("", "", 0, "", 0);
    }

    #[test]
    fn a_member_stays_until_it_is_clearly_beaten() {
        check("a b c", "a b d c", 4, "a b c", 1);
        check("a b c", "d a b c", 4, "d a b", 1);
        check("a b c", "d e f a b c", 6, "d e a", 3);
        check("a b c", "d e f g h i", 6, "d e f", 3);
    }
}
