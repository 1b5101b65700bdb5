//! Files and folders that would keep a probe of certificates busy, or fill the memory: none may.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use valmis::probe::certificate::{
    CertificateFiles, CertificateFilesProber, FILES_METADATA, Glob, SourceKind,
};
use valmis::probe::{ProbeOutcome, Prober};

use crate::servers::{Identity, assert_well_formed, clock, params, probe_within, value, write};
use crate::tools::run;

/// Looks at files, for which little time is enough.
async fn look(pattern: &str) -> ProbeOutcome {
    let files = CertificateFiles::new(Glob::parse(pattern).unwrap());
    let prober = CertificateFilesProber::new("tls", files, clock());
    let began = Instant::now();
    let outcome = probe_within(&prober as &dyn Prober, Duration::from_secs(10)).await;
    assert!(began.elapsed() < Duration::from_secs(9), "it took {:?}", began.elapsed());
    assert_well_formed(&outcome, FILES_METADATA);
    outcome
}

fn pem(common_name: &str) -> String {
    Identity::self_signed(&params(common_name, &[])).pem
}

fn errors(outcome: &ProbeOutcome, reason: &str) -> Option<f64> {
    value(outcome, "x509_source_errors_total", &[("reason", reason)])
}

fn certificates(outcome: &ProbeOutcome) -> usize {
    let name = "x509_cert_not_after";
    outcome.samples.iter().filter(|sample| sample.labels.metric_name() == name).count()
}

fn fifo(path: &Path) {
    run(Command::new("mkfifo").arg(path));
}

#[tokio::test]
async fn pipes_devices_circles_and_giants_do_not_hide_the_good_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "good.pem", pem("good"));
    fifo(&root.join("pipe.pem"));
    symlink("pipe.pem", root.join("to-pipe.pem")).unwrap();
    symlink("/dev/zero", root.join("zero.pem")).unwrap();
    symlink("circle.pem", root.join("circle.pem")).unwrap();
    std::fs::File::create(root.join("huge.pem")).unwrap().set_len(1 << 30).unwrap();
    std::fs::create_dir(root.join("folder.pem")).unwrap();
    symlink(".", root.join("again")).unwrap();
    for pattern in ["*.pem", "**/*.pem"] {
        let outcome = look(&format!("{}/{pattern}", root.display())).await;
        let failure = outcome.result.clone().unwrap_err().reason;
        for (file, reason) in [
            ("pipe.pem", "not a regular file"),
            ("to-pipe.pem", "not a regular file"),
            ("zero.pem", "not a regular file"),
            ("huge.pem", "larger than 1048576 bytes"),
            ("circle.pem", "Too many levels of symbolic links"),
        ] {
            let told =
                failure.split("; ").any(|text| text.contains(&format!("/{file}`")) && text.contains(reason));
            assert!(told, "{file}: {failure}");
        }
        assert_eq!(
            (errors(&outcome, "read_failed"), errors(&outcome, "broken_symlink")),
            (Some(4.0), Some(1.0))
        );
        assert_eq!(certificates(&outcome), 1);
    }
    // Through the link that leads to its own folder, as often as the pattern says.
    let outcome = look(&format!("{}/again/again/again/good.pem", root.display())).await;
    assert_eq!((outcome.result.clone(), certificates(&outcome)), (Ok(()), 1));
}

#[tokio::test]
async fn a_folder_that_may_not_be_listed_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "good.pem", pem("good"));
    let closed = root.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::read_dir(&closed).is_ok() {
        // This user may read everything.
        return;
    }
    let outcome = look(&format!("{}/**/*.pem", root.display())).await;
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!((errors(&outcome, "permission_denied"), certificates(&outcome)), (Some(1.0), 1));
    assert!(outcome.result.unwrap_err().reason.contains("closed`: Permission denied"));
}

