//! ECDSA keys on the curve P-256, for signatures that others' tools verify: OpenSSF's model signing knows no Ed25519.

use std::fmt;
use std::path::Path;

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{DecodePrivateKey, EncodePublicKey, LineEnding};

use super::envelope::encoded;
use super::{Envelope, KeyError, Signed, locked};

/// A private key. Its bytes are wiped from memory when it is dropped, and never shown.
pub struct EcdsaKey(SigningKey);

impl fmt::Debug for EcdsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcdsaKey")
    }
}

impl EcdsaKey {
    /// Reads a PEM file as OpenSSL writes it: PKCS#8, under a passphrase or not, or SEC 1 (RFC 5915). Also says whether others than its owner may
    /// read the file, which the user must know.
    pub fn read(path: &Path, passphrase: Option<&[u8]>) -> Result<(Self, bool), KeyError> {
        let opened = locked::open(path, passphrase)?;
        let key = match &opened.der {
            Some(der) => p256::SecretKey::from_pkcs8_der(der.as_bytes()).ok(),
            None => p256::SecretKey::from_sec1_pem(opened.text.trim()).ok(),
        };
        let key = key.ok_or_else(|| KeyError::NotAKey {
            path: path.to_path_buf(),
            expected: "an ECDSA private key on the curve P-256 as PEM",
        })?;
        Ok((EcdsaKey(key.into()), opened.exposed))
    }

    /// Its public half as SubjectPublicKeyInfo in PEM, with a line end.
    pub fn public_pem(&self) -> Result<String, KeyError> {
        let key = self.0.verifying_key();
        key.to_public_key_pem(LineEnding::LF).map_err(|_| KeyError::Pem)
    }

    /// An envelope with one signature: ECDSA with SHA-256 in DER, with the nonce of RFC 6979, so that the same payload
    /// gives the same bytes. It names no key.
    pub fn seal(&self, payload_type: &str, payload: Vec<u8>) -> Envelope {
        let signature: Signature = self.0.sign(&encoded(payload_type, &payload));
        Envelope {
            payload,
            payload_type: payload_type.to_string(),
            signatures: vec![Signed {
                keyid: String::new(),
                sig: signature.to_der().as_bytes().to_vec(),
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Verifier;
    use p256::pkcs8::EncodePrivateKey;

    use super::*;

    #[test]
    fn both_forms_of_a_key_are_read_and_sign_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap();
        let (pkcs8, sec1) = (folder.path().join("a.pem"), folder.path().join("b.pem"));
        std::fs::write(&pkcs8, secret.to_pkcs8_pem(LineEnding::LF).unwrap()).unwrap();
        std::fs::write(&sec1, secret.to_sec1_pem(LineEnding::LF).unwrap()).unwrap();
        let (one, exposed) = EcdsaKey::read(&pkcs8, None).unwrap();
        let (other, _) = EcdsaKey::read(&sec1, None).unwrap();
        assert!(exposed);
        let envelope = one.seal("text/plain", b"hello".to_vec());
        assert_eq!(envelope, other.seal("text/plain", b"hello".to_vec()));
        let signature = Signature::from_der(&envelope.signatures[0].sig).unwrap();
        let public = p256::ecdsa::VerifyingKey::from(secret.public_key());
        assert!(public.verify(b"DSSEv1 10 text/plain 5 hello", &signature).is_ok());
        assert!(public.verify(b"DSSEv1 10 text/plain 5 hallo", &signature).is_err());
        assert!(one.public_pem().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"));
        assert_eq!(format!("{one:?}"), "EcdsaKey");
    }

    #[test]
    fn another_kind_of_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ed25519.pem");
        crate::keys::SecretKey::from_random(&[7; 32])
            .write_new(&path, None)
            .unwrap();
        let error = EcdsaKey::read(&path, None).unwrap_err().to_string();
        assert!(
            error.contains("expected an ECDSA private key on the curve P-256"),
            "{error}"
        );
    }
}
