//! Answers that are compressed for whoever can read it.

use std::io::Read;

use crate::real::PATIENCE;
use crate::real::valmis::{COMMON, NO_DISK, Valmis};

/// What is left when the compression named `encoding` is taken off.
fn plain(encoding: Option<&str>, body: &[u8]) -> String {
    let mut text = String::new();
    match encoding {
        Some("zstd") => zstd::Decoder::new(body).unwrap().read_to_string(&mut text).unwrap(),
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap(),
        Some(other) => panic!("{other} was not asked for"),
        None => body.take(u64::MAX).read_to_string(&mut text).unwrap(),
    };
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_the_api_are_compressed_as_the_client_asks() {
    let _turn = crate::real::turn().await;
    let valmis = Valmis::start(&format!("{COMMON}{NO_DISK}")).await;
    ::valmis::client::install_crypto_provider();
    // It leaves what it gets as it is.
    let client = reqwest::Client::builder().no_gzip().no_proxy().timeout(PATIENCE).build().unwrap();
    for (path, part, is_large) in [
        ("/", "<html", true),
        ("/metrics", "# EOF", true),
        ("/metrics/blackbox", "# EOF", false),
        ("/metrics/node", "# EOF", true),
        ("/metrics/node?collect[]=loadavg", "# EOF", false),
        ("/api/v1/rules", "\"groups\"", true),
    ] {
        for (accepted, expected) in [
            ("zstd", Some("zstd")),
            ("gzip", Some("gzip")),
            ("zstd;q=0.5, gzip;q=1.0", Some("gzip")),
            ("gzip;q=0.5, zstd;q=1.0", Some("zstd")),
            ("identity", None),
        ] {
            let request = client.get(format!("http://{}{path}", valmis.address));
            let request = request.header("accept", "application/openmetrics-text, */*;q=0.5");
            let answer = request.header("accept-encoding", accepted).send().await.unwrap();
            let encoding =
                answer.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
            // What fits into a few packets is sent as it is.
            assert_eq!(encoding.as_deref(), expected.filter(|_| is_large), "{path}: {accepted}");
            let body = answer.bytes().await.unwrap();
            assert!(plain(encoding.as_deref(), &body).contains(part), "{path}: {accepted}");
        }
    }
}
