//! The probe of files of certificates.

use std::os::unix::fs::{PermissionsExt, symlink};

use rcgen::{SerialNumber, date_time_ymd};
use valmis::client::SecretSource;
use valmis::probe::ProbeOutcome;
use valmis::probe::certificate::{
    COMPARED_METADATA, CertificateFiles, CertificateFilesProber, ComparedProber, FILES_METADATA, Glob,
    SERVED_METADATA, ServedCertificateConfig, SourceKind, TlsProber,
};

use crate::servers::{
    Authority, HttpsServer, Identity, assert_well_formed, clock, params, probe, value, write,
};

async fn look(pattern: &str) -> ProbeOutcome {
    look_with(&files(pattern)).await
}

fn files(pattern: &str) -> CertificateFilesProber {
    CertificateFilesProber::new("tls", CertificateFiles::new(Glob::parse(pattern).unwrap()), clock())
}

async fn look_with(prober: &CertificateFilesProber) -> ProbeOutcome {
    let outcome = probe(prober).await;
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
    let encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                     DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nQUJD\n\
                     -----END RSA PRIVATE KEY-----\n";
    write(folder.path(), "key.pem", encrypted);
    write(folder.path(), "both.pem", [encrypted, &good.pem].concat());
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    write(folder.path(), "before.pem", [broken, &good.pem].concat());
    write(folder.path(), "inside.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write(folder.path(), "empty.pem", "");
    write(folder.path(), "huge.pem", vec![b' '; (1 << 20) + 1]);
    symlink("nowhere", folder.path().join("broken.pem")).unwrap();
    let outcome = look(&format!("{}/*.pem", folder.path().display())).await;
    let failure = outcome.result.clone().unwrap_err();
    assert_eq!(failure.kind, "file");
    for (file, reason) in [
        ("garbage.pem", "neither PEM nor DER nor PKCS#12"),
        ("cut.pem", "section 2: not PEM"),
        ("before.pem", "section 1: not PEM"),
        ("inside.pem", "section 1: not an X.509 certificate"),
        ("empty.pem", "it is empty"),
        ("huge.pem", "larger than 1048576 bytes"),
        ("broken.pem", "No such file"),
    ] {
        assert_eq!(error_of(&outcome, file), Some(1.0), "{file}");
        let named = failure.reason.split("; ").any(|text| text.contains(file) && text.contains(reason));
        assert!(named, "{file}: {failure:?}");
    }
    for file in ["good.pem", "key.pem", "both.pem"] {
        assert_eq!(error_of(&outcome, file), Some(0.0), "{file}");
    }
    for file in ["good.pem", "cut.pem", "both.pem", "before.pem"] {
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

#[tokio::test]
async fn what_openssl_calls_trusted_is_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let plain = certificate("trusted", 5);
    // After the certificate OpenSSL writes what it is trusted for: here an empty list.
    let der = [&plain.chain[0][..], &[0x30, 0x00]].concat();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    let pem = format!("-----BEGIN TRUSTED CERTIFICATE-----\n{encoded}\n-----END TRUSTED CERTIFICATE-----\n");
    write(folder.path(), "trusted.pem", pem);
    let outcome = look(&format!("{}/*.pem", folder.path().display())).await;
    assert_eq!(outcome.result, Ok(()));
    let labels = [("subject_CN", "trusted"), ("serial_number", "5")];
    assert_eq!(value(&outcome, "x509_cert_not_after", &labels), Some(1_798_675_200.0));
    assert_eq!(value(&outcome, "x509_cert_expires_in_seconds", &labels), Some(18_360_000.0));
}

#[tokio::test]
async fn a_source_counts_its_errors_by_reason_and_is_up_while_anything_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let prober = files(&format!("{}/*.pem", folder.path().display()));
    let source = [("source_kind", "file"), ("source_name", "tls")];
    let errors = |outcome: &ProbeOutcome, reason: &str| {
        value(outcome, "x509_source_errors_total", &[source[0], source[1], ("reason", reason)])
    };
    let outcome = look_with(&prober).await;
    assert_eq!(value(&outcome, "x509_source_up", &source), Some(0.0));
    assert_eq!(errors(&outcome, "no_certificate_found"), Some(1.0));

    write(folder.path(), "good.pem", [certificate("same", 7).pem, certificate("same", 7).pem].concat());
    write(folder.path(), "garbage.pem", "garbage");
    symlink("nowhere", folder.path().join("broken.pem")).unwrap();
    for round in 1..=2 {
        let outcome = look_with(&prober).await;
        assert_eq!(value(&outcome, "x509_source_up", &source), Some(1.0));
        assert_eq!(value(&outcome, "x509_source_bundles", &source), Some(1.0));
        let rounds = f64::from(round);
        assert_eq!(value(&outcome, "x509_cert_collision_total", &source), Some(2.0 * rounds));
        assert_eq!(errors(&outcome, "bad_der"), Some(rounds));
        assert_eq!(errors(&outcome, "broken_symlink"), Some(rounds));
        assert_eq!(errors(&outcome, "no_certificate_found"), Some(1.0));
        assert_eq!(errors(&outcome, "permission_denied"), None);
    }
}

#[tokio::test]
async fn a_volume_of_kubernetes_is_followed_when_its_link_moves() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (version, name) in [("..1", "old"), ("..2", "new")] {
        std::fs::create_dir(root.join(version)).unwrap();
        write(&root.join(version), "tls.crt", certificate(name, 1).pem);
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/tls.crt", root.join("tls.crt")).unwrap();
    let prober = files(&format!("{}/*.crt", root.display()));
    assert_eq!(subjects(&look_with(&prober).await), ["old"]);
    symlink("..2", root.join("..new")).unwrap();
    std::fs::rename(root.join("..new"), root.join("..data")).unwrap();
    assert_eq!(subjects(&look_with(&prober).await), ["new"]);
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (certificate("one", 1), certificate("other", 2));
    write(folder.path(), "right.crt", &one.pem);
    write(folder.path(), "right.key", one.key.serialize_pem());
    write(folder.path(), "wrong.crt", &one.pem);
    write(folder.path(), "wrong.key", other.key.serialize_pem());
    write(folder.path(), "inside.crt", [one.pem.clone(), one.key.serialize_pem()].concat());
    write(folder.path(), "alone.crt", &one.pem);
    let outcome = look(&format!("{}/*.crt", folder.path().display())).await;
    assert_eq!(outcome.result, Ok(()));
    let check = |file: &str, expected: Option<f64>| {
        let found = value(&outcome, "valmis_certificate_key_matches", &[("filename", file)]);
        assert_eq!(found, expected, "{file}");
    };
    check("right.crt", Some(1.0));
    check("wrong.crt", Some(0.0));
    check("inside.crt", Some(1.0));
    check("alone.crt", None);
}

#[tokio::test]
async fn a_certificate_that_was_renewed_on_disk_and_not_loaded_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::root("root", 2030);
    write(folder.path(), "ca.pem", &authority.pem);
    let valid_until = |year: i32| {
        let mut params = params("shop", &["127.0.0.1"]);
        params.not_after = date_time_ymd(year, 1, 1);
        authority.sign(&params)
    };
    let (old, new) = (valid_until(2027), valid_until(2028));
    write(folder.path(), "tls.crt", &old.pem);
    let server = HttpsServer::start(old.server_config()).await;
    let mut served = ServedCertificateConfig::parse(&server.address.to_string()).unwrap();
    served.tls.ca = Some(SecretSource::File(folder.path().join("ca.pem")));
    let on_disk = files(&folder.path().join("tls.crt").display().to_string());
    let prober = ComparedProber::new(TlsProber::new(served, clock()), on_disk);
    let look = async || {
        let outcome = probe(&prober).await;
        let metadata = [SERVED_METADATA, FILES_METADATA, &[COMPARED_METADATA]].concat();
        assert_well_formed(&outcome, &metadata);
        outcome
    };
    let outcome = look().await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(value(&outcome, "valmis_certificate_not_reloaded", &[]), Some(0.0));
    write(folder.path(), "tls.crt", &new.pem);
    assert_eq!(value(&look().await, "valmis_certificate_not_reloaded", &[]), Some(1.0));
    // A file that cannot be read says nothing of what it holds.
    write(folder.path(), "tls.crt", "garbage");
    let outcome = look().await;
    assert_eq!(value(&outcome, "valmis_certificate_not_reloaded", &[]), None);
    assert_eq!(value(&outcome, "probe_success", &[]), Some(0.0));
    assert!(value(&outcome, "x509_cert_not_after", &[("chain_position", "0")]).is_some());
}

