//! Selectors, ranges, durations and literals.

use super::super::data::{INTERVAL_MS, Kind, METRICS, Metric, SPAN_MS, metric_named};
use super::{Generator, Vector};

/// Numbers in all ways of writing them.
const NUMBERS: &[&str] = &[
    "0", "1", "2", "3", "10", "0.5", ".25", "1e3", "2.5e-3", "0x1F", "1_000", "NaN", "Inf", "-Inf", "5m",
    "1h30m", "100", "0.1",
];

/// Strings in all ways of writing them.
const TEXTS: &[&str] = &[r#""a""#, "'b'", "`c\\d`", r#""\u00fc\t\x41""#, r"'it\'s'", "\"東京\""];

impl Generator {
    pub(super) fn number(&mut self) -> String {
        if self.random.chance(20) {
            let quarters = self.random.between(-400..=4_000);
            return (quarters as f64 / 4.0).to_string();
        }
        self.random.pick(NUMBERS).to_owned()
    }

    pub(super) fn text(&mut self) -> String {
        self.random.pick(TEXTS).to_owned()
    }

    /// A share: mostly between 0 and 1.
    pub(super) fn share(&mut self) -> String {
        self.random
            .pick(&["0", "0.1", "0.25", "0.5", "0.5", "0.75", "0.9", "0.99", "1", "-0.5", "1.5", "NaN"])
            .to_owned()
    }

    pub(super) fn selector(&mut self) -> Vector {
        let metric = self.random.pick(&METRICS.iter().collect::<Vec<_>>());
        self.selector_of(metric)
    }

    /// A selector with whatever may follow it.
    pub(super) fn selector_of(&mut self, metric: &'static Metric) -> Vector {
        let modifiers = self.modifiers();
        Vector::new(format!("{}{modifiers}", self.series_of(metric)), &metric.label_names())
    }

    /// A name with matchers.
    pub(super) fn series_of(&mut self, metric: &'static Metric) -> String {
        let mut matchers = Vec::new();
        if self.random.chance(45) {
            matchers.push(self.matcher(metric));
            if self.random.chance(30) {
                matchers.push(self.matcher(metric));
            }
        }
        if metric.name.contains('.') {
            matchers.insert(0, format!("\"{}\"", metric.name));
            return format!("{{{}}}", matchers.join(", "));
        }
        if self.random.chance(5) {
            matchers.insert(0, format!("__name__=\"{}\"", metric.name));
            return format!("{{{}}}", matchers.join(","));
        }
        match matchers.as_slice() {
            [] if self.random.chance(5) => format!("{}{{}}", metric.name),
            [] => metric.name.to_owned(),
            matchers => format!("{}{{{}}}", metric.name, matchers.join(",")),
        }
    }

    fn matcher(&mut self, metric: &'static Metric) -> String {
        let labels: Vec<_> = metric.labels.iter().chain(metric.facts).collect();
        let (name, values) = self.random.pick(&labels);
        let value = self.random.pick(values);
        let name = quoted_if_needed(name);
        let text = |value: &str| serde_json::to_string(value).expect("a text is always JSON");
        let escaped = regex_syntax::escape(value);
        match self.random.below(10) {
            0..3 => format!("{name}={}", text(value)),
            3..5 => format!("{name}!={}", text(value)),
            5 => format!("{name}=~{}", text(&escaped)),
            6 => {
                let other = regex_syntax::escape(self.random.pick(values));
                format!("{name}=~{}", text(&format!("{escaped}|{other}")))
            }
            7 => {
                let first: String = value.chars().take(1).collect();
                format!("{name}=~{}", text(&format!("{}.*", regex_syntax::escape(&first))))
            }
            8 => format!("{name}!~{}", text(&format!("{escaped}.+"))),
            _ => self.random.pick(&["job!=\"\"", "absent=\"\"", "job=~\".+\"", "job!~\"x|y\""]).to_owned(),
        }
    }

    /// `offset` and `@`, in either order, or mostly nothing.
    pub(super) fn modifiers(&mut self) -> String {
        let offset = self.random.chance(15).then(|| format!(" offset {}", self.offset()));
        let at = self.random.chance(10).then(|| format!(" @ {}", self.instant()));
        let mut both = [offset, at];
        if self.random.chance(50) {
            both.reverse();
        }
        both.into_iter().flatten().collect()
    }

    fn offset(&mut self) -> String {
        let sign = if self.random.chance(25) { "-" } else { "" };
        format!("{sign}{}", self.random.pick(&["15s", "1m", "2m30s", "7m", "90", "1500ms", "0s"]))
    }

    fn instant(&mut self) -> String {
        match self.random.below(4) {
            0 => "start()".to_owned(),
            1 => "end()".to_owned(),
            2 => ((self.start + self.random.between(0..=SPAN_MS)) / 1_000).to_string(),
            _ => {
                let ms = self.start + self.random.between(0..=SPAN_MS);
                format!("{}.{:03}", ms / 1_000, ms % 1_000)
            }
        }
    }

    /// The length of a range, from less than two samples up to a good part of all.
    pub(super) fn length(&mut self) -> String {
        let fixed = ["1m", "2m", "5m", "5m", "10m", "15m", "20s", "90", "1m15s"];
        match self.random.below(12) {
            0 => format!("{}ms", self.random.between(INTERVAL_MS..=20 * INTERVAL_MS)),
            1 => self.random.pick(&["1m + 30s", "2 * 1m", "(10m - 1m) / 2", "2^7"]).to_owned(),
            _ => self.random.pick(&fixed).to_owned(),
        }
    }

    /// A range over a metric of this kind, or over an expression.
    pub(super) fn range_of(&mut self, depth: usize, wanted: impl Fn(&Metric) -> bool) -> Vector {
        if depth > 0 && self.random.chance(25) {
            return self.subquery(depth);
        }
        let metrics: Vec<_> = METRICS.iter().filter(|metric| wanted(metric)).collect();
        let metric = self.random.pick(&metrics);
        let (series, length, modifiers) = (self.series_of(metric), self.length(), self.modifiers());
        Vector::new(format!("{series}[{length}]{modifiers}"), &metric.label_names())
    }

    pub(super) fn any_range(&mut self, depth: usize) -> Vector {
        self.range_of(depth, |_| true)
    }

    /// `expression[range:step]`
    pub(super) fn subquery(&mut self, depth: usize) -> Vector {
        let inner = self.vector(depth.saturating_sub(1));
        let length = self.length();
        let step = self.random.pick(&["", "15s", "30s", "1m", "47s", "60"]);
        let modifiers = self.modifiers();
        let primary = super::is_primary(&inner.text) && !inner.text.ends_with(char::is_numeric);
        inner.map(|text| {
            let inner = if primary { text.to_owned() } else { format!("({text})") };
            format!("{inner}[{length}:{step}]{modifiers}")
        })
    }

    /// Buckets of a classic histogram, with their label `le`.
    pub(super) fn buckets(&mut self) -> Vector {
        let metric = metric_named(self.random.pick(&[
            "latency_seconds_bucket",
            "latency_seconds_bucket",
            "latency_seconds_bucket",
            "broken_bucket",
        ]));
        if self.random.chance(30) {
            return self.selector_of(metric);
        }
        let (series, length, modifiers) = (self.series_of(metric), self.length(), self.modifiers());
        let function = self.random.pick(&["rate", "increase", "irate"]);
        let rates = format!("{function}({series}[{length}]{modifiers})");
        if self.random.chance(50) {
            return Vector::new(rates, &metric.label_names());
        }
        let by = self.random.pick(&["le", "le, job", "job, le"]);
        let labels: &[&'static str] = if by == "le" { &["le"] } else { &["le", "job"] };
        Vector::new(format!("sum by ({by}) ({rates})"), labels)
    }

    pub(super) fn selector_of_kind(&mut self, kind: Kind) -> Vector {
        let metrics: Vec<_> = METRICS.iter().filter(|metric| metric.kind == kind).collect();
        let metric = self.random.pick(&metrics);
        self.selector_of(metric)
    }
}

pub(super) fn quoted_if_needed(label: &str) -> String {
    if label.contains('.') { format!("\"{label}\"") } else { label.to_owned() }
}
