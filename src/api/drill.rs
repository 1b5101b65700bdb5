//! `/drill/echo`: where a webhook receiver of Alertmanager sends the alerts of drills back.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Handles;

pub(super) async fn echo(State(handles): State<Arc<Handles>>, body: Bytes) -> Response {
    match handles.echo.receive(&body) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let text = format!("this is no message of an Alertmanager's webhook receiver: {error}\n");
            (StatusCode::BAD_REQUEST, text).into_response()
        }
    }
}
