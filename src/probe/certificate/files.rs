//! The certificates in files.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustls::pki_types::pem::{PemObject, SectionKind};
use tokio::sync::Semaphore;

use super::glob::Glob;
use super::{CERTIFICATE_METADATA, OUTCOME_METADATA, emit_certificate};
use crate::clock::SharedClock;
use crate::probe::MetricMetadata;
use crate::probe::samples::SampleSet;
use crate::probe::small_file::read_blocking;
use crate::probe::x509::Certificate;
use crate::probe::{Deadline, ProbeFailure, ProbeOutcome, Prober};

/// How many certificates of one file are looked at. A machine's whole trust store has about 150.
const MAX_CERTIFICATES_PER_FILE: usize = 500;

/// How many faults a failure's text names.
const MAX_FAULTS_NAMED: usize = 10;

const OWN_METADATA: &[MetricMetadata] = &[(
    "x509_cert_error",
    "gauge",
    "Indicates if a file of certificates, or part of it, could not be read or parsed",
)];

/// The metrics of [`CertificateFilesProber`].
pub const FILES_METADATA: &[&[MetricMetadata]] = &[OUTCOME_METADATA, CERTIFICATE_METADATA, OWN_METADATA];

/// The files to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFilesConfig {
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
}

impl CertificateFilesProber {
    /// A prober of some files. The clock says which certificates are expired.
    pub fn new(config: CertificateFilesConfig, clock: SharedClock) -> Self {
        Self { config, clock, reading: Arc::new(Semaphore::new(1)) }
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
            Ok(scan) => {
                let result = scan.result(&self.config.files);
                (scan, result)
            }
            Err(failure) => (Scan::default(), Err(failure)),
        };
        let mut log = scan.log;
        if let Err(failure) = &result {
            log.push(format!("failed: {}", failure.reason));
        }
        let mut samples = SampleSet::default();
        samples.flag("probe_success", result.is_ok());
        samples.gauge("probe_duration_seconds", started.elapsed().as_secs_f64());
        let mut samples = samples.into_samples();
        samples.extend(scan.samples.into_samples());
        ProbeOutcome { result, samples, log }
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
    certificates: usize,
}

impl Scan {
    /// Looks at all files. Blocks.
    fn of(files: &Glob, now: i64) -> Self {
        let mut scan = Self::default();
        let found = files.find();
        for (folder, error) in &found.faults {
            scan.faults.push(format!("`{}`: {error}", folder.display()));
        }
        if found.truncated {
            scan.faults.push(format!("`{}` finds more files than are looked at", files.as_str()));
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
        let contents = match read_blocking(file) {
            Ok(bytes) => FileContents::of(&bytes),
            Err(error) => {
                self.faults.push(error.to_string());
                self.samples.labelled("x509_cert_error", &place, 1.0);
                return;
            }
        };
        self.log.push(format!("`{path}`: {} certificates", contents.certificates.len()));
        self.faults.extend(contents.faults.iter().map(|fault| format!("`{path}`: {fault}")));
        let failed = f64::from(u8::from(!contents.faults.is_empty()));
        self.samples.labelled("x509_cert_error", &place, failed);
        for (index, certificate) in contents.certificates.iter().enumerate() {
            self.certificates += 1;
            // Different certificates that bear the same names get told apart, as in
            // x509-certificate-exporter.
            let discriminator = contents.is_ambiguous(index).then(|| &certificate.fingerprint_sha256[..8]);
            let [name, path] = place;
            let place = [name, path, ("discriminator", discriminator.unwrap_or_default())];
            emit_certificate(&mut self.samples, certificate, &place, now);
        }
    }

    fn result(&self, files: &Glob) -> Result<(), ProbeFailure> {
        if !self.faults.is_empty() {
            let more = self.faults.len().saturating_sub(MAX_FAULTS_NAMED);
            let mut named = self.faults[..self.faults.len() - more].to_vec();
            if more > 0 {
                named.push(format!("and {more} more"));
            }
            return Err(ProbeFailure::new("file", named.join("; ")));
        }
        if self.certificates == 0 {
            return Err(ProbeFailure::new("no_file", format!("`{}` finds no certificate", files.as_str())));
        }
        Ok(())
    }
}

/// What one file holds.
#[derive(Default)]
struct FileContents {
    /// Each certificate once, in the order of the file.
    certificates: Vec<Certificate>,
    faults: Vec<String>,
}

impl FileContents {
    /// Reads PEM if there is any, else DER. PEM without certificates, such as a key, is no fault.
    fn of(bytes: &[u8]) -> Self {
        let mut contents = Self::default();
        let mut sections = 0;
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
            sections += 1;
            match section {
                Ok((SectionKind::Certificate, der)) => {
                    contents.add(&der, &format!("section {sections}: "));
                }
                Ok(_) => {}
                Err(error) => {
                    contents.faults.push(format!("section {sections}: not PEM: {error}"));
                    break;
                }
            }
            if contents.certificates.len() >= MAX_CERTIFICATES_PER_FILE {
                contents.faults.push(format!("more than {MAX_CERTIFICATES_PER_FILE} certificates"));
                break;
            }
        }
        if sections == 0 {
            contents.add(bytes, "neither PEM nor DER: ");
        }
        contents
    }

    fn add(&mut self, der: &[u8], place: &str) {
        match Certificate::parse(der) {
            Ok(certificate) => {
                let print = &certificate.fingerprint_sha256;
                if !self.certificates.iter().any(|known| known.fingerprint_sha256 == *print) {
                    self.certificates.push(certificate);
                }
            }
            Err(error) => self.faults.push(format!("{place}{error}")),
        }
    }

    /// Whether another certificate of the file has the same labels.
    fn is_ambiguous(&self, index: usize) -> bool {
        let labels = super::identity(&self.certificates[index]);
        let others = self.certificates.iter().enumerate().filter(|(other, _)| *other != index);
        others.map(|(_, other)| super::identity(other)).any(|other| other == labels)
    }
}
