//! One workflow in both formats.

use serde_json::{Value, json};

/// Checkpoint, two adapters, prompts, sampler, picture: in the API's format.
pub fn api() -> Value {
    json!({
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "base.safetensors"}},
        "2": {"class_type": "LoraLoader", "inputs": {
            "model": ["1", 0], "clip": ["1", 1],
            "lora_name": "one.safetensors", "strength_model": 0.8, "strength_clip": 0.5}},
        "3": {"class_type": "LoraLoaderModelOnly", "inputs": {
            "model": ["2", 0], "lora_name": "styles/two.safetensors", "strength_model": -1}},
        "4": {"class_type": "CLIPSetLastLayer", "inputs": {"clip": ["2", 1], "stop_at_clip_layer": -2}},
        "5": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 0], "text": "a (red:1.2) boat"},
              "_meta": {"title": "Prompt"}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 0], "text": "fog"}},
        "7": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
        "8": {"class_type": "KSampler", "inputs": {
            "model": ["3", 0], "positive": ["5", 0], "negative": ["6", 0], "latent_image": ["7", 0],
            "seed": 18_446_744_073_709_551_615_u64, "steps": 25, "cfg": 7.5,
            "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0}},
        "9": {"class_type": "VAEDecode", "inputs": {"samples": ["8", 0], "vae": ["1", 2]}},
        "10": {"class_type": "SaveImage", "inputs": {"images": ["9", 0], "filename_prefix": "boats/%date%"}}
    })
}

fn slot(name: &str, kind: &str, link: impl Into<Value>) -> Value {
    json!({"name": name, "type": kind, "link": link.into()})
}

/// The same in the editor's, with a reroute, a bypassed and a muted node, a note and a widget of its own.
pub fn editor() -> Value {
    let node = |id: u64, class: &str, inputs: Vec<Value>, outputs: &[&str], values: Value| {
        let outputs: Vec<Value> = outputs.iter().map(|kind| json!({"name": kind, "type": kind})).collect();
        json!({"id": id, "type": class, "mode": 0, "pos": [0, 0], "inputs": inputs, "outputs": outputs,
               "properties": {}, "widgets_values": values})
    };
    let mut nodes = vec![
        node(
            1,
            "CheckpointLoaderSimple",
            vec![],
            &["MODEL", "CLIP", "VAE"],
            json!(["base.safetensors"]),
        ),
        node(
            2,
            "LoraLoader",
            vec![slot("model", "MODEL", 1), slot("clip", "CLIP", 2)],
            &["MODEL", "CLIP"],
            json!(["one.safetensors", 0.8, 0.5]),
        ),
        node(
            3,
            "LoraLoaderModelOnly",
            vec![slot("model", "MODEL", 3)],
            &["MODEL"],
            json!({"lora_name": "styles/two.safetensors", "strength_model": -1}),
        ),
        node(
            4,
            "CLIPSetLastLayer",
            vec![slot("clip", "CLIP", 4)],
            &["CLIP"],
            json!([-2]),
        ),
        node(
            5,
            "CLIPTextEncode",
            vec![slot("clip", "CLIP", 5)],
            &["CONDITIONING"],
            json!(["a (red:1.2) boat"]),
        ),
        node(
            6,
            "CLIPTextEncode",
            vec![slot("clip", "CLIP", 6)],
            &["CONDITIONING"],
            json!(["fog"]),
        ),
        node(7, "EmptyLatentImage", vec![], &["LATENT"], json!([512, 768, 1])),
        node(
            8,
            "KSampler",
            vec![
                slot("model", "MODEL", 7),
                slot("positive", "CONDITIONING", 8),
                slot("negative", "CONDITIONING", 9),
                slot("latent_image", "LATENT", 10),
                json!({"name": "steps", "type": "INT", "link": 15, "widget": {"name": "steps"}}),
                json!({"name": "cfg", "type": "FLOAT", "link": null, "widget": {"name": "cfg"}}),
            ],
            &["LATENT"],
            json!([
                18_446_744_073_709_551_615_u64,
                "randomize",
                20,
                7.5,
                "dpmpp_2m",
                "karras",
                1
            ]),
        ),
        node(
            9,
            "VAEDecode",
            vec![slot("samples", "LATENT", 11), slot("vae", "VAE", 12)],
            &["IMAGE"],
            json!([]),
        ),
        node(
            10,
            "SaveImage",
            vec![slot("images", "IMAGE", 13)],
            &[],
            json!(["boats/%date%"]),
        ),
        node(11, "Reroute", vec![slot("", "*", 14)], &["VAE"], Value::Null),
        node(
            12,
            "LoraLoader",
            vec![slot("model", "MODEL", 16), slot("clip", "CLIP", 17)],
            &["MODEL", "CLIP"],
            json!(["x", 1, 1]),
        ),
        node(13, "PrimitiveNode", vec![], &["INT"], json!([25, "fixed"])),
        node(14, "MarkdownNote", vec![], &[], json!(["words"])),
        node(15, "SaveVideo", vec![slot("images", "IMAGE", 18)], &[], json!([])),
    ];
    nodes[11]["mode"] = json!(4);
    nodes[14]["mode"] = json!(2);
    json!({
        "last_node_id": 15, "version": 0.4, "nodes": nodes, "groups": [],
        "links": [
            [1, 12, 0, 2, 0, "MODEL"], [2, 12, 1, 2, 1, "CLIP"], [3, 2, 0, 3, 0, "MODEL"], [4, 2, 1, 4, 0, "CLIP"],
            [5, 4, 0, 5, 0, "CLIP"], [6, 4, 0, 6, 0, "CLIP"], [7, 3, 0, 8, 0, "MODEL"], [8, 5, 0, 8, 1, "CONDITIONING"],
            [9, 6, 0, 8, 2, "CONDITIONING"], [10, 7, 0, 8, 3, "LATENT"], [11, 8, 0, 9, 0, "LATENT"],
            [12, 11, 0, 9, 1, "VAE"], {"id": 13, "origin_id": 9, "origin_slot": 0, "target_id": 10, "target_slot": 0},
            [14, 1, 2, 11, 0, "VAE"], [15, 13, 0, 8, 4, "INT"], [16, 1, 0, 12, 0, "MODEL"], [17, 1, 1, 12, 1, "CLIP"],
            [18, 9, 0, 15, 0, "IMAGE"]
        ]
    })
}
