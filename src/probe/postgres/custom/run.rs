//! Asking a query of the user.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::super::super::Deadline;
use super::super::answer::{Answer, Asked};
use super::super::failure::{Failure, Layer};
use super::super::row::Row;
use super::super::session::{Session, statement_timeout};
use super::{CustomQuery, Usage};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, Sample, parse_duration_ms};

/// The label for the database, where a query is asked in several.
const DATABASE_LABEL: &str = "datname";

/// Asks a query, within its own time and that of the visit. With `database` its series get a label with it,
/// unless it has one of that name.
pub(in super::super) async fn run(
    query: &CustomQuery,
    database: Option<&str>,
    session: &Session,
    patience: Duration,
) -> Asked {
    let began = Instant::now();
    let deadline = Deadline::after(patience);
    let asked = fetch(query, session, deadline).await;
    // Whatever came of it, the transaction has to end; that ends by itself with the connection.
    let ended = session.query("ROLLBACK", deadline).await;
    let result = asked.and_then(|rows| {
        ended?;
        read(query, database, &rows).map(|samples| Answer { samples, dropped: None, hidden: 0 })
    });
    Asked { result, took: began.elapsed() }
}

async fn fetch(query: &CustomQuery, session: &Session, deadline: Deadline) -> Result<Vec<Row>, Failure> {
    let allowed = query.timeout.unwrap_or(Duration::MAX).min(statement_timeout(deadline)).as_millis().max(1);
    let begin = format!(
        "BEGIN TRANSACTION READ ONLY; SET LOCAL search_path = \"$user\", public; \
         SET LOCAL statement_timeout = {allowed}"
    );
    session.query(&begin, deadline).await?;
    let sql = query.sql.trim_end().trim_end_matches(';');
    // A cursor takes one query that reads, and nothing else; the extended protocol takes one statement.
    session.prepare_and_execute(&format!("DECLARE answer NO SCROLL CURSOR FOR {sql}"), deadline).await?;
    let rows =
        session.query(&format!("FETCH {} FROM answer", query.max_rows.saturating_add(1)), deadline).await?;
    if rows.len() > query.max_rows {
        return Err(refused(format!("the answer has more than {} rows", query.max_rows)));
    }
    Ok(rows)
}

fn refused(reason: impl Into<String>) -> Failure {
    Failure::new(Layer::Query, "query", reason)
}

/// The samples of an answer. Two rows with the same labels are a fault of the query: they cannot both be
/// shown.
fn read(query: &CustomQuery, database: Option<&str>, rows: &[Row]) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    for row in rows {
        let mut labels = LabelsBuilder::default();
        labels.set(DATABASE_LABEL, database.unwrap_or_default());
        for column in query.columns.iter().filter(|column| column.usage == Usage::Label) {
            labels.set(&column.name, row.text(&column.name).unwrap_or_default());
        }
        let labels = labels.build();
        for (name, value) in row.columns() {
            let usage = query.columns.iter().find(|column| column.name == name).map(|column| column.usage);
            let value = || value.and_then(|_| row.number(name));
            match usage {
                Some(Usage::Label | Usage::Discard) => {}
                Some(Usage::Duration) => {
                    let span = row.text(name).and_then(|text| parse_duration_ms(text).ok());
                    push(
                        &mut samples,
                        &labels,
                        &format!("{}_{name}_milliseconds", query.name),
                        span.map(|ms| ms as f64),
                    );
                }
                Some(Usage::Histogram) => histogram(query, row, name, &labels, &mut samples)?,
                Some(Usage::Counter | Usage::Gauge) => {
                    push(&mut samples, &labels, &format!("{}_{name}", query.name), value());
                }
                None if belongs_to_histogram(query, name) => {}
                None => push(&mut samples, &labels, &format!("{}_{name}", query.name), value()),
            }
        }
    }
    let mut seen = HashSet::new();
    match samples.iter().find(|sample| !seen.insert(sample.labels.clone())) {
        Some(twice) => Err(refused(format!("two rows make the series `{}`", twice.labels))),
        None => Ok(samples),
    }
}

fn push(samples: &mut Vec<Sample>, labels: &Labels, name: &str, value: Option<f64>) {
    if let Some(value) = value {
        samples.push(Sample::new(labels.builder().set(METRIC_NAME, name).build(), 0, value));
    }
}

fn belongs_to_histogram(query: &CustomQuery, name: &str) -> bool {
    let histograms = query.columns.iter().filter(|column| column.usage == Usage::Histogram);
    histograms.into_iter().any(|column| {
        name.strip_prefix(column.name.as_str())
            .is_some_and(|end| ["_bucket", "_sum", "_count"].contains(&end))
    })
}

