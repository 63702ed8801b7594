//! Both formats come to the same plan; what does not fit is refused with a sentence; no bytes make it panic.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod examples;

use examples::{api, editor};

fn read_json(value: &Value) -> Result<Plan, WorkflowError> {
    read(value.to_string().as_bytes())
}

fn expected() -> Plan {
    let lora = |name: &str, model, clip| Lora {
        name: name.to_owned(),
        model,
        clip,
    };
    Plan {
        checkpoint: "base.safetensors".to_owned(),
        vae: None,
        loras: vec![
            lora("one.safetensors", 0.8, 0.5),
            lora("styles/two.safetensors", -1.0, 0.0),
        ],
        prompt: "a (red:1.2) boat".to_owned(),
        negative: Some("fog".to_owned()),
        clip_skip: Some(2),
        seed: u64::MAX,
        steps: 25,
        cfg: 7.5,
        sampler: "dpmpp_2m".to_owned(),
        scheduler: "karras".to_owned(),
        denoise: 1.0,
        canvas: Canvas::Empty {
            width: 512,
            height: 768,
            count: 1,
        },
        vae_tile: None,
        notes: vec![],
    }
}

#[test]
fn both_formats_come_to_the_same_plan() {
    assert_eq!(read_json(&api()).unwrap(), expected());
    assert_eq!(read_json(&editor()).unwrap(), expected());
    assert_eq!(
        read_json(&json!({"prompt": api(), "client_id": "x"})).unwrap(),
        expected()
    );
    // Files of before there was a control of the seed.
    let mut old = editor();
    old["nodes"][7]["widgets_values"] = json!([u64::MAX, 20, 7.5, "dpmpp_2m", "karras", 1]);
    assert_eq!(read_json(&old).unwrap(), expected());
}

fn png(texts: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    for (keyword, text) in texts {
        encoder
            .add_text_chunk((*keyword).to_owned(), (*text).to_owned())
            .unwrap();
    }
    encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
    bytes
}

#[test]
fn a_picture_of_comfyui_holds_its_workflow() {
    let [prompt, workflow] = [api(), editor()].map(|json| json.to_string());
    // As Python writes what has no number.
    let prompt = prompt.replacen(
        "{\"1\":",
        "{\"1\":{\"is_changed\":[NaN],\"class_type\":\"Note\"},\"1b\":",
        1,
    );
    let prompt = prompt.replace("[\"1\",", "[\"1b\",");
    let mut plan = read(&png(&[("prompt", &prompt), ("workflow", &workflow)])).unwrap();
    assert_eq!(plan.notes, ["left out, as the picture does not need them: Note 1"]);
    plan.notes.clear();
    assert_eq!(plan, expected());
    assert_eq!(read(&png(&[("workflow", &workflow)])).unwrap(), expected());
    assert!(matches!(
        read(&png(&[("parameters", "a boat")])),
        Err(WorkflowError::NoText)
    ));
    let whole = png(&[("prompt", &prompt)]);
    assert!(matches!(read(&whole[..100]), Err(WorkflowError::Png(_))));
}

/// The API's example with one input changed.
fn with(node: &str, input: &str, value: Value) -> Value {
    let mut workflow = api();
    workflow[node]["inputs"][input] = value;
    workflow
}

/// The same, with the empty latent in the place of which a picture is encoded.
fn on_picture(latent: &str, inputs: Value) -> Value {
    let mut workflow = with("8", "denoise", json!(0.5));
    workflow["7"] = json!({"class_type": latent, "inputs": inputs});
    workflow["11"] = json!({"class_type": "LoadImage", "inputs": {"image": "boat.png", "upload": "image"}});
    workflow["12"] = json!({"class_type": "LoadImageMask", "inputs": {"image": "mask.png", "channel": "red"}});
    workflow["13"] = json!({"class_type": "VAEEncode", "inputs": {"pixels": ["11", 0], "vae": ["1", 2]}});
    workflow
}

