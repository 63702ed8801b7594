//! Private keys under a passphrase: PKCS#8's EncryptedPrivateKeyInfo (RFC 5958) by PBES2 (RFC 8018), in PEM.
//!
//! What is written takes scrypt (RFC 7914) and AES-256-CBC, which OpenSSL 1.1 and later read. What is read may take
//! PBKDF2 too, as `openssl genpkey -aes256` does. Files of strangers must not cost hours or gigabytes, so what they ask
//! for has limits.

use std::path::Path;

use pkcs8::der::zeroize::Zeroizing;
use pkcs8::der::{Decode, SecretDocument, pem::PemLabel};
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::scrypt::Params;
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo};

use super::{KeyError, text_of};

/// scrypt's cost: N = 2^14, r = 8, p = 5. It takes 16 MiB: OpenSSL refuses 32 MiB and more.
const COST: (u8, u32, u32) = (14, 8, 5);
/// Most memory that a file may ask scrypt for, in bytes.
const MOST_MEMORY: u64 = 128 << 20;
/// Most work that a file may ask scrypt for, in blocks of its memory: N · r · p.
const MOST_WORK: u64 = 1 << 22;
/// Most rounds that a file may ask PBKDF2 for.
const MOST_ROUNDS: u32 = 10_000_000;
/// Longest passphrase, in bytes.
pub const MAX_PASSPHRASE: usize = 1024;

/// What a private key is written under.
pub struct Lock<'a> {
    /// What opens it.
    pub passphrase: &'a [u8],
    /// Random bytes: 16 of salt, and the first block of AES-CBC.
    pub random: &'a [u8; 32],
}

/// The PEM of a private key, given in DER, under a passphrase.
pub(super) fn lock(key: &[u8], lock: &Lock) -> Result<Zeroizing<String>, KeyError> {
    let wrong = |_| KeyError::Pem;
    let (log_n, r, p) = COST;
    let params = Params::new(log_n, r, p, 32).map_err(|_| KeyError::Pem)?;
    let (salt, iv) = lock.random.split_first_chunk::<16>().ok_or(KeyError::Pem)?;
    let iv: &[u8; 16] = iv.try_into().map_err(|_| KeyError::Pem)?;
    let scheme = Parameters::scrypt_aes256cbc(params, salt, iv).map_err(|_| KeyError::Pem)?;
    let info = PrivateKeyInfo::from_der(key).map_err(wrong)?;
    let sealed = info
        .encrypt_with_params(scheme, lock.passphrase)
        .map_err(|_| KeyError::Pem)?;
    sealed
        .to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF)
        .map_err(wrong)
}

/// Whether the PEM is of a private key under a passphrase.
pub(super) fn is_locked(text: &str) -> bool {
    text.trim_start()
        .strip_prefix("-----BEGIN ")
        .is_some_and(|rest| rest.starts_with(EncryptedPrivateKeyInfo::PEM_LABEL))
}

/// The PEM of a private key, opened where it is locked: its DER, and whether others than its owner may read the file.
/// None where the text is no PKCS#8 at all.
pub(super) struct Opened {
    /// PKCS#8 in DER, where the file is PKCS#8.
    pub der: Option<SecretDocument>,
    /// The text as it stands there.
    pub text: Zeroizing<String>,
    /// Whether others than its owner may read the file.
    pub exposed: bool,
}

/// Reads a file that should hold a private key.
pub(super) fn open(path: &Path, passphrase: Option<&[u8]>) -> Result<Opened, KeyError> {
    let (text, exposed) = text_of(path)?;
    let text = Zeroizing::new(text);
    let der = match is_locked(&text) {
        false => pem(&text, PrivateKeyInfo::PEM_LABEL),
        true => {
            let passphrase = passphrase.ok_or_else(|| KeyError::Locked { path: path.into() })?;
            let sealed = pem(&text, EncryptedPrivateKeyInfo::PEM_LABEL);
            let wrong = |found| KeyError::LockedOtherwise {
                path: path.into(),
                found,
            };
            let sealed = sealed.ok_or_else(|| wrong("no such file"))?;
            let info = EncryptedPrivateKeyInfo::from_der(sealed.as_bytes()).map_err(|_| wrong("another scheme"))?;
            affordable(&info).map_err(wrong)?;
            let opened = info.decrypt(passphrase);
            Some(opened.map_err(|_| KeyError::Passphrase { path: path.into() })?)
        }
    };
    Ok(Opened { der, text, exposed })
}

/// The document in a PEM with this label.
fn pem(text: &str, wanted: &str) -> Option<SecretDocument> {
    let (label, document) = SecretDocument::from_pem(text.trim()).ok()?;
    (label == wanted).then_some(document)
}

/// Whether opening it costs what a key may cost.
fn affordable(info: &EncryptedPrivateKeyInfo) -> Result<(), &'static str> {
    let Some(scheme) = info.encryption_algorithm.pbes2() else {
        return Err("a scheme older than PBES2");
    };
    match &scheme.kdf {
        Kdf::Scrypt(params) => {
            let (n, r, p) = (
                params.cost_parameter,
                u64::from(params.block_size),
                u64::from(params.parallelization),
            );
            let times = |factors: [u64; 3]| factors.into_iter().fold(1, u64::saturating_mul);
            let memory = times([128, n, r]).max(times([128, r, p]));
            match n < 2 || !n.is_power_of_two() || memory > MOST_MEMORY || times([n, r, p]) > MOST_WORK {
                true => Err("scrypt at a cost that no key has"),
                false => Ok(()),
            }
        }
        Kdf::Pbkdf2(params) if params.iteration_count > MOST_ROUNDS => Err("PBKDF2 of more rounds than any key takes"),
        Kdf::Pbkdf2(_) => Ok(()),
        _ => Err("another way from passphrase to key"),
    }
}
