//! Ed25519 keys in PEM files, their certificates, and DSSE envelopes and in-toto statements: sign and verify.
//!
//! A private key is a PKCS#8 file (RFC 8410) that only its owner reads, under a passphrase where one is given; a public
//! key is a SubjectPublicKeyInfo file. OpenSSL reads and writes both. Randomness is an argument, so that this room never asks the system for any.

mod certificate;
mod ecdsa;
mod envelope;
mod locked;
mod statement;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

pub use ecdsa::EcdsaKey;
pub use envelope::{Envelope, EnvelopeError, MAX_ENVELOPE_BYTES, Signed};
pub use locked::{Lock, MAX_PASSPHRASE};
pub use statement::{STATEMENT_PAYLOAD_TYPE, Statement, Subject, SubjectDigest};

use crate::digest::Sha256Digest;

/// A larger file holds no key, in bytes.
const MAX_KEY_BYTES: u64 = 1 << 14;

/// What can go wrong with a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("cannot access the key `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A private key is never overwritten.
    #[error("there is a file at `{path}` already, and a private key is never written over one")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file holds something else.
    #[error("`{path}` holds no key: expected {expected}")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// A private key is under a passphrase, and none was given.
    #[error("the private key `{path}` is under a passphrase")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase does not open the key; a changed file looks the same.
    #[error("the passphrase does not open the private key `{path}`")]
    Passphrase {
        /// The file.
        path: PathBuf,
    },
    /// A private key is under a passphrase in a way that is not read.
    #[error("cannot open the private key `{path}`: expected PBES2 with scrypt or PBKDF2, found {found}")]
    LockedOtherwise {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// Bytes that are no point of the curve, or one of the few that many signatures verify under.
    #[error("expected the 32 bytes of an Ed25519 public key, got others")]
    NotAPoint,
    /// A key has no PEM form.
    #[error("the key cannot be written as PEM")]
    Pem,
    /// A certificate that the encoder refuses.
    #[error("the key's certificate cannot be written")]
    Certificate,
}

/// A private key. Its bytes are wiped from memory when it is dropped, and never shown.
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().id().short())
    }
}

impl SecretKey {
    /// The key of these 32 random bytes.
    pub fn from_random(random: &[u8; 32]) -> Self {
        SecretKey(SigningKey::from_bytes(random))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The 64 bytes of its signature of these bytes.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }

    /// Writes it as PKCS#8 PEM to a new file that only its owner may read; the file is there whole or not at all.
    pub fn write_new(&self, path: &Path, lock: Option<&Lock>) -> Result<(), KeyError> {
        match self.written(path, lock)?.persist_noclobber(path) {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(KeyError::Exists {
                path: path.to_path_buf(),
            }),
            Err(error) => Err(about(path)(error.error)),
        }
    }

    /// Writes it in the place of the file that it was read from, under another passphrase or none.
    pub fn rewrite(&self, path: &Path, lock: Option<&Lock>) -> Result<(), KeyError> {
        let new = self.written(path, lock)?;
        new.persist(path).map_err(|error| about(path)(error.error))?;
        Ok(())
    }

    /// The file beside its place, which it has yet to take.
    fn written(&self, path: &Path, lock: Option<&Lock>) -> Result<tempfile::NamedTempFile, KeyError> {
        // Without the public half: version 1 of the format, which every OpenSSL reads.
        let bytes = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let pem = match lock {
            None => bytes.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Pem)?,
            Some(lock) => {
                let der = bytes.to_pkcs8_der().map_err(|_| KeyError::Pem)?;
                locked::lock(der.as_bytes(), lock)?
            }
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // A temporary file has mode 0600 from the start.
        let mut new = tempfile::Builder::new()
            .prefix(".assent-")
            .tempfile_in(folder)
            .map_err(about(path))?;
        new.write_all(pem.as_bytes()).map_err(about(path))?;
        new.as_file().sync_all().map_err(about(path))?;
        Ok(new)
    }

    /// Reads a PKCS#8 PEM file, with the passphrase where it is under one. Also says whether others than its owner may
    /// read the file, which the user must know.
    ///
    /// # Errors
    /// [`KeyError::Locked`] where there is a passphrase to be asked for.
    pub fn read(path: &Path, passphrase: Option<&[u8]>) -> Result<(Self, bool), KeyError> {
        let opened = locked::open(path, passphrase)?;
        let key = opened
            .der
            .and_then(|der| SigningKey::from_pkcs8_der(der.as_bytes()).ok());
        let key = key.ok_or_else(|| KeyError::NotAKey {
            path: path.to_path_buf(),
            expected: "an Ed25519 private key as PKCS#8 PEM (`-----BEGIN PRIVATE KEY-----`)",
        })?;
        Ok((SecretKey(key), opened.exposed))
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.as_bytes()))
    }
}

impl PublicKey {
    /// The key with these bytes. Points of small order, under which more than one signature verifies, are refused.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::NotAPoint);
        }
        Ok(PublicKey(key))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// SHA-256 of its SubjectPublicKeyInfo in DER: what names it in envelopes. `openssl pkey -pubin -outform DER` and
    /// `sha256sum` give the same.
    pub fn id(&self) -> Sha256Digest {
        // RFC 8410: a SEQUENCE of the algorithm 1.3.101.112 and the key as a BIT STRING; only the key differs.
        const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        Sha256Digest::of_bytes(&[PREFIX.as_slice(), self.as_bytes()].concat())
    }

    /// SubjectPublicKeyInfo as PEM.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(|_| KeyError::Pem)
    }

    /// Reads a SubjectPublicKeyInfo PEM file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let wrong = || KeyError::NotAKey {
            path: path.to_path_buf(),
            expected: "an Ed25519 public key as PEM (`-----BEGIN PUBLIC KEY-----`)",
        };
        let (text, _) = text_of(path)?;
        let key = VerifyingKey::from_public_key_pem(text.trim()).map_err(|_| wrong())?;
        Self::from_bytes(key.as_bytes()).map_err(|_| wrong())
    }

    /// Whether this is its signature of these bytes; by the strict rules, under which no second signature verifies.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.0.verify_strict(bytes, &signature).is_ok())
    }
}

/// The error that a file cannot be accessed.
fn about(path: &Path) -> impl Fn(io::Error) -> KeyError {
    |source| KeyError::File {
        path: path.to_path_buf(),
        source,
    }
}

/// The text of a key file, and whether others than its owner may read it.
fn text_of(path: &Path) -> Result<(String, bool), KeyError> {
    let about = about(path);
    let file = File::open(path).map_err(&about)?;
    #[cfg(unix)]
    let exposed = {
        use std::os::unix::fs::PermissionsExt;
        file.metadata().map_err(&about)?.permissions().mode() & 0o077 != 0
    };
    #[cfg(not(unix))]
    let exposed = false;
    let mut text = String::new();
    file.take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(&about)?;
    Ok((text, exposed))
}