#[test]
fn pictures_and_masks_are_found_behind_the_latent() {
    let canvas = |latent, inputs| {
        let plan = read_json(&on_picture(latent, inputs)).unwrap();
        assert_eq!(plan.denoise, 0.5);
        match plan.canvas {
            Canvas::Picture { image, mask } => {
                assert_eq!(image, "boat.png");
                mask.map(|mask| (mask.image, mask.channel, mask.grow))
            }
            Canvas::Empty { .. } => panic!("{plan:?}"),
        }
    };
    assert_eq!(canvas("VAEEncode", json!({"pixels": ["11", 0], "vae": ["1", 2]})), None);
    let inpaint = json!({"pixels": ["11", 0], "mask": ["11", 1], "vae": ["1", 2], "grow_mask_by": 6});
    assert_eq!(
        canvas("VAEEncodeForInpaint", inpaint),
        Some(("boat.png".to_owned(), Channel::Alpha, 6))
    );
    let old = json!({"pixels": ["11", 0], "mask": ["11", 1], "vae": ["1", 2]});
    assert_eq!(
        canvas("VAEEncodeForInpaint", old),
        Some(("boat.png".to_owned(), Channel::Alpha, 6))
    );
    let mask = json!({"samples": ["13", 0], "mask": ["12", 0]});
    assert_eq!(
        canvas("SetLatentNoiseMask", mask),
        Some(("mask.png".to_owned(), Channel::Red, 1))
    );
}

