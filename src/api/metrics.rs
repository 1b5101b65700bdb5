//! `/metrics`: the latest results of all probes and valmis' own metrics, and the same for those who
//! expect one exporter only.
//!
//! Nothing here waits: probes run on their own schedule, and what they found last is shown.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::Handles;
use super::error::{ApiError, ErrorType};
use crate::exposition::{Entry, Format, Metadata, MetricType, Negotiated, Page, Parser};
use crate::probe;
use crate::readiness::Family;

/// What takes the place of another exporter: the part of the metrics that this exporter would serve.
struct Persona {
    name: &'static str,
    /// Prefixes of the metrics it serves.
    prefixes: &'static [&'static str],
    /// Whether it serves the metrics of valmis itself.
    own: bool,
}

const ALL: Persona = Persona { name: "all", prefixes: &[""], own: true };

/// Source of the names: `blackbox_exporter`, `postgres_exporter`, `node_exporter` and
/// `x509-certificate-exporter`; `valmis` is everything about valmis itself, without what probes found.
const PERSONAS: &[Persona] = &[
    Persona { name: "blackbox", prefixes: &["probe_", "valmis_tls_"], own: false },
    Persona { name: "postgres", prefixes: &["pg_", "pgbouncer_", "valmis_postgres_"], own: false },
    Persona { name: "redis", prefixes: &["redis_"], own: false },
    Persona { name: "node", prefixes: &["node_", "valmis_node_", "valmis_filesystem_"], own: false },
    Persona { name: "certificates", prefixes: &["x509_", "probe_ssl_", "valmis_tls_"], own: false },
    Persona { name: "valmis", prefixes: &[], own: true },
];

pub(super) async fn all(State(handles): State<Arc<Handles>>, headers: HeaderMap) -> Response {
    render(&handles, &ALL, &headers)
}

pub(super) async fn persona(
    State(handles): State<Arc<Handles>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let persona = PERSONAS.iter().find(|persona| persona.name == name).ok_or_else(|| {
        let known: Vec<&str> = PERSONAS.iter().map(|persona| persona.name).collect();
        let message = format!("no metrics `{name}`; there are {}", known.join(", "));
        ApiError { kind: ErrorType::NotFound, message }
    })?;
    Ok(render(&handles, persona, &headers))
}

fn render(handles: &Handles, persona: &Persona, headers: &HeaderMap) -> Response {
    let mut page = Page::default();
    for family in handles.readiness.samples() {
        if persona.prefixes.iter().any(|prefix| family.name.starts_with(prefix)) {
            add_family(&mut page, family);
        }
    }
    if persona.own {
        add_own(&mut page, &handles.registry);
    }
    negotiated(&page, headers)
}

/// A page in the format that the asker prefers.
pub(super) fn negotiated(page: &Page, headers: &HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let negotiated = Negotiated::from_accept(accept);
    let text = page.write(negotiated.format, negotiated.escaping);
    let content_type = HeaderValue::try_from(negotiated.content_type()).expect("a constant of ASCII");
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

/// A page in the text format.
pub(super) fn classic(page: &Page) -> String {
    let negotiated = Negotiated::from_accept(None);
    page.write(negotiated.format, negotiated.escaping)
}

/// Says of a metric of probes what it is.
pub(super) fn describe(page: &mut Page, name: &str) {
    let known = probe::metadata();
    let Ok(at) = known.binary_search_by_key(&name, |(name, ..)| name) else { return };
    let (_, kind, help) = known[at];
    page.describe(name, Metadata::new(metric_type(kind), help));
}

fn metric_type(text: &str) -> MetricType {
    match text {
        "gauge" => MetricType::Gauge,
        "counter" => MetricType::Counter,
        _ => MetricType::Unknown,
    }
}

fn add_family(page: &mut Page, family: Family) {
    page.describe(&family.name, Metadata::new(metric_type(family.metric_type), family.help));
    for sample in family.samples {
        page.add(sample.labels, sample.value, None);
    }
}

/// The client library writes OpenMetrics only; reading that back gives both formats from one writer.
fn add_own(page: &mut Page, registry: &prometheus_client::registry::Registry) {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("writing to a String cannot fail");
    let mut parser = Parser::new(text.as_bytes(), Format::OpenMetrics).expect("a String is UTF-8");
    let (mut name, mut metadata) = (String::new(), Metadata::default());
    let mut describe = |page: &mut Page, family: &str, change: &dyn Fn(&mut Metadata)| {
        if name != family {
            family.clone_into(&mut name);
            metadata = Metadata::default();
        }
        change(&mut metadata);
        page.describe(&name, metadata.clone());
    };
    while let Some(entry) = parser.next() {
        match entry.expect("the client library writes valid OpenMetrics") {
            Entry::Help { family, help } => {
                describe(page, &family, &|metadata| metadata.help = help.clone().into_owned());
            }
            Entry::Type { family, kind } => describe(page, &family, &|metadata| metadata.kind = kind),
            Entry::Unit { family, unit } => {
                describe(page, &family, &|metadata| unit.clone_into(&mut metadata.unit));
            }
            Entry::Sample(sample) => page.add(parser.labels(), sample.value, None),
        }
    }
}
