//! Errors as Prometheus' HTTP API reports them.
//! Source: Prometheus `web/api/v1/api.go`, `errorType` and `respondError`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::respond::{json, text_json};
use crate::promql::EvalError;
use crate::storage::SelectError;

/// The kinds of error that clients tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ErrorType {
    /// The request makes no sense.
    BadData,
    /// The query has no result.
    Execution,
    /// The asker went away.
    Canceled,
    /// It took too long.
    Timeout,
    /// Something here is broken.
    Internal,
    /// Not switched on, or not ready.
    Unavailable,
    /// There is no such thing.
    NotFound,
}

/// An error for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    /// Its kind.
    pub(super) kind: ErrorType,
    /// What is wrong, for people.
    pub(super) message: String,
}

impl ApiError {
    /// The request makes no sense.
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self { kind: ErrorType::BadData, message: message.into() }
    }

    /// A parameter's value cannot be used. Prometheus' words.
    pub(super) fn bad_parameter(name: &str, message: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {message}"))
    }

    /// Something here is broken.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self { kind: ErrorType::Internal, message: message.into() }
    }

    /// Something that the configuration switches off.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: ErrorType::Unavailable, message: message.into() }
    }
}

impl From<EvalError> for ApiError {
    fn from(error: EvalError) -> Self {
        let kind = match error {
            EvalError::Invalid(message) => return Self::bad_parameter("query", message),
            EvalError::Timeout(_) => ErrorType::Timeout,
            EvalError::Canceled(_) => ErrorType::Canceled,
            EvalError::Storage(_) => ErrorType::Internal,
            _ => ErrorType::Execution,
        };
        Self { kind, message: error.to_string() }
    }
}

impl From<SelectError> for ApiError {
    fn from(error: SelectError) -> Self {
        Self { kind: ErrorType::Internal, message: error.to_string() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self.kind {
            ErrorType::BadData => StatusCode::BAD_REQUEST,
            ErrorType::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // nginx's code for a client that closed the connection, which Prometheus uses too.
            ErrorType::Canceled => StatusCode::from_u16(499).expect("a number below 1000 is a status"),
            ErrorType::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            ErrorType::Internal | ErrorType::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorType::NotFound => StatusCode::NOT_FOUND,
        };
        let kind = serde_json::to_string(&self.kind).expect("a name is always JSON");
        let error = text_json(&self.message);
        let text = format!(r#"{{"status":"error","errorType":{kind},"error":{error}}}"#);
        (status, json(text)).into_response()
    }
}
