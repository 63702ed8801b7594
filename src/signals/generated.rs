//! Whether a picture says that a machine made it: IPTC's digital source type, and the parameters that generators leave.
//!
//! A wrong alarm would turn away honest work, so a text counts only in the form that a generator is known to write.

use serde_json::Value;

use super::xmp::Property;

const IPTC_EXT: &str = "iptc.org/std/Iptc4xmpExt/2008-02-29";
const DC: &str = "purl.org/dc/elements/1.1";
const EXIF: &str = "ns.adobe.com/exif/1.0";
const XMP: &str = "ns.adobe.com/xap/1.0";
const PHOTOSHOP: &str = "ns.adobe.com/photoshop/1.0";

/// Programs that make pictures and do nothing else, as they begin their own names.
const PROGRAMS: [&str; 8] = [
    "NovelAI",
    "Stable Diffusion",
    "ComfyUI",
    "InvokeAI",
    "Fooocus",
    "Draw Things",
    "Midjourney",
    "Easy Diffusion",
];

/// Whether a digital source type, as an address, a QCode or a bare word, is one of trained models.
pub(super) fn by_source_type(value: &str) -> bool {
    let word = value.trim().trim_end_matches('/').rsplit(['/', ':', '#']).next();
    word.is_some_and(|word| {
        ["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]
            .iter()
            .any(|kind| word.eq_ignore_ascii_case(kind))
    })
}

/// Whether this property says so.
pub(super) fn by_property(property: &Property) -> bool {
    match (property.namespace.as_str(), property.name.as_str()) {
        (IPTC_EXT, "DigitalSourceType") => by_source_type(&property.value),
        (XMP, "CreatorTool") => by_text("Software", &property.value),
        (EXIF, "UserComment") => by_text("UserComment", &property.value),
        (DC, "description") => by_text("Description", &property.value),
        (PHOTOSHOP, "Credit") => by_credit(&property.value),
        _ => false,
    }
}

/// Whether this is the credit line that Google's generators write.
pub(super) fn by_credit(credit: &str) -> bool {
    credit.trim() == "Made with Google AI"
}

/// Whether a text chunk or comment holds the parameters of a generator.
pub(super) fn by_text(keyword: &str, text: &str) -> bool {
    let keyword = keyword.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().all(|word| text.contains(word));
    match keyword.as_str() {
        "parameters" | "usercomment" | "comment" | "description" => by_lines(text) || by_job(text) || parameters(text),
        // A graph of nodes, after `prompt:` or `workflow:` where it stands in EXIF.
        "prompt" | "workflow" => {
            has(&["\"class_type\"", "\"inputs\""]) || has(&["\"nodes\"", "\"links\"", "\"last_node_id\""])
        }
        "invokeai_metadata" | "invokeai_graph" | "sd-metadata" => object(text).is_some(),
        // InvokeAI's command line: size, seed and steps stand after the prompt.
        "dream" => has(&[" -S", " -W", " -H"]) || has(&[" -s ", " -A "]),
        "fooocus_scheme" => matches!(text.trim(), "fooocus" | "a1111"),
        "use_stable_diffusion_model" | "sui_image_params" => !text.trim().is_empty(),
        "software" | "creatortool" => PROGRAMS.iter().any(|name| text.trim().starts_with(name)),
        _ => false,
    }
}

/// The last line of the web interface's parameters: `Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, …`.
fn by_lines(text: &str) -> bool {
    text.match_indices("Steps: ").any(|(at, _)| {
        let line = text[at..].lines().next().unwrap_or_default();
        let steps = line["Steps: ".len()..].split(',').next().unwrap_or_default();
        steps.trim().parse::<u32>().is_ok()
            && ["Sampler: ", "CFG scale: ", "Guidance Scale: "]
                .iter()
                .any(|word| line.contains(word))
    })
}

/// Midjourney's description ends with the number of the job.
fn by_job(text: &str) -> bool {
    let Some((_, id)) = text.rsplit_once("Job ID: ") else {
        return false;
    };
    let parts: Vec<&str> = id.trim().split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts
            .iter()
            .all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Parameters as a JSON object: NovelAI, Draw Things, Fooocus, SwarmUI.
fn parameters(text: &str) -> bool {
    let Some(Value::Object(object)) = object(text) else {
        return false;
    };
    let has = |keys: &[&str]| keys.iter().all(|key| object.contains_key(*key));
    has(&["steps", "sampler"]) || has(&["prompt", "seed"]) || has(&["sui_image_params"])
}

fn object(text: &str) -> Option<Value> {
    let text = text.trim();
    if !text.starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_generators_write_and_what_people_write() {
        let cases = [
            (
                "parameters",
                "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512",
                true,
            ),
            (
                "UserComment",
                "a cat\nSteps: 30, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 12",
                true,
            ),
            ("parameters", "Steps: up the hill", false),
            ("Comment", "Steps: 3, then a walk", false),
            ("Comment", "Steps: two, Sampler: a tray of cheese", false),
            (
                "Comment",
                r#"{"prompt": "1girl", "steps": 28, "sampler": "k_euler", "seed": 5, "uc": "lowres"}"#,
                true,
            ),
            ("Comment", r#"{"camera": "X100", "steps": 3}"#, false),
            ("Comment", "Created with GIMP", false),
            ("Comment", "the words \"steps\" and \"sampler\"", false),
            ("Software", "NovelAI", true),
            ("Software", "GIMP 2.10.36", false),
            ("Software", "Adobe Photoshop 25.0", false),
            ("Comment", "I do not like Stable Diffusion", false),
            (
                "prompt",
                r#"{"3": {"class_type": "KSampler", "inputs": {"seed": 1}}}"#,
                true,
            ),
            ("prompt", "draw a house with a garden", false),
            ("workflow", r#"{"last_node_id": 9, "nodes": [], "links": []}"#, true),
            ("workflow", "scan, then retouch", false),
            ("invokeai_metadata", r#"{"generation_mode": "txt2img"}"#, true),
            ("sd-metadata", r#"{"model": "stable diffusion", "image": {}}"#, true),
            ("invokeai_metadata", "none", false),
            ("Dream", "\"a cat\" -s 50 -S 123 -W 512 -H 512 -C 7.5 -A k_lms", true),
            ("Dream", "I had a dream -S", false),
            ("fooocus_scheme", "fooocus", true),
            ("fooocus_scheme", "none", false),
            ("parameters", r#"{"sui_image_params": {"prompt": "a"}}"#, true),
            (
                "Description",
                "a red fox --ar 3:2 --v 5.2 Job ID: 0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f",
                true,
            ),
            ("Description", "Poster for the fair. Job ID: 4711", false),
            ("use_stable_diffusion_model", "sd-v1-4", true),
            ("Title", "Steps: 20, Sampler: Euler a", false),
        ];
        for (keyword, text, expected) in cases {
            assert_eq!(by_text(keyword, text), expected, "{keyword}: {text}");
        }
    }

    #[test]
    fn source_types_in_each_form() {
        let address = "http://cv.iptc.org/newscodes/digitalsourcetype/";
        for (word, expected) in [
            ("trainedAlgorithmicMedia", true),
            ("compositeWithTrainedAlgorithmicMedia", true),
            ("algorithmicMedia", false),
            ("algorithmicallyEnhanced", false),
            ("digitalCapture", false),
            ("digitalArt", false),
            ("untrainedAlgorithmicMedia", false),
        ] {
            for form in [
                word.to_string(),
                format!("{address}{word}"),
                format!("digsrctype:{word}"),
                format!("{address}{word}/"),
            ] {
                assert_eq!(by_source_type(&form), expected, "{form}");
            }
        }
        assert!(by_credit("Made with Google AI"));
        assert!(!by_credit("Made with love"));
    }
}
