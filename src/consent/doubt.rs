//! What a person should look at: the doubts about a picture that no review answered.

use jiff::Timestamp;

use super::decide::{View, denial, statements};
use super::evidence::Evidence;
use super::ledger::{self, Clock, Word};
use super::review::{self, matter_of};
use super::types::{Purpose, State, words};
use crate::digest::Sha256Digest;

words! {
    /// What kind of doubt it is.
    DoubtKind, "a kind of doubt", {
        /// It looks like a picture that somebody refused.
        NearDuplicate = "near_duplicate",
        /// Something about it did not parse, or contradicts itself.
        NeedsReview = "needs_review",
    }
}

/// A doubt about a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// What a review names to answer it: see [`super::Event::matters`].
    pub matter: String,
    /// Who refused the other picture and how, or the doubt in words.
    pub text: String,
    /// The other picture that it looks like.
    pub other: Option<Likeness>,
}

/// Another picture that one looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Likeness {
    /// The other picture.
    pub image: Sha256Digest,
    /// How far apart the two are in bits, at least 1.
    pub distance: u32,
    /// Whether nobody denies this picture for it before a person looked; otherwise it is denied until then.
    pub doubtful: bool,
}

impl Doubt {
    /// What kind of doubt it is.
    pub fn kind(&self) -> DoubtKind {
        match self.other {
            Some(_) => DoubtKind::NearDuplicate,
            None => DoubtKind::NeedsReview,
        }
    }
}

/// The doubts that no review answered, before any policy: the pictures it looks like first, then what did not parse.
///
/// No doubt is the likeness to a picture of distance 0, about which a person cannot say otherwise, nor one that
/// matters only for purposes for which somebody refused this picture itself. A review answers a matter for its
/// purposes: a doubt is open while it is for any.
pub fn doubts(evidence: &Evidence, at: Timestamp) -> Vec<Doubt> {
    let clock = Clock::of(evidence, at);
    let mut open: Vec<Doubt> = Vec::new();
    let mut unclear = vec![false; evidence.needs_review.len()];
    for purpose in Purpose::ALL.iter().copied() {
        let view = View {
            purpose,
            policy: None,
            clock,
        };
        let review = review::read(&evidence.ledger, purpose, clock, &mut Vec::new());
        for (reason, open) in evidence.needs_review.iter().zip(&mut unclear) {
            *open |= !review.answers(reason);
        }
        let word = ledger::word(&evidence.ledger, purpose, None, clock, &mut Vec::new());
        let said = statements(&evidence.statements, &view, word == Word::Granted, &mut Vec::new());
        if word == Word::Denied || said.state == State::Denied {
            continue;
        }
        for near in evidence.neighbours.iter().filter(|near| near.distance > 0) {
            let matter = matter_of(&near.image);
            if review.answers(&matter) || open.iter().any(|doubt| doubt.matter == matter) {
                continue;
            }
            let Some(because) = denial(near, &view) else { continue };
            // The name of a signal says what its text alone may not; an event's text names its giver.
            let text = match because.source.starts_with("ledger:") {
                true => because.raw,
                false => format!("{}: {}", because.source, because.raw),
            };
            open.push(Doubt {
                matter,
                text,
                other: Some(Likeness {
                    image: near.image,
                    distance: near.distance,
                    doubtful: near.doubtful,
                }),
            });
        }
    }
    open.sort_by_key(|doubt| doubt.other.map(|other| (other.distance, other.image)));
    let unclear = evidence.needs_review.iter().zip(unclear).filter(|(_, open)| *open);
    open.extend(unclear.map(|(reason, _)| Doubt {
        matter: reason.clone(),
        text: reason.clone(),
        other: None,
    }));
    open
}