#[test]
fn variants_of_nodes_are_followed() {
    let mut workflow = api();
    workflow["8"] = json!({"class_type": "KSamplerAdvanced", "inputs": {
        "model": ["3", 0], "positive": ["5", 0], "negative": ["6", 0], "latent_image": ["7", 0],
        "add_noise": "enable", "noise_seed": u64::MAX, "steps": 25, "cfg": 7.5, "sampler_name": "dpmpp_2m",
        "scheduler": "karras", "start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable"}});
    assert_eq!(read_json(&workflow).unwrap(), expected());
    workflow["9"]["class_type"] = json!("VAEDecodeTiled");
    workflow["9"]["inputs"]["tile_size"] = json!(512);
    workflow["9"]["inputs"]["vae"] = json!(["14", 0]);
    workflow["14"] = json!({"class_type": "VAELoader", "inputs": {"vae_name": "better.safetensors"}});
    workflow["6"] = json!({"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["5", 0]}});
    workflow["5"]["inputs"]["text"] = json!(["15", 0]);
    workflow["15"] = json!({"class_type": "PrimitiveString", "inputs": {"value": "a boat"}});
    workflow["16"] = json!({"class_type": "PreviewImage", "inputs": {"images": ["9", 0]}});
    let changed = Plan {
        vae: Some("better.safetensors".to_owned()),
        vae_tile: Some(512),
        negative: None,
        prompt: "a boat".to_owned(),
        ..expected()
    };
    assert_eq!(read_json(&workflow).unwrap(), changed);
    // An adapter of no strength is none.
    let mut weak = with("3", "strength_model", json!(0));
    weak["2"]["inputs"]["strength_clip"] = json!(0);
    assert_eq!(read_json(&weak).unwrap().loras.len(), 1);
}

#[test]
fn what_does_not_fit_is_refused_with_a_sentence() {
    let mut strangers = with("8", "model", json!(["20", 0]));
    strangers["20"] = json!({"class_type": "FreeU_V2", "inputs": {"model": ["3", 0]}, "_meta": {"title": "my\nFreeU"}});
    strangers["5"] = json!({"class_type": "CLIPTextEncodeFlux", "inputs": {}});
    let mut circle = with("2", "model", json!(["3", 0]));
    circle["2"]["_meta"] = json!({"title": "first"});
    let mut two = with("5", "clip", json!(["21", 1]));
    two["21"] = json!({"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "other"}});
    two["6"]["inputs"]["clip"] = json!(["21", 1]);
    let mut several = api();
    several["30"] = json!({"class_type": "SaveImage", "inputs": {"images": ["31", 0]}});
    several["31"] = json!({"class_type": "VAEDecode", "inputs": {"samples": ["32", 0], "vae": ["1", 2]}});
    several["32"] = several["8"].clone();
    several["32"]["inputs"]["seed"] = json!(1);
    let mut no_output = api();
    no_output["10"]["class_type"] = json!("Image Save");
    let mut muted = editor();
    muted["nodes"][6]["mode"] = json!(2);
    let mut round = editor();
    round["links"][13] = json!([14, 11, 0, 11, 0, "VAE"]);
    let empty_denoise = with("8", "denoise", json!(0.5));
    let mut part = api();
    part["8"]["class_type"] = json!("KSamplerAdvanced");
    for (input, value) in [
        ("add_noise", json!("enable")),
        ("start_at_step", json!(0)),
        ("end_at_step", json!(20)),
    ] {
        part["8"]["inputs"][input] = value;
    }
    for (workflow, message) in [
        (
            strangers,
            "needs nodes that are not known here: CLIPTextEncodeFlux 5, FreeU_V2 20 (\"my\\nFreeU\"); known are Check",
        ),
        (circle, "the links run in a circle through "),
        (round, "the links run in a circle through "),
        (two, "made of two checkpoints, `base.safetensors` and `other`"),
        (several, "SaveImage 10 and SaveImage 30 show different pictures"),
        (
            no_output,
            "no SaveImage or PreviewImage is in it, so that no node makes its picture; not known here are Image Save 10",
        ),
        (
            muted,
            "KSampler 8 has no latent_image: nothing is connected, or what is connected is muted",
        ),
        (
            empty_denoise,
            "KSampler 8: denoise: expected 1 where it draws on an empty latent, found 0.5",
        ),
        (part, "end_at_step: expected all steps"),
        (
            with("9", "vae", json!(["1", 0])),
            "VAEDecode 9: expected vae from CheckpointLoaderSimple or VAELoader, found output 0 of CheckpointLoaderSimple 1",
        ),
        (
            with("9", "vae", json!(["77", 0])),
            "VAEDecode 9: vae is connected to node 77, which is not in the workflow",
        ),
        (with("8", "positive", Value::Null), "KSampler 8 has no positive"),
        (
            with("8", "steps", json!(0)),
            "KSampler 8: steps: expected a whole number within its range, found 0",
        ),
        (with("8", "steps", json!(1e30)), "steps: expected a whole number"),
        (
            with("8", "seed", json!(-1)),
            "seed: expected a whole number from 0 to 2^64 - 1, found -1",
        ),
        (
            with("8", "cfg", json!("much")),
            "KSampler 8: cfg: expected a number, found \"much\"",
        ),
        (
            with("8", "denoise", json!(0)),
            "denoise: expected a number above 0 and up to 1, found 0",
        ),
        (
            with("5", "text", json!(7)),
            "CLIPTextEncode 5 (\"Prompt\"): text: expected a text, found 7",
        ),
        (
            with("6", "clip", json!(["1", 1])),
            "CLIPTextEncode 5 (\"Prompt\") and CLIPTextEncode 6 have different text encoders",
        ),
        (
            with("4", "stop_at_clip_layer", json!(2)),
            "expected a whole number from -24 to -1, found 2",
        ),
        (
            with("2", "strength_model", json!(1e9)),
            "expected a number from -100 to 100",
        ),
        (
            on_picture("VAEEncode", json!({"pixels": ["12", 0], "vae": ["1", 2]})),
            "expected pixels from LoadImage, found output 0 of LoadImageMask 12",
        ),
        (json!({"last_node_id": 1, "x": 2}), "found the keys: last_node_id, x"),
        (json!([1]), "expected a JSON object"),
        (json!({"nodes": [{"id": 1}]}), "expected `id` and `type` of each node"),
        (
            json!({"nodes": [], "links": [[1, 2]]}),
            "expected a link as [id, from, slot, to, slot, type], found [1,2]",
        ),
    ] {
        let found = read_json(&workflow).unwrap_err().to_string();
        assert!(found.contains(message), "{found}\nis not\n{message}");
    }
    for (bytes, message) in [
        (b"".as_slice(), "it is not JSON"),
        (b"{\"prompt\": ", "it is not JSON"),
        (
            &[b"[".repeat(100_000), b"]".repeat(100_000)].concat(),
            "recursion limit",
        ),
        (&b" ".repeat(MOST_JSON + 1), "bytes of JSON, expected at most"),
    ] {
        let found = read(bytes).unwrap_err().to_string();
        assert!(found.contains(message), "{found}");
    }
    let many: serde_json::Map<String, Value> = (0..=MOST_NODES)
        .map(|n| (n.to_string(), json!({"class_type": "Note"})))
        .collect();
    assert!(
        read_json(&Value::Object(many))
            .unwrap_err()
            .to_string()
            .contains("4097 nodes")
    );
}

#[test]
fn what_has_no_effect_is_said() {
    let mut workflow = with("8", "extra", json!(1));
    workflow["8"]["inputs"]["sampler_name"] = json!("uni_pc");
    workflow["7"]["inputs"]["batch_size"] = json!(3);
    workflow["20"] = json!({"class_type": "ControlNetLoader", "inputs": {}});
    let notes = read_json(&workflow).unwrap().notes;
    assert_eq!(
        notes,
        [
            "KSampler 8: UniPC is of the third order in ComfyUI, of the second here; the picture is not ComfyUI's",
            "EmptyLatentImage 7: of 3 pictures only the first is ComfyUI's; the next ones have seeds that count on",
            "KSampler 8: no effect has extra",
            "left out, as the picture does not need them: ControlNetLoader 20",
        ]
    );
}

/// A chain as long as there may be nodes, and a ladder that has as many paths as there are nodes.
#[test]
fn long_chains_and_ladders_end_soon() {
    let mut long = api();
    for n in 100..4000 {
        let before = if n == 100 {
            json!(["1", 0])
        } else {
            json!([(n - 1).to_string(), 0])
        };
        long[n.to_string()] = json!({"class_type": "LoraLoaderModelOnly",
            "inputs": {"model": before, "lora_name": "x", "strength_model": 1}});
    }
    long["2"]["inputs"]["model"] = json!(["3999", 0]);
    assert_eq!(read_json(&long).unwrap().loras.len(), 3902);
    let mut ladder = api();
    for n in 100..1000 {
        let before = if n == 100 { "1".to_owned() } else { (n - 1).to_string() };
        ladder[n.to_string()] = json!({"class_type": "X", "inputs": {"a": [before, 0], "b": [before, 1]}});
    }
    ladder["2"]["inputs"]["model"] = json!(["999", 0]);
    assert!(matches!(read_json(&ladder), Err(WorkflowError::Unknown { .. })));
}

/// Puts something else in one place of a document.
fn mutate(value: &mut Value, place: usize, new: &Value) -> usize {
    if place == 0 {
        *value = new.clone();
    }
    let mut seen = 1;
    let mut children: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => vec![],
    };
    for child in &mut children {
        seen += mutate(child, place.wrapping_sub(seen), new);
    }
    seen
}

fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..20u64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        (0..20u64, 0..3u64).prop_map(|(node, slot)| json!([node.to_string(), slot])),
        (0..20u64).prop_map(|id| json!({"id": id, "link": id, "type": "MODEL", "class_type": "Reroute"})),
        prop::sample::select(vec!["LoraLoader", "Reroute", "PrimitiveNode", "KSampler"]).prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn changed_workflows_never_panic(
        editor_format in any::<bool>(),
        changes in prop::collection::vec((0..400usize, anything()), 1..6),
    ) {
        let mut workflow = if editor_format { editor() } else { api() };
        for (place, new) in &changes {
            mutate(&mut workflow, *place, new);
        }
        if let Err(error) = read_json(&workflow) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn cut_and_flipped_bytes_never_panic(cut in 0..4000usize, flip in 0..4000usize, bit in 0..8u32, picture in any::<bool>()) {
        let mut bytes = if picture { png(&[("prompt", &api().to_string())]) } else { editor().to_string().into_bytes() };
        let at = flip % bytes.len();
        bytes[at] ^= 1 << bit;
        bytes.truncate(cut.max(1));
        let _ = read(&bytes);
    }
}
