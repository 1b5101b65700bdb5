//! What jobs leave in files, side by side with a real `node_exporter` over the same folder.

use std::collections::BTreeMap;
use std::fs;

use valmis::exposition::{Entry, Format, Parser};
use valmis::model::Labels;

use crate::real::eventually;
use crate::real::node_exporter::NodeExporter;
use crate::real::valmis::{NO_DISK, Valmis};

const FILES: &[(&str, &str)] = &[
    ("backup.prom", "# HELP backup_bytes Size.\n# TYPE backup_bytes gauge\nbackup_bytes{db=\"a\"} 5\n"),
    (
        "backup2.prom",
        "# HELP backup_bytes Size.\n# TYPE backup_bytes gauge\nbackup_bytes{db=\"b\"} 6\nplain 1\n",
    ),
    ("broken.prom", "broken 1\nnot a sample\n"),
    ("counted.prom", "# TYPE done_total counter\ndone_total 3\n"),
    (
        "timed.prom",
        "# HELP took Times.\n# TYPE took histogram\ntook_bucket{le=\"1\"} 2\ntook_bucket{le=\"+Inf\"} 4\n\
         took_sum 5\ntook_count 4\n# HELP size Sizes.\n# TYPE size summary\nsize{quantile=\"0.5\"} 7\n\
         size_sum 9\nsize_count 2\n",
    ),
    (
        "wrong.prom",
        "# HELP backup_bytes Another.\n# TYPE backup_bytes gauge\nbackup_bytes{db=\"c\"} 7\nelse 1\n",
    ),
];

/// Types, help texts and series of what is in files, without the labels that valmis adds.
#[derive(Debug, Default, PartialEq)]
struct Page {
    described: BTreeMap<String, (String, String)>,
    series: BTreeMap<Labels, f64>,
}

fn read(page: &str) -> Page {
    let mut read = Page::default();
    let is_ours = |name: &str| {
        ["backup_", "broken", "done_", "took", "size", "plain", "else", "node_textfile_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    let mut parser = Parser::new(page.as_bytes(), Format::Text).unwrap();
    while let Some(entry) = parser.next() {
        match entry.unwrap() {
            Entry::Help { family, help } if is_ours(&family) => {
                read.described.entry(family.into_owned()).or_default().1 = help.into_owned();
            }
            Entry::Type { family, kind } if is_ours(&family) => {
                kind.as_str().clone_into(&mut read.described.entry(family.into_owned()).or_default().0);
            }
            Entry::Sample(sample) if is_ours(parser.labels().metric_name()) => {
                let labels = parser.labels().builder().set("job", "").set("instance", "").build();
                // One counts whole seconds, the other parts of them.
                let is_time = labels.metric_name() == "node_textfile_mtime_seconds";
                read.series.insert(labels, if is_time { sample.value.floor() } else { sample.value });
            }
            _ => {}
        }
    }
    read
}

#[tokio::test]
async fn what_files_say_is_shown_as_by_a_real_node_exporter() {
    let metrics = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        fs::write(metrics.path().join(name), text).unwrap();
    }
    let folder = metrics.path().display();
    let of_folder = format!("--collector.textfile.directory={folder}");
    let arguments = ["--collector.disable-defaults", "--collector.textfile", &of_folder];
    let Some(exporter) = NodeExporter::start(&arguments, &[]).await else { return };
    let theirs = read(&exporter.page().await);
    let valmis = Valmis::start(&format!("{NO_DISK}machine: {{textfile_directory: {folder}}}\n")).await;
    let (_, ours) = valmis.get("/metrics/node").await;
    assert_eq!(read(&ours), theirs);
    let said = eventually("what is wrong with files", async || {
        let component = valmis.component("machine", "textfiles").await;
        if component["state"] == "ready" { Ok(component) } else { Err(component) }
    })
    .await;
    assert_eq!(said["state"], "ready");
}
