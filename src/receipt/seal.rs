//! Binding claims to a file, and seeing whether the file is still the one that was bound.

use super::{Claims, PROVENANCE_KEY, Receipt, ReceiptError};
use crate::adapter::Container;
use crate::digest::Sha256Digest;

/// Header key of the receipt.
pub const RECEIPT_KEY: &str = "assent.receipt";
/// Header key of the receipt's own SHA-256.
pub const RECEIPT_DIGEST_KEY: &str = "assent.receipt_sha256";
const KEYS: &[&str] = &[RECEIPT_KEY, RECEIPT_DIGEST_KEY, PROVENANCE_KEY];

/// A receipt as it stands in a header.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// The receipt.
    pub receipt: Receipt,
    /// SHA-256 of its text.
    pub digest: Sha256Digest,
}

/// How a file differs from what its receipt was bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The weights are others.
    Tensors,
    /// The header is another: an entry, a name, a shape, or the way it is written.
    Header,
    /// The receipt itself is not the one whose digest stands beside it, or not in canonical form.
    Receipt,
}

impl Change {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Tensors => "tensors_changed",
            Change::Header => "header_changed",
            Change::Receipt => "receipt_changed",
        }
    }
}

/// Puts a receipt into the header, in the place of any that is there, and takes away a signature of that.
pub fn seal(container: &mut Container, claims: Claims) -> Result<Sealed, ReceiptError> {
    claims.check()?;
    KEYS.iter().for_each(|key| drop(container.metadata.remove(*key)));
    let receipt = Receipt {
        format: claims.format().into(),
        claims,
        tensors: container.tensor_digest(),
        header: container.header_digest(KEYS),
    };
    let bytes = receipt.bytes()?;
    let digest = Sha256Digest::of_bytes(&bytes);
    container
        .metadata
        .insert(RECEIPT_KEY.into(), String::from_utf8_lossy(&bytes).into_owned());
    container.metadata.insert(RECEIPT_DIGEST_KEY.into(), digest.to_string());
    Ok(Sealed { receipt, digest })
}

/// The receipt in the header; none when there is none.
pub fn open(container: &Container) -> Result<Option<Sealed>, ReceiptError> {
    let Some(text) = container.metadata.get(RECEIPT_KEY) else {
        return Ok(None);
    };
    Ok(Some(Sealed {
        receipt: Receipt::parse(text)?,
        digest: Sha256Digest::of_bytes(text.as_bytes()),
    }))
}

/// How the file differs from what the receipt was bound to; nothing when it is the same.
pub fn changes(container: &Container, sealed: &Sealed) -> Result<Vec<Change>, ReceiptError> {
    let mut changes = Vec::new();
    if container.tensor_digest() != sealed.receipt.tensors {
        changes.push(Change::Tensors);
    }
    if container.header_digest(KEYS) != sealed.receipt.header || !container.is_canonical() {
        changes.push(Change::Header);
    }
    let canonical = sealed.receipt.bytes()?;
    // Compared as text: a digest in capitals is a changed byte.
    let stated = container.metadata.get(RECEIPT_DIGEST_KEY);
    if stated != Some(&sealed.digest.to_string()) || Sha256Digest::of_bytes(&canonical) != sealed.digest {
        changes.push(Change::Receipt);
    }
    Ok(changes)
}

/// Gives `converted` the receipt of the file it was made from, with that file's tensors named; none when the source
/// has no receipt. A source that is not what its receipt says is refused.
pub fn reseal(source: &Container, converted: &mut Container) -> Result<Option<Sealed>, ReceiptError> {
    let Some(sealed) = open(source)? else { return Ok(None) };
    let changed = changes(source, &sealed)?;
    if !changed.is_empty() {
        let found = changed.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ");
        return Err(ReceiptError::Broken { found });
    }
    let mut claims = sealed.receipt.claims;
    // The chain ends at the file that was trained, however often it is converted.
    claims.derived_from = claims.derived_from.or(Some(sealed.receipt.tensors));
    seal(converted, claims).map(Some)
}