fn histogram(
    query: &CustomQuery,
    row: &Row,
    name: &str,
    labels: &Labels,
    samples: &mut Vec<Sample>,
) -> Result<(), Failure> {
    let part = |end: &str| {
        let column = format!("{name}{end}");
        row.text(&column)
            .map(str::to_owned)
            .ok_or_else(|| refused(format!("histogram `{name}` lacks `{column}`")))
    };
    let (bounds, counts) = (array(&part("")?), array(&part("_bucket")?));
    let (sum, count) = (part("_sum")?, part("_count")?);
    let metric = format!("{}_{name}", query.name);
    let all = (f64::INFINITY, count.parse().ok());
    let buckets = bounds.into_iter().zip(counts.into_iter().map(Some)).chain([all]);
    for (le, value) in buckets {
        let le = if le.is_infinite() { "+Inf".to_owned() } else { le.to_string() };
        push(samples, &labels.builder().set("le", &le).build(), &format!("{metric}_bucket"), value);
    }
    push(samples, labels, &format!("{metric}_sum"), sum.parse().ok());
    push(samples, labels, &format!("{metric}_count"), count.parse().ok());
    Ok(())
}

/// The numbers of an array such as `{1,2.5}`.
fn array(text: &str) -> Vec<f64> {
    let inner = text.trim_start_matches('{').trim_end_matches('}');
    inner.split(',').filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::selection::Databases;
    use super::super::{Column, DEFAULT_INTERVAL};
    use super::*;

    fn query(columns: &[(&str, Usage)]) -> CustomQuery {
        let column = |(name, usage): &(&str, Usage)| Column {
            name: (*name).to_owned(),
            usage: *usage,
            help: String::new(),
        };
        CustomQuery {
            name: "q".to_owned(),
            sql: String::new(),
            columns: columns.iter().map(column).collect(),
            interval: DEFAULT_INTERVAL,
            timeout: None,
            max_rows: 10,
            databases: Databases::Own,
            versions: None,
            on_replica: None,
        }
    }

    fn texts(columns: &[(&str, Usage)], rows: &[&[(&str, Option<&str>)]]) -> Vec<String> {
        texts_in(None, columns, rows)
    }

    fn texts_in(
        database: Option<&str>,
        columns: &[(&str, Usage)],
        rows: &[&[(&str, Option<&str>)]],
    ) -> Vec<String> {
        let rows: Vec<Row> = rows.iter().map(|row| Row::new(row.iter().copied())).collect();
        match read(&query(columns), database, &rows) {
            Ok(samples) => samples.iter().map(|s| format!("{} {}", s.labels, s.value)).collect(),
            Err(failure) => vec![failure.reason],
        }
    }

    #[test]
    fn columns_become_what_their_usage_says() {
        let columns =
            [("a", Usage::Label), ("x", Usage::Gauge), ("d", Usage::Discard), ("t", Usage::Duration)];
        let row = [
            ("a", Some("1")),
            ("x", Some("2.5")),
            ("d", Some("3")),
            ("t", Some("1m30s")),
            ("free", Some("4")),
            ("text", Some("five")),
            ("null", None),
        ];
        let expected = [
            r#"{__name__="q_x", a="1"} 2.5"#,
            r#"{__name__="q_t_milliseconds", a="1"} 90000"#,
            r#"{__name__="q_free", a="1"} 4"#,
        ];
        assert_eq!(texts(&columns, &[&row]), expected);
    }

    #[test]
    fn series_of_several_databases_tell_which() {
        let row = [("datname", Some("own")), ("x", Some("1"))];
        let check = |columns: &[(&str, Usage)], expected: &str| {
            assert_eq!(texts_in(Some("shop"), columns, &[&row]), [expected]);
        };
        check(&[("x", Usage::Gauge)], r#"{__name__="q_x", datname="shop"} 1"#);
        check(&[("datname", Usage::Label)], r#"{__name__="q_x", datname="own"} 1"#);
    }

    #[test]
    fn columns_that_are_named_are_described() {
        let query = query(&[("a", Usage::Label), ("x", Usage::Counter), ("t", Usage::Duration)]);
        let check = |metric: &str, expected: Option<&str>| {
            assert_eq!(query.describe(metric).map(|(kind, _)| kind), expected, "{metric}");
        };
        check("q_x", Some("counter"));
        check("q_t_milliseconds", Some("gauge"));
        check("q_t", None);
        check("q_a", None);
        check("qx", None);
        check("other_x", None);
    }

    #[test]
    fn a_histogram_is_made_of_arrays() {
        let row = [
            ("s", Some("{1,5}")),
            ("s_bucket", Some("{2,3}")),
            ("s_sum", Some("12")),
            ("s_count", Some("4")),
        ];
        let expected = [
            r#"{__name__="q_s_bucket", le="1"} 2"#,
            r#"{__name__="q_s_bucket", le="5"} 3"#,
            r#"{__name__="q_s_bucket", le="+Inf"} 4"#,
            r#"{__name__="q_s_sum"} 12"#,
            r#"{__name__="q_s_count"} 4"#,
        ];
        assert_eq!(texts(&[("s", Usage::Histogram)], &[&row]), expected);
        assert_eq!(texts(&[("s", Usage::Histogram)], &[&row[..1]]), ["histogram `s` lacks `s_bucket`"]);
    }

    #[test]
    fn two_rows_of_one_series_are_a_fault() {
        let row = [("x", Some("1"))];
        assert_eq!(
            texts(&[("x", Usage::Gauge)], &[&row, &row]),
            [r#"two rows make the series `{__name__="q_x"}`"#]
        );
    }
}
