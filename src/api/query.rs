//! `/api/v1/query`, `/api/v1/query_range`, `/api/v1/format_query`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;

use super::Handles;
use super::error::ApiError;
use super::params::Params;
use super::respond::{query_result, success};
use crate::promql::{self, EvalError, EvalRange, Expr, Output};

/// The most points of a series in one answer. Source: Prometheus `web/api/v1/api.go`, `queryRange`.
const MAX_POINTS: i64 = 11_000;

pub(super) async fn instant(
    State(handles): State<Arc<Handles>>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let at = params.time_or("time", handles.clock.now())?;
    let timeout = params.timeout()?;
    let (query, expr) = parse(&params)?;
    let output = within(timeout, handles.query.instant(&expr, at)).await?;
    Ok(query_result(&query, output, limit))
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
    if (end - start) / step_ms > MAX_POINTS {
        let message = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(ApiError::bad_data(message));
    }
    let timeout = params.timeout()?;
    let (query, expr) = parse(&params)?;
    let range = EvalRange { start, end, step_ms };
    let output = within(timeout, handles.query.range(&expr, &range)).await?;
    Ok(query_result(&query, output, limit))
}

pub(super) async fn format(params: Params) -> Result<Response, ApiError> {
    let (_, expr) = parse(&params)?;
    Ok(success(&expr.to_string()))
}

fn parse(params: &Params) -> Result<(String, Expr), ApiError> {
    let query = params.all("query").next().unwrap_or_default().to_owned();
    let expr = promql::parse(&query).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        ApiError::bad_parameter("query", errors.join("\n"))
    })?;
    Ok((query, expr))
}

/// The asker's own limit, beside that of the source.
async fn within(
    timeout: Option<Duration>,
    evaluation: impl Future<Output = Result<Output, EvalError>>,
) -> Result<Output, ApiError> {
    let Some(timeout) = timeout else { return Ok(evaluation.await?) };
    match tokio::time::timeout(timeout, evaluation).await {
        Ok(output) => Ok(output?),
        Err(_) => Err(EvalError::Timeout("expression evaluation").into()),
    }
}
