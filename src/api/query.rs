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
use crate::query::{QueryOptions, QuerySource};

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
    let (query, expr) = parse(handles, params).await?;
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
    let (query, expr) = parse(&handles, &params).await?;
    Ok(success(&apart_if_long(&query, move || expr.pretty()).await?))
}

pub(super) async fn tree(State(handles): State<Arc<Handles>>, params: Params) -> Result<Response, ApiError> {
    let (query, expr) = parse(&handles, &params).await?;
    Ok(success(&apart_if_long(&query, move || ast::tree(&expr)).await?))
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
    let (_, expr) = parsed(&handles, &params).await?.map_err(ApiError::bad_data)?;
    if expr.has_selector() { Ok(success::<[(); 0]>(&[])) } else { Ok(StatusCode::NO_CONTENT.into_response()) }
}

/// The query with its expression.
async fn parse(handles: &Handles, params: &Params) -> Result<(String, Expr), ApiError> {
    parsed(handles, params).await?.map_err(|message| ApiError::bad_parameter("query", message))
}

/// The query with its expression, or what is wrong with it.
async fn parsed(handles: &Handles, params: &Params) -> Result<Result<(String, Expr), String>, ApiError> {
    let query = params.get("query").unwrap_or_default().to_owned();
    let (text, features) = (query.clone(), handles.features);
    let parsed = apart_if_long(&query, move || promql::parse_with(&text, features)).await?;
    Ok(match parsed {
        Ok(expr) => Ok((query, expr)),
        Err(errors) => Err(first_of(&errors)),
    })
}

/// Queries up to this many bytes take less than about a millisecond.
const LONG_QUERY: usize = 16 << 10;

/// Does something with a query, of which a long one holds nobody up.
pub(super) async fn apart_if_long<T: Send + 'static>(
    query: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if query.len() <= LONG_QUERY {
        return Ok(work());
    }
    let working = tokio::task::spawn_blocking(work).await;
    working.map_err(|failure| ApiError::internal(format!("unexpected error: {failure}")))
}
