//! Verifying: is the snapshot what it was, are its files, and may every member still be used?

use std::path::PathBuf;

use jiff::Timestamp;
use rayon::prelude::*;
use serde::Serialize;

use super::create::holds;
use super::document::{Document, Entry, Exclusion};
use super::{SnapshotError, caption_digest};
use crate::consent::{Obligation, Policy, Purpose, decide_for};
use crate::digest::{PixelDigest, Sha256Digest};
use crate::registry::{Known, Registry};

/// Members whose evidence is held at once.
const PAGE: usize = 1024;

/// What kind of thing differs. Stable: other programs rely on these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MismatchCode {
    /// Its rows are not those that were stored.
    DocumentChanged,
    /// The ledger's chain is broken, or is not the one the snapshot saw.
    LedgerBroken,
    /// The time given is before the last event of the ledger.
    ClockBeforeLedger,
    /// The picture is not registered here.
    ImageUnknown,
    /// No file holds the picture any more.
    FileMissing,
    /// Only files that changed since are where it was.
    FileChanged,
    /// The picture may not be used any more.
    ConsentWithdrawn,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// What kind.
    pub code: MismatchCode,
    /// The picture, when it is about one.
    #[serde(rename = "sha256")]
    pub image: Option<Sha256Digest>,
    /// What was expected and what is there.
    pub explanation: String,
}

/// A member whose file and consent were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Digest of the file.
    pub image: Sha256Digest,
    /// Digest of what it shows.
    pub pixels: PixelDigest,
    /// A file that holds it.
    pub path: PathBuf,
    /// Its caption, as it was frozen.
    pub caption: Option<String>,
    /// Digest of the caption.
    pub caption_digest: Sha256Digest,
    /// Digest of the record of the consent that let it in.
    pub consent_digest: Sha256Digest,
    /// Who made it.
    pub artist: Option<String>,
    /// The licence it is used under; none when a grant carries it.
    pub license: Option<String>,
    /// What must be done when it is used.
    pub obligations: Vec<Obligation>,
    /// What else allows it: the article of an exception, or the basis of the policy.
    pub basis: Option<String>,
    /// The address it comes from.
    pub source: Option<String>,
}

/// A snapshot whose files were hashed and whose consent was decided again. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedSnapshot {
    document: Document,
    members: Vec<Member>,
}

impl VerifiedSnapshot {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.document.name
    }

    /// Merkle root over its members.
    pub fn root(&self) -> Sha256Digest {
        self.document.root
    }

    /// Name of its policy.
    pub fn policy(&self) -> &str {
        &self.document.policy.name
    }

    /// Digest of the text of its policy.
    pub fn policy_digest(&self) -> Sha256Digest {
        self.document.policy.digest
    }

    /// What its members may be used for.
    pub fn purpose(&self) -> Purpose {
        self.document.purpose
    }

    /// Its members, sorted by digest; never empty.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What was left out, sorted by digest.
    pub fn excluded(&self) -> &[Exclusion] {
        &self.document.excluded
    }

    /// The document itself.
    pub fn document(&self) -> &Document {
        &self.document
    }
}

/// Hashes every file of a snapshot and decides consent again as of `at`; names everything that differs.
///
/// # Errors
/// [`SnapshotError::Mismatch`] when anything does.
pub fn verify(registry: &Registry, name: &str, at: Timestamp) -> Result<VerifiedSnapshot, SnapshotError> {
    let (document, stored) = Document::stored(registry, name)?;
    let mut mismatches = Vec::new();
    let mut differs = |code, explanation: String| {
        mismatches.push(Mismatch {
            code,
            image: None,
            explanation,
        })
    };
    if let Some(problem) = document.check()? {
        differs(MismatchCode::DocumentChanged, problem);
    }
    let digest = document.digest()?;
    if digest != stored {
        let text = format!("its document was {}, and is {}", stored.short(), digest.short());
        differs(MismatchCode::DocumentChanged, text);
    }
    if let Some((place, problem)) = registry.verify_ledger()?.problem {
        let place = place.map(|seq| format!("event {seq}: ")).unwrap_or_default();
        differs(
            MismatchCode::LedgerBroken,
            format!("the consent ledger is broken: {place}{problem}"),
        );
    }
    if let Some(last) = registry.ledger_head()?.at.filter(|last| *last > at) {
        let text = format!("it is {at}, and the ledger's last event is of {last}: is the clock right?");
        differs(MismatchCode::ClockBeforeLedger, text);
    }
    let policy = Policy::parse(&document.policy.text)?;
    let reader = registry.reader()?;
    let mut members = Vec::with_capacity(document.members.len());
    for entries in document.members.chunks(PAGE) {
        let mut known = Vec::with_capacity(entries.len());
        for entry in entries {
            known.push((entry, reader.known(&entry.image)?));
        }
        let checked: Vec<_> = known
            .into_par_iter()
            .map(|(entry, known)| (entry, member(entry, known, (&policy, document.purpose), at)))
            .collect();
        for (entry, result) in checked {
            match result? {
                Ok(member) => members.push(member),
                Err((code, explanation)) => mismatches.push(Mismatch {
                    code,
                    image: Some(entry.image),
                    explanation,
                }),
            }
        }
    }
    drop(reader);
    if mismatches.is_empty() {
        Ok(VerifiedSnapshot { document, members })
    } else {
        Err(SnapshotError::Mismatch {
            name: name.to_string(),
            mismatches,
        })
    }
}

type Checked = Result<Result<Member, (MismatchCode, String)>, SnapshotError>;

pub(super) fn member(
    entry: &Entry,
    known: Option<Known>,
    (policy, purpose): (&Policy, Purpose),
    at: Timestamp,
) -> Checked {
    let short = entry.image.short();
    let Some(Known { image, evidence }) = known else {
        return Ok(Err((
            MismatchCode::ImageUnknown,
            format!("{short} is not registered here"),
        )));
    };
    let decision = decide_for(&evidence, policy, purpose, at);
    if !decision.allowed {
        let text = format!("{short} may not be used any more: {}", decision.reason_code);
        return Ok(Err((MismatchCode::ConsentWithdrawn, text)));
    }
    let Some(path) = image.paths.iter().find(|path| holds(path, &entry.image)) else {
        let there = image.paths.iter().find(|path| path.exists());
        return Ok(Err(match there {
            Some(path) => (
                MismatchCode::FileChanged,
                format!("{short}: `{}` has changed", path.display()),
            ),
            None => (MismatchCode::FileMissing, format!("{short}: no file holds it any more")),
        }));
    };
    let license = match entry.consent.licenses.as_slice() {
        [] => None,
        several => Some(several.join(" AND ")),
    };
    Ok(Ok(Member {
        image: entry.image,
        pixels: entry.pixels,
        path: path.clone(),
        caption: entry.caption.clone(),
        caption_digest: caption_digest(entry.caption.as_deref()),
        consent_digest: entry.consent.digest()?,
        artist: image.artists.first().cloned(),
        license,
        obligations: entry.consent.obligations.clone(),
        basis: entry.consent.basis.clone(),
        source: image.sources.first().cloned(),
    }))
}
