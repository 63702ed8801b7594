//! The lines of a report: picture, adapter, base, run, sets, images, and what was made from them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::digest::Sha256Digest;
use crate::label::Label;
use crate::receipt::{SetClaims, SnapshotFacts};
use crate::registry::Role;

/// A picture that was drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PictureLine {
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
    /// Whether the registry recorded this very file.
    pub recorded: bool,
    /// What its C2PA signature comes to; none where there is no manifest.
    pub signature: Option<SignatureLine>,
    /// Its label: the signed one, where there is one.
    pub label: Option<Label>,
    /// Whether a visible mark was decoded.
    pub mark: bool,
}

impl PictureLine {
    /// Who signed it, as a person reads it.
    pub fn signed(&self) -> String {
        let Some(signature) = &self.signature else {
            return "by nobody: it carries no C2PA manifest".to_owned();
        };
        let key = signature.keyid.map(|id| format!("the key {}", id.short()));
        let who = key.unwrap_or_else(|| "another kind of key".to_owned());
        let name = signature
            .name
            .as_ref()
            .map(|name| format!(" ({name})"))
            .unwrap_or_default();
        let trust = if signature.trusted {
            "trusted"
        } else {
            "not on the trust list"
        };
        let holds = if signature.holds {
            "it holds"
        } else {
            "it does not hold"
        };
        format!("by {who}{name}, {trust}; {holds}")
    }
}

/// The signature of a picture's manifest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignatureLine {
    /// Whether signature and hashes verify.
    pub holds: bool,
    /// The key, where it is one of Ed25519.
    pub keyid: Option<Sha256Digest>,
    /// Whether the key is on the trust list.
    pub trusted: bool,
    /// Whose key it is, by the trust list; of another kind of key, as its certificate says.
    pub name: Option<String>,
}

/// The adapter file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdapterLine {
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
    /// SHA-256 of its tensor region, when it parses.
    pub tensor_sha256: Option<Sha256Digest>,
    /// SHA-256 of its receipt, when it has one.
    pub receipt_sha256: Option<Sha256Digest>,
    /// Tensor digest of the adapter it was converted from.
    pub derived_from: Option<Sha256Digest>,
    /// The adapters that it was computed from, as far as the registry leads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceLine>,
    /// Id of the key that signed its receipt; none when nobody did, or the signature shows nothing.
    pub signer: Option<Sha256Digest>,
    /// What is known of that key, and what it signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedLine>,
}

/// Who signed a receipt, and what the signature covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedLine {
    /// Whether the key is on the trust list, or is the one that was asked for.
    pub known: bool,
    /// Whose key it is, by the trust list.
    pub name: Option<String>,
    /// What it speaks for: `receipt`, `tensors` and `header`, and `file` where a statement lies beside it.
    pub covers: Vec<&'static str>,
}

impl SignedLine {
    /// Who signed what, as a person reads it.
    pub fn says(&self) -> String {
        let whose = self
            .name
            .as_ref()
            .map(|name| format!("of {name}, "))
            .unwrap_or_default();
        let known = if self.known { "a known key" } else { "an unknown key" };
        format!("{whose}{known}; it covers {}", self.covers.join(", "))
    }
}

/// An adapter that another was computed from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceLine {
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
    /// Whether the registry knows it.
    pub known: bool,
    /// SHA-256 of its receipt, where its file is there and the receipt holds.
    pub receipt_sha256: Option<Sha256Digest>,
}

/// The base model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaseLine {
    /// Overall digest.
    pub sha256: Sha256Digest,
    /// Digest of each file, when the run is known.
    pub files: BTreeMap<String, Sha256Digest>,
}

/// The run that made the adapter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunLine {
    /// Identity of the run: the digest of its inputs.
    pub id: Sha256Digest,
    /// Optimizer steps.
    pub steps: u64,
    /// The seed.
    pub seed: u64,
    /// The program and its version.
    pub program: String,
    /// When it ended, when the registry knows the run.
    pub finished_at: Option<jiff::Timestamp>,
    /// The settings that shaped the weights.
    pub settings: BTreeMap<String, String>,
    /// A set that was only measured, when the registry knows the run and there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<SnapshotFacts>,
}

/// A set that the adapter was trained on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SnapshotLine {
    /// What its pictures were for.
    pub role: Role,
    /// Its name, when the registry knows it.
    pub name: Option<String>,
    /// Its Merkle root.
    pub root: Sha256Digest,
    /// Name of the policy, when known.
    pub policy: Option<String>,
    /// Digest of the policy.
    pub policy_sha256: Sha256Digest,
    /// What the images were cleared for.
    pub purpose: String,
    /// How many it holds.
    pub members: u64,
    /// How many were kept out, by reason code.
    pub excluded: BTreeMap<String, u64>,
    /// Members by licence.
    pub licenses: BTreeMap<String, u64>,
    /// Members by obligation.
    pub obligations: BTreeMap<String, u64>,
    /// Members by what else allows them: the article of an exception, or the basis of a policy.
    pub bases: BTreeMap<String, u64>,
}

impl From<SetClaims> for SnapshotLine {
    /// What a receipt claims, or would; the names are not in it.
    fn from(set: SetClaims) -> Self {
        SnapshotLine {
            role: set.role,
            name: None,
            root: set.snapshot,
            policy: None,
            policy_sha256: set.policy,
            purpose: set.purpose,
            members: set.members,
            excluded: set.excluded,
            licenses: set.licenses,
            obligations: set.obligations,
            bases: set.bases,
        }
    }
}

impl SnapshotLine {
    /// What a sentence on it adds, where it is not what is to be learned.
    pub fn served(&self) -> &'static str {
        match self.role {
            Role::Training => "",
            Role::Regularization => " as regularization",
        }
    }
}

/// An image that trained the adapter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageLine {
    /// Digest of the file.
    pub sha256: Sha256Digest,
    /// Where it was last seen; empty when nowhere.
    pub paths: Vec<String>,
    /// Who made it.
    pub artist: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// The caption it was trained with.
    pub caption: Option<String>,
    /// The snapshot it was trained from, and what for; none when an image was asked about.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// Why it was allowed then.
    pub consent_then: String,
    /// The reason code now.
    pub consent_now: String,
    /// Whether the policy would still allow it.
    pub allowed_now: bool,
}

/// Where an image stands in a training.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Name of the snapshot.
    pub snapshot: String,
    /// What its pictures were for.
    pub role: Role,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.role {
            Role::Training => f.write_str(&self.snapshot),
            Role::Regularization => write!(f, "{} (regularization)", self.snapshot),
        }
    }
}

/// An image that was kept out of one of the sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExcludedLine {
    /// Of which snapshot, and what its pictures were for.
    #[serde(flatten)]
    pub place: Place,
    /// Digest of the file.
    pub sha256: Sha256Digest,
    /// Where it was last seen.
    pub paths: Vec<String>,
    /// Who made it.
    pub artist: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// Why it was kept out.
    pub reason_code: String,
    /// What said so.
    pub because: String,
}

/// Something made from an image or an adapter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Downstream {
    /// `snapshot`, `adapter`, `composition` (an adapter in shards) or `picture`.
    pub kind: &'static str,
    /// A snapshot's name, or the digest of a file.
    pub id: String,
    /// Where it was written; none for a snapshot.
    pub path: Option<String>,
    /// Digest of what takes its place, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
}
