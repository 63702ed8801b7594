//! Whom to name for a training set: title, authors, source and licence of every member, as text, HTML or Markdown.
//!
//! Names are frozen with the snapshot, in the registry; the document holds their digest alone, so that it can be passed
//! on without them. For an older snapshot, or one that came from a file, they are read from the registry as it is now,
//! and the output says so.

mod render;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use render::Format;
pub(crate) use render::{escape_markdown, plain};

use super::{Document, SnapshotError};
use crate::consent::{Obligation, ReasonCode};
use crate::digest::{CanonicalError, Sha256Digest, canonical_digest};
use crate::registry::{ImageRecord, Registry, RegistryError};

/// Whom to name for a picture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credit {
    /// Its title.
    pub title: Option<String>,
    /// Who made it.
    pub authors: Vec<String>,
    /// The address it comes from.
    pub source: Option<String>,
    /// Copyright notices, as they stand in licence files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

impl Credit {
    /// What the registry knows of a picture.
    pub(super) fn of(image: &ImageRecord) -> Credit {
        Credit {
            title: image.title.clone(),
            authors: image.artists.clone(),
            source: image.sources.first().cloned(),
            notices: image.notices.clone(),
        }
    }

    /// The digest that a snapshot's document holds.
    pub(super) fn digest(&self) -> Result<Sha256Digest, CanonicalError> {
        canonical_digest(self)
    }
}

/// A member with whom to name for it and what it is used under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Digest of the file.
    pub sha256: Sha256Digest,
    /// Whom to name.
    #[serde(flatten)]
    pub credit: Credit,
    /// Whether the names are those that were frozen; otherwise they are those that the registry knows now.
    pub frozen: bool,
    /// The licences it is used under (SPDX); empty when something else allows it.
    pub licenses: Vec<String>,
    /// Why it may be used.
    pub reason_code: ReasonCode,
    /// What else allows it: the article of an exception, or the basis of the policy.
    pub basis: Option<String>,
    /// What must be done when it is used.
    pub obligations: Vec<Obligation>,
}

/// Whom to name for everything that a snapshot, or several, hold. Works are grouped by what they are used under, and in a group
/// sorted by author, title and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributions {
    /// Name and Merkle root of each snapshot.
    pub snapshots: Vec<(String, Sha256Digest)>,
    /// The works.
    pub works: Vec<Work>,
}

/// Whom to name for the members of a snapshot.
///
/// # Errors
/// If there is no snapshot of this name, or a frozen name is not what its digest says.
pub fn attributions(registry: &Registry, name: &str) -> Result<Attributions, SnapshotError> {
    let document = Document::of(registry, name)?;
    let rows = registry.snapshot_members(name)?;
    let reader = registry.reader()?;
    let mut works = Vec::with_capacity(rows.len());
    for (member, row) in document.members.into_iter().zip(rows) {
        let frozen = row
            .credit
            .as_deref()
            .map(|text| read(text, member.credit))
            .transpose()?;
        let (credit, frozen) = match frozen {
            Some(credit) => (credit, true),
            None => {
                let known = reader.known(&member.image)?;
                let credit = known.map(|known| Credit::of(&known.image)).unwrap_or_default();
                // The same names as were frozen elsewhere are as good as frozen here.
                let same = member.credit.is_some() && member.credit == Some(credit.digest()?);
                (credit, same)
            }
        };
        let consent = member.consent;
        works.push(Work {
            sha256: member.image,
            credit,
            frozen,
            licenses: consent.licenses,
            reason_code: consent.reason_code,
            basis: consent.basis,
            obligations: consent.obligations,
        });
    }
    works.sort_by_cached_key(key);
    Ok(Attributions {
        snapshots: vec![(document.name, document.root)],
        works,
    })
}

/// What works are sorted by.
fn key(work: &Work) -> impl Ord + use<> {
    let author = work.credit.authors.first().map(|name| name.to_lowercase());
    let unnamed = (author.is_none(), work.credit.title.is_none());
    let title = work.credit.title.as_ref().map(|title| title.to_lowercase());
    (
        work.licenses.is_empty(),
        work.ground(),
        work.obligations.clone(),
        unnamed,
        author,
        title,
        work.sha256,
    )
}

/// The names that were frozen, if they still have the digest that the document holds.
fn read(text: &str, digest: Option<Sha256Digest>) -> Result<Credit, SnapshotError> {
    let damaged = || RegistryError::Damaged {
        expected: "the names that were frozen with the snapshot",
        found: text.chars().take(120).collect(),
    };
    let credit: Credit = serde_json::from_str(text).map_err(|_| damaged())?;
    match digest == Some(credit.digest()?) {
        true => Ok(credit),
        false => Err(damaged().into()),
    }
}

impl Work {
    /// What it is used under, for people: the licences, or what else allows it.
    pub fn ground(&self) -> String {
        match (self.reason_code, &self.basis) {
            _ if !self.licenses.is_empty() => self.licenses.join(" AND "),
            (ReasonCode::GrantedByArtist | ReasonCode::GrantedBySignal, _) => "By permission".to_string(),
            (ReasonCode::OwnWork, _) => "Own works".to_string(),
            (_, Some(basis)) => basis.clone(),
            (other, None) => other.to_string(),
        }
    }
}

impl Attributions {
    /// These and those of another snapshot: for an adapter that was trained on both. A work that is in both under the
    /// same terms stands there once.
    #[must_use]
    pub fn and(mut self, other: Attributions) -> Self {
        self.snapshots.extend(other.snapshots);
        self.works.extend(other.works);
        self.works.sort_by_cached_key(key);
        self.works.dedup();
        self
    }

    /// The whole, in a format; it ends with a line end.
    pub fn render(&self, format: Format) -> String {
        render::render(self, format)
    }

    /// How many works have the names that the registry knows now, not frozen ones.
    pub fn not_frozen(&self) -> usize {
        self.works.iter().filter(|work| !work.frozen).count()
    }

    /// How many must be attributed and have no author.
    pub fn unnamed(&self) -> usize {
        let unnamed =
            |work: &&Work| work.obligations.contains(&Obligation::Attribution) && work.credit.authors.is_empty();
        self.works.iter().filter(unnamed).count()
    }
}

/// The canonical address of a licence by its SPDX identifier: that of Creative Commons for theirs, else the SPDX list's.
/// None for identifiers that are not on the list.
pub fn license_url(id: &str) -> Option<String> {
    let known = spdx::license_id(id.trim_end_matches('+'))?;
    let Some(rest) = known.name.strip_prefix("CC-") else {
        return Some(match known.name {
            "CC0-1.0" => "https://creativecommons.org/publicdomain/zero/1.0/".to_string(),
            name => format!("https://spdx.org/licenses/{name}.html"),
        });
    };
    let parts: Vec<&str> = rest.split('-').collect();
    let Some(version) = parts.iter().position(|part| part.contains('.')) else {
        return Some(format!("https://spdx.org/licenses/{}.html", known.name));
    };
    let kind = parts[..version].join("-").to_lowercase();
    let port: String = parts[version + 1..]
        .iter()
        .map(|part| format!("{}/", part.to_lowercase()))
        .collect();
    Some(match kind.as_str() {
        "pdm" => format!("https://creativecommons.org/publicdomain/mark/{}/", parts[version]),
        kind => format!("https://creativecommons.org/licenses/{kind}/{}/{port}", parts[version]),
    })
}
