//! Values as SQLite holds them: digests and paths as blobs, times as RFC 3339, words by their stable names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use super::{RegistryError, Result};
use crate::digest::{PixelDigest, Sha256Digest};

macro_rules! digest_in_sql {
    ($name:ident) => {
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.as_bytes())))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let blob = value.as_blob()?;
                let bytes = blob.try_into().map_err(|_| FromSqlError::InvalidBlobSize {
                    expected_size: 32,
                    blob_size: blob.len(),
                })?;
                Ok($name::from_bytes(bytes))
            }
        }
    };
}

digest_in_sql!(Sha256Digest);
digest_in_sql!(PixelDigest);

/// The bytes of a path.
#[cfg(unix)]
pub fn path_bytes(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}

/// The bytes of a path; elsewhere than on Unix a path that is not Unicode loses what is not.
#[cfg(not(unix))]
pub fn path_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

/// The path with these bytes.
pub fn path_of(bytes: Vec<u8>) -> PathBuf {
    #[cfg(unix)]
    let text = {
        use std::os::unix::ffi::OsStringExt;
        OsString::from_vec(bytes)
    };
    #[cfg(not(unix))]
    let text = OsString::from(String::from_utf8_lossy(&bytes).into_owned());
    PathBuf::from(text)
}

/// The time in this text.
pub fn time(text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| RegistryError::Damaged {
        expected: "a time in RFC 3339",
        found: text.to_string(),
    })
}

/// The word with this stable name.
pub fn word<T>(text: &str, expected: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
    parse(text).ok_or_else(|| RegistryError::Damaged {
        expected,
        found: text.to_string(),
    })
}

/// The list of texts in this JSON.
pub fn texts(json: &str) -> Result<Vec<String>> {
    serde_json::from_str(json).map_err(|_| RegistryError::Damaged {
        expected: "a JSON list of texts",
        found: json.to_string(),
    })
}

/// The JSON of a list of texts.
pub fn json_of<S: AsRef<str>>(texts: &[S]) -> String {
    serde_json::Value::from(texts.iter().map(|text| text.as_ref().to_string()).collect::<Vec<_>>()).to_string()
}
