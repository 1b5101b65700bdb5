//! The certificates in files.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::CERTIFICATE_METADATA;
use super::compared::Held;
use super::contents::Password;
use super::crl;
use super::glob::Glob;
use super::keystores::Keystores;
use super::reason::{Fault, Reason};
use super::scan::Scan;
use crate::client::SecretSource;
use crate::clock::SharedClock;
use crate::model::Secret;
use crate::probe::samples::SampleSet;
use crate::probe::small_file::read_blocking;
use crate::probe::{Deadline, MetricMetadata, ProbeFailure, ProbeOutcome, Prober, outcome};

const OWN_METADATA: &[MetricMetadata] = &[
    ("x509_cert_error", "gauge", "1 if the corresponding bundle item failed to parse, 0 otherwise."),
    ("x509_source_up", "gauge", "1 if the source has produced its first sync, 0 otherwise."),
    ("x509_source_bundles", "gauge", "Number of bundles currently tracked per source."),
    ("x509_source_errors_total", "counter", "Errors emitted by sources, by reason code."),
    ("x509_read_errors", "gauge", "Indicates the number of read failure(s)"),
    (
        "x509_pkcs12_passphrase_failures_total",
        "counter",
        "PKCS#12 decoding attempts failed because of a wrong passphrase.",
    ),
    (
        "x509_cert_collision_total",
        "counter",
        "Number of certificates that were told apart by a discriminator because they bear the same names.",
    ),
    (
        "valmis_certificate_files_left_out",
        "gauge",
        "Files that were found and not looked at, since there are too many or there was no time.",
    ),
    (
        "valmis_certificate_key_matches",
        "gauge",
        "Whether the private key in a certificate's file, or beside it, is that certificate's; absent where \
         there is none that may be read.",
    ),
];

/// The metrics of [`CertificateFilesProber`].
pub const FILES_METADATA: &[&[MetricMetadata]] =
    &[outcome::METADATA, CERTIFICATE_METADATA, crl::METADATA, OWN_METADATA];

/// What kind of files they are: label `source_kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// PEM, DER and PKCS#12.
    File,
    /// Kubernetes' client configuration.
    Kubeconfig,
}

impl SourceKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Kubeconfig => "kubeconfig",
        }
    }
}

/// The files to look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// What they are.
    pub kind: SourceKind,
    /// Where they are.
    pub patterns: Vec<Glob>,
    /// Which of them are left out.
    pub exclude: Vec<Glob>,
    /// What opens keystores. Those without a password are opened in any case.
    pub password: Option<SecretSource>,
}

impl CertificateFiles {
    /// Ordinary files.
    pub fn new(pattern: Glob) -> Self {
        Self { kind: SourceKind::File, patterns: vec![pattern], exclude: Vec::new(), password: None }
    }

    /// The password as it is now. Blocks.
    pub(super) fn password(&self) -> Password {
        match &self.password {
            None => Password::None,
            Some(SecretSource::Value(password)) => Password::Known(password.clone()),
            Some(SecretSource::File(path)) => match read_blocking(path).map(String::from_utf8) {
                Ok(Ok(text)) => Password::Known(Secret::new(text.trim_end_matches(['\r', '\n']))),
                Ok(Err(_)) => Password::Missing(format!("`{}` is not UTF-8", path.display())),
                Err(error) => Password::Missing(error.to_string()),
            },
        }
    }
}

/// Reads files of certificates. Fails if there is none, or one that cannot be read; an expired
/// certificate is a fact, and for rules to judge.
pub struct CertificateFilesProber {
    /// What the files are called in metrics, as `source_name`.
    name: String,
    files: CertificateFiles,
    clock: SharedClock,
    /// Locked by the thread that reads, also beyond the deadline: if a file system hangs, one thread hangs.
    keystores: Arc<tokio::sync::Mutex<Keystores>>,
    counted: Mutex<Counted>,
}

/// What has happened since the prober was made.
#[derive(Debug, Default)]
struct Counted {
    errors: BTreeMap<Reason, u64>,
    collisions: u64,
    passphrase_failures: u64,
}

