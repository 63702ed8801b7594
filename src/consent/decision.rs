//! The outcome of weighing the evidence, and how it came about.

use serde::Serialize;

use super::types::{Authentication, Obligation, Purpose, State, words};
use crate::digest::{CanonicalError, Sha256Digest, canonical_digest};

words! {
    /// Why a picture may be used, or may not. Stable: other programs rely on these.
    ReasonCode, "a reason code", {
        /// Allowed: the artist's grant stands in the ledger.
        GrantedByArtist = "granted_by_artist",
        /// Allowed: a grant found with the picture is authenticated as the policy asks.
        GrantedBySignal = "granted_by_signal",
        /// Allowed: nobody refused, and the policy accepts its licence.
        LicenseAccepted = "license_accepted",
        /// Allowed: its artists are the user's own, by the policy.
        OwnWork = "own_work",
        /// Allowed: nobody refused, and a statutory exception covers the purpose.
        StatutoryException = "statutory_exception",
        /// Allowed: nobody said anything, and the policy names a basis on which that suffices.
        UnspecifiedAccepted = "unspecified_accepted",
        /// Refused: an opt-out stands in the ledger.
        DeniedByArtist = "denied_by_artist",
        /// Refused: a signal found with the picture denies it.
        DeniedBySignal = "denied_by_signal",
        /// Refused: it shows the same thing as a picture that is denied.
        DeniedNearDuplicate = "denied_near_duplicate",
        /// Refused: a person looked at it and refused it.
        RejectedInReview = "rejected_in_review",
        /// Refused: its caption names an artist who opted out.
        NamesOptedOutArtist = "names_opted_out_artist",
        /// Refused: allowed only under conditions that are not known to be met.
        Constrained = "constrained",
        /// Refused: a machine made it.
        AiGenerated = "ai_generated",
        /// Refused: a person should look at it first.
        NeedsReview = "needs_review",
        /// Refused: it carries no licence, and no grant either.
        LicenseMissing = "license_missing",
        /// Refused: the policy does not accept its licence.
        LicenseNotAccepted = "license_not_accepted",
        /// Refused: its licence stands only where the policy does not look.
        LicenseNotProven = "license_not_proven",
        /// Refused: whoever uses it must name author or work, and they are not known.
        AttributionMissing = "attribution_missing",
        /// Refused: the policy does not hold at this time.
        PolicyNotInForce = "policy_not_in_force",
        /// Refused: it carries a grant, not authenticated as the policy asks.
        GrantNotAuthenticated = "grant_not_authenticated",
        /// Refused: nobody said anything that counts.
        Unspecified = "unspecified",
        /// Left out of a snapshot: no file holds it any more.
        FileMissing = "file_missing",
        /// Left out of a snapshot: it has no caption and the policy asks for one.
        CaptionMissing = "caption_missing",
        /// Left out of a snapshot: another member has the same pixels.
        Duplicate = "duplicate",
        /// Left out of a snapshot: it may be used, but the snapshot is limited to others.
        NotSelected = "not_selected",
    }
}

impl ReasonCode {
    /// Whether a picture with this reason may be used.
    pub const fn allows(self) -> bool {
        use ReasonCode::*;
        matches!(
            self,
            GrantedByArtist | GrantedBySignal | LicenseAccepted | OwnWork | StatutoryException | UnspecifiedAccepted
        )
    }
}

/// One piece of evidence and the rule that read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceLine {
    /// What it is: the kind of signal, `ledger:3`, `license:reuse`, `near_duplicate:<digest>`, `policy`.
    pub source: String,
    /// The text it was read from.
    pub raw: String,
    /// The purpose it speaks of; none when it speaks of all.
    pub purpose: Option<Purpose>,
    /// What it comes to for the purpose decided on.
    pub state: State,
    /// The stable name of the rule that read it.
    pub rule: &'static str,
    /// Digest of what held it, or the hash of the event.
    pub holder: Option<Sha256Digest>,
    /// How far its origin is proven; none for facts, which nobody signs by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
}

/// The outcome for one picture, one purpose and one policy at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The picture.
    pub image: Sha256Digest,
    /// What it was to be used for.
    pub purpose: Purpose,
    /// Digest of the policy's text.
    pub policy: Sha256Digest,
    /// What signals and ledger say, before the policy.
    pub state: State,
    /// Whether it may be used.
    pub allowed: bool,
    /// Why, or why not.
    pub reason_code: ReasonCode,
    /// What must be done when it is used, sorted.
    pub obligations: Vec<Obligation>,
    /// The licences it is used under, sorted; empty when a grant carries it.
    pub licenses: Vec<String>,
    /// What else allows it: the article of an exception, or the basis of the policy.
    pub basis: Option<String>,
    /// Every piece of evidence with the rule that read it, in the order of the rules.
    pub trace: Vec<TraceLine>,
}

/// What a decision rests on, without the texts: the record that a snapshot holds and its Merkle leaf names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ConsentRecord {
    /// The picture.
    pub image: Sha256Digest,
    /// What it may be used for.
    pub purpose: Purpose,
    /// Digest of the policy's text.
    pub policy: Sha256Digest,
    /// Why it may be used.
    pub reason_code: ReasonCode,
    /// What must be done when it is used.
    pub obligations: Vec<Obligation>,
    /// The licences it is used under.
    pub licenses: Vec<String>,
    /// What else allows it: the article of an exception, or the basis of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// The evidence: digests of the texts and of what held them.
    pub evidence: Vec<RecordedEvidence>,
}

/// One piece of evidence in a [`ConsentRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct RecordedEvidence {
    /// What kind it is, without numbers and names.
    pub source: String,
    /// Digest of its text.
    pub raw: Sha256Digest,
    /// Digest of what held it, or the hash of the event.
    pub holder: Option<Sha256Digest>,
    /// What it comes to.
    pub state: State,
    /// The rule that read it.
    pub rule: String,
}

impl Decision {
    /// The record of this decision. It holds no time: the same evidence gives the same record.
    pub fn record(&self) -> ConsentRecord {
        let evidence = |line: &TraceLine| RecordedEvidence {
            source: line.source.split(':').next().unwrap_or_default().to_string(),
            raw: Sha256Digest::of_bytes(line.raw.as_bytes()),
            holder: line.holder,
            state: line.state,
            rule: line.rule.to_string(),
        };
        ConsentRecord {
            image: self.image,
            purpose: self.purpose,
            policy: self.policy,
            reason_code: self.reason_code,
            obligations: self.obligations.clone(),
            licenses: self.licenses.clone(),
            basis: self.basis.clone(),
            evidence: self.trace.iter().map(evidence).collect(),
        }
    }
}

impl ConsentRecord {
    /// The digest that the member's Merkle leaf holds.
    pub fn digest(&self) -> Result<Sha256Digest, CanonicalError> {
        canonical_digest(self)
    }
}
