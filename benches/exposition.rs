//! How fast metrics pages are read and written, in bytes per second.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use valmis::exposition::{Entry, Escaping, Format, Page, Parser};

fn main() {
    divan::main();
}

/// 20,000 samples with 8 labels each, about 3.5 MB: a large application's page.
fn dense_page() -> String {
    let mut page = String::new();
    for index in 0..20_000 {
        let _ = writeln!(
            page,
            "http_server_request_duration_seconds_count{{cluster=\"prod-eu-west-1\",namespace=\"payments\",\
             pod=\"checkout-7d9f6c5b4-{index:05}\",container=\"app\",method=\"POST\",route=\"/api/v1/orders/:id\",\
             status=\"{}\",version=\"2.{}.0\"}} {}.5",
            200 + index % 5,
            index % 17,
            index * 37
        );
    }
    page
}

/// Reads all entries; yields the number of samples, so that nothing is optimised away.
fn read(page: &[u8], format: Format) -> usize {
    Parser::new(page, format)
        .expect("UTF-8")
        .filter(|entry| matches!(entry.as_ref().expect("a correct page"), Entry::Sample(_)))
        .count()
}

#[divan::bench]
fn read_dense_page(bencher: Bencher<'_, '_>) {
    let page = dense_page();
    bencher
        .counter(BytesCount::of_str(&page))
        .bench(|| assert_eq!(read(black_box(page.as_bytes()), Format::Text), 20_000));
}

#[divan::bench]
fn read_dense_page_with_labels(bencher: Bencher<'_, '_>) {
    let page = dense_page();
    bencher.counter(BytesCount::of_str(&page)).bench(|| {
        let mut parser = Parser::new(black_box(page.as_bytes()), Format::Text).expect("UTF-8");
        while let Some(entry) = parser.next() {
            if let Entry::Sample(_) = entry.expect("a correct page") {
                black_box(parser.labels());
            }
        }
    });
}

#[divan::bench]
fn write_dense_page(bencher: Bencher<'_, '_>) {
    let text = dense_page();
    let mut parser = Parser::new(text.as_bytes(), Format::Text).expect("UTF-8");
    let mut page = Page::default();
    while let Some(entry) = parser.next() {
        if let Entry::Sample(sample) = entry.expect("a correct page") {
            page.add(parser.labels(), sample.value, sample.at);
        }
    }
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| black_box(&page).write(Format::Text, Escaping::AllowUtf8).len());
}

/// Prometheus' own pages, where they lie beside the checkout.
fn conformance_pages() -> Vec<String> {
    let Ok(entries) = fs::read_dir(conformance_folder()) else { return vec!["absent".to_owned()] };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn conformance_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/textparse")
}

#[divan::bench(args = conformance_pages())]
fn read_prometheus_own_pages(bencher: Bencher<'_, '_>, name: &str) {
    let page = fs::read(conformance_folder().join(name)).unwrap_or_else(|_| b"absent 1\n# EOF\n".to_vec());
    let format = if name.contains(".om.") { Format::OpenMetrics } else { Format::Text };
    bencher.counter(BytesCount::of_slice(&page)).bench(|| read(black_box(&page), format));
}
