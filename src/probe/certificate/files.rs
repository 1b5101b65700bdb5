//! The certificates in files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustls::pki_types::pem::{PemObject, SectionKind};
use tokio::sync::Semaphore;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::glob::Glob;
use super::key;
use super::{CERTIFICATE_METADATA, OUTCOME_METADATA, emit_certificate};
use crate::clock::SharedClock;
use crate::probe::MetricMetadata;
use crate::probe::samples::SampleSet;
use crate::probe::small_file::{FileError, read_blocking};
use crate::probe::x509::Certificate;
use crate::probe::{Deadline, ProbeFailure, ProbeOutcome, Prober};

/// How many certificates of one file are looked at. A machine's whole trust store has about 150.
const MAX_CERTIFICATES_PER_FILE: usize = 500;

/// How many faults a failure's text names.
const MAX_FAULTS_NAMED: usize = 10;

const OWN_METADATA: &[MetricMetadata] = &[
    (
        "x509_cert_error",
        "gauge",
        "Indicates if a file of certificates, or part of it, could not be read or parsed",
    ),
    ("x509_source_up", "gauge", "1 if the source has produced its first sync, 0 otherwise."),
    ("x509_source_bundles", "gauge", "Number of bundles currently tracked per source."),
    ("x509_source_errors_total", "counter", "Errors emitted by sources, by reason code."),
    (
        "x509_cert_collision_total",
        "counter",
        "Number of certificates that were told apart by a discriminator because they bear the same names.",
    ),
    (
        "valmis_certificate_key_matches",
        "gauge",
        "Whether the private key in a certificate's file, or beside it, is that certificate's; absent where \
         there is none that may be read.",
    ),
];

/// Why certificates cannot be had. Source: x509-certificate-exporter, `pkg/cert/reason.go`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    BadDer,
    BadPem,
    BrokenSymlink,
    NoCertificateFound,
    NotFound,
    ParseTimeout,
    PermissionDenied,
    ReadFailed,
    WalkError,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::BadDer => "bad_der",
            Self::BadPem => "bad_pem",
            Self::BrokenSymlink => "broken_symlink",
            Self::NoCertificateFound => "no_certificate_found",
            Self::NotFound => "not_found",
            Self::ParseTimeout => "parse_timeout",
            Self::PermissionDenied => "permission_denied",
            Self::ReadFailed => "read_failed",
            Self::WalkError => "walk_error",
        }
    }

    fn of(file: &Path, error: &FileError) -> Self {
        let FileError::Io(_, error) = error else { return Self::ReadFailed };
        match error.kind() {
            io::ErrorKind::NotFound if file.is_symlink() => Self::BrokenSymlink,
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            _ => Self::ReadFailed,
        }
    }
}

/// The metrics of [`CertificateFilesProber`].
pub const FILES_METADATA: &[&[MetricMetadata]] = &[OUTCOME_METADATA, CERTIFICATE_METADATA, OWN_METADATA];

/// The files to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFilesConfig {
    /// What the files are called in metrics, as `source_name`.
    pub name: String,
    /// Which files: PEM with any number of certificates, or DER with one.
    pub files: Glob,
}

/// Reads files of certificates. Fails if there is none, or one that cannot be read; an expired
/// certificate is a fact, and for rules to judge.
pub struct CertificateFilesProber {
    config: CertificateFilesConfig,
    clock: SharedClock,
    /// Held by the thread that reads, also beyond the deadline: if a file system hangs, one thread hangs.
    reading: Arc<Semaphore>,
    counted: Mutex<Counted>,
}

/// What has happened since the prober was made.
#[derive(Debug, Default)]
struct Counted {
    errors: BTreeMap<Reason, u64>,
    collisions: u64,
}

impl CertificateFilesProber {
    /// A prober of some files. The clock says which certificates are expired.
    pub fn new(config: CertificateFilesConfig, clock: SharedClock) -> Self {
        Self { config, clock, reading: Arc::new(Semaphore::new(1)), counted: Mutex::default() }
    }

