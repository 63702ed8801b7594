//! C2PA manifests → claims and facts: opening the store, checking its signature, walking its ingredients.
//!
//! The `c2pa` crate does the reading and the cryptography. It looks at the computer's clock for one thing, whether a
//! certificate is still valid, when no time stamp says when it was used.

mod assertion;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use c2pa::{Context, Manifest, Reader, ValidationState};

use super::claims::shortened;
use super::{Authentication, Claim, Metadata, SignalSource, Trust};
use crate::consent::State;
use crate::digest::Sha256Digest;

/// Manifests of one store: the picture's own and those of its ingredients, and theirs. Real ones have a few.
const MOST_MANIFESTS: usize = 64;
/// Assertions of one manifest that are looked at.
const MOST_ASSERTIONS: usize = 256;

/// Where an assertion stands.
struct Place {
    /// The title of the ingredient whose manifest it is; none for the picture's own.
    ingredient: Option<String>,
    /// What the signature of the store came to.
    authenticated: Authentication,
    /// Digest of the file.
    holder: Sha256Digest,
}

/// Reads the store in `file`, which is of media type `kind`.
pub(super) fn read(file: &[u8], kind: &str, holder: Sha256Digest, trust: &Trust, found: &mut Metadata) {
    let (reader, verified) = match open(file, kind, trust.context()) {
        Ok(reader) => (reader, true),
        // A refusal counts whether or not anything about it verifies.
        Err(error) => match open(file, kind, &Trust::unverified()) {
            Ok(reader) => (reader, false),
            Err(_) => return unreadable(&error, holder, found),
        },
    };
    let authenticated = match reader.validation_state() {
        ValidationState::Trusted if verified => Authentication::Trusted,
        ValidationState::Valid if verified => Authentication::Signed,
        _ => Authentication::Invalid,
    };
    let Some(active) = reader.active_manifest() else {
        return unreadable("the store has no active manifest", holder, found);
    };
    add(
        active,
        &Place {
            ingredient: None,
            authenticated,
            holder,
        },
        found,
    );

    // The store holds the manifests of all ingredients, however deep; a list of them needs no recursion.
    let mut others: Vec<&Manifest> = reader
        .iter_manifests()
        .filter(|manifest| manifest.label() != active.label())
        .collect();
    others.sort_by_key(|manifest| manifest.label());
    if others.len() >= MOST_MANIFESTS {
        found.add_review(format!("its C2PA store holds more than {MOST_MANIFESTS} manifests"));
    }
    for manifest in others.iter().take(MOST_MANIFESTS) {
        let place = Place {
            ingredient: Some(title(manifest, &reader)),
            // Whose signature an ingredient carries says nothing about the whole.
            authenticated: authenticated.min(Authentication::Signed),
            holder,
        };
        add(manifest, &place, found);
    }
    let failed = reader
        .validation_status()
        .unwrap_or_default()
        .iter()
        .find(|status| status.explanation() == Some("Failed to load manifest"));
    if let Some(status) = failed {
        unreadable(status.code(), holder, found);
    }
}

/// Parses and, when `context` says so, verifies. The crate is large and its input comes from strangers: a panic in it
/// costs no more than the manifest.
fn open(file: &[u8], kind: &str, context: &Arc<Context>) -> Result<Reader, String> {
    catch_unwind(AssertUnwindSafe(|| {
        Reader::from_shared_context(context).with_stream(kind, Cursor::new(file))
    }))
    .map_err(|_| "the reader of manifests broke down".to_string())?
    .map_err(|error| error.to_string())
}

fn unreadable(reason: &str, holder: Sha256Digest, found: &mut Metadata) {
    let reason = shortened(&format!("its C2PA manifest does not parse: {reason}"));
    found.add_claim(Claim {
        source: SignalSource::C2paTrainingMining,
        raw: reason.clone(),
        purpose: None,
        state: State::Unspecified,
        authenticated: Authentication::Invalid,
        holder,
    });
    found.add_review(reason);
}

fn add(manifest: &Manifest, place: &Place, found: &mut Metadata) {
    for assertion in manifest.assertions().iter().take(MOST_ASSERTIONS) {
        if let Ok(value) = assertion.value() {
            assertion::add(assertion.label(), value, place, found);
        }
    }
    if manifest.assertions().len() > MOST_ASSERTIONS {
        found.add_review(format!("its C2PA manifest has more than {MOST_ASSERTIONS} assertions"));
    }
}

/// What the manifest that uses it calls this one; its own title, or its label, when none does.
fn title(manifest: &Manifest, reader: &Reader) -> String {
    let by_user = reader
        .iter_manifests()
        .flat_map(Manifest::ingredients)
        .filter(|ingredient| {
            ingredient
                .active_manifest()
                .is_some_and(|label| Some(label) == manifest.label())
        })
        .filter_map(|ingredient| ingredient.title())
        .min();
    by_user
        .or_else(|| manifest.title())
        .or_else(|| manifest.label())
        .unwrap_or_default()
        .to_string()
}
