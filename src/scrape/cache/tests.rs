use prometheus_client::registry::Registry;

use super::*;
use crate::discovery::TargetGroup;
use crate::scrape::testing::TestStore;

/// A target with its store, to be scraped by hand.
struct Bench {
    config: Config,
    target: Target,
    store: TestStore,
    metrics: Metrics,
    metadata: MetadataCache,
    cache: SeriesCache,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("j");
        change(&mut config);
        Self {
            target: Target::resolve(&config, &TargetGroup::default(), "i:1").unwrap(),
            config,
            store: TestStore::default(),
            metrics: Metrics::register(&mut Registry::default()),
            metadata: MetadataCache::default(),
            cache: SeriesCache::new(),
        }
    }

    fn scrape(&mut self, page: &str, at: TimestampMs) -> Outcome {
        let Self { config, target, store, metrics, metadata, cache } = self;
        let around = Surroundings { config, target, appender: store, metrics, metadata };
        cache.store_page(around, page.as_bytes(), PageType::Text(Format::Text), at)
    }

    /// Scrapes; yields scraped, added and new series.
    fn counts(&mut self, page: &str, at: TimestampMs) -> (usize, usize, usize) {
        let outcome = self.scrape(page, at);
        (outcome.scraped, outcome.added, outcome.series_added)
    }

    fn scrape_nothing(&mut self, at: TimestampMs) {
        let Self { config, target, store, metrics, metadata, cache } = self;
        cache.store_nothing(Surroundings { config, target, appender: store, metrics, metadata }, at);
    }

    fn check(&self, expected: &[&str]) {
        assert_eq!(self.store.dump(""), expected);
    }
}

