//! Keystores as real programs write them, read by the probe of certificates in files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use valmis::client::SecretSource;
use valmis::clock::{FixedClock, SharedClock};
use valmis::model::Secret;
use valmis::probe::ProbeOutcome;
use valmis::probe::certificate::{CertificateFiles, CertificateFilesProber, FILES_METADATA, Glob};

use crate::cli::cli_with;
use crate::real;
use crate::servers::{Authority, Identity, assert_well_formed, clock, params, probe, value, write};
use crate::tools::run;

fn prober(folder: &Path, password: Option<SecretSource>, clock: SharedClock) -> CertificateFilesProber {
    let pattern = Glob::parse(&format!("{}/*.p12", folder.display())).unwrap();
    let files = CertificateFiles { password, ..CertificateFiles::new(pattern) };
    CertificateFilesProber::new("keys", files, clock)
}

async fn look(folder: &Path, password: Option<&str>) -> ProbeOutcome {
    let password = password.map(|text| SecretSource::Value(Secret::new(text)));
    let outcome = probe(&prober(folder, password, clock())).await;
    assert_well_formed(&outcome, FILES_METADATA);
    outcome
}

/// The certificates of a file, by whom they are for.
fn subjects<'a>(outcome: &'a ProbeOutcome, file: &str) -> Vec<&'a str> {
    let ends = outcome.samples.iter().filter(|sample| {
        sample.labels.metric_name() == "x509_cert_not_after" && sample.labels.get("filename") == file
    });
    ends.map(|sample| sample.labels.get("subject_CN")).collect()
}

