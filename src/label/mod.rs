//! What a drawn picture says of itself: that a machine made it, when, with what, and under which receipt.
//!
//! A label stands in the file three times, each for its readers: as XMP with IPTC's fields, as the `parameters` that
//! users of A1111 and ComfyUI know, and, where there is a key, in a C2PA manifest that is signed over the whole file.
//! Where it is asked for, a mark below the picture says it to people ([`mark`]). Base and adapters are named by digest,
//! never by path. [`write()`] puts a file on the disk only after it has read back and checked all of that, and [`read`]
//! finds it again in anybody's file.

mod encode;
mod manifest;
pub mod mark;
mod packet;
mod read;
mod stable;
#[cfg(test)]
mod tests;

use std::path::Path;

use image::RgbImage;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use encode::Format;
pub use manifest::{Problem, Signed};
pub use read::{Found, decoded, pixel_digest, read};

use crate::digest::{Sha256Digest, write_checked};
use crate::keys::{KeyError, SecretKey};
use crate::sheet::SheetError;

/// IPTC's word for pictures that a trained model made.
pub const TRAINED: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";
/// IPTC's word for pictures that a trained model made a part of.
pub const COMPOSITE: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia";
/// Bytes of a label; more would not come back whole from every reader of XMP.
const MOST: usize = 60_000;

/// What can go wrong with a label.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// A file that no label can be put into.
    #[error("expected a file that ends in .png, .jpg, .jpeg or .webp, found `{0}`")]
    Format(String),
    /// A label that is too large for its place.
    #[error("the label takes {found} bytes, its place has {most}; hint: give shorter prompts")]
    TooLong {
        /// Its bytes.
        found: usize,
        /// What there is room for.
        most: usize,
    },
    /// An encoder refused.
    #[error("cannot encode the picture: {0}")]
    Encode(String),
    /// The manifest could not be made.
    #[error("cannot sign the picture: {0}")]
    Sign(String),
    /// What was written does not say what it should.
    #[error("the written picture does not hold its label: {0}")]
    NotHeld(String),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The mark's text.
    #[error(transparent)]
    Text(#[from] SheetError),
    /// The file.
    #[error("cannot write the picture")]
    Io(#[from] std::io::Error),
}

/// An adapter at work on a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsedAdapter {
    /// SHA-256 of its file.
    pub sha256: Sha256Digest,
    /// SHA-256 of its receipt, if it carries one.
    pub receipt: Option<Sha256Digest>,
    /// Root of the snapshot that the receipt names; of several the first.
    #[serde(default)]
    pub snapshot: Option<Sha256Digest>,
    /// Roots of the other snapshots that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Sha256Digest>,
    /// How strong it was.
    pub weight: f64,
    /// How strong it was on the text encoders, where that was another strength.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_weight: Option<f64>,
}

impl UsedAdapter {
    /// Roots of all snapshots that the receipt names.
    pub fn snapshots(&self) -> impl Iterator<Item = Sha256Digest> {
        self.snapshot.into_iter().chain(self.further.iter().copied())
    }
}

/// What a picture is labelled with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The program and its version.
    pub program: String,
    /// When.
    pub created_at: Timestamp,
    /// What it should show.
    pub prompt: String,
    /// What it should not show.
    pub negative_prompt: String,
    /// Which of the text encoder's layers was taken, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_skip: Option<usize>,
    /// Sampler, by name.
    pub sampler: String,
    /// Steps of the sampler.
    pub steps: usize,
    /// Guidance.
    pub cfg: f64,
    /// Seed.
    pub seed: u64,
    /// Whose random numbers were taken, where it was another program's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rng: Option<String>,
    /// The part of the steps that was taken, where it was drawn from another picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// The same where all steps were taken, of a run that was longer by so much, as ComfyUI counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denoise: Option<f64>,
    /// SHA-256 of the picture it was drawn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Sha256Digest>,
    /// Width and height of what was drawn, in pixels.
    pub size: [usize; 2],
    /// Digest over the base's files.
    pub base: Sha256Digest,
    /// Digest of the file of a VAE in the place of the base's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vae: Option<Sha256Digest>,
    /// The adapters.
    pub adapters: Vec<UsedAdapter>,
    /// IPTC's `DigitalSourceType`.
    pub digital_source_type: String,
    /// Who is named as the creator; nobody unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// Who wrote the prompt; nobody unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_writer: Option<String>,
    /// Whether a mark below the picture says so to people.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mark: bool,
}

impl Label {
    /// With its numbers to 15 digits: so many come back from every reader's JSON as they were.
    #[must_use]
    pub fn rounded(mut self) -> Self {
        let round = |value: &mut f64| *value = format!("{value:.14e}").parse().unwrap_or(*value);
        round(&mut self.cfg);
        self.strength.iter_mut().for_each(round);
        for adapter in &mut self.adapters {
            round(&mut adapter.weight);
            adapter.clip_weight.iter_mut().for_each(round);
        }
        self
    }

