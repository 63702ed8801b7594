//! Whether a picture says that a machine made it: IPTC's digital source type, and the parameters that generators leave.

use super::xmp::Property;

const IPTC_EXT: &str = "iptc.org/std/Iptc4xmpExt/2008-02-29";

/// Whether this property names a digital source type of trained models.
pub(super) fn by_property(property: &Property) -> bool {
    let kind = property
        .value
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    property.is(IPTC_EXT, "DigitalSourceType")
        && matches!(
            kind.as_str(),
            "trainedalgorithmicmedia" | "compositewithtrainedalgorithmicmedia"
        )
}

/// Whether a text chunk or comment holds the parameters of a generator.
pub(super) fn by_text(keyword: &str, text: &str) -> bool {
    let keyword = keyword.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().all(|word| text.contains(word));
    match keyword.as_str() {
        "parameters" | "usercomment" | "comment" | "description" => {
            has(&["Steps: ", "Sampler: "]) || has(&["\"steps\"", "\"sampler\""]) || has(&["\"prompt\"", "\"seed\""])
        }
        "prompt" | "workflow" => has(&["\"class_type\""]) || has(&["\"nodes\"", "\"links\""]),
        "dream" | "sd-metadata" | "invokeai_metadata" | "invokeai_graph" | "fooocus_scheme" => true,
        "software" => ["NovelAI", "Stable Diffusion", "ComfyUI", "InvokeAI"]
            .iter()
            .any(|name| text.contains(name)),
        _ => false,
    }
}
