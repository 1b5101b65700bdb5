//! Why certificates cannot be had.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::probe::FileError;

/// The reasons that x509-certificate-exporter counts errors by. Source: its `pkg/cert/reason.go`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    BadCrl,
    BadDer,
    BadPassphrase,
    BadPem,
    BadPkcs12,
    BrokenSymlink,
    DecodeFailed,
    NoCertificateFound,
    NotFound,
    ParseTimeout,
    PermissionDenied,
    ReadFailed,
    WalkError,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::BadCrl => "bad_crl",
            Self::BadDer => "bad_der",
            Self::BadPassphrase => "bad_passphrase",
            Self::BadPem => "bad_pem",
            Self::BadPkcs12 => "bad_pkcs12",
            Self::BrokenSymlink => "broken_symlink",
            Self::DecodeFailed => "decode_failed",
            Self::NoCertificateFound => "no_certificate_found",
            Self::NotFound => "not_found",
            Self::ParseTimeout => "parse_timeout",
            Self::PermissionDenied => "permission_denied",
            Self::ReadFailed => "read_failed",
            Self::WalkError => "walk_error",
        }
    }

    /// Why a file cannot be read.
    pub(super) fn of_file(file: &Path, error: &FileError) -> Self {
        let FileError::Io(_, error) = error else { return Self::ReadFailed };
        match error.kind() {
            io::ErrorKind::NotFound if file.is_symlink() => Self::BrokenSymlink,
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            // Links that lead in a circle.
            _ if Errno::from_io_error(error) == Some(Errno::LOOP) => Self::BrokenSymlink,
            _ => Self::ReadFailed,
        }
    }

    /// Why a directory cannot be listed.
    pub(super) fn of_directory(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            _ => Self::WalkError,
        }
    }
}

/// Something that cannot be read or understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: Reason,
    /// For people: what and where.
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    /// The same with the place before it.
    pub(super) fn at(self, place: impl std::fmt::Display) -> Self {
        Self { text: format!("{place}: {}", self.text), ..self }
    }
}