    async fn run(&self, deadline: Deadline) -> ProbeOutcome {
        let started = Instant::now();
        let allowed = deadline.remaining();
        let now = self.clock.now().div_euclid(1000);
        let scan = match Arc::clone(&self.reading).try_acquire_owned() {
            Err(_) => {
                Err(ProbeFailure::unknown("timeout", "an earlier probe still waits for the file system"))
            }
            Ok(permit) => {
                let files = self.config.files.clone();
                let reading = tokio::task::spawn_blocking(move || {
                    let scan = Scan::of(&files, now);
                    drop(permit);
                    scan
                });
                match tokio::time::timeout_at(deadline.instant(), reading).await {
                    Ok(Ok(scan)) => Ok(scan),
                    Ok(Err(stopped)) => Err(ProbeFailure::unknown("internal", stopped.to_string())),
                    Err(_) => Err(ProbeFailure::unknown(
                        "timeout",
                        format!("the file system gave no answer within {:.3} s", allowed.as_secs_f64()),
                    )),
                }
            }
        };
        let (scan, result) = match scan {
            Ok(mut scan) => {
                let result = scan.result(&self.config.files);
                (scan, result)
            }
            Err(failure) => {
                let scan = Scan { errors: vec![Reason::ParseTimeout], ..Scan::default() };
                (scan, Err(failure))
            }
        };
        let mut log = scan.log;
        if let Err(failure) = &result {
            log.push(format!("failed: {}", failure.reason));
        }
        let mut samples = SampleSet::default();
        samples.flag("probe_success", result.is_ok());
        samples.gauge("probe_duration_seconds", started.elapsed().as_secs_f64());
        self.emit_source(&scan.errors, scan.collisions, scan.bundles, &mut samples);
        let mut samples = samples.into_samples();
        samples.extend(scan.samples.into_samples());
        ProbeOutcome { result, samples, log: log.into() }
    }
}

impl CertificateFilesProber {
    /// What is told of the files as a whole. They are up when at least one of them was read.
    fn emit_source(&self, errors: &[Reason], collisions: u64, bundles: usize, samples: &mut SampleSet) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.collisions += collisions;
        for reason in errors {
            *counted.errors.entry(*reason).or_default() += 1;
        }
        let source = [("source_kind", "file"), ("source_name", self.config.name.as_str())];
        samples.labelled("x509_source_up", &source, f64::from(bundles > 0));
        samples.labelled("x509_source_bundles", &source, bundles as f64);
        samples.labelled("x509_cert_collision_total", &source, counted.collisions as f64);
        for (reason, count) in &counted.errors {
            let labels = [source[0], source[1], ("reason", reason.as_str())];
            samples.labelled("x509_source_errors_total", &labels, *count as f64);
        }
    }
}

impl Prober for CertificateFilesProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.run(deadline).boxed()
    }
}

/// What the files hold.
#[derive(Default)]
struct Scan {
    samples: SampleSet,
    log: Vec<String>,
    /// What cannot be read, each with its file.
    faults: Vec<String>,
    /// The same for counting.
    errors: Vec<Reason>,
    certificates: usize,
    /// Files with certificates.
    bundles: usize,
    /// Certificates that bear the names of another one in their file.
    collisions: u64,
}

impl Scan {
    /// Looks at all files. Blocks.
    fn of(files: &Glob, now: i64) -> Self {
        let mut scan = Self::default();
        let found = files.find();
        for (folder, error) in &found.faults {
            scan.faults.push(format!("`{}`: {error}", folder.display()));
            scan.errors.push(Reason::WalkError);
        }
        if found.truncated {
            scan.faults.push(format!("`{}` finds more files than are looked at", files.as_str()));
            scan.errors.push(Reason::WalkError);
        }
        for file in &found.files {
            scan.file(file, now);
        }
        scan
    }