#[test]
fn a_series_that_vanishes_gets_one_staleness_marker() {
    let mut bench = Bench::new(|_| ());
    assert_eq!(bench.counts("a 1\nb{x=\"y\"} 2\n", 10), (2, 2, 2));
    assert_eq!(bench.counts("a 3\n", 20), (1, 1, 0));
    assert_eq!(bench.counts("a 4\n", 30), (1, 1, 0));
    bench.check(&["a{} 1@10 3@20 4@30", r#"b{x="y"} 2@10 stale@20"#]);
    assert_eq!(bench.counts("a 5\nb{x=\"y\"} 6\n", 40), (2, 2, 1));
    bench.check(&["a{} 1@10 3@20 4@30 5@40", r#"b{x="y"} 2@10 stale@20 6@40"#]);
}

#[test]
fn a_failed_scrape_ends_all_series_once() {
    let mut bench = Bench::new(|_| ());
    bench.scrape("a 1\nb 2\n", 10);
    bench.scrape_nothing(20);
    bench.scrape_nothing(30);
    bench.check(&["a{} 1@10 stale@20", "b{} 2@10 stale@20"]);
    assert_eq!(bench.counts("a 1\nb 2\n", 40), (2, 2, 0), "the series are still known");
}

#[test]
fn a_page_with_a_fault_stores_nothing_and_ends_all_series() {
    let mut bench = Bench::new(|_| ());
    bench.scrape("a 1\nb 2\n", 10);
    let outcome = bench.scrape("a 3\nb 4\nc 5\nb{ 6\n", 20);
    assert_eq!(
        outcome.result.unwrap_err().to_string(),
        "cannot read the page: line 4, column 4: expected a label name, found `6`"
    );
    assert_eq!((outcome.scraped, outcome.added), (3, 3));
    bench.check(&["a{} 1@10 stale@20", "b{} 2@10 stale@20"]);
}

#[test]
fn series_with_their_own_timestamps_get_no_markers_unless_asked_for() {
    let page = "a 1 5\nb 2\n";
    let mut bench = Bench::new(|_| ());
    bench.scrape(page, 10);
    bench.scrape("c 1\n", 20);
    bench.check(&["a{} 1@5", "b{} 2@10 stale@20", "c{} 1@20"]);

    let mut bench = Bench::new(|config| config.track_timestamps_staleness = true);
    bench.scrape(page, 10);
    bench.scrape("c 1\n", 20);
    bench.check(&["a{} 1@5 stale@20", "b{} 2@10 stale@20", "c{} 1@20"]);

    let mut bench = Bench::new(|config| config.honor_timestamps = false);
    bench.scrape(page, 10);
    bench.scrape("c 1\n", 20);
    bench.check(&["a{} 1@10 stale@20", "b{} 2@10 stale@20", "c{} 1@20"]);
}

#[test]
fn timestamps_far_in_the_future_are_refused() {
    let mut bench = Bench::new(|_| ());
    assert_eq!(bench.counts("a 1 600010\nb 1 600011\n", 10), (2, 2, 1));
    bench.check(&["a{} 1@600010"]);
    assert_eq!(bench.metrics.out_of_bounds.get(), 1);
}

#[test]
fn a_series_twice_on_a_page_is_stored_once() {
    let mut bench = Bench::new(|_| ());
    assert_eq!(bench.counts("a 1\na 2\n", 10), (2, 2, 1));
    bench.check(&["a{} 1@10"]);
    assert_eq!(bench.metrics.duplicate.get(), 1);
    let mut bench = Bench::new(|_| ());
    assert_eq!(bench.counts("a 1 1\na 2 2\na 3 2\n", 10), (3, 3, 1));
    bench.check(&["a{} 1@1 2@2"]);
    assert_eq!(bench.metrics.duplicate.get(), 1);
}

#[test]
fn a_series_written_in_another_way_has_not_vanished() {
    let mut bench = Bench::new(|_| ());
    bench.scrape("a{x=\"1\",y=\"2\"} 1\n", 10);
    bench.scrape("a{y=\"2\", x=\"1\"} 2\n", 20);
    bench.check(&[r#"a{x="1", y="2"} 1@10 2@20"#]);
}

#[test]
fn a_reference_that_the_store_dropped_is_resolved_again() {
    let mut bench = Bench::new(|_| ());
    bench.scrape("a 1\nb 1\n", 10);
    bench.store.invalidate_references();
    assert_eq!(bench.counts("a 2\nb 2\n", 20), (2, 2, 0));
    bench.check(&["a{} 1@10 2@20", "b{} 1@10 2@20"]);
    bench.scrape("a 3\n", 30);
    bench.check(&["a{} 1@10 2@20 3@30", "b{} 1@10 2@20 stale@30"]);
}

#[test]
fn more_samples_than_allowed_fail_the_page() {
    let mut bench = Bench::new(|config| config.sample_limit = Some(2));
    assert!(bench.scrape("a 1\nb 1\n", 10).result.is_ok());
    let outcome = bench.scrape("a 1\nb 1\nc 1\nd 1\n", 20);
    assert_eq!(outcome.result.unwrap_err().to_string(), "sample limit exceeded");
    assert_eq!((outcome.scraped, outcome.added, outcome.series_added), (4, 4, 0));
    assert_eq!(bench.metrics.sample_limit.get(), 1);
    bench.check(&["a{} 1@10 stale@20", "b{} 1@10 stale@20"]);
}

#[test]
fn labels_beyond_the_limits_fail_the_page() {
    let mut bench = Bench::new(|config| config.label_limits.count = Some(4));
    let error = bench.scrape("a{b=\"1\"} 1\na{b=\"1\",c=\"2\"} 1\n", 10).result.unwrap_err();
    assert_eq!(error.to_string(), "label_limit exceeded (metric: a, number of labels: 5, limit: 4)");
    assert_eq!(bench.metrics.label_limits.get(), 1);
    bench.check(&[]);
}

#[test]
fn a_full_store_refuses_new_series_and_keeps_the_old_ones() {
    let mut bench = Bench::new(|_| ());
    bench.scrape("a 1\n", 10);
    bench.store.limit_series(1);
    let outcome = bench.scrape("a 2\nb 2\n", 20);
    assert!(outcome.result.is_ok());
    assert_eq!((outcome.scraped, outcome.added, outcome.series_added), (2, 2, 0));
    assert_eq!(bench.metrics.not_stored.get(), 1);
    bench.store.limit_series(2);
    assert_eq!(bench.counts("a 3\nb 3\n", 30), (2, 2, 1));
    bench.check(&["a{} 1@10 2@20 3@30", "b{} 3@30"]);
}

#[test]
fn labels_of_page_and_target_are_joined() {
    let page = "a{job=\"x\",instance=\"y\"} 1\n";
    let mut bench = Bench::new(|_| ());
    bench.scrape(page, 10);
    bench.check(&[r#"a{exported_instance="y", exported_job="x"} 1@10"#]);
    let mut bench = Bench::new(|config| config.honor_labels = true);
    bench.scrape(page, 10);
    assert_eq!(bench.store.series("a")[0].to_string(), r#"{__name__="a", instance="y", job="x"}"#);
}

#[test]
fn a_cache_that_grows_with_failing_pages_is_flushed() {
    let mut bench = Bench::new(|_| ());
    for scrape in 0..10_i64 {
        let lines: Vec<_> = (0..200).map(|n| format!("a{{n=\"{scrape}_{n}\"}} 1\n")).collect();
        let page = lines.concat() + "broken{\n";
        assert!(bench.scrape(&page, scrape).result.is_err());
        assert!(bench.cache.series.len() <= 1_200);
    }
    assert_eq!(bench.metrics.cache_flush_forced.get(), 1);
}

#[test]
fn metadata_is_kept_for_ten_scrapes() {
    let mut bench = Bench::new(|_| ());
    bench.scrape("# TYPE a counter\n# HELP a A.\na 1\n# TYPE b gauge\nb 1\n", 10);
    let families: Vec<_> = bench
        .metadata
        .list()
        .into_iter()
        .map(|(family, m)| format!("{family} {} {}", m.kind, m.help))
        .collect();
    assert_eq!(families, ["a counter A.", "b gauge "]);
    for at in 0..10 {
        bench.scrape("# TYPE b gauge\nb 1\n", 20 + at);
    }
    assert_eq!(bench.metadata.len(), 2);
    bench.scrape("# TYPE b gauge\nb 1\n", 40);
    assert_eq!(bench.metadata.list().into_keys().collect::<Vec<_>>(), ["b"]);
}

/// A protobuf page with one native histogram and one gauge: field numbers and lengths by hand.
fn native_page(count: u8) -> Vec<u8> {
    let message = |tag: u8, content: &[u8]| [&[tag << 3 | 2, content.len() as u8], content].concat();
    let sum = [&[2 << 3 | 1][..], &f64::from(count).to_le_bytes()].concat();
    let bucket = message(3, &[&[1 << 3, count, 2 << 3 | 1][..], &1.0_f64.to_le_bytes()].concat());
    let span = message(12, &[1 << 3, 2, 2 << 3, 1]);
    let histogram = [&[1 << 3, count][..], &sum, &bucket, &span, &message(13, &[count * 2])].concat();
    let metric =
        [message(1, &[message(1, b"a"), message(2, b"b")].concat()), message(7, &histogram)].concat();
    let family = [message(1, b"h"), vec![3 << 3, 4], message(4, &metric)].concat();
    let value = [&[1 << 3 | 1][..], &2.5_f64.to_le_bytes()].concat();
    let gauge = [message(1, b"g"), vec![3 << 3, 1], message(4, &message(2, &value))].concat();
    [&[family.len() as u8][..], &family, &[gauge.len() as u8], &gauge].concat()
}

impl Bench {
    fn scrape_native(&mut self, page: &[u8], at: TimestampMs) -> (usize, usize, usize) {
        let Self { config, target, store, metrics, metadata, cache } = self;
        let around = Surroundings { config, target, appender: store, metrics, metadata };
        let outcome = cache.store_page(around, page, PageType::Protobuf, at);
        outcome.result.expect("a sound page");
        (outcome.scraped, outcome.added, outcome.series_added)
    }
}

#[test]
fn native_histograms_are_stored_counted_and_ended() {
    let mut bench = Bench::new(|config| config.scrape_native_histograms = true);
    assert_eq!(bench.scrape_native(&native_page(3), 10), (2, 2, 2));
    assert_eq!(bench.scrape_native(&native_page(5), 20), (2, 2, 0));
    assert_eq!(bench.metadata.list()["h"].kind, crate::exposition::MetricType::Histogram);
    assert_eq!(bench.counts("g 7\n", 30), (1, 1, 1));
    bench.check(&[
        "g{} 2.5@10 2.5@20 7@30",
        "h{a=\"b\"} {count:3, sum:3, (1,2]:3}@10 {count:5, sum:5, (1,2]:5}@20 stale@30",
    ]);
}

#[test]
fn the_classic_form_is_stored_when_asked_for_and_when_nothing_else_is_wanted() {
    let classic = [
        "h_bucket{a=\"b\", le=\"+Inf\"} 3@10",
        "h_bucket{a=\"b\", le=\"1.0\"} 3@10",
        "h_count{a=\"b\"} 3@10",
        "h_sum{a=\"b\"} 3@10",
    ];
    let mut bench = Bench::new(|config| {
        config.scrape_native_histograms = true;
        config.always_scrape_classic_histograms = true;
    });
    assert_eq!(bench.scrape_native(&native_page(3), 10), (6, 6, 6));
    let gauge = ["g{} 2.5@10"];
    let native = ["h{a=\"b\"} {count:3, sum:3, (1,2]:3}@10"];
    bench.check(&[&gauge[..], &classic, &native].concat());
    let mut bench = Bench::new(|_| ());
    assert_eq!(bench.scrape_native(&native_page(3), 10), (5, 5, 5));
    bench.check(&[&gauge[..], &classic].concat());
}
