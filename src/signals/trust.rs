//! Whose signatures count as trusted: the user's list of root certificates.

use std::sync::Arc;

use c2pa::settings::Settings;
use x509_parser::pem::Pem;

use crate::digest::Sha256Digest;

/// Bytes of a trust list; the official one of C2PA has about 100,000.
const MOST: usize = 8 << 20;

/// How C2PA signatures are checked: with nothing from the network, and with the user's roots.
#[derive(Debug, Clone)]
pub struct Trust {
    context: Arc<c2pa::Context>,
    digest: Option<Sha256Digest>,
}

/// Why a trust list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is more than a list of certificates would have.
    #[error("expected at most {MOST} bytes of certificates, got {0}")]
    TooLarge(usize),
    /// It holds no certificate, or one that does not parse.
    #[error("expected certificates in PEM (`-----BEGIN CERTIFICATE-----`), got something else: {0}")]
    NotCertificates(String),
}

impl Default for Trust {
    /// Nobody is trusted; signatures are verified all the same.
    fn default() -> Self {
        Trust {
            context: context(None),
            digest: None,
        }
    }
}

impl Trust {
    /// Trusts the certificates in `pem`, one or more, and what they signed.
    pub fn new(pem: &str) -> Result<Self, TrustError> {
        if pem.len() > MOST {
            return Err(TrustError::TooLarge(pem.len()));
        }
        let wrong = |found: String| Err(TrustError::NotCertificates(found));
        let mut count = 0;
        for block in Pem::iter_from_buffer(pem.as_bytes()) {
            match block {
                Ok(block) if block.label != "CERTIFICATE" => return wrong(format!("a block `{}`", block.label)),
                Ok(block) => {
                    if let Err(error) = block.parse_x509() {
                        return wrong(format!("block {}: {error}", count + 1));
                    }
                }
                Err(error) => return wrong(error.to_string()),
            }
            count += 1;
        }
        if count == 0 {
            return wrong("no block at all".to_string());
        }
        Ok(Trust {
            context: context(Some(pem.to_string())),
            digest: Some(Sha256Digest::of_bytes(pem.as_bytes())),
        })
    }

    /// The digest of the list, if there is one: with another list, signatures may come to something else.
    pub fn digest(&self) -> Option<Sha256Digest> {
        self.digest
    }

    /// The same, for a reader that only parses: for manifests over which verifying breaks off.
    pub(super) fn unverified() -> Arc<c2pa::Context> {
        let mut settings = offline();
        settings.verify.verify_after_reading = false;
        Arc::new(c2pa::Context::new().with_settings(settings).unwrap_or_default())
    }

    /// With which the `c2pa` crate reads.
    pub(crate) fn context(&self) -> &Arc<c2pa::Context> {
        &self.context
    }
}

fn context(anchors: Option<String>) -> Arc<c2pa::Context> {
    let mut settings = offline();
    settings.trust.user_anchors = anchors;
    Arc::new(c2pa::Context::new().with_settings(settings).unwrap_or_default())
}

/// Nothing is fetched: no remote manifests, no revocation lists, no identities.
fn offline() -> Settings {
    let mut settings = Settings::default();
    settings.verify.remote_manifest_fetch = false;
    settings.verify.ocsp_fetch = false;
    settings.core.allowed_network_hosts = Some(Vec::new());
    settings.core.decode_identity_assertions = false;
    settings
}