    fn file(&mut self, file: &Path, now: i64) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let path = file.display().to_string();
        let place = [("filename", &*name), ("filepath", path.as_str())];
        let (contents, bytes) = match read_blocking(file) {
            Ok(bytes) => (FileContents::of(&bytes), bytes),
            Err(error) => {
                self.errors.push(Reason::of(file, &error));
                self.faults.push(error.to_string());
                self.samples.labelled("x509_cert_error", &place, 1.0);
                return;
            }
        };
        self.log.push(format!("`{path}`: {} certificates", contents.certificates.len()));
        self.faults.extend(contents.faults.iter().map(|(_, fault)| format!("`{path}`: {fault}")));
        self.errors.extend(contents.faults.iter().map(|(reason, _)| *reason));
        self.bundles += usize::from(!contents.certificates.is_empty());
        let matches = contents.first_der.as_deref().and_then(|der| key::matches(file, &bytes, der));
        if let Some(matches) = matches {
            self.samples.labelled("valmis_certificate_key_matches", &place, f64::from(matches));
            if !matches {
                self.log.push(format!("`{path}`: the private key is not that of the first certificate"));
            }
        }
        let failed = f64::from(u8::from(!contents.faults.is_empty()));
        self.samples.labelled("x509_cert_error", &place, failed);
        for (index, certificate) in contents.certificates.iter().enumerate() {
            self.certificates += 1;
            // Different certificates that bear the same names get told apart, as in
            // x509-certificate-exporter.
            let discriminator = contents.is_ambiguous(index).then(|| &certificate.fingerprint_sha256[..8]);
            self.collisions += u64::from(discriminator.is_some());
            let [name, path] = place;
            let place = [name, path, ("discriminator", discriminator.unwrap_or_default())];
            emit_certificate(&mut self.samples, certificate, &place, now);
        }
    }

    fn result(&mut self, files: &Glob) -> Result<(), ProbeFailure> {
        if !self.faults.is_empty() {
            let more = self.faults.len().saturating_sub(MAX_FAULTS_NAMED);
            let mut named = self.faults[..self.faults.len() - more].to_vec();
            if more > 0 {
                named.push(format!("and {more} more"));
            }
            return Err(ProbeFailure::new("file", named.join("; ")));
        }
        if self.certificates == 0 {
            self.errors.push(Reason::NoCertificateFound);
            return Err(ProbeFailure::new("no_file", format!("`{}` finds no certificate", files.as_str())));
        }
        Ok(())
    }
}

/// OpenSSL's `TRUSTED CERTIFICATE` is a certificate and then what it is trusted for. Yields the text with
/// the ordinary name for them, and whether there are any.
fn as_plain_certificates(bytes: &[u8]) -> (Cow<'_, [u8]>, bool) {
    const MARK: &str = " TRUSTED CERTIFICATE-----";
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains(MARK) => {
            (Cow::Owned(text.replace(MARK, " CERTIFICATE-----").into_bytes()), true)
        }
        _ => (Cow::Borrowed(bytes), false),
    }
}

/// The first element of DER, without what follows it.
fn without_trust(der: &[u8]) -> &[u8] {
    match X509Certificate::from_der(der) {
        Ok((rest, _)) => &der[..der.len() - rest.len()],
        Err(_) => der,
    }
}

/// What one file holds.
#[derive(Default)]
struct FileContents {
    /// Each certificate once, in the order of the file.
    certificates: Vec<Certificate>,
    /// The first of them as it is.
    first_der: Option<Vec<u8>>,
    faults: Vec<(Reason, String)>,
}

impl FileContents {
    /// Reads PEM if there is any, else DER. PEM without certificates, such as a key, is no fault.
    fn of(bytes: &[u8]) -> Self {
        let mut contents = Self::default();
        let mut sections = 0;
        let (bytes, is_trusted) = as_plain_certificates(bytes);
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
            sections += 1;
            match section {
                Ok((SectionKind::Certificate, der)) => {
                    let der = if is_trusted { without_trust(&der) } else { &der };
                    contents.add(der, Reason::BadPem, &format!("section {sections}: "));
                }
                Ok(_) => {}
                Err(error) => {
                    contents.faults.push((Reason::BadPem, format!("section {sections}: not PEM: {error}")));
                    break;
                }
            }
            if contents.certificates.len() >= MAX_CERTIFICATES_PER_FILE {
                let fault = format!("more than {MAX_CERTIFICATES_PER_FILE} certificates");
                contents.faults.push((Reason::ReadFailed, fault));
                break;
            }
        }
        if sections == 0 {
            contents.add(&bytes, Reason::BadDer, "neither PEM nor DER: ");
        }
        contents
    }

    fn add(&mut self, der: &[u8], reason: Reason, place: &str) {
        match Certificate::parse(der) {
            Ok(certificate) => {
                let print = &certificate.fingerprint_sha256;
                if !self.certificates.iter().any(|known| known.fingerprint_sha256 == *print) {
                    self.first_der.get_or_insert_with(|| der.to_vec());
                    self.certificates.push(certificate);
                }
            }
            Err(error) => self.faults.push((reason, format!("{place}{error}"))),
        }
    }

    /// Whether another certificate of the file has the same labels.
    fn is_ambiguous(&self, index: usize) -> bool {
        let labels = super::identity(&self.certificates[index]);
        let others = self.certificates.iter().enumerate().filter(|(other, _)| *other != index);
        others.map(|(_, other)| super::identity(other)).any(|other| other == labels)
    }
}