#[tokio::test]
async fn a_directory_is_looked_at_without_what_lies_deeper_or_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir(root.join("deeper")).unwrap();
    for name in ["one.pem", "two", "old-three.pem", ".hidden", "deeper/four.pem"] {
        write(root, name, certificate(name, 1).pem);
    }
    let pattern = |text: &str| Glob::parse(&format!("{}/{text}", root.display())).unwrap();
    let files = CertificateFiles { exclude: vec![pattern("old-*")], ..CertificateFiles::new(pattern("*")) };
    let outcome = look_with(&CertificateFilesProber::new("tls", files, clock())).await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(subjects(&outcome), ["one.pem", "two"]);
}

/// Whom the certificates are for.
fn subjects(outcome: &ProbeOutcome) -> Vec<&str> {
    let ends = outcome.samples.iter().filter(|sample| sample.labels.metric_name() == "x509_cert_not_after");
    ends.map(|sample| sample.labels.get("subject_CN")).collect()
}

#[tokio::test]
async fn kubeconfig_files_bear_certificates_and_point_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let base64 = |pem: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let (authority, admin, other) = (certificate("ca", 1), certificate("admin", 2), certificate("other", 3));
    write(folder.path(), "ca.crt", &authority.pem);
    let text = format!(
        "apiVersion: v1
kind: Config
clusters:
- {{name: beside, cluster: {{server: https://a, certificate-authority: ca.crt}}}}
- {{name: within, cluster: {{server: https://a, certificate-authority-data: {ca}}}}}
- {{name: gone, cluster: {{server: https://a, certificate-authority: gone.crt}}}}
users:
- {{name: good, user: {{client-certificate-data: {cert}, client-key-data: {key}}}}}
- {{name: mixed, user: {{client-certificate-data: {cert}, client-key-data: {wrong}}}}}
- {{name: broken, user: {{client-certificate-data: '%%%'}}}}
- {{name: token, user: {{token: hunter2}}}}
",
        ca = base64(&authority.pem),
        cert = base64(&admin.pem),
        key = base64(&admin.key.serialize_pem()),
        wrong = base64(&other.key.serialize_pem()),
    );
    write(folder.path(), "admin.conf", text);
    let pattern = Glob::parse(&format!("{}/*.conf", folder.path().display())).unwrap();
    let files = CertificateFiles { kind: SourceKind::Kubeconfig, ..CertificateFiles::new(pattern) };
    let outcome = look_with(&CertificateFilesProber::new("clients", files, clock())).await;
    let path = folder.path().join("admin.conf").display().to_string();
    let of = |name: &str, kind: &str, key: &str| {
        let labels = [
            ("filename", "admin.conf"),
            ("filepath", path.as_str()),
            ("embedded_kind", kind),
            ("embedded_key", key),
        ];
        value(&outcome, name, &labels)
    };
    assert_eq!(subjects(&outcome), ["ca", "ca", "admin", "admin"]);
    assert_eq!(of("x509_cert_expired", "cluster", "beside"), Some(0.0));
    assert_eq!(of("x509_cert_expired", "cluster", "within"), Some(0.0));
    assert_eq!(of("x509_cert_error", "cluster", "within"), Some(0.0));
    assert_eq!(of("x509_cert_error", "cluster", "gone"), Some(1.0));
    assert_eq!(of("x509_cert_error", "user", "broken"), Some(1.0));
    assert_eq!(of("x509_cert_error", "user", "token"), None);
    assert_eq!(of("valmis_certificate_key_matches", "user", "good"), Some(1.0));
    assert_eq!(of("valmis_certificate_key_matches", "user", "mixed"), Some(0.0));
    let source = [("source_kind", "kubeconfig"), ("source_name", "clients")];
    assert_eq!(value(&outcome, "x509_source_bundles", &source), Some(4.0));
    let failure = outcome.result.unwrap_err().reason;
    let gone = format!("`{path}`: cluster `gone`: cannot read `{}/gone.crt`: ", folder.path().display());
    assert!(failure.starts_with(&gone), "{failure}");
    assert!(failure.ends_with(&format!("`{path}`: user `broken`: its data are not base64")), "{failure}");
    assert!(!format!("{:?}", outcome.log).contains("hunter2"));
}

#[tokio::test]
async fn revocation_lists_tell_how_long_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::root("root", 2030);
    let list = |number: u64, year: i32| {
        let params = rcgen::CertificateRevocationListParams {
            this_update: date_time_ymd(year, 5, 1),
            next_update: date_time_ymd(year, 7, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: vec![rcgen::RevokedCertParams {
                serial_number: SerialNumber::from(7),
                revocation_time: date_time_ymd(2025, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&authority.issuer).unwrap()
    };
    let (old, new) = (list(70_000, 2025), list(70_001, 2026));
    write(folder.path(), "both.crl", [old.pem().unwrap(), new.pem().unwrap()].concat());
    write(folder.path(), "der.crl", new.der());
    write(folder.path(), "bad.crl", "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n");
    let outcome = look(&format!("{}/*.crl", folder.path().display())).await;
    let check = |name: &str, file: &str, number: &str, expected: Option<f64>| {
        let labels = [("filename", file), ("crl_number", number), ("issuer_CN", "root")];
        assert_eq!(value(&outcome, name, &labels), expected, "{name} {file} {number}");
    };
    for file in ["both.crl", "der.crl"] {
        check("x509_crl_this_update", file, "70001", Some(1_777_593_600.0));
        check("x509_crl_next_update", file, "70001", Some(1_782_864_000.0));
        check("x509_crl_number", file, "70001", Some(70_001.0));
        check("x509_crl_stale", file, "70001", Some(0.0));
        check("x509_crl_stale_in_seconds", file, "70001", Some(2_548_800.0));
        check("x509_crl_fresh_since_seconds", file, "70001", Some(2_721_600.0));
    }
    check("x509_crl_stale", "both.crl", "70000", Some(1.0));
    let failure = outcome.result.clone().unwrap_err().reason;
    assert!(failure.ends_with("bad.crl`: section 1: not an X.509 revocation list"), "{failure}");
    assert_eq!(value(&outcome, "x509_source_errors_total", &[("reason", "bad_crl")]), Some(1.0));
}
