//! Which format a reader gets, by what it accepts.

use super::{Escaping, Format};

/// What a scraper sends as `Accept`: OpenMetrics before text, newer before older, as Prometheus does.
/// Source: Prometheus 3.14 `scrape/scrape.go`, acceptHeader with the default protocols.
pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
     application/openmetrics-text;version=0.0.1;q=0.5,\
     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// The same for a scraper that wants native histograms, which no text format has.
/// Source: as above, with `DefaultProtoFirstScrapeProtocols`.
pub const ACCEPT_NATIVE: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
     application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
     application/openmetrics-text;version=0.0.1;q=0.4,\
     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
     text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

/// The outcome of a negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// How the page is written.
    pub format: Format,
    /// How it names what is not plain.
    pub escaping: Escaping,
    version: &'static str,
}

impl Negotiated {
    /// Chooses by an `Accept` header: the range with the greatest weight that can be served, the first
    /// of several; the text format if there is none.
    pub fn from_accept(accept: Option<&str>) -> Self {
        let mut best: Option<(f64, Self)> = None;
        for range in accept.unwrap_or_default().split(',') {
            if let Some((weight, offer)) = Self::from_range(range) {
                if weight > 0.0 && best.as_ref().is_none_or(|(greatest, _)| weight > *greatest) {
                    best = Some((weight, offer));
                }
            }
        }
        let text = Self { format: Format::Text, escaping: Escaping::default(), version: "0.0.4" };
        best.map_or(text, |(_, offer)| offer)
    }

    /// The weight of one media range and what it asks for.
    fn from_range(range: &str) -> Option<(f64, Self)> {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next()?.to_ascii_lowercase();
        let (mut weight, mut version, mut escaping) = (1.0, "", Escaping::default());
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => weight = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
                "version" => version = value,
                "escaping" => escaping = Escaping::from_name(value).unwrap_or_default(),
                _ => {}
            }
        }
        let (format, version) = match (media_type.as_str(), version) {
            ("application/openmetrics-text", "" | "1.0.0") => (Format::OpenMetrics, "1.0.0"),
            ("application/openmetrics-text", "0.0.1") => (Format::OpenMetrics, "0.0.1"),
            ("text/plain", "1.0.0") => (Format::Text, "1.0.0"),
            ("text/plain", "" | "0.0.4") | ("text/*" | "*/*", "") => (Format::Text, "0.0.4"),
            _ => return None,
        };
        Some((weight, Self { format, escaping, version }))
    }

    /// The `Content-Type` of the page.
    pub fn content_type(&self) -> String {
        let media_type = match self.format {
            Format::Text => "text/plain",
            Format::OpenMetrics => "application/openmetrics-text",
        };
        let (version, escaping) = (self.version, self.escaping.as_str());
        format!("{media_type}; version={version}; charset=utf-8; escaping={escaping}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_range_that_can_be_served_wins() {
        let check = |accept: Option<&str>, expected: &str| {
            assert_eq!(Negotiated::from_accept(accept).content_type(), expected, "{accept:?}");
        };
        let text = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
        let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores";
        check(None, text);
        check(Some(""), text);
        check(Some("*/*"), text);
        check(Some("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"), text);
        check(Some("application/openmetrics-text"), open_metrics);
        check(Some("text/plain;q=0.5, application/openmetrics-text; version=1.0.0; q=0.7"), open_metrics);
        check(Some("text/plain, application/openmetrics-text; version=1.0.0"), text);
        check(Some("application/openmetrics-text;q=0, */*;q=0.1"), text);
        check(Some("application/openmetrics-text; version=7.0.0, text/plain;q=0.1"), text);
        check(Some("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"), text);
        check(
            Some("text/plain; version=1.0.0; escaping=\"dots\""),
            "text/plain; version=1.0.0; charset=utf-8; escaping=dots",
        );
        check(
            Some(ACCEPT),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        );
    }
}
