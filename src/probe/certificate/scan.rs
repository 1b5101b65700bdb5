//! One look at all files of an entry.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::compared::Held;
use super::contents::{Contents, Password};
use super::files::{CertificateFiles, SourceKind};
use super::glob::{Glob, MAX_FILES};
use super::keystores::Keystores;
use super::reason::{Fault, Reason};
use super::{ISSUER, emit_certificate, key, kubeconfig, name};
use crate::probe::ProbeFailure;
use crate::probe::outcome::Course;
use crate::probe::samples::SampleSet;
use crate::probe::small_file::{FileError, identify_blocking, read_blocking, read_identified};

/// How many certificates and revocation lists are told of in all. A component's bound of series is reached
/// by fewer.
const MAX_TOLD: usize = 5_000;
/// How many faults a failure's text names.
const MAX_FAULTS_NAMED: usize = 10;

/// What the files hold.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) samples: SampleSet,
    pub(super) course: Course,
    pub(super) faults: Vec<Fault>,
    /// Whom the certificates are for.
    pub(super) held: Vec<Held>,
    /// Files, and entries of kubeconfig files, with certificates or revocation lists.
    pub(super) bundles: usize,
    /// Certificates that bear the names of another one in their bundle.
    pub(super) collisions: u64,
    /// Keystores that the password did not open.
    pub(super) passphrase_failures: u64,
    /// Files that were found and not looked at, since there are too many or there was no time.
    pub(super) left_out: usize,
    /// Certificates and revocation lists in all.
    pub(super) told: usize,
}

/// Where certificates lie, for people and as labels.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// What the files are called as a whole.
    source: &'a str,
    path: &'a str,
    /// The entry of a kubeconfig file: what it is, and its name.
    entry: Option<(&'static str, &'a str)>,
}

impl<'a> Place<'a> {
    fn labels(self) -> [(&'static str, &'a str); 5] {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let (kind, key) = self.entry.unwrap_or_default();
        [
            ("source_name", self.source),
            ("filename", name),
            ("filepath", self.path),
            ("embedded_kind", kind),
            ("embedded_key", key),
        ]
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.path)?;
        self.entry.map_or(Ok(()), |(kind, key)| write!(f, ": {kind} `{key}`"))
    }
}

impl Scan {
    /// Looks at all files, which metrics call `source`, until `until`. Blocks. `now` is in seconds since the
    /// Unix epoch.
    pub(super) fn of(
        source: &str,
        files: &CertificateFiles,
        keystores: &mut Keystores,
        now: i64,
        until: Instant,
    ) -> Self {
        let mut scan = Self::default();
        let found = scan.find(files, until);
        let password = files.password();
        keystores.retain(&found);
        for (looked_at, file) in found.iter().enumerate() {
            if let Some(fault) = scan.enough(until, found.len() - looked_at, "files") {
                scan.left_out += found.len() - looked_at;
                scan.faults.push(fault);
                break;
            }
            let path = file.display().to_string();
            let place = Place { source, path: &path, entry: None };
            let looked = match files.kind {
                SourceKind::File => scan.file(place, file, &password, keystores, now),
                SourceKind::Kubeconfig => scan.kubeconfig(place, file, now, until),
            };
            if let Err(error) = looked {
                scan.samples.labelled("x509_cert_error", &place.labels(), 1.0);
                scan.faults.push(Fault::new(Reason::of_file(file, &error), error.to_string()));
            }
        }
        scan
    }

    /// Why the last `left` of so many are not looked at, if they are not.
    fn enough(&self, until: Instant, left: usize, what: &str) -> Option<Fault> {
        if Instant::now() >= until {
            let text = format!("there was no time for the last {left} {what}");
            return Some(Fault::new(Reason::ParseTimeout, text));
        }
        let text =
            format!("the last {left} {what} are left out: there are more than {MAX_TOLD} certificates");
        (self.told >= MAX_TOLD).then(|| Fault::new(Reason::WalkError, text))
    }

