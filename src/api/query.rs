//! `/api/v1/query`, `/api/v1/query_range`, `/api/v1/query_exemplars`, `/api/v1/format_query` and
//! `/api/v1/parse_query`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Handles;
use super::ast;
use super::error::ApiError;
use super::params::{Params, first_of};
use super::respond::{Extras, query_result, success};
use super::stats;
use crate::model::quote;
use crate::promql::{self, EvalRange, Expr};
use crate::query::QueryOptions;

/// The most points of a series in one answer. Source: Prometheus `web/api/v1/api.go`, `queryRange`.
const MAX_POINTS: i64 = 11_000;

pub(super) async fn instant(
    State(handles): State<Arc<Handles>>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let at = params.time_or("time", handles.clock.now())?;
    answer(&handles, &params, EvalRange::instant(at), limit).await
}

pub(super) async fn range(State(handles): State<Arc<Handles>>, params: Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let (start, end) = (params.time("start")?, params.time("end")?);
    if end < start {
        return Err(ApiError::bad_parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = params.duration_ms("step")?;
    if step_ms <= 0 {
        let message =
            "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::bad_parameter("step", message));
    }
    if end.saturating_sub(start) / step_ms > MAX_POINTS {
        let message = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(ApiError::bad_data(message));
    }
    answer(&handles, &params, EvalRange { start, end, step_ms }, limit).await
}

async fn answer(
    handles: &Handles,
    params: &Params,
    range: EvalRange,
    limit: usize,
) -> Result<Response, ApiError> {
    let wanted = params.get("stats");
    let options = QueryOptions {
        timeout: params.timeout()?,
        lookback_delta: params.lookback_delta()?,
        count_samples: wanted.is_some(),
    };
    let (query, expr) = parse(handles, params)?;
    let answer = handles.query.query(&expr, &range, &options).await?;
    let per_step = wanted == Some("all") && handles.features.per_step_stats;
    let stats = wanted.map(|_| stats::json(&answer, per_step));
    let warnings = wanted.and_then(deprecated_stats).into_iter().collect();
    Ok(query_result(&query, answer.output, Extras { limit, stats, warnings }))
}

/// What is said of a value of `stats` that is neither of the two there are.
fn deprecated_stats(value: &str) -> Option<String> {
    (!matches!(value, "true" | "all")).then(|| {
        format!(
            "value {} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"",
            quote(value)
        )
    })
}

pub(super) async fn format(
    State(handles): State<Arc<Handles>>,
    params: Params,
) -> Result<Response, ApiError> {
    let (_, expr) = parse(&handles, &params)?;
    Ok(success(&expr.pretty()))
}

pub(super) async fn tree(State(handles): State<Arc<Handles>>, params: Params) -> Result<Response, ApiError> {
    let (_, expr) = parse(&handles, &params)?;
    Ok(success(&ast::tree(&expr)))
}

/// There are none: samples are stored without exemplars.
pub(super) async fn exemplars(
    State(handles): State<Arc<Handles>>,
    params: Params,
) -> Result<Response, ApiError> {
    let (start, end) = params.period()?;
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let query = params.get("query").unwrap_or_default();
    let expr = promql::parse_with(query, handles.features)
        .map_err(|errors| ApiError::bad_data(first_of(&errors)))?;
    if expr.has_selector() { Ok(success::<[(); 0]>(&[])) } else { Ok(StatusCode::NO_CONTENT.into_response()) }
}

fn parse(handles: &Handles, params: &Params) -> Result<(String, Expr), ApiError> {
    let query = params.get("query").unwrap_or_default().to_owned();
    let expr = promql::parse_with(&query, handles.features)
        .map_err(|errors| ApiError::bad_parameter("query", first_of(&errors)))?;
    Ok((query, expr))
}
