//! A label as text: an XMP packet for everybody, and the `parameters` of A1111.

use quick_xml::escape::escape;

use super::{Label, LabelError};
use crate::signals::LABEL_NAMESPACE;

/// The property of [`LABEL_NAMESPACE`] that holds the whole label.
pub(super) const PROPERTY: &str = "Label";
pub(super) const IPTC_EXT: &str = "iptc.org/std/Iptc4xmpExt/2008-02-29";

/// The packet: IPTC's fields (Photo Metadata Standard 2025.1), the tool and time, and the label as JSON.
pub(super) fn xmp(label: &Label) -> Result<String, LabelError> {
    let (program, version) = label.program();
    let mut system = format!("{program}; base sha256:{}", label.base);
    for adapter in &label.adapters {
        system.push_str(&format!("; adapter sha256:{}", adapter.sha256));
    }
    let mut prompt = label.prompt.clone();
    if !label.negative_prompt.is_empty() {
        prompt.push_str(&format!("\nNegative prompt: {}", label.negative_prompt));
    }
    let mut fields = vec![
        ("Iptc4xmpExt:DigitalSourceType", label.digital_source_type.clone()),
        ("Iptc4xmpExt:AISystemUsed", system),
        ("Iptc4xmpExt:AISystemVersionUsed", version.to_owned()),
        ("Iptc4xmpExt:AIPromptInformation", prompt),
        ("xmp:CreatorTool", label.program.clone()),
        ("xmp:CreateDate", label.created_at.to_string()),
        // No character of JSON but these two is one that XML cannot hold.
        (
            "assent:Label",
            label
                .json()?
                .replace('\u{fffe}', "\\ufffe")
                .replace('\u{ffff}', "\\uffff"),
        ),
    ];
    if let Some(writer) = &label.prompt_writer {
        fields.push(("Iptc4xmpExt:AIPromptWriterName", writer.clone()));
    }
    let mut body: String = fields
        .iter()
        .map(|(name, value)| format!("<{name}>{}</{name}>", escape(printable(value).as_str())))
        .collect();
    if let Some(creator) = &label.creator {
        let creator = printable(creator);
        let creator = escape(creator.as_str());
        body.push_str(&format!(
            "<dc:creator><rdf:Seq><rdf:li>{creator}</rdf:li></rdf:Seq></dc:creator>"
        ));
    }
    Ok(format!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\
         <x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\
         <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\
         <rdf:Description rdf:about=\"\" xmlns:Iptc4xmpExt=\"http://{IPTC_EXT}/\" \
         xmlns:dc=\"http://purl.org/dc/elements/1.1/\" xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\" \
         xmlns:assent=\"{LABEL_NAMESPACE}\">{body}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>"
    ))
}

/// Without the characters that XML cannot hold.
fn printable(text: &str) -> String {
    let not = |c: char| (c < ' ' && !matches!(c, '\n' | '\r' | '\t')) || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if not(c) { '\u{fffd}' } else { c }).collect()
}

/// The text that A1111 writes under `parameters`.
pub(super) fn parameters(label: &Label) -> String {
    let line = |text: &str| text.replace(['\n', '\r', '\0'], " ");
    let mut text = line(&label.prompt);
    if !label.negative_prompt.is_empty() {
        text.push_str(&format!("\nNegative prompt: {}", line(&label.negative_prompt)));
    }
    text.push_str(&format!(
        "\nSteps: {}, Sampler: {}, CFG scale: {}, Seed: {}, Size: {}x{}, Model hash: {}",
        label.steps,
        label.sampler,
        label.cfg,
        label.seed,
        label.size[0],
        label.size[1],
        label.base.short()
    ));
    for adapter in &label.adapters {
        text.push_str(&format!(", Lora hash: {} ({})", adapter.sha256.short(), adapter.weight));
    }
    if let Some(vae) = &label.vae {
        text.push_str(&format!(", VAE hash: {}", vae.short()));
    }
    if let Some(strength) = label.strength.or(label.denoise) {
        text.push_str(&format!(", Denoising strength: {strength}"));
    }
    if let Some(skip) = label.clip_skip {
        text.push_str(&format!(", Clip skip: {skip}"));
    }
    if let Some(rng) = &label.rng {
        text.push_str(&format!(", RNG: {rng}"));
    }
    text.push_str(&format!(", Version: {}", label.program));
    text
}
