//! The probe of files of certificates.

use std::os::unix::fs::{PermissionsExt, symlink};

use rcgen::{SerialNumber, date_time_ymd};
use valmis::probe::ProbeOutcome;
use valmis::probe::certificate::{CertificateFilesConfig, CertificateFilesProber, FILES_METADATA, Glob};

use crate::servers::{Identity, assert_well_formed, clock, params, probe, value, write};

async fn look(pattern: &str) -> ProbeOutcome {
    let config = CertificateFilesConfig { files: Glob::parse(pattern).unwrap() };
    let outcome = probe(&CertificateFilesProber::new(config, clock())).await;
    assert_well_formed(&outcome, FILES_METADATA);
    let success = f64::from(u8::from(outcome.result.is_ok()));
    assert_eq!(value(&outcome, "probe_success", &[]), Some(success));
    outcome
}

fn certificate(common_name: &str, serial: u64) -> Identity {
    let mut params = params(common_name, &[]);
    params.serial_number = Some(SerialNumber::from(serial));
    Identity::self_signed(&params)
}

fn error_of(outcome: &ProbeOutcome, filename: &str) -> Option<f64> {
    value(outcome, "x509_cert_error", &[("filename", filename)])
}

#[tokio::test]
async fn pem_der_chains_and_links_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two, old) = (certificate("one", 1), certificate("two", 2), {
        let mut params = params("old", &[]);
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2025, 12, 31);
        Identity::self_signed(&params)
    });
    write(folder.path(), "one.pem", &one.pem);
    write(folder.path(), "chain.pem", [one.pem.as_str(), "a comment\n", &two.pem, &one.pem].concat());
    write(folder.path(), "two.pem", &two.chain[0]);
    write(folder.path(), "old.pem", &old.pem);
    write(folder.path(), "private.pem", one.key.serialize_pem());
    symlink("one.pem", folder.path().join("link.pem")).unwrap();
    let outcome = look(&format!("{}/*.pem", folder.path().display())).await;
    assert_eq!(outcome.result, Ok(()));
    let check = |file: &str, subject: &str, expected: Option<f64>| {
        let labels = [("filename", file), ("subject_CN", subject)];
        assert_eq!(value(&outcome, "x509_cert_expired", &labels), expected, "{file} {subject}");
    };
    check("one.pem", "one", Some(0.0));
    check("link.pem", "one", Some(0.0));
    check("chain.pem", "one", Some(0.0));
    check("chain.pem", "two", Some(0.0));
    check("two.pem", "two", Some(0.0));
    check("old.pem", "old", Some(1.0));
    check("private.pem", "", None);
    assert_eq!(error_of(&outcome, "private.pem"), Some(0.0));
    let path = folder.path().join("one.pem").display().to_string();
    let labels = [("filepath", path.as_str()), ("serial_number", "1"), ("issuer_CN", "one")];
    assert_eq!(value(&outcome, "x509_cert_not_after", &labels), Some(1_798_675_200.0));
    assert_eq!(value(&outcome, "x509_cert_not_before", &labels), Some(1_767_225_600.0));
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let good = certificate("good", 1);
    write(folder.path(), "good.pem", &good.pem);
    write(folder.path(), "garbage.pem", "garbage");
    write(folder.path(), "cut.pem", [&good.pem, &good.pem[..100]].concat());
    write(folder.path(), "inside.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write(folder.path(), "empty.pem", "");
    write(folder.path(), "huge.pem", vec![b' '; (1 << 20) + 1]);
    symlink("nowhere", folder.path().join("broken.pem")).unwrap();
    let outcome = look(&format!("{}/*.pem", folder.path().display())).await;
    let failure = outcome.result.clone().unwrap_err();
    assert_eq!(failure.kind, "file");
    for (file, reason) in [
        ("garbage.pem", "neither PEM nor DER"),
        ("cut.pem", "section 2: not PEM"),
        ("inside.pem", "section 1: not an X.509 certificate"),
        ("empty.pem", "neither PEM nor DER"),
        ("huge.pem", "larger than 1048576 bytes"),
        ("broken.pem", "No such file"),
    ] {
        assert_eq!(error_of(&outcome, file), Some(1.0), "{file}");
        let named = failure.reason.split("; ").any(|text| text.contains(file) && text.contains(reason));
        assert!(named, "{file}: {failure:?}");
    }
    assert_eq!(error_of(&outcome, "good.pem"), Some(0.0));
    for file in ["good.pem", "cut.pem"] {
        assert_eq!(value(&outcome, "x509_cert_expired", &[("filename", file)]), Some(0.0));
    }
}

#[tokio::test]
async fn a_file_without_permission_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "secret.pem", certificate("secret", 1).pem);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::read(&path).is_ok() {
        // This user may read everything.
        return;
    }
    let outcome = look(path.to_str().unwrap()).await;
    assert!(outcome.result.unwrap_err().reason.contains("Permission denied"));
}

#[tokio::test]
async fn a_pattern_that_finds_nothing_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display();
    let outcome = look(&format!("{root}/*.pem")).await;
    let failure = outcome.result.unwrap_err();
    assert_eq!((failure.kind, failure.reason), ("no_file", format!("`{root}/*.pem` finds no certificate")));
    let outcome = look(&format!("{root}/missing.pem")).await;
    assert_eq!(outcome.result.clone().unwrap_err().kind, "file");
    assert_eq!(error_of(&outcome, "missing.pem"), Some(1.0));
    write(folder.path(), "key.pem", certificate("x", 1).key.serialize_pem());
    assert_eq!(look(&format!("{root}/*.pem")).await.result.unwrap_err().kind, "no_file");
}

#[tokio::test]
async fn certificates_with_the_same_names_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let pems = [certificate("same", 7).pem, certificate("same", 7).pem, certificate("same", 8).pem];
    write(folder.path(), "chain.pem", pems.concat());
    let outcome = look(&format!("{}/*.pem", folder.path().display())).await;
    let ends: Vec<_> = outcome
        .samples
        .iter()
        .filter(|sample| sample.labels.metric_name() == "x509_cert_not_after")
        .map(|sample| (sample.labels.get("serial_number"), sample.labels.get("discriminator").len()))
        .collect();
    assert_eq!(ends, [("7", 8), ("7", 8), ("8", 0)]);
}

#[tokio::test]
async fn a_named_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.pem");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let outcome = look(path.to_str().unwrap()).await;
    assert!(outcome.result.unwrap_err().reason.contains("not a regular file"));
}
