//! How long a probe that is asked for may take.

use std::time::Duration;

/// The header in which Prometheus says how long it waits for the answer to a scrape.
pub const SCRAPE_TIMEOUT_HEADER: &str = "X-Prometheus-Scrape-Timeout-Seconds";

/// How long a scraper waits that does not say so, in seconds. Source: blackbox exporter
/// `prober/handler.go`, `getTimeout`.
const UNSAID_SECONDS: f64 = 120.0;

/// Nobody waits longer than a day; an instant that far away can be computed.
const MOST_SECONDS: f64 = 86_400.0;

/// Why a scraper's timeout cannot be used; blackbox exporter's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Failed to parse timeout from Prometheus header: `{0}` is not a number of seconds")]
pub struct TimeoutError(String);

/// The time for a probe: what the scraper waits less `offset`, or the module's timeout if that is shorter or
/// if nothing would be left. `header` is the value of [`SCRAPE_TIMEOUT_HEADER`].
pub(super) fn effective(
    header: Option<&str>,
    module: Option<Duration>,
    offset: Duration,
) -> Result<Duration, TimeoutError> {
    let fault = |text: &str| TimeoutError(text.to_owned());
    let said = match header {
        None | Some("") => 0.0,
        Some(text) => {
            text.parse::<f64>().ok().filter(|seconds| seconds.is_finite()).ok_or_else(|| fault(text))?
        }
    };
    let waits = if said == 0.0 { UNSAID_SECONDS } else { said };
    let most = waits - offset.as_secs_f64();
    let module = module.filter(|module| !module.is_zero());
    let seconds = match module {
        Some(module) if module.as_secs_f64() < most || most < 0.0 => return Ok(module),
        _ => most,
    };
    // Whoever waits for less than the offset gets an answer that says so.
    Ok(Duration::from_secs_f64(seconds.clamp(0.0, MOST_SECONDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The rows of blackbox exporter's `TestTimeoutIsSetCorrectly`, and what happens at the edges.
    #[test]
    fn the_shorter_of_module_and_scraper_counts() {
        let check = |module_ms: u64, header: &str, offset_ms: u64, expected_ms: u64| {
            let module = (module_ms > 0).then(|| Duration::from_millis(module_ms));
            let found = effective(Some(header), module, Duration::from_millis(offset_ms));
            assert_eq!(found, Ok(Duration::from_millis(expected_ms)), "{module_ms} {header} {offset_ms}");
        };
        check(0, "15", 500, 14_500);
        check(0, "15", 0, 15_000);
        check(20_000, "15", 500, 14_500);
        check(20_000, "15", 0, 15_000);
        check(5_000, "15", 0, 5_000);
        check(5_000, "15", 500, 5_000);
        check(10_000, "", 500, 10_000);
        check(10_000, "10", 500, 9_500);
        check(9_500, "", 500, 9_500);
        check(9_500, "", 1_000, 9_500);
        check(0, "", 500, 119_500);
        check(0, "", 0, 120_000);
        check(5_000, "0.25", 500, 5_000);
        check(0, "0.25", 500, 0);
        check(0, "0", 500, 119_500);
        check(0, "1.5", 500, 1_000);
        assert_eq!(effective(None, None, Duration::ZERO), Ok(Duration::from_mins(2)));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["soon", "1s", "nan", "inf"] {
            let found = effective(Some(text), None, Duration::ZERO).map_err(|error| error.to_string());
            let expected = format!(
                "Failed to parse timeout from Prometheus header: `{text}` is not a number of seconds"
            );
            assert_eq!(found, Err(expected));
        }
    }
}
