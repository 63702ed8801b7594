//! What a drawn picture says of itself: that a machine made it, and with what.
//!
//! The label stands in the PNG as XMP (IPTC's `DigitalSourceType`, `trainedAlgorithmicMedia`) and as the `parameters` text that
//! users of A1111 and ComfyUI know. It names base and adapters by digest and never by path.

use serde::Serialize;

use super::{GenerateError, Job, Picture, Settings};
use crate::digest::Sha256Digest;

/// IPTC's word for pictures that a trained model made.
const SOURCE_TYPE: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";

/// An adapter at work on a picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UsedAdapter {
    /// SHA-256 of its file.
    pub sha256: Sha256Digest,
    /// SHA-256 of its receipt, if it carries one.
    pub receipt: Option<Sha256Digest>,
    /// How strong it was.
    pub weight: f64,
    /// How strong it was on the text encoders, where that was another strength.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_weight: Option<f64>,
}

/// What a picture is labelled with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Label {
    /// The program and its version.
    pub program: String,
    /// What it should show.
    pub prompt: String,
    /// What it should not show.
    pub negative_prompt: String,
    /// Which of the text encoder's layers was taken, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_skip: Option<usize>,
    /// Sampler, by name.
    pub sampler: String,
    /// Steps of the sampler.
    pub steps: usize,
    /// Guidance.
    pub cfg: f64,
    /// Seed.
    pub seed: u64,
    /// The part of the steps that was taken, where it was drawn from another picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// Width and height.
    pub size: [usize; 2],
    /// Digest over the base's files.
    pub base: Sha256Digest,
    /// Digest of the file of a VAE in the place of the base's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vae: Option<Sha256Digest>,
    /// The adapters.
    pub adapters: Vec<UsedAdapter>,
    /// IPTC's `DigitalSourceType`.
    pub digital_source_type: String,
}

impl Label {
    /// The label of a picture; `strength` where it was drawn from another one.
    #[must_use]
    pub fn new(
        job: &Job<'_>,
        strength: Option<f64>,
        settings: &Settings,
        base: Sha256Digest,
        adapters: Vec<UsedAdapter>,
    ) -> Self {
        Self {
            program: concat!("assent ", env!("CARGO_PKG_VERSION")).to_owned(),
            prompt: job.prompt.to_owned(),
            negative_prompt: settings.negative_prompt.clone().unwrap_or_default(),
            clip_skip: settings.clip_skip,
            sampler: settings.sampler.to_string(),
            steps: settings.steps,
            cfg: settings.cfg,
            seed: job.seed,
            strength,
            size: settings.size,
            base,
            vae: None,
            adapters,
            digital_source_type: SOURCE_TYPE.to_owned(),
        }
    }

    /// The text that A1111 writes under `parameters`.
    fn parameters(&self) -> String {
        let mut text = self.prompt.replace(['\n', '\r'], " ");
        if !self.negative_prompt.is_empty() {
            text.push_str(&format!(
                "\nNegative prompt: {}",
                self.negative_prompt.replace(['\n', '\r'], " ")
            ));
        }
        text.push_str(&format!(
            "\nSteps: {}, Sampler: {}, CFG scale: {}, Seed: {}, Size: {}x{}, Model hash: {}",
            self.steps,
            self.sampler,
            self.cfg,
            self.seed,
            self.size[0],
            self.size[1],
            self.base.short()
        ));
        for adapter in &self.adapters {
            text.push_str(&format!(", Lora hash: {} ({})", adapter.sha256.short(), adapter.weight));
        }
        if let Some(vae) = &self.vae {
            text.push_str(&format!(", VAE hash: {}", vae.short()));
        }
        if let Some(strength) = self.strength {
            text.push_str(&format!(", Denoising strength: {strength}"));
        }
        if let Some(skip) = self.clip_skip {
            text.push_str(&format!(", Clip skip: {skip}"));
        }
        text.push_str(&format!(", Version: {}", self.program));
        text
    }

    fn xmp(&self) -> String {
        format!(
            "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\
             <x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\
             <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\
             <rdf:Description rdf:about=\"\" xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\" \
             xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\" Iptc4xmpExt:DigitalSourceType=\"{SOURCE_TYPE}\" \
             Iptc4xmpExt:AISystemUsed=\"{}\" xmp:CreatorTool=\"{}\"/>\
             </rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>",
            self.program, self.program
        )
    }
}

/// The picture as PNG with its label in it.
///
/// # Errors
/// If the encoder refuses, e.g. a size of zero.
pub fn png(picture: &Picture, label: &Label) -> Result<Vec<u8>, GenerateError> {
    let encode = |e: png::EncodingError| GenerateError::Encode(e.to_string());
    let side = |n: usize| u32::try_from(n).map_err(|e| GenerateError::Encode(e.to_string()));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side(picture.size[0])?, side(picture.size[1])?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder
        .add_itxt_chunk("XML:com.adobe.xmp".to_owned(), label.xmp())
        .map_err(encode)?;
    encoder
        .add_itxt_chunk("parameters".to_owned(), label.parameters())
        .map_err(encode)?;
    let json = serde_json::to_string(label).map_err(|e| GenerateError::Encode(e.to_string()))?;
    encoder
        .add_itxt_chunk("assent.label".to_owned(), json)
        .map_err(encode)?;
    let mut writer = encoder.write_header().map_err(encode)?;
    writer.write_image_data(&picture.rgb()).map_err(encode)?;
    writer.finish().map_err(encode)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_says_that_a_machine_made_it_and_with_what() {
        let settings = Settings {
            size: [8, 8],
            cfg: 4.0,
            negative_prompt: Some("blur".to_owned()),
            ..Settings::default()
        };
        let picture = Picture {
            size: [8, 8],
            planes: vec![0.25; 3 * 64],
        };
        let used = UsedAdapter {
            sha256: Sha256Digest::of_bytes(b"adapter"),
            receipt: None,
            weight: 0.5,
            clip_weight: None,
        };
        let label = Label::new(
            &Job {
                prompt: "a <fish> & \"chips\"",
                seed: 7,
            },
            Some(0.5),
            &settings,
            Sha256Digest::of_bytes(b"base"),
            vec![used],
        );
        let bytes = png(&picture, &label).unwrap();
        assert_eq!(bytes, png(&picture, &label).unwrap());
        let reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let texts: Vec<String> = reader.info().utf8_text.iter().map(|t| t.get_text().unwrap()).collect();
        assert!(texts.iter().any(|t| t.contains(SOURCE_TYPE)));
        assert!(
            texts
                .iter()
                .any(|t| t.starts_with("a <fish> & \"chips\"\nNegative prompt: blur\nSteps: 20, "))
        );
        assert!(
            texts
                .iter()
                .any(|t| t.contains(&Sha256Digest::of_bytes(b"adapter").to_string()))
        );
    }
}
