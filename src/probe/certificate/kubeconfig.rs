//! The certificates in and behind kubeconfig files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::reason::{Fault, Reason};
use crate::probe::small_file::read_blocking;

/// How many clusters and users of one file are looked at.
const MAX_ENTRIES: usize = 500;

/// A cluster or a user that has a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// `cluster` or `user`: label `embedded_kind`.
    pub(super) kind: &'static str,
    /// Its name: label `embedded_key`.
    pub(super) key: String,
    certificate: Material,
    private_key: Option<Material>,
}

/// Something in base64, or in a file.
#[derive(PartialEq, Eq)]
enum Material {
    Inline(String),
    File(PathBuf),
}

/// What may be a private key is not printed.
impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline"),
            Self::File(path) => path.fmt(f),
        }
    }
}

#[derive(Deserialize)]
struct Raw {
    clusters: Option<Vec<RawCluster>>,
    users: Option<Vec<RawUser>>,
}

#[derive(Deserialize)]
struct RawCluster {
    name: String,
    cluster: Option<Cluster>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct RawUser {
    name: String,
    user: Option<User>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::struct_field_names, reason = "so they are called in the file")]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
}

/// The clusters and users with certificates of the file at `path`, in its order, and what is wrong with it.
/// Paths in it are relative to its folder.
pub(super) fn entries(path: &Path, bytes: &[u8]) -> (Vec<Entry>, Vec<Fault>) {
    let raw = match parse(bytes) {
        Ok(raw) => raw,
        Err(fault) => return (Vec::new(), vec![fault]),
    };
    let material = |data: Option<String>, file: Option<String>| {
        let file = file.filter(|file| !file.is_empty()).map(|file| path.with_file_name(file));
        data.filter(|data| !data.is_empty()).map(Material::Inline).or(file.map(Material::File))
    };
    let clusters = raw.clusters.unwrap_or_default().into_iter().map(|raw| {
        let cluster = raw.cluster.unwrap_or_default();
        let authority = material(cluster.certificate_authority_data, cluster.certificate_authority);
        ("cluster", raw.name, authority, None)
    });
    let users = raw.users.unwrap_or_default().into_iter().map(|raw| {
        let user = raw.user.unwrap_or_default();
        let certificate = material(user.client_certificate_data, user.client_certificate);
        ("user", raw.name, certificate, material(user.client_key_data, user.client_key))
    });
    let (mut entries, mut faults, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (kind, key, certificate, private_key) in clusters.chain(users) {
        if seen.len() >= MAX_ENTRIES {
            let text = format!("clusters and users after the first {MAX_ENTRIES} are left out");
            faults.push(Fault::new(Reason::DecodeFailed, text));
            break;
        }
        if !seen.insert((kind, key.clone())) {
            faults.push(Fault::new(Reason::DecodeFailed, format!("a second {kind} `{key}` is left out")));
        } else if let Some(certificate) = certificate {
            entries.push(Entry { kind, key, certificate, private_key });
        }
    }
    (entries, faults)
}

fn parse(bytes: &[u8]) -> Result<Raw, Fault> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Fault::new(Reason::DecodeFailed, "not a kubeconfig file: not UTF-8"))?;
    serde_saphyr::from_str(text).map_err(|error| {
        // The error's text may show some of the file, which holds keys and tokens.
        let place = error.location().map(|at| format!(" at line {}, column {}", at.line(), at.column()));
        let text = format!("not a kubeconfig file{}", place.unwrap_or_default());
        Fault::new(Reason::DecodeFailed, text)
    })
}

impl Entry {
    /// The bytes with its certificates. Blocks.
    pub(super) fn certificate(&self) -> Result<Vec<u8>, Fault> {
        self.certificate.bytes()
    }

    /// The bytes of its private key, if it has one that may be read. Blocks.
    pub(super) fn private_key(&self) -> Option<Vec<u8>> {
        self.private_key.as_ref()?.bytes().ok()
    }
}

impl Material {
    fn bytes(&self) -> Result<Vec<u8>, Fault> {
        match self {
            Self::File(path) => read_blocking(path)
                .map_err(|error| Fault::new(Reason::of_file(path, &error), error.to_string())),
            Self::Inline(data) => {
                // It may be broken into lines.
                let data: String = data.split_ascii_whitespace().collect();
                BASE64_STANDARD
                    .decode(data)
                    .map_err(|_| Fault::new(Reason::DecodeFailed, "its data are not base64"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Entry>, Vec<String>) {
        let (entries, faults) = entries(Path::new("/etc/kubernetes/admin.conf"), text.as_bytes());
        (entries, faults.into_iter().map(|fault| fault.text).collect())
    }

    #[test]
    fn clusters_and_users_with_certificates_are_found() {
        let (found, faults) = read(
            "apiVersion: v1
clusters:
- {name: inline, cluster: {server: 'https://a', certificate-authority-data: QQ==, certificate-authority: x}}
- {name: beside, cluster: {certificate-authority: pki/ca.crt}}
- {name: insecure, cluster: {insecure-skip-tls-verify: true}}
- {name: nothing}
users:
- {name: admin, user: {client-certificate-data: Qg==, client-key-data: Qw==}}
- {name: absolute, user: {client-certificate: /pki/a.crt, client-key: a.key}}
- {name: token, user: {token: hunter2, client-certificate: ''}}
current-context: inline
",
        );
        assert_eq!(faults, [""; 0]);
        let inline = |data: &str| Material::Inline(data.to_owned());
        let file = |path: &str| Material::File(path.into());
        let entry = |kind, key: &str, certificate, private_key| Entry {
            kind,
            key: key.to_owned(),
            certificate,
            private_key,
        };
        let expected = [
            entry("cluster", "inline", inline("QQ=="), None),
            entry("cluster", "beside", file("/etc/kubernetes/pki/ca.crt"), None),
            entry("user", "admin", inline("Qg=="), Some(inline("Qw=="))),
            entry("user", "absolute", file("/pki/a.crt"), Some(file("/etc/kubernetes/a.key"))),
        ];
        assert_eq!(found, expected);
        assert_eq!(found[0].certificate(), Ok(b"A".to_vec()));
        let (found, _) = read(r#"{"users": [{"name": "j", "user": {"client-certificate-data": "QU\nI="}}]}"#);
        assert_eq!(found[0].certificate(), Ok(b"AB".to_vec()), "JSON, and in lines");
    }

    #[test]
    fn faults_are_named_without_secrets() {
        let check = |text: &str, expected: &str| {
            let (_, faults) = read(text);
            assert_eq!(faults, [expected]);
        };
        check("users:\n- name: a\n  user: {token: hunter2", "not a kubeconfig file at line 3, column 9");
        check("users: hunter2", "not a kubeconfig file at line 1, column 8");
        let user = "- {name: a, user: {client-certificate-data: QQ==}}";
        check(&format!("users:\n{user}\n{user}\n"), "a second user `a` is left out");
        let many: Vec<String> = (0..=MAX_ENTRIES).map(|number| format!("- name: u{number}\n")).collect();
        let left_out = "clusters and users after the first 500 are left out";
        check(&format!("users:\n{}", many.concat()), left_out);
        let (found, _) = read("users: [{name: a, user: {client-certificate-data: hunter2!}}]");
        let fault = found[0].certificate().unwrap_err();
        assert_eq!(fault, Fault::new(Reason::DecodeFailed, "its data are not base64"));
        let (entries, faults) = entries(Path::new("/x"), &[0xff]);
        assert!(entries.is_empty());
        assert_eq!(faults[0].text, "not a kubeconfig file: not UTF-8");
    }
}
