//! `/api/v1/ledger` and `/ledger`: what has happened to alerts, and why.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, Response};

use super::Handles;
use super::error::ApiError;
use super::params::Params;
use super::respond::success;
use crate::state::LedgerQuestion;
use crate::web::{self, LedgerView};

/// How many entries are given unless a request says otherwise.
const USUAL: usize = 100;

/// How many entries are given at most.
const MOST: usize = 10_000;

pub(super) async fn json(State(handles): State<Arc<Handles>>, params: Params) -> Result<Response, ApiError> {
    let question = question(&params)?;
    Ok(success(&view(&handles, question).await?))
}

pub(super) async fn page(
    State(handles): State<Arc<Handles>>,
    params: Params,
) -> Result<Html<String>, ApiError> {
    let question = question(&params)?;
    let filtered = question.fingerprint.is_some() || question.alert.is_some();
    Ok(Html(web::ledger(&view(&handles, question).await?, filtered)))
}

async fn view(handles: &Handles, question: LedgerQuestion) -> Result<LedgerView, ApiError> {
    let entries = handles.state.ledger(question).await;
    Ok(LedgerView::new(&entries.map_err(|error| ApiError::internal(error.to_string()))?))
}

fn question(params: &Params) -> Result<LedgerQuestion, ApiError> {
    let fingerprint = params.get("fingerprint").map(|text| {
        parse_fingerprint(text)
            .ok_or_else(|| ApiError::bad_parameter("fingerprint", "it has 16 hexadecimal digits"))
    });
    let since = params.get("since").map(|_| params.time("since")).transpose()?;
    let limit = match params.limit()? {
        0 => USUAL,
        limit => limit.min(MOST),
    };
    let alert = params.get("alert").map(ToOwned::to_owned);
    Ok(LedgerQuestion { fingerprint: fingerprint.transpose()?, alert, since, limit })
}

/// A fingerprint as Alertmanager writes it.
pub(crate) fn parse_fingerprint(text: &str) -> Option<u64> {
    let hexadecimal = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hexadecimal.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_have_sixteen_digits() {
        let check = |text: &str, expected| assert_eq!(parse_fingerprint(text), expected, "{text}");
        check("00000000000000ff", Some(255));
        check("ff", None);
        check("+0000000000000ff", None);
        check("HighErrorRateNow", None);
    }
}
