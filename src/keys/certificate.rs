//! The X.509 certificate of a key, which C2PA asks for where a public key would do.
//!
//! It is signed by the key itself and says nothing but the key: no name, no time. So one key has one certificate,
//! always with the same bytes, and whoever trusts the key can put the certificate on a list. Its profile is that of
//! C2PA 2.2, 14.5.1: version 3, no authority, `digitalSignature` for signing documents (RFC 9336).

use ed25519_dalek::pkcs8::spki::der::pem::{self, LineEnding};
use rasn::types::{Any, BitString, GeneralizedTime, Integer, ObjectIdentifier, PrintableString, SetOf, UtcTime};
use rasn::{AsnType, Encode};
use rasn_pkix::{
    AlgorithmIdentifier, AttributeTypeAndValue, AuthorityKeyIdentifier, BasicConstraints, Certificate, Extension,
    Extensions, Name, RelativeDistinguishedName, SubjectPublicKeyInfo, TbsCertificate, Time, Validity, Version,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{KeyError, PublicKey, SecretKey};

const ED25519: &[u32] = &[1, 3, 101, 112];
const COMMON_NAME: &[u32] = &[2, 5, 4, 3];
const ORGANIZATION: &[u32] = &[2, 5, 4, 10];
const SUBJECT_KEY: &[u32] = &[2, 5, 29, 14];
const KEY_USAGE: &[u32] = &[2, 5, 29, 15];
const BASIC_CONSTRAINTS: &[u32] = &[2, 5, 29, 19];
const AUTHORITY_KEY: &[u32] = &[2, 5, 29, 35];
const EXTENDED_KEY_USAGE: &[u32] = &[2, 5, 29, 37];
/// `id-kp-documentSigning`.
const DOCUMENT_SIGNING: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 36];
/// A key is good until its owner says otherwise: the end is RFC 5280's date for "never".
const BEGINS: &str = "2020-01-01T00:00:00Z";
const ENDS: &str = "9999-12-31T23:59:59Z";

impl SecretKey {
    /// Its certificate in DER.
    ///
    /// # Errors
    /// If the encoder refuses.
    pub fn certificate(&self) -> Result<Vec<u8>, KeyError> {
        let body = body(&self.public())?;
        let certificate = Certificate {
            signature_algorithm: body.signature.clone(),
            signature_value: BitString::from_slice(&self.sign(&der(&body)?)),
            tbs_certificate: body,
        };
        der(&certificate)
    }

    /// Its certificate as PEM, for the trust list of any reader of C2PA.
    ///
    /// # Errors
    /// If the encoder refuses.
    pub fn certificate_pem(&self) -> Result<String, KeyError> {
        pem::encode_string("CERTIFICATE", LineEnding::LF, &self.certificate()?).map_err(|_| KeyError::Pem)
    }
}

impl PublicKey {
    /// The key that a certificate in DER is for; `None` if it is of another kind, or nothing of the sort.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let key = certificate.public_key();
        let ours = key.algorithm.algorithm.to_id_string() == "1.3.101.112";
        let bytes = ours.then(|| key.subject_public_key.data.as_ref().try_into().ok())??;
        Self::from_bytes(bytes).ok()
    }
}

fn body(key: &PublicKey) -> Result<TbsCertificate, KeyError> {
    let id = key.id();
    // RFC 7093: the first 160 bits of a SHA-256.
    let identifier = rasn::types::OctetString::from(id.as_bytes()[..20].to_vec());
    let mut serial = [0; 8];
    serial.copy_from_slice(&id.as_bytes()[..8]);
    let name = name(&id.short())?;
    let algorithm = AlgorithmIdentifier {
        algorithm: oid(ED25519)?,
        parameters: None,
    };
    let authority = AuthorityKeyIdentifier {
        key_identifier: Some(identifier.clone()),
        ..AuthorityKeyIdentifier::default()
    };
    let constraints = BasicConstraints {
        ca: false,
        path_len_constraint: None,
    };
    let usage: BitString = std::iter::once(true).collect();
    let extensions = vec![
        extension(BASIC_CONSTRAINTS, true, &constraints)?,
        extension(KEY_USAGE, true, &usage)?,
        extension(EXTENDED_KEY_USAGE, false, &vec![oid(DOCUMENT_SIGNING)?])?,
        extension(SUBJECT_KEY, false, &identifier)?,
        extension(AUTHORITY_KEY, false, &authority)?,
    ];
    Ok(TbsCertificate {
        version: Version::V3,
        // Positive, as it must be, and never 0.
        serial_number: Integer::from((u64::from_be_bytes(serial) >> 1) | 1),
        signature: algorithm.clone(),
        issuer: name.clone(),
        validity: Validity {
            not_before: Time::Utc(BEGINS.parse::<UtcTime>().map_err(|_| KeyError::Certificate)?),
            not_after: Time::General(ENDS.parse::<GeneralizedTime>().map_err(|_| KeyError::Certificate)?),
        },
        subject: name,
        subject_public_key_info: SubjectPublicKeyInfo {
            algorithm,
            subject_public_key: BitString::from_slice(key.as_bytes()),
        },
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(Extensions::from(extensions)),
    })
}

/// What readers of Content Credentials show as the issuer: that nobody vouches for it, and which key it is.
fn name(short: &str) -> Result<Name, KeyError> {
    let part = |kind: &[u32], value: String| {
        let value = PrintableString::try_from(value).map_err(|_| KeyError::Certificate)?;
        let mut set = SetOf::new();
        set.insert(AttributeTypeAndValue {
            r#type: oid(kind)?,
            value: Any::new(der(&value)?),
        });
        Ok(RelativeDistinguishedName::from(set))
    };
    Ok(Name::RdnSequence(vec![
        part(ORGANIZATION, "A local key, signed by itself".to_owned())?,
        part(COMMON_NAME, format!("assent key {short}"))?,
    ]))
}

fn extension<T: AsnType + Encode>(kind: &[u32], critical: bool, value: &T) -> Result<Extension, KeyError> {
    Ok(Extension {
        extn_id: oid(kind)?,
        critical,
        extn_value: der(value)?.into(),
    })
}

fn oid(numbers: &[u32]) -> Result<ObjectIdentifier, KeyError> {
    ObjectIdentifier::new(numbers.to_vec()).ok_or(KeyError::Certificate)
}

fn der<T: AsnType + Encode>(value: &T) -> Result<Vec<u8>, KeyError> {
    rasn::der::encode(value).map_err(|_| KeyError::Certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_has_one_certificate_that_it_signed_itself() {
        let key = SecretKey::from_random(&[7; 32]);
        let der = key.certificate().unwrap();
        assert_eq!(der, key.certificate().unwrap());
        assert_eq!(PublicKey::of_certificate(&der), Some(key.public()));
        let (rest, read) = X509Certificate::from_der(&der).unwrap();
        assert!(rest.is_empty());
        assert_eq!(read.issuer(), read.subject());
        assert!(!read.is_ca());
        assert!(
            key.public()
                .verifies(read.tbs_certificate.as_ref(), &read.signature_value.data)
        );
        assert!(read.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(read.subject().to_string().contains(&key.public().id().short()));
        let other = SecretKey::from_random(&[8; 32]);
        assert_ne!(other.certificate().unwrap(), der);
        assert_eq!(PublicKey::of_certificate(&der[1..]), None);
    }
}