    /// The files that all patterns find, sorted.
    fn find(&mut self, files: &CertificateFiles, until: Instant) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for pattern in &files.patterns {
            let mut found = pattern.find(until);
            self.left_out += found.left_out;
            for (folder, error) in &found.faults {
                let fault = Fault::new(Reason::of_directory(error), error.to_string());
                self.faults.push(fault.at(format_args!("`{}`", folder.display())));
            }
            if found.truncated {
                let text = format!("`{}` leads through more folders than are looked at", pattern.as_str());
                self.faults.push(Fault::new(Reason::WalkError, text));
            }
            all.append(&mut found.files);
        }
        all.retain(|path| !files.exclude.iter().any(|pattern| pattern.matches(path)));
        all.sort_unstable();
        all.dedup();
        self.left_out += all.len().saturating_sub(MAX_FILES);
        all.truncate(MAX_FILES);
        if self.left_out > 0 {
            let text = format!("{} files after the first {MAX_FILES} are left out", self.left_out);
            self.faults.push(Fault::new(Reason::WalkError, text));
        }
        all
    }

    fn file(
        &mut self,
        place: Place<'_>,
        file: &Path,
        password: &Password,
        keystores: &mut Keystores,
        now: i64,
    ) -> Result<(), FileError> {
        let known = keystores.get(file, identify_blocking(file)?, password);
        if let Some(contents) = known {
            self.bundle(place, &contents, None, now);
            return Ok(());
        }
        let (bytes, identity) = read_identified(file)?;
        let contents = Arc::new(Contents::of(&bytes, password));
        if contents.is_keystore {
            keystores.put(file, identity, password, &contents, now);
        }
        let key = contents.first_der.as_deref().and_then(|der| key::matches(file, &bytes, der));
        self.bundle(place, &contents, key, now);
        Ok(())
    }

    fn kubeconfig(
        &mut self,
        place: Place<'_>,
        file: &Path,
        now: i64,
        until: Instant,
    ) -> Result<(), FileError> {
        let (entries, faults) = kubeconfig::entries(file, &read_blocking(file)?);
        if entries.is_empty() || !faults.is_empty() {
            let failed = f64::from(u8::from(!faults.is_empty()));
            self.samples.labelled("x509_cert_error", &place.labels(), failed);
        }
        self.faults.extend(faults.into_iter().map(|fault| fault.at(place)));
        for (looked_at, entry) in entries.iter().enumerate() {
            if let Some(fault) = self.enough(until, entries.len() - looked_at, "clusters and users") {
                self.faults.push(fault.at(place));
                break;
            }
            let place = Place { entry: Some((entry.kind, &entry.key)), ..place };
            let contents = match entry.certificate() {
                Ok(bytes) => Contents::of(&bytes, &Password::None),
                Err(fault) => Contents::missing(fault),
            };
            let key = contents.first_der.as_deref().zip(entry.private_key());
            let key = key.and_then(|(der, key)| key::is_of(&key, der));
            self.bundle(place, &contents, key, now);
        }
        Ok(())
    }

    /// Adds what one file holds, or one entry of it. `key` says whether its private key belongs to its first
    /// certificate.
    fn bundle(&mut self, place: Place<'_>, contents: &Contents, key: Option<bool>, now: i64) {
        let labels = place.labels();
        let (certificates, lists) = (contents.certificates.len(), contents.revocation_lists.len());
        self.course.note(format!("{place}: {certificates} certificates, {lists} revocation lists"));
        self.bundles += usize::from(certificates + lists > 0);
        self.told += certificates + lists;
        let refusals = contents.faults.iter().filter(|fault| fault.reason == Reason::BadPassphrase);
        self.passphrase_failures += refusals.count() as u64;
        self.faults.extend(contents.faults.iter().map(|fault| fault.clone().at(place)));
        let failed = f64::from(u8::from(!contents.faults.is_empty()));
        self.samples.labelled("x509_cert_error", &labels, failed);
        if let Some(matches) = key {
            self.samples.labelled("valmis_certificate_key_matches", &labels, f64::from(matches));
            if !matches {
                self.course.note(format!("{place}: the private key is not that of the first certificate"));
            }
        }
        for (certificate, is_ambiguous) in contents.certificates.iter().zip(contents.ambiguous()) {
            // Different certificates that bear the same names get told apart, as in
            // x509-certificate-exporter.
            let discriminator = if is_ambiguous { &certificate.fingerprint_sha256[..8] } else { "" };
            self.collisions += u64::from(is_ambiguous);
            self.held.push(Held::of(certificate));
            let mut labels = labels.to_vec();
            labels.push(("discriminator", discriminator));
            emit_certificate(&mut self.samples, certificate, &labels, now);
        }
        self.revocation_lists(contents, &labels, now);
    }

    /// Adds the revocation lists. Of several with the same names the newest is told, as an older one is of no
    /// use to anybody.
    fn revocation_lists(&mut self, contents: &Contents, place: &[(&str, &str)], now: i64) {
        let mut lists: Vec<_> = contents.revocation_lists.iter().map(|list| (list.number(), list)).collect();
        lists.sort_by_key(|(_, list)| std::cmp::Reverse(list.this_update()));
        let mut told: Vec<(&str, [(&str, &str); 6])> = Vec::new();
        for (number, list) in &lists {
            let names = (number.as_str(), name(&list.issuer, ISSUER));
            if told.contains(&names) {
                continue;
            }
            let mut labels = place.to_vec();
            labels.push(("crl_number", number));
            labels.extend(names.1);
            list.emit(&mut self.samples, &labels, now);
            told.push(names);
        }
    }

    /// Whether all is well.
    pub(super) fn result(&mut self, patterns: &[Glob]) -> Result<(), ProbeFailure> {
        if !self.faults.is_empty() {
            let more = self.faults.len().saturating_sub(MAX_FAULTS_NAMED);
            let named = self.faults.iter().take(MAX_FAULTS_NAMED).map(|fault| fault.text.clone());
            let mut named: Vec<String> = named.collect();
            if more > 0 {
                named.push(format!("and {more} more"));
            }
            return Err(ProbeFailure::new("file", named.join("; ")));
        }
        if self.bundles == 0 {
            let patterns: Vec<String> = patterns.iter().map(|glob| format!("`{}`", glob.as_str())).collect();
            let verb = if patterns.len() == 1 { "finds" } else { "find" };
            let text = format!("{} {verb} no certificate", patterns.join(", "));
            self.faults.push(Fault::new(Reason::NoCertificateFound, text.clone()));
            return Err(ProbeFailure::new("no_file", text));
        }
        Ok(())
    }
}
