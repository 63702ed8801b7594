//! The same label, picture, time and key give the same file.
//!
//! C2PA lets a manifest hold a random salt in the description of each assertion, so that nobody can guess the content of
//! one that was taken out later; the crate draws them from the system. Here each is set to one that only the holder of
//! the key can know (a part of a hash of a signature, which Ed25519 makes without randomness), and what depends on it
//! is made again: the hashes of the assertions in the claim and in the actions, and the signature. All of these have
//! fixed sizes, so nothing moves. The reader checks the outcome like any other manifest ([`super::check`]).

use std::ops::Range;

use c2pa::Builder;
use coset::{CoseSign1, TaggedCborSerializable};

use super::{Format, LabelError};
use crate::digest::Sha256Digest;
use crate::keys::SecretKey;

/// Bytes of a salt as the crate makes it.
const SALT: usize = 16;
/// Before what is signed to make a salt: nothing else that a key signs begins so.
const CONTEXT: &[u8] = b"assent salt\0";
/// Boxes inside each other: store, manifest, assertions, one assertion.
const DEPTH: usize = 4;

/// A superbox (ISO/IEC 19566-5): its label, its salt, and where it lies, all counted from the store's first byte.
#[derive(Debug, Clone, PartialEq)]
struct Superbox {
    label: String,
    salt: Option<Range<usize>>,
    /// Description and content, without the header: what C2PA hashes.
    body: Range<usize>,
    /// What follows the description.
    content: Range<usize>,
}

/// Replaces the salts of the `store` that is in a freshly signed `file`.
pub(super) fn settle(mut file: Vec<u8>, store: &[u8], format: Format, key: &SecretKey) -> Result<Vec<u8>, LabelError> {
    let settled = resalted(store, key).ok_or_else(|| LabelError::Sign("its manifest has another form".to_owned()))?;
    let composed = |store: &[u8]| match format {
        // Its chunk is the store itself.
        Format::WebP => Ok(store.to_vec()),
        _ => {
            Builder::composed_manifest(store, format.media_type()).map_err(|error| LabelError::Sign(error.to_string()))
        }
    };
    let (old, new) = (composed(store)?, composed(&settled)?);
    let at = find(&file, &old).filter(|_| old.len() == new.len());
    let at = at.ok_or_else(|| LabelError::Sign("its manifest lies in the file in another form".to_owned()))?;
    file[at..at + new.len()].copy_from_slice(&new);
    Ok(file)
}

fn resalted(store: &[u8], key: &SecretKey) -> Option<Vec<u8>> {
    let mut boxes = Vec::new();
    superboxes(store, 0..store.len(), 0, &mut boxes)?;
    let named = |label: &str| boxes.iter().find(|b: &&Superbox| b.label == label);
    let assertions = named("c2pa.assertions")?.content.clone();
    let claim = content(store, &named("c2pa.claim.v2")?.content)?;
    let signature = content(store, &named("c2pa.signature")?.content)?;
    let mut salted: Vec<&Superbox> = boxes
        .iter()
        .filter(|b| assertions.contains(&b.body.start) && b.salt.is_some())
        .collect();
    // Actions name ingredients by their hashes, so they come after them.
    salted.sort_by_key(|b| b.label.starts_with("c2pa.actions"));
    let mut settled = store.to_vec();
    for assertion in salted {
        let old = Sha256Digest::of_bytes(&store[assertion.body.clone()]);
        let (salt, body) = (assertion.salt.clone()?, assertion.body.clone());
        settled[salt.clone()].fill(0);
        let unsalted = Sha256Digest::of_bytes(&settled[body.clone()]);
        let secret = Sha256Digest::of_bytes(&key.sign(&[CONTEXT, unsalted.as_bytes()].concat()));
        settled[salt].copy_from_slice(&secret.as_bytes()[..SALT]);
        let new = Sha256Digest::of_bytes(&settled[body]);
        while let Some(at) = find(&settled, old.as_bytes()) {
            settled[at..at + new.as_bytes().len()].copy_from_slice(new.as_bytes());
        }
    }
    let mut cose = CoseSign1::from_tagged_slice(&store[signature.clone()]).ok()?;
    cose.payload = Some(settled[claim].to_vec());
    let signed = key.sign(&cose.tbs_data(b""));
    let at = signature.start + find(&store[signature], &cose.signature)?;
    settled[at..at + cose.signature.len()].copy_from_slice(signed.get(..cose.signature.len())?);
    Some(settled)
}

/// Collects the superboxes in `range`, and those in them; none if a size is wrong.
fn superboxes(store: &[u8], range: Range<usize>, depth: usize, found: &mut Vec<Superbox>) -> Option<()> {
    let mut at = range.start;
    while at < range.end {
        let (kind, content) = header(store, at, range.end)?;
        at = content.end;
        if kind != *b"jumb" || depth == DEPTH {
            continue;
        }
        let (kind, description) = header(store, content.start, content.end)?;
        if kind != *b"jumd" {
            return None;
        }
        let (label, salt) = described(store, &description)?;
        let inner = description.end..content.end;
        found.push(Superbox {
            label,
            salt,
            body: content,
            content: inner.clone(),
        });
        superboxes(store, inner, depth + 1, found)?;
    }
    Some(())
}

/// Label and salt of a description box: type (16 bytes), which fields there are (1), label, 0, and then here the salt.
fn described(store: &[u8], description: &Range<usize>) -> Option<(String, Option<Range<usize>>)> {
    let fields = store.get(description.clone())?.get(17..)?;
    let end = fields.iter().position(|&byte| byte == 0)?;
    let label = String::from_utf8(fields[..end].to_vec()).ok()?;
    let private = description.start + 17 + end + 1;
    let salt = header(store, private, description.end)
        .filter(|(kind, content)| kind == b"c2sh" && content.len() == SALT)
        .map(|(_, content)| content);
    Some((label, salt))
}

/// Type and content of the box at `at`.
fn header(store: &[u8], at: usize, end: usize) -> Option<([u8; 4], Range<usize>)> {
    let head: [u8; 8] = store.get(at..end)?.get(..8)?.try_into().ok()?;
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let within = size >= 8 && size <= end - at;
    within.then_some(([head[4], head[5], head[6], head[7]], at + 8..at + size))
}

/// What the one content box in this range holds.
fn content(store: &[u8], range: &Range<usize>) -> Option<Range<usize>> {
    let (kind, content) = header(store, range.start, range.end)?;
    (kind == *b"cbor" && content.end == range.end).then_some(content)
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len().max(1)).position(|window| window == part)
}
