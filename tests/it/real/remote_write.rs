//! Giving a server samples, by remote write 1.0.

use std::net::SocketAddr;

use reqwest::RequestBuilder;
use valmis::exposition::remote_write;
use valmis::model::Sample;

use super::http;

/// How many samples are sent at once.
const BATCH: usize = 5_000;

/// The request that gives samples to the server at a base URL.
pub(crate) fn write_request(base: &str, samples: &[Sample]) -> RequestBuilder {
    http()
        .post(format!("{base}/api/v1/write"))
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(remote_write::encode(samples))
}

/// Gives samples to the server at a base URL, which takes all of them.
pub(crate) async fn write_to(base: &str, samples: &[Sample]) {
    for batch in samples.chunks(BATCH) {
        let answer = write_request(base, batch).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap());
    }
}

/// Gives a server samples, which takes all of them.
pub(crate) async fn send(address: SocketAddr, samples: &[Sample]) {
    write_to(&format!("http://{address}"), samples).await;
}
