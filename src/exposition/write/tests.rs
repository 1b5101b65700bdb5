use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::exposition::{Entry, Parser};

fn page() -> Page {
    let mut page = Page::default();
    let mut add =
        |pairs: &[(&str, &str)], value, at| page.add(Labels::from_pairs(pairs.iter().copied()), value, at);
    add(&[("__name__", "h_seconds_count"), ("job", "a")], 3.0, None);
    add(&[("__name__", "h_seconds_bucket"), ("job", "a"), ("le", "+Inf")], 3.0, None);
    add(&[("__name__", "h_seconds_bucket"), ("job", "a"), ("le", "10")], 2.0, None);
    add(&[("__name__", "h_seconds_bucket"), ("job", "a"), ("le", "2")], 1.0, None);
    add(&[("__name__", "h_seconds_sum"), ("job", "a")], 12.5, None);
    add(&[("__name__", "requests_total"), ("path", "/\"a\\b\"\n")], 7.0, Some(1_001));
    add(&[("__name__", "odd")], 1.0, None);
    add(&[("__name__", "build_info"), ("version", "1")], 1.0, None);
    add(&[("__name__", "with.dot"), ("a.b", "c")], f64::NAN, None);
    add(&[("__name__", "undescribed")], f64::INFINITY, None);
    page.describe(
        "h_seconds",
        Metadata {
            kind: MetricType::Histogram,
            help: "How \"long\" it\ntook.".into(),
            unit: "seconds".to_owned(),
        },
    );
    page.describe("requests_total", Metadata::new(MetricType::Counter, "Requests."));
    page.describe("odd", Metadata::new(MetricType::Counter, "A counter without suffix."));
    page.describe("build_info", Metadata::new(MetricType::Info, "Which build runs."));
    page.describe("silent", Metadata::new(MetricType::Gauge, "Has no samples."));
    page
}

#[test]
fn text_groups_families_and_escapes() {
    assert_eq!(
        page().write(Format::Text, Escaping::Underscores),
        r#"# HELP build_info Which build runs.
# TYPE build_info gauge
build_info{version="1"} 1
# HELP h_seconds How "long" it\ntook.
# TYPE h_seconds histogram
h_seconds_bucket{job="a",le="2"} 1
h_seconds_bucket{job="a",le="10"} 2
h_seconds_bucket{job="a",le="+Inf"} 3
h_seconds_count{job="a"} 3
h_seconds_sum{job="a"} 12.5
# HELP odd A counter without suffix.
# TYPE odd counter
odd 1
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{path="/\"a\\b\"\n"} 7 1001
# TYPE undescribed untyped
undescribed +Inf
# TYPE with_dot untyped
with_dot{a_b="c"} NaN
"#
    );
}

#[test]
fn open_metrics_names_families_without_suffix_and_ends_with_eof() {
    assert_eq!(
        page().write(Format::OpenMetrics, Escaping::AllowUtf8),
        r#"# HELP build Which build runs.
# TYPE build info
build_info{version="1"} 1
# HELP h_seconds How \"long\" it\ntook.
# TYPE h_seconds histogram
# UNIT h_seconds seconds
h_seconds_bucket{job="a",le="2"} 1
h_seconds_bucket{job="a",le="10"} 2
h_seconds_bucket{job="a",le="+Inf"} 3
h_seconds_count{job="a"} 3
h_seconds_sum{job="a"} 12.5
# HELP odd A counter without suffix.
# TYPE odd unknown
odd 1
# HELP requests Requests.
# TYPE requests counter
requests_total{path="/\"a\\b\"\n"} 7 1.001
# TYPE undescribed unknown
undescribed +Inf
# TYPE "with.dot" unknown
{"with.dot","a.b"="c"} NaN
# EOF
"#
    );
}

#[test]
fn a_series_stands_once_on_a_page() {
    let mut page = Page::default();
    let size = |mountpoint| Labels::from_pairs([("__name__", "size_bytes"), ("mountpoint", mountpoint)]);
    page.add(size("/"), 1.0, None);
    page.add(size("/data"), 2.0, None);
    page.add(size("/"), 3.0, None);
    // At another time it is another sample, which OpenMetrics allows.
    page.add(size("/"), 4.0, Some(5));
    for (format, time) in [(Format::Text, "5"), (Format::OpenMetrics, "0.005")] {
        let text = page.write(format, Escaping::AllowUtf8);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "size_bytes{mountpoint=\"/\"} 1",
            &format!("size_bytes{{mountpoint=\"/\"}} 4 {time}"),
            "size_bytes{mountpoint=\"/data\"} 2",
        ];
        assert_eq!(samples, expected, "{format:?}");
    }
}

#[test]
fn a_counter_described_without_suffix_gets_it_in_text() {
    let mut page = Page::default();
    page.add(Labels::from_pairs([("__name__", "a_total")]), 1.0, None);
    page.describe("a", Metadata::new(MetricType::Counter, "A."));
    let text = page.write(Format::Text, Escaping::Underscores);
    assert_eq!(text, "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n");
    let open_metrics = page.write(Format::OpenMetrics, Escaping::Underscores);
    assert_eq!(open_metrics, "# HELP a A.\n# TYPE a counter\na_total 1\n# EOF\n");
}

fn read(page: &str, format: Format) -> Vec<(Labels, u64, Option<TimestampMs>)> {
    let mut parser = Parser::new(page.as_bytes(), format).unwrap();
    let mut samples = Vec::new();
    while let Some(entry) = parser.next() {
        if let Entry::Sample(sample) = entry.unwrap() {
            samples.push((parser.labels(), sample.value.to_bits(), sample.at));
        }
    }
    samples.sort();
    samples
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        samples in vec(
            ("\\PC{1,9}|[a-z_:][a-z0-9_:]{0,9}", btree_map("\\PC{1,5}|[a-z_]{1,5}|le|quantile", "\\PC{0,9}|[\\\\\"\n]{1,3}", 0..4),
             any::<f64>(), proptest::option::of(-4_000_000_000_000_i64..4_000_000_000_000)),
            0..20,
        ),
        help in "(\\PC|[\\\\\"\n]){0,9}",
        kinds in vec(0..3_usize, 20),
        open_metrics: bool,
    ) {
        let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
        let mut page = Page::default();
        let mut expected = Vec::new();
        for ((name, labels, value, at), kind) in samples.into_iter().zip(kinds) {
            let labels = Labels::from_pairs(labels).builder().set(METRIC_NAME, &name).build();
            let value = if value.is_nan() { crate::model::normal_nan() } else { value };
            // Not histograms and summaries: there the spelling of the bounds changes.
            let kind = [MetricType::Counter, MetricType::Gauge, MetricType::Unknown][kind];
            page.describe(&name, Metadata::new(kind, help.clone()));
            page.add(labels.clone(), value, at);
            expected.push((labels, value.to_bits(), at));
        }
        expected.sort();
        let text = page.write(format, Escaping::AllowUtf8);
        prop_assert_eq!(read(&text, format), expected, "{}", text);
    }
}
