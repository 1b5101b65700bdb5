//! Credentials for HTTP.

use std::io;
use std::path::PathBuf;

use crate::model::Secret;

/// Where a secret comes from. Files are read again whenever the secret is needed, so that it can be
/// rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The configuration itself, or the environment when the configuration was read.
    Value(Secret),
    /// A file; line ends at its end do not count.
    File(PathBuf),
}

impl SecretSource {
    /// The secret as it is now. An error names the file.
    pub fn resolve(&self) -> io::Result<Secret> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
                Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
            }
        }
    }
}

/// Credentials for HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAuth {
    /// User and password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: SecretSource,
    },
    /// `Authorization: Bearer …`
    Bearer(SecretSource),
}

impl HttpAuth {
    /// Adds the credentials to a request.
    pub fn apply(&self, request: reqwest::RequestBuilder) -> io::Result<reqwest::RequestBuilder> {
        Ok(match self {
            Self::Basic { username, password } => {
                request.basic_auth(username, Some(password.resolve()?.expose()))
            }
            Self::Bearer(token) => request.bearer_auth(token.resolve()?.expose()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_read_anew_without_its_line_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("password");
        let source = SecretSource::File(path.clone());
        std::fs::write(&path, "one\n").expect("written");
        assert_eq!(source.resolve().expect("readable").expose(), "one");
        std::fs::write(&path, " two \r\n").expect("written");
        assert_eq!(source.resolve().expect("readable").expose(), " two ");
        std::fs::remove_file(&path).expect("removed");
        let error = source.resolve().expect_err("gone").to_string();
        assert!(error.contains("password"), "{error}");
    }
}
