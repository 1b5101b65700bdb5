//! Credentials for HTTP.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Lookups;
use crate::model::Secret;

/// Where a secret comes from. Files are read again whenever the secret is needed, so that it can be
/// rotated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// The configuration itself, or the environment when the configuration was read.
    Value(Secret),
    /// A file; line ends at its end do not count.
    File(PathBuf),
}

impl SecretSource {
    /// The secret as it is now. An error names the file. Read by a thread that may block, of which a file that
    /// hangs takes one; then this waits for ever.
    pub async fn read(&self) -> io::Result<Secret> {
        static FILES: LazyLock<Lookups<PathBuf, Result<Secret, Fault>>> =
            LazyLock::new(|| Lookups::new(MAX_FILES_AT_ONCE));
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let read = FILES.look_up(path.clone(), |path| read_file(path)).await?;
                read.map_err(|(kind, text)| io::Error::new(kind, text))
            }
        }
    }
}

/// How many files with secrets are read at once.
const MAX_FILES_AT_ONCE: usize = 32;

/// Why a file is not read: an error that can be told to many.
type Fault = (io::ErrorKind, String);

fn read_file(path: &Path) -> Result<Secret, Fault> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| (error.kind(), format!("{}: {error}", path.display())))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

/// Credentials for HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HttpAuth {
    /// User and password.
    Basic {
        /// The user.
        username: SecretSource,
        /// The password.
        password: SecretSource,
    },
    /// `Authorization: Bearer …`
    Bearer(SecretSource),
    /// `Authorization: <scheme> …`
    Other {
        /// The scheme.
        scheme: String,
        /// What follows it.
        credentials: SecretSource,
    },
}

impl HttpAuth {
    /// The value of the `Authorization` header as it is now, with files read as by [`SecretSource::read`].
    /// Source: RFC 7617, RFC 6750.
    pub async fn read_header(&self) -> io::Result<Secret> {
        Ok(match self {
            Self::Basic { username, password } => basic(&username.read().await?, &password.read().await?),
            Self::Bearer(token) => other("Bearer", &token.read().await?),
            Self::Other { scheme, credentials } => other(scheme, &credentials.read().await?),
        })
    }

    /// Adds the credentials to a request.
    pub async fn apply(&self, request: reqwest::RequestBuilder) -> io::Result<reqwest::RequestBuilder> {
        let header = self.read_header().await?;
        let mut value = reqwest::header::HeaderValue::try_from(header.expose()).map_err(|_| {
            let message = "the credentials hold a character that a header cannot";
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        value.set_sensitive(true);
        Ok(request.header(reqwest::header::AUTHORIZATION, value))
    }
}

fn basic(username: &Secret, password: &Secret) -> Secret {
    let pair = format!("{}:{}", username.expose(), password.expose());
    Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

fn other(scheme: &str, credentials: &Secret) -> Secret {
    Secret::new(format!("{scheme} {}", credentials.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_become_a_header() {
        let secret = |text: &str| SecretSource::Value(Secret::new(text));
        let check = async |auth: HttpAuth, expected: &str| {
            assert_eq!(auth.read_header().await.expect("no file is needed").expose(), expected);
        };
        check(HttpAuth::Basic { username: secret("u"), password: secret("p") }, "Basic dTpw").await;
        check(HttpAuth::Bearer(secret("t0ken")), "Bearer t0ken").await;
        let other = HttpAuth::Other { scheme: "GenieKey".to_owned(), credentials: secret("k") };
        check(other, "GenieKey k").await;
    }

    #[tokio::test]
    async fn a_secret_file_is_read_anew_without_its_line_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("password");
        let source = SecretSource::File(path.clone());
        std::fs::write(&path, "one\n").expect("written");
        assert_eq!(source.read().await.expect("readable").expose(), "one");
        std::fs::write(&path, " two \r\n").expect("written");
        assert_eq!(source.read().await.expect("readable").expose(), " two ");
        std::fs::remove_file(&path).expect("removed");
        let error = source.read().await.expect_err("gone").to_string();
        assert!(error.contains("password"), "{error}");
    }
}
