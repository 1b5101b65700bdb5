//! `/probe` in place of blackbox exporter's, and probes on a schedule.

mod beside;
mod endpoint;
mod policy;
mod schedule;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::get;
use reqwest::header::{HeaderName, HeaderValue};
use tempfile::TempDir;

use crate::real::valmis::{COMMON, NO_DISK, Valmis};
use crate::real::{http, serve};

/// A module file and the program that reads it.
struct Fixture {
    valmis: Valmis,
    folder: TempDir,
}

impl Fixture {
    /// Starts valmis with these modules; `more` stands under `blackbox`, `rest` at the top.
    async fn start(modules: &str, more: &str, rest: &str) -> Self {
        let folder = TempDir::with_prefix("blackbox-").unwrap();
        let file = folder.path().join("blackbox.yml");
        fs::write(&file, modules).unwrap();
        let configuration =
            format!("{COMMON}{NO_DISK}blackbox:\n  config_file: {}\n{more}{rest}", file.display());
        Self { valmis: Valmis::start_with(&configuration, &[]).await, folder }
    }

    fn module_file(&self) -> PathBuf {
        self.folder.path().join("blackbox.yml")
    }

    /// Asks for a page with a query and headers.
    async fn ask(&self, path: &str, query: &[(&str, &str)], headers: &[(&str, &str)]) -> Said {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        let url = format!("http://{}{path}", self.valmis.address);
        let answer = http().get(url).query(query).headers(map).send().await.unwrap();
        let kind =
            answer.headers().get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
        Said { status: answer.status(), kind, text: answer.text().await.unwrap() }
    }

    async fn probe(&self, query: &[(&str, &str)]) -> Said {
        self.ask("/probe", query, &[]).await
    }
}

/// An answer.
#[derive(Debug)]
struct Said {
    status: StatusCode,
    kind: String,
    text: String,
}

impl Said {
    /// The value of the series that is written so.
    fn value(&self, series: &str) -> Option<f64> {
        self.text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }
}

/// What is probed: `/` is fine, `/slow` takes longer than anyone waits, `/to?url=` leads elsewhere, `/host`
/// is fine for `foo.example.com` only.
async fn target() -> SocketAddr {
    let host = async |headers: HeaderMap| {
        let right = headers["host"] == "foo.example.com";
        if right { StatusCode::OK } else { StatusCode::MISDIRECTED_REQUEST }
    };
    let slow = async || tokio::time::sleep(Duration::from_mins(1)).await;
    let to = async |Query(pairs): Query<Vec<(String, String)>>| Redirect::temporary(&pairs[0].1);
    let router = Router::new()
        .route("/slow", get(slow))
        .route("/to", get(to))
        .route("/host", get(host))
        .fallback(async || "all is well");
    serve(router).await
}

/// Lets whoever asks have everything probed here.
const OPEN: &str = "  allow: any\n  reach: {loopback: true}\n";