fn is_here(program: &str) -> bool {
    let started = Command::new(program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    started.is_ok()
}

/// A certificate with its key and its authority, as files for programs to read.
struct Material {
    folder: tempfile::TempDir,
}

impl Material {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::root("root", 2030);
        let leaf: Identity = authority.sign(&params("shop", &["shop.example"]));
        write(folder.path(), "shop.pem", &leaf.pem);
        write(folder.path(), "shop.key", leaf.key.serialize_pem());
        write(folder.path(), "ca.pem", &authority.pem);
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Has OpenSSL write a keystore with the certificate and its authority.
    fn openssl(&self, name: &str, password: &str, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        command.current_dir(self.path()).args(["pkcs12", "-export", "-in", "shop.pem", "-inkey", "shop.key"]);
        command.args(["-certfile", "ca.pem", "-out", name, "-passout"]).arg(format!("pass:{password}"));
        run(command.args(arguments));
    }
}

#[tokio::test]
async fn whatever_openssl_writes_is_read() {
    if !is_here("openssl") {
        return real::missing("openssl");
    }
    let material = Material::new();
    let check = async |password: &str, arguments: &[&str]| {
        material.openssl("a.p12", password, arguments);
        let outcome = look(material.path(), Some(password)).await;
        assert_eq!(outcome.result, Ok(()), "{arguments:?}");
        assert_eq!(subjects(&outcome, "a.p12"), ["shop", "root"], "{arguments:?}");
    };
    check("secret", &[]).await;
    check("secret", &["-legacy"]).await;
    for cipher in ["PBE-SHA1-3DES", "PBE-SHA1-2DES", "PBE-SHA1-RC2-40", "PBE-SHA1-RC2-128"] {
        check("secret", &["-legacy", "-certpbe", cipher]).await;
    }
    for cipher in ["AES-128-CBC", "AES-192-CBC", "AES-256-CBC", "DES-EDE3-CBC"] {
        check("secret", &["-certpbe", cipher]).await;
    }
    for digest in ["sha1", "sha224", "sha256", "sha384", "sha512"] {
        check("secret", &["-macalg", digest]).await;
    }
    check("secret", &["-nomac"]).await;
    check("secret", &["-certpbe", "NONE"]).await;
    check("secret", &["-certpbe", "NONE", "-keypbe", "NONE", "-nomac"]).await;
    check("secret", &["-nomaciter", "-iter", "1"]).await;
    check("", &[]).await;
    check("", &["-legacy"]).await;
    check("pässwörd €𝄞", &[]).await;
    check("pässwörd €", &["-legacy"]).await;
    check(&"long ".repeat(50), &["-legacy"]).await;
}

#[tokio::test]
async fn whatever_javas_keytool_writes_is_read() {
    if !is_here("keytool") {
        // A machine without Java is no exception.
        return real::say("skipped: `keytool` is not on this machine");
    }
    let material = Material::new();
    let keytool = |name: &str, arguments: &[&str]| {
        let mut command = Command::new("keytool");
        command.current_dir(material.path()).args(arguments);
        run(command.args(["-storetype", "PKCS12", "-storepass", "changeit", "-keystore", name, "-noprompt"]));
    };
    let pair = ["-genkeypair", "-alias", "a", "-keyalg", "EC", "-dname", "CN=java,O=Example"];
    keytool("new.p12", &pair);
    keytool("old.p12", &[&["-J-Dkeystore.pkcs12.legacy"], &pair[..]].concat());
    keytool("trust.p12", &["-importcert", "-file", "ca.pem", "-alias", "root"]);
    keytool("trust.p12", &["-importcert", "-file", "shop.pem", "-alias", "shop"]);
    let outcome = look(material.path(), Some("changeit")).await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(subjects(&outcome, "new.p12"), ["java"]);
    assert_eq!(subjects(&outcome, "old.p12"), ["java"]);
    assert_eq!(subjects(&outcome, "trust.p12"), ["root", "shop"]);
    let labels = [("filename", "new.p12"), ("issuer_O", "Example")];
    assert_eq!(value(&outcome, "x509_cert_expired", &labels), Some(0.0));
}

#[tokio::test]
async fn a_wrong_password_is_told_apart_from_a_broken_file() {
    if !is_here("openssl") {
        return real::missing("openssl");
    }
    let material = Material::new();
    material.openssl("a.p12", "hunter2", &[]);
    write(material.path(), "b.p12", b"\x30\x03\x02\x01\x03");
    let told = |outcome: &ProbeOutcome, reason: &str| {
        let labels = [("source_kind", "file"), ("source_name", "keys"), ("reason", reason)];
        value(outcome, "x509_source_errors_total", &labels)
    };
    let check = async |password: Option<&str>, expected: &str| {
        let outcome = look(material.path(), password).await;
        let failure = outcome.result.clone().unwrap_err();
        let root = material.path().display();
        let broken = format!("`{root}/b.p12`: PKCS#12: its content cannot be understood");
        assert_eq!(failure.reason, format!("`{root}/a.p12`: PKCS#12: {expected}; {broken}"));
        assert_eq!(told(&outcome, "bad_passphrase"), Some(1.0));
        assert_eq!(told(&outcome, "bad_pkcs12"), Some(1.0));
        let failures = value(&outcome, "x509_pkcs12_passphrase_failures_total", &[("source_name", "keys")]);
        assert_eq!(failures, Some(1.0));
        assert_eq!(value(&outcome, "x509_read_errors", &[("source_name", "keys")]), Some(2.0));
        assert_eq!(value(&outcome, "x509_cert_error", &[("filename", "a.p12")]), Some(1.0));
        assert!(subjects(&outcome, "a.p12").is_empty());
        assert!(!format!("{outcome:?}").contains("hunter"), "{outcome:?}");
    };
    check(Some("hunter3"), "the password is wrong").await;
    check(None, "it has a password, and none is configured").await;
}

#[tokio::test]
async fn a_password_from_a_file_may_change_and_an_opened_keystore_is_remembered() {
    if !is_here("openssl") {
        return real::missing("openssl");
    }
    let material = Material::new();
    let password = material.path().join("password");
    material.openssl("a.p12", "first", &[]);
    // Far in the future, so that the file has not been changed just now.
    let clock: SharedClock = Arc::new(FixedClock::at(4_000_000_000_000));
    let prober = prober(material.path(), Some(SecretSource::File(password.clone())), clock);
    let look = async || {
        let outcome = probe(&prober).await;
        assert_well_formed(&outcome, FILES_METADATA);
        outcome
    };
    let failure = look().await.result.unwrap_err();
    assert!(failure.reason.contains("PKCS#12: the password cannot be had: cannot read"), "{failure:?}");
    write(material.path(), "password", "first\n");
    for round in ["opened", "remembered"] {
        let outcome = look().await;
        assert_eq!(outcome.result, Ok(()), "{round}");
        assert_eq!(subjects(&outcome, "a.p12"), ["shop", "root"], "{round}");
    }
    write(material.path(), "password", "second\n");
    assert!(look().await.result.unwrap_err().reason.contains("the password is wrong"));
    material.openssl("a.p12", "second", &[]);
    assert_eq!(look().await.result, Ok(()));
}

#[tokio::test]
async fn the_command_opens_a_keystore_with_the_password_in_a_file() {
    if !is_here("openssl") {
        return real::missing("openssl");
    }
    let material = Material::new();
    material.openssl("a.p12", "secret", &[]);
    write(material.path(), "password", "secret\n");
    let ran = cli_with(material.path(), &[], &["probe", "cert", "*.p12"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.verdict().contains("it has a password"), "{ran:?}");
    let ran =
        cli_with(material.path(), &[], &["probe", "cert", "*.p12", "--password-file", "password"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("subject_CN=\"shop\""), "{ran:?}");
    assert!(!ran.out.contains("secret"), "{ran:?}");
}

#[tokio::test]
async fn damage_anywhere_in_a_keystore_does_no_harm() {
    if !is_here("openssl") {
        return real::missing("openssl");
    }
    let material = Material::new();
    let folder = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for arguments in [&["-iter", "1", "-nomac"][..], &["-iter", "1", "-legacy"]] {
        material.openssl("a.p12", "secret", arguments);
        let good = std::fs::read(material.path().join("a.p12")).unwrap();
        for at in (0..good.len()).step_by(3) {
            let mut bad = good.clone();
            bad[at] ^= 0x81;
            write(folder.path(), "flipped.p12", &bad);
            write(folder.path(), "cut.p12", &good[..at]);
            let outcome = look(folder.path(), Some("secret")).await;
            refused += u32::from(outcome.result.is_err());
        }
    }
    assert!(refused > 100);
}
