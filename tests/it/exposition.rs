//! Metrics pages against Prometheus' own data, and against its own checker where that is installed.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::tools::tool;
use valmis::exposition::{Entry, Escaping, Format, Metadata, MetricType, Page, Parser};
use valmis::model::Labels;

/// The conformance data, if it lies beside the checkout or where `VALMIS_CONFORMANCE` says.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where their data is")]
fn conformance(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("VALMIS_CONFORMANCE").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance")),
        PathBuf::from,
    );
    let folder = root.join(folder);
    folder.is_dir().then_some(folder)
}

/// What a page holds: samples, `HELP` lines, `TYPE` lines and distinct label sets.
fn count(page: &[u8], format: Format) -> (usize, usize, usize, usize) {
    let mut parser = Parser::new(page, format).expect("the page is UTF-8");
    let (mut samples, mut helps, mut types) = (0, 0, 0);
    let mut series = std::collections::HashSet::new();
    while let Some(entry) = parser.next() {
        match entry.expect("the page is correct") {
            Entry::Sample(_) => {
                samples += 1;
                series.insert(parser.labels());
            }
            Entry::Help { .. } => helps += 1,
            Entry::Type { .. } => types += 1,
            Entry::Unit { .. } => {}
        }
    }
    (samples, helps, types, series.len())
}

/// The same numbers found by looking at how lines begin.
fn count_lines(page: &str) -> (usize, usize, usize, usize) {
    let beginning = |prefix: &str| page.lines().filter(|line| line.starts_with(prefix)).count();
    let samples = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    (samples, beginning("# HELP "), beginning("# TYPE "), samples)
}

#[test]
fn prometheus_own_pages_are_read_completely() {
    let Some(folder) = conformance("textparse") else {
        #[expect(clippy::print_stderr, reason = "says why nothing was tested")]
        {
            eprintln!("skipped: no conformance data beside the checkout");
        }
        return;
    };
    let mut pages = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let open_metrics = path.to_string_lossy().contains(".om.");
        let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
        let page = fs::read(&path).unwrap();
        let text = String::from_utf8(page.clone()).unwrap();
        assert_eq!(count(&page, format), count_lines(&text), "{}", path.display());
        pages += 1;
    }
    assert!(pages > 0);
}

/// A page with every type of metric and every character that needs care.
fn rich_page() -> Page {
    let mut page = Page::default();
    let mut add =
        |labels: &[(&str, &str)], value| page.add(Labels::from_pairs(labels.iter().copied()), value, None);
    add(&[("__name__", "valmis_requests_total"), ("path", "/\"a\\b\"\n\u{e9}")], 7.0);
    add(&[("__name__", "valmis_temperature_celsius")], -1.5e-9);
    add(&[("__name__", "valmis_latency_seconds_bucket"), ("le", "+Inf")], 3.0);
    add(&[("__name__", "valmis_latency_seconds_bucket"), ("le", "0.5")], 1.0);
    add(&[("__name__", "valmis_latency_seconds_sum")], 2.25);
    add(&[("__name__", "valmis_latency_seconds_count")], 3.0);
    add(&[("__name__", "valmis_size_bytes"), ("quantile", "0.99")], f64::NAN);
    add(&[("__name__", "valmis_size_bytes_sum")], f64::INFINITY);
    add(&[("__name__", "valmis_size_bytes_count")], 1e21);
    add(&[("__name__", "valmis_build_info"), ("version", "1")], 1.0);
    let describe = [
        ("valmis_requests_total", MetricType::Counter),
        ("valmis_temperature_celsius", MetricType::Gauge),
        ("valmis_latency_seconds", MetricType::Histogram),
        ("valmis_size_bytes", MetricType::Summary),
        ("valmis_build_info", MetricType::Info),
    ];
    for (family, kind) in describe {
        page.describe(family, Metadata::new(kind, "A \\ \"help\" text\nwith care."));
    }
    page
}

#[test]
fn promtool_finds_nothing_wrong_with_our_pages() {
    let Some(promtool) = tool("bookworm/usr/bin/promtool") else { return };
    let mut tool = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be started");
    let page = rich_page().write(Format::Text, Escaping::Underscores);
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
}