    /// As JSON.
    fn json(&self) -> Result<String, LabelError> {
        let json = serde_json::to_string(self).map_err(|e| LabelError::Encode(e.to_string()))?;
        match json.len() {
            found if found > MOST => Err(LabelError::TooLong { found, most: MOST }),
            _ => Ok(json),
        }
    }

    /// From JSON; none if it is another program's, or too large.
    fn parse(json: &str) -> Option<Self> {
        (json.len() <= MOST).then(|| serde_json::from_str(json).ok()).flatten()
    }

    /// Name and version of the program.
    fn program(&self) -> (&str, &str) {
        self.program.split_once(' ').unwrap_or((&self.program, ""))
    }
}

/// The labelled picture as the bytes of a file; the label's numbers are [`Label::rounded`].
///
/// # Errors
/// If the picture or the label does not fit the format, or cannot be signed.
pub fn encode(image: &RgbImage, label: &Label, format: Format, key: Option<&SecretKey>) -> Result<Vec<u8>, LabelError> {
    let marked;
    let image = match label.mark {
        true => {
            marked = mark::below(image, label)?;
            &marked
        }
        false => image,
    };
    let bytes = encode::encode(image, format, &packet::xmp(label)?, &packet::parameters(label))?;
    match key {
        Some(key) => manifest::sign(bytes, format, label, key),
        None => Ok(bytes),
    }
}

/// Whether a label fits its file, as far as that can be said before anything is drawn.
///
/// # Errors
/// If it is too long for the format or for its mark.
pub fn fits(label: &Label, format: Format) -> Result<(), LabelError> {
    if label.mark {
        mark::code(label)?;
    }
    let smallest = RgbImage::new(1, 1);
    encode::encode(&smallest, format, &packet::xmp(label)?, &packet::parameters(label)).map(drop)
}

/// Whether these bytes hold the picture, its whole label and, where there is a key, its signature.
///
/// # Errors
/// What does not hold.
pub fn check(
    bytes: &[u8],
    image: &RgbImage,
    label: &Label,
    format: Format,
    key: Option<&SecretKey>,
) -> Result<(), LabelError> {
    let not = |what: &str| Err(LabelError::NotHeld(what.to_owned()));
    let found = read(bytes);
    if found.label.as_ref() != Some(label) {
        return not("its XMP is another");
    }
    if let Some(what) = contradictions(&found).first() {
        return not(what);
    }
    match (&found.signed, key) {
        (None, None) => {}
        (Some(signed), Some(key)) => {
            if let Some(problem) = signed.problems.first() {
                return not(&format!("{}: {}", problem.code, problem.explanation));
            }
            if signed.key != Some(key.public()) || signed.label.as_ref() != Some(label) {
                return not("its manifest is another");
            }
        }
        (Some(_), None) => return not("there is a manifest that nobody asked for"),
        (None, Some(_)) => return not("its manifest is missing"),
    }
    let Some(decoded) = decoded(bytes) else {
        return not("it does not decode");
    };
    let above = image::imageops::crop_imm(&decoded, 0, 0, image.width(), image.height()).to_image();
    if above.dimensions() != image.dimensions() || (format.is_lossless() && above != *image) {
        return not("its pixels are others");
    }
    if label.mark && mark::find(&decoded) != Some(mark::names(label)) {
        return not("its mark does not decode");
    }
    Ok(())
}

/// What the parts of a file's label say against each other. A file without a label has none.
#[must_use]
pub fn contradictions(found: &Found) -> Vec<&'static str> {
    let Some(label) = found.any_label() else {
        return Vec::new();
    };
    let mut against = Vec::new();
    if found.label.as_ref() != Some(label) {
        against.push("its XMP holds another label than its manifest, or none");
    }
    if found.source_type.as_ref() != Some(&label.digital_source_type) {
        against.push("its DigitalSourceType is not the one in its label");
    }
    if found.parameters.as_deref() != Some(packet::parameters(label).trim()) {
        against.push("its parameters are not those in its label");
    }
    against
}

/// Labels a picture and writes it, in the format that the path ends in; gives the digest of the file. What lies on the
/// disk is read back and checked before it gets its name: if it does not hold, no file is left.
///
/// # Errors
/// As [`encode`] and [`check`], or if the file cannot be written.
pub fn write(
    path: &Path,
    image: &RgbImage,
    label: &Label,
    key: Option<&SecretKey>,
) -> Result<Sha256Digest, LabelError> {
    let format = Format::of_path(path)?;
    let bytes = encode(image, label, format, key)?;
    write_checked(path, &bytes, |written| {
        check(&std::fs::read(written)?, image, label, format, key)
    })?;
    Ok(Sha256Digest::of_bytes(&bytes))
}