#[tokio::test]
async fn of_ten_thousand_files_a_thousand_are_read_and_the_others_counted() {
    let folder = tempfile::tempdir().unwrap();
    let pem = pem("one of many");
    for number in 0..10_000 {
        write(folder.path(), &format!("{number:05}.pem"), &pem);
    }
    let outcome = look(&format!("{}/*", folder.path().display())).await;
    assert_eq!(certificates(&outcome), 1_000);
    let source = [("source_kind", "file"), ("source_name", "tls")];
    assert_eq!(value(&outcome, "valmis_certificate_files_left_out", &source), Some(9_000.0));
    assert_eq!(value(&outcome, "x509_source_bundles", &source), Some(1_000.0));
    assert_eq!(errors(&outcome, "walk_error"), Some(1.0));
    assert!(outcome.log.len() < 300, "{}", outcome.log.len());
    let failure = outcome.result.unwrap_err().reason;
    assert_eq!(failure, "9000 files after the first 1000 are left out");
}

#[tokio::test]
async fn without_time_the_rest_is_left_out_and_what_was_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..3 {
        write(folder.path(), &format!("{number}.pem"), pem("one of three"));
    }
    let files = CertificateFiles::new(Glob::parse(&format!("{}/*", folder.path().display())).unwrap());
    let prober = CertificateFilesProber::new("tls", files, clock());
    let outcome = probe_within(&prober, Duration::ZERO).await;
    assert_well_formed(&outcome, FILES_METADATA);
    assert!(outcome.result.is_err());
    assert_eq!(value(&outcome, "x509_source_up", &[]), Some(0.0));
}

#[tokio::test]
async fn a_file_with_more_certificates_than_anybody_has_is_cut_and_so_are_its_faults() {
    let folder = tempfile::tempdir().unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    write(folder.path(), "many.pem", broken.repeat(10_000));
    let outcome = look(&format!("{}/many.pem", folder.path().display())).await;
    assert_eq!(errors(&outcome, "bad_pem"), Some(20.0));
    let different: String = (0..502).map(|number| pem(&format!("number {number}"))).collect();
    write(folder.path(), "different.pem", different);
    let outcome = look(&format!("{}/different.pem", folder.path().display())).await;
    assert_eq!(certificates(&outcome), 500);
    let failure = outcome.result.unwrap_err().reason;
    assert!(
        failure.ends_with("different.pem`: 2 certificates after the first 500 are left out"),
        "{failure}"
    );
}

#[tokio::test]
async fn of_many_files_with_many_certificates_so_many_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let many: String = (0..500).map(|number| pem(&format!("number {number}"))).collect();
    for number in 0..12 {
        write(folder.path(), &format!("{number:02}.pem"), &many);
    }
    let outcome = look(&format!("{}/*.pem", folder.path().display())).await;
    assert_eq!(certificates(&outcome), 5_000);
    assert_eq!(value(&outcome, "valmis_certificate_files_left_out", &[]), Some(2.0));
    let failure = outcome.result.unwrap_err().reason;
    assert_eq!(failure, "the last 2 files are left out: there are more than 5000 certificates");

    // One entry after the other names the same file.
    let entry = |number| format!("- {{name: c{number}, cluster: {{certificate-authority: 00.pem}}}}\n");
    let entries: String = (0..20).map(entry).collect();
    write(folder.path(), "config", format!("clusters:\n{entries}"));
    let pattern = Glob::parse(&format!("{}/config", folder.path().display())).unwrap();
    let files = CertificateFiles { kind: SourceKind::Kubeconfig, ..CertificateFiles::new(pattern) };
    let prober = CertificateFilesProber::new("clients", files, clock());
    let outcome = probe_within(&prober, Duration::from_secs(30)).await;
    assert_eq!(certificates(&outcome), 5_000);
    let failure = outcome.result.unwrap_err().reason;
    assert!(failure.contains("the last 10 clusters and users are left out"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_all_the_time_is_read_right_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tls.pem");
    let chains = ["old", "new"].map(|name| format!("{}{}", pem(name), "# filler\n".repeat(20_000)));
    std::fs::write(&path, &chains[0]).unwrap();
    let is_over = AtomicBool::new(false);
    let pattern = path.display().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for chain in chains.iter().cycle() {
                // In place, piece by piece, as a careless program does it.
                let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
                for piece in chain.as_bytes().chunks(4096) {
                    file.write_all(piece).unwrap();
                }
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let looks = async {
            for _ in 0..50 {
                let outcome = look(&pattern).await;
                match &outcome.result {
                    Ok(()) => assert_eq!(certificates(&outcome), 1),
                    Err(failure) => assert!(failure.kind == "file", "{failure:?}"),
                }
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(looks));
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(look(&pattern).await.result, Ok(()));
}
