//! The adapter's kind and size.

use super::draft::Draft;
use super::{Group, Tool};

/// Modules of sd-scripts, with the algorithm of LyCORIS: the kind here, and whether convolutions have one in any case.
const MODULES: &[(&str, &str, &str, bool)] = &[
    ("networks.lora", "", "lora", false),
    ("networks.loha", "", "loha", false),
    ("networks.lokr", "", "lokr", false),
    ("lycoris.kohya", "", "locon", true),
    ("lycoris.kohya", "lora", "locon", true),
    ("lycoris.kohya", "locon", "locon", true),
    ("lycoris.kohya", "loha", "loha", true),
    ("lycoris.kohya", "lokr", "lokr", true),
];

/// Kinds of OneTrainer.
const PEFT_TYPES: &[(&str, &str)] = &[("lora", "lora"), ("loha", "loha"), ("lokr", "lokr")];

/// Writes kind, rank and alpha where they follow from several options or from none.
pub(super) fn finish(draft: &mut Draft) {
    let convolutions = match draft.tool {
        Tool::OneTrainer => of_one_trainer(draft),
        _ => of_sd_scripts(draft),
    };
    if draft.ours("network_dim").is_none() {
        draft.default("network_dim", if draft.tool == Tool::OneTrainer { 16 } else { 4 });
    }
    if draft.ours("network_alpha").is_none() {
        draft.default("network_alpha", 1.0);
    }
    let kind = draft.our_word("network_type").to_owned();
    if convolutions && draft.ours("conv_dim").is_none() {
        let rank = draft.ours("network_dim").cloned();
        if let Some(rank) = rank {
            draft.default("conv_dim", rank);
        }
    }
    if draft.ours("conv_dim").is_some() && draft.ours("conv_alpha").is_none() && !convolutions {
        draft.default("conv_alpha", 1.0);
    }
    if kind != "lokr" {
        draft.unwrite("factor", "only for LoKr");
        draft.unwrite("decompose_both", "only for LoKr");
    }
    if draft.ours("conv_dim").is_none() {
        draft.unwrite("conv_alpha", "no convolution has an adapter");
        draft.unwrite("use_tucker", "no convolution has an adapter");
    }
}

fn of_sd_scripts(draft: &mut Draft) -> bool {
    let (module, algo) = (draft.word("network_module"), draft.word("network_args.algo"));
    let module = if module.is_empty() {
        "networks.lora".to_owned()
    } else {
        module
    };
    let known = MODULES
        .iter()
        .find(|(name, with, ..)| *name == module && (*with == algo || *name != "lycoris.kohya"));
    let from = ["network_module", "network_args.algo"];
    match known {
        Some((_, _, kind, convolutions)) if draft.all.contains_key(from[0]) => {
            draft.write("network_type", *kind, &from);
            *convolutions
        }
        Some((_, _, kind, convolutions)) => {
            draft.default("network_type", *kind);
            *convolutions
        }
        None => {
            for name in from
                .iter()
                .filter(|name| draft.all.contains_key(**name))
                .collect::<Vec<_>>()
            {
                draft.note(
                    Group::NotOffered,
                    name,
                    "there is no such adapter: a LoRA stands in its place",
                );
            }
            draft.state("network_type", "lora", "in the place of an adapter that is not offered");
            false
        }
    }
}

fn of_one_trainer(draft: &mut Draft) -> bool {
    let asked = draft.word("peft_type");
    match PEFT_TYPES.iter().find(|(theirs, _)| *theirs == asked) {
        Some((_, ours)) => draft.write("network_type", *ours, &["peft_type"]),
        None if asked.is_empty() => draft.default("network_type", "lora"),
        None => {
            draft.note(
                Group::NotOffered,
                "peft_type",
                "there is no such adapter: a LoRA stands in its place",
            );
            draft.state("network_type", "lora", "in the place of an adapter that is not offered");
        }
    }
    let lokr = asked == "lokr";
    let (rank, other) = if lokr {
        ("lokr_dim", "lora_rank")
    } else {
        ("lora_rank", "lokr_dim")
    };
    if let Some(dim) = draft
        .number(rank)
        .filter(|dim| dim.fract() == 0.0 && (1.0..1e6).contains(dim))
    {
        draft.write("network_dim", dim as i64, &[rank]);
    }
    let (dora, axis, usual) = if lokr {
        ("lokr_weight_decompose", "lokr_dora_on_output", true)
    } else {
        ("lora_decompose", "lora_decompose_output_axis", false)
    };
    if draft.on(dora) {
        draft.write("dora_wd", true, &[dora]);
        let on_output = draft
            .get(axis)
            .map_or(usual, |value| value == &serde_json::Value::Bool(true));
        if !on_output {
            draft.note(Group::NotOffered, axis, "lengths are those of the output's channels");
        }
    }
    if lokr {
        for (theirs, ours) in [
            ("lokr_decompose_both", "decompose_both"),
            ("lokr_use_tucker", "use_tucker"),
        ] {
            if draft.on(theirs) {
                draft.write(ours, true, &[theirs]);
            }
        }
        super::rules::factor(draft, "lokr_decompose_factor");
        if draft.on("lokr_full_matrix") {
            draft.note(
                Group::NotOffered,
                "lokr_full_matrix",
                "factors have the rank of network_dim",
            );
        }
    }
    let of_the_kind = ["lora_decompose", "lokr_", other];
    let left: Vec<String> = draft
        .all
        .keys()
        .filter(|name| of_the_kind.iter().any(|start| name.starts_with(start)))
        .cloned()
        .collect();
    for name in left {
        if !draft.told(&name) {
            draft.note(Group::NoEffect, &name, "switched off, or of other kinds of adapters");
        }
    }
    layers(draft)
}

/// OneTrainer's presets of layers: attention blocks, or everything.
fn layers(draft: &mut Draft) -> bool {
    let preset = draft.word("layer_filter_preset");
    let all = preset == "full" || preset.is_empty();
    let name = "layer_filter_preset";
    match preset.as_str() {
        "attn-mlp" => draft.note(Group::NoEffect, name, "the layers that an adapter here covers"),
        "" | "full" => draft.note(
            Group::NotOffered,
            name,
            "all layers there (left out: `full`); here those of attention and residual blocks, or target_modules",
        ),
        _ => draft.note(
            Group::NotOffered,
            name,
            "choose layers by target_modules and exclude_modules",
        ),
    }
    all
}