impl CertificateFilesProber {
    /// A prober of files that metrics call `name`. The clock says which certificates are expired.
    pub fn new(name: impl Into<String>, files: CertificateFiles, clock: SharedClock) -> Self {
        let (keystores, counted) = Default::default();
        Self { name: name.into(), files, clock, keystores, counted }
    }

    /// Looks once; yields also what certificates there are.
    pub(super) async fn look_at(&self, deadline: Deadline) -> (ProbeOutcome, Vec<Held>) {
        let started = Instant::now();
        let (mut scan, result) = match self.scan(deadline).await {
            Ok(mut scan) => {
                let result = scan.result(&self.files.patterns);
                (scan, result)
            }
            Err(failure) => {
                let fault = Fault::new(Reason::ParseTimeout, failure.reason.clone());
                (Scan { faults: vec![fault], ..Scan::default() }, Err(failure))
            }
        };
        if let Err(failure) = &result {
            scan.course.log.push(format!("failed: {}", failure.reason));
        }
        let mut samples = SampleSet::default();
        // All files are of one instance: the machine.
        let source = [("source_name", self.name.as_str())];
        outcome::emit_verdict(&mut samples, &source, &result, started.elapsed());
        self.emit_source(&scan, &mut samples);
        let mut samples = samples.into_samples();
        samples.extend(scan.samples.into_samples());
        (ProbeOutcome { result, samples, log: scan.course.log }, scan.held)
    }

    /// Reads on a thread of its own. Looking at one file after the other it stops by itself before the
    /// deadline, and tells what it has; only a file system that hangs lets the deadline pass.
    async fn scan(&self, deadline: Deadline) -> Result<Scan, ProbeFailure> {
        let allowed = deadline.remaining();
        let now = self.clock.now().div_euclid(1000);
        let Ok(mut keystores) = Arc::clone(&self.keystores).try_lock_owned() else {
            return Err(ProbeFailure::unknown("timeout", "an earlier probe still waits for the file system"));
        };
        let (name, files) = (self.name.clone(), self.files.clone());
        let until = Instant::now() + allowed * 4 / 5;
        let reading =
            tokio::task::spawn_blocking(move || Scan::of(&name, &files, &mut keystores, now, until));
        match tokio::time::timeout_at(deadline.instant(), reading).await {
            Ok(Ok(scan)) => Ok(scan),
            Ok(Err(stopped)) => Err(ProbeFailure::unknown("internal", stopped.to_string())),
            Err(_) => Err(ProbeFailure::unknown(
                "timeout",
                format!("the file system gave no answer within {:.3} s", allowed.as_secs_f64()),
            )),
        }
    }

    /// What is told of the files as a whole. They are up when at least one of them was read.
    fn emit_source(&self, scan: &Scan, samples: &mut SampleSet) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.collisions += scan.collisions;
        counted.passphrase_failures += scan.passphrase_failures;
        for fault in &scan.faults {
            *counted.errors.entry(fault.reason).or_default() += 1;
        }
        let source = [("source_kind", self.files.kind.as_str()), ("source_name", self.name.as_str())];
        let mut of_source = |name, value: f64| samples.labelled(name, &source, value);
        of_source("x509_source_up", f64::from(scan.bundles > 0));
        of_source("x509_source_bundles", scan.bundles as f64);
        of_source("x509_read_errors", scan.faults.len() as f64);
        of_source("x509_cert_collision_total", counted.collisions as f64);
        of_source("valmis_certificate_files_left_out", scan.left_out as f64);
        let failures = counted.passphrase_failures as f64;
        samples.labelled("x509_pkcs12_passphrase_failures_total", &source[1..], failures);
        for (reason, count) in &counted.errors {
            let labels = [source[0], source[1], ("reason", reason.as_str())];
            samples.labelled("x509_source_errors_total", &labels, *count as f64);
        }
    }
}

impl Prober for CertificateFilesProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.look_at(deadline).map(|(outcome, _)| outcome).boxed()
    }
}
