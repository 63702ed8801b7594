//! Documents on a training set, or on an adapter and what it was trained on, in the forms that others read: Croissant
//! 1.1, CycloneDX 1.7, SPDX 3.0.1, a signature as OpenSSF's model signing makes it, the European Union's public summary
//! of training content, and a model card.
//!
//! They are made of plain values ([`Set`], [`Model`], [`Told`]) and state what those hold. What only the provider can
//! know is left out, or named as not known where a form asks for it. No document holds a local path; artists, titles,
//! captions and sources stand in it only when [`Told::names`] asks for them. The same values and time give the same
//! bytes: keys are sorted, and identifiers are digests of what they identify.

mod card;
mod croissant;
mod cyclonedx;
mod model;
mod set;
mod signing;
mod spdx;
mod summary;
#[cfg(test)]
mod tests;
mod text;

pub use card::model_card;
pub use croissant::croissant;
pub use cyclonedx::cyclonedx;
pub use model::Model;
pub use set::{Picture, Set, Whole};
pub use signing::{Files, IGNORED, model_signing};
pub use spdx::spdx;
pub use summary::{Page, eu_summary};

use crate::digest::CanonicalError;
use crate::keys::KeyError;
use crate::receipt::ReceiptError;

/// What can go wrong with a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is about something else than it was asked for.
    #[error("expected {expected} to write {kind} on, found {found}")]
    Subject {
        /// The kind of document, with its article.
        kind: &'static str,
        /// What it needs.
        expected: &'static str,
        /// What there is.
        found: &'static str,
    },
    /// The licence that was named is none.
    #[error("expected a licence as an SPDX expression, such as `CC-BY-4.0`, found `{found}`")]
    License {
        /// What was named.
        found: String,
    },
    /// A value has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// A receipt or a run record cannot be used.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What a document is about: the training sets, and the adapter unless it is about a set alone.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The sets; of an adapter, those that it was trained on. At least one.
    pub sets: Vec<Set>,
    /// The adapter.
    pub model: Option<Model>,
}

/// What the provider adds, which neither registry nor receipt knows.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Who publishes it.
    pub provider: Option<String>,
    /// Its address.
    pub url: Option<String>,
    /// The licence that the adapter is given under, as an SPDX expression.
    pub license: Option<String>,
    /// The base model by the name under which others find it, e.g. `stable-diffusion-v1-5/stable-diffusion-v1-5`.
    pub base: Option<String>,
    /// Whether artists, titles, captions and sources are named.
    pub names: bool,
}

impl Told {
    /// The provider's name on one line.
    fn provider(&self) -> Option<String> {
        self.provider.as_deref().map(crate::snapshot::plain)
    }

    /// Refuses a licence that is no SPDX expression.
    pub fn check(&self) -> Result<(), DocumentError> {
        match &self.license {
            Some(text) if ::spdx::Expression::parse(text).is_err() => Err(DocumentError::License {
                found: text.chars().take(120).collect(),
            }),
            _ => Ok(()),
        }
    }
}
