//! Answers that come in pages: what is looked at under locks, a few hundred rows at a time.

use super::super::Deadline;
use super::collector::Pages;
use super::failure::Failure;
use super::row::Row;
use super::session::Session;

/// How many rows a page has. A server has room for `max_locks_per_transaction` (64) locks for each of its
/// connections, so for more than this even if it allows ten of them.
const PAGE: usize = 250;

/// What the pages have together.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The heaviest rows, in this order.
    pub(super) rows: Vec<Row>,
    /// How many others there were.
    pub(super) beyond: usize,
    /// How many the role may not look at.
    pub(super) hidden: usize,
}

/// Asks page by page until the last one, and keeps the heaviest `most` rows.
pub(super) async fn ask(
    pages: Pages,
    sql: &str,
    most: usize,
    session: &Session,
    deadline: Deadline,
) -> Result<Gathered, Failure> {
    let sql = sql.replace("{page}", &PAGE.to_string());
    let mut gathered = Gathered::default();
    let mut after = 0;
    loop {
        let page = session.query(&sql.replace("{after}", &after.to_string()), deadline).await?;
        match gathered.add(page, pages.weight, most) {
            Some(end) => after = end,
            None => return Ok(gathered),
        }
    }
}

impl Gathered {
    /// An answer in one piece.
    pub(super) fn whole(rows: Vec<Row>) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Adds a page; yields where it ends unless it is the last one.
    fn add(&mut self, page: Vec<Row>, weight: &str, most: usize) -> Option<u32> {
        let (about, rows): (Vec<Row>, Vec<Row>) =
            page.into_iter().partition(|row| row.text("hidden").is_some());
        let weight = |row: &Row| row.number(weight).unwrap_or_default();
        self.rows.extend(rows);
        self.rows.sort_by(|one, other| weight(other).total_cmp(&weight(one)));
        self.beyond += self.rows.len().saturating_sub(most);
        self.rows.truncate(most);
        let about = about.first()?;
        self.hidden += about.number("hidden").unwrap_or_default() as usize;
        about.number("page_end").map(|end| end as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_rows_of_all_pages_are_kept() {
        let page = |ratios: &str, end: Option<&str>, hidden: &str| -> Vec<Row> {
            let rows = ratios.split_whitespace().map(|ratio| Row::new([("ratio", Some(ratio))].into_iter()));
            let about = Row::new([("page_end", end), ("hidden", Some(hidden))].into_iter());
            std::iter::once(about).chain(rows).collect()
        };
        let mut gathered = Gathered::default();
        assert_eq!(gathered.add(page("0.9 0.6", Some("16400"), "2"), "ratio", 3), Some(16_400));
        assert_eq!(gathered.add(page("0.5 0.95 0.7", None, "1"), "ratio", 3), None);
        let kept: Vec<_> = gathered.rows.iter().filter_map(|row| row.text("ratio")).collect();
        assert_eq!((kept.as_slice(), gathered.beyond, gathered.hidden), (&["0.95", "0.9", "0.7"][..], 2, 3));
        assert_eq!(gathered.add(Vec::new(), "ratio", 3), None, "an answer without the row about the page");
    }
}
