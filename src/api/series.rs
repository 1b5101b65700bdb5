//! `/api/v1/series`, `/api/v1/labels`, `/api/v1/label/<name>/values`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::Handles;
use super::error::ApiError;
use super::params::Params;
use super::respond::{TRUNCATED, success_with_warnings};
use crate::model::{Matcher, quote};
use crate::promql::Interrupt;
use crate::storage::SelectError;

pub(super) async fn series(
    State(handles): State<Arc<Handles>>,
    params: Params,
) -> Result<Response, ApiError> {
    if !params.has_selectors() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let limit = params.limit()?;
    let (start, end) = params.period()?;
    let slots = handles.query.clone();
    slots
        .work(move |interrupt| {
            let selectors = params.selectors().map_err(|fault| ApiError::bad_parameter("match[]", fault))?;
            let found = all(&selectors, interrupt, |matchers| handles.storage.series(matchers, start, end))?;
            let list = found.iter().map(|labels| labels.iter().collect::<BTreeMap<_, _>>());
            Ok(limited(list.collect(), limit))
        })
        .await
}

pub(super) async fn names(State(handles): State<Arc<Handles>>, params: Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let (start, end) = params.period()?;
    let slots = handles.query.clone();
    slots
        .work(move |interrupt| {
            let found = all(&selectors_or_all(&params)?, interrupt, |matchers| {
                handles.storage.label_names(matchers, start, end)
            })?;
            Ok(limited(found.into_iter().collect(), limit))
        })
        .await
}

pub(super) async fn values(
    State(handles): State<Arc<Handles>>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let name = unescape(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data(format!("invalid label name: {}", quote(&name))));
    }
    let limit = params.limit()?;
    let (start, end) = params.period()?;
    let slots = handles.query.clone();
    slots
        .work(move |interrupt| {
            let found = all(&selectors_or_all(&params)?, interrupt, |matchers| {
                handles.storage.label_values(&name, matchers, start, end)
            })?;
            Ok(limited(found.into_iter().collect(), limit))
        })
        .await
}

/// What is found for each of the selectors, without duplicates and sorted. Blocks.
fn all<'a, T: Ord>(
    selectors: &'a [Vec<Matcher>],
    interrupt: &Interrupt,
    find: impl Fn(&'a [Matcher]) -> BoxFuture<'a, Result<Vec<T>, SelectError>>,
) -> Result<BTreeSet<T>, ApiError> {
    let runtime = Handle::current();
    let mut found = BTreeSet::new();
    for matchers in selectors {
        interrupt.check()?;
        found.extend(runtime.block_on(find(matchers))?);
    }
    Ok(found)
}

/// The selectors of `match[]`; without one, a single one that every series satisfies.
fn selectors_or_all(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let mut selectors = params.selectors().map_err(ApiError::bad_data)?;
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    Ok(selectors)
}

fn limited<T: serde::Serialize>(mut list: Vec<T>, limit: usize) -> Response {
    if limit > 0 && list.len() > limit {
        list.truncate(limit);
        return success_with_warnings(&list, &[TRUNCATED.to_owned()]);
    }
    success_with_warnings(&list, &[])
}

/// Label names that are not made of letters, digits and underscores stand in the path as `U__` with
/// `_hex_` for each other character and `__` for an underscore.
/// Source: prometheus/common `model/metric.go`, `UnescapeName` with `ValueEncodingEscaping`.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut text = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            text.push('_');
            rest = after;
        } else {
            let code = rest
                .split_once('_')
                .and_then(|(hex, after)| Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, after)));
            let Some((character, after)) = code else { return name.to_owned() };
            text.push(character);
            rest = after;
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn names_outside_the_classic_alphabet_are_unescaped() {
        let check = |name: &str, expected: &str| assert_eq!(unescape(name), expected);
        check("job", "job");
        check("U__http_2e_status", "http.status");
        check("U__a__b_2e_c", "a_b.c");
        check("U__bad_zz_", "U__bad_zz_");
        check("U__open_2e", "U__open_2e");
    }
}
