//! Which parts are trained, and how fast.

use serde_json::Value;

use super::draft::{Draft, number};
use super::{Group, Tool};

/// Where a tool says what.
struct Names {
    rate: &'static str,
    unet: &'static str,
    text: &'static [&'static str],
    usual: f64,
}

const SD_SCRIPTS: Names = Names {
    rate: "learning_rate",
    unet: "unet_lr",
    text: &["text_encoder_lr"],
    usual: 2e-6,
};

const ONE_TRAINER: Names = Names {
    rate: "learning_rate",
    unet: "unet.learning_rate",
    text: &["text_encoder.learning_rate", "text_encoder_2.learning_rate"],
    usual: 3e-6,
};

/// Writes the rates and whether text encoders are trained.
pub(super) fn finish(draft: &mut Draft) {
    let one_trainer = draft.tool == Tool::OneTrainer;
    let names = if one_trainer { ONE_TRAINER } else { SD_SCRIPTS };
    let given = |draft: &Draft, name: &str| draft.number(name).filter(|rate| *rate > 0.0);
    let rate = given(draft, names.rate);
    let unet = given(draft, names.unet);
    let text = texts(draft, names.text);
    let (trained, why) = if one_trainer {
        parts_of_one_trainer(draft)
    } else {
        parts_of_sd_scripts(draft, text.as_deref())
    };
    match (unet, rate) {
        (Some(unet), _) => draft.write("learning_rate", unet, &[names.unet]),
        (None, Some(rate)) => draft.write("learning_rate", rate, &[names.rate]),
        (None, None) => draft.default("learning_rate", names.usual),
    }
    match why.iter().any(|name| draft.all.contains_key(*name)) {
        true => draft.write("train_text_encoder", trained, why),
        false => draft.default("train_text_encoder", trained),
    }
    let text_rate = text.and_then(|rates| {
        let first = rates.iter().copied().find(|rate| *rate > 0.0);
        let differ = rates.iter().any(|rate| Some(*rate) != first);
        if differ && trained {
            for name in names.text {
                if draft.all.contains_key(*name) {
                    draft.note(
                        Group::NotOffered,
                        name,
                        "text encoders have one rate: the first is written",
                    );
                }
            }
        }
        first
    });
    if trained {
        let read: Vec<&str> = names
            .text
            .iter()
            .copied()
            .filter(|name| draft.get(name).is_some())
            .collect();
        match (text_rate, unet, rate) {
            (Some(text), _, _) => draft.write("text_encoder_lr", text, &read),
            (None, Some(unet), Some(rate)) if unet != rate => draft.write("text_encoder_lr", rate, &[names.rate]),
            _ => {}
        }
    }
    for name in [names.rate, names.unet].iter().chain(names.text) {
        if draft.all.contains_key(*name) && !draft.told(name) {
            draft.note(Group::NoEffect, name, "no part is trained at this rate");
        }
    }
}

/// Rates of the text encoders, if any is given.
fn texts(draft: &Draft, names: &[&str]) -> Option<Vec<f64>> {
    let mut rates = Vec::new();
    for name in names {
        match draft.get(name) {
            Some(Value::Array(items)) => rates.extend(items.iter().filter_map(number)),
            Some(value) => rates.extend(number(value)),
            None => {}
        }
    }
    (!rates.is_empty()).then_some(rates)
}

/// Unless it is told not to, sd-scripts trains both; at a rate of zero nothing is trained.
fn parts_of_sd_scripts(draft: &mut Draft, text: Option<&[f64]>) -> (bool, &'static [&'static str]) {
    let unet_only = draft.on("network_train_unet_only");
    let stands = |draft: &Draft, name: &str| draft.number(name) == Some(0.0);
    // In the fields of kohya_ss two zeros are two rates that were not given.
    let still_unet =
        stands(draft, "unet_lr") && (draft.tool == Tool::SdScripts || text.is_some_and(|t| t.iter().any(|r| *r > 0.0)));
    let still_text = text.is_some_and(|rates| rates.iter().all(|rate| *rate == 0.0))
        && (draft.tool == Tool::SdScripts || draft.on("unet_lr"));
    if still_unet {
        draft.note(Group::NotOffered, "unet_lr", "the U-Net is always trained");
    }
    if draft.on("network_train_text_encoder_only") {
        draft.note(
            Group::NotOffered,
            "network_train_text_encoder_only",
            "the U-Net is always trained",
        );
    } else if draft.all.contains_key("network_train_text_encoder_only") {
        draft.note(
            Group::NoEffect,
            "network_train_text_encoder_only",
            "switched off or as usual",
        );
    }
    match (unet_only, still_text) {
        (true, _) => (false, &["network_train_unet_only"]),
        (false, true) => (false, &["text_encoder_lr"]),
        (false, false) => (true, &["network_train_unet_only"]),
    }
}

/// OneTrainer has a switch for each part, on unless it says otherwise.
fn parts_of_one_trainer(draft: &mut Draft) -> (bool, &'static [&'static str]) {
    const SWITCHES: &[&str] = &["text_encoder.train", "text_encoder_2.train"];
    let on = |draft: &Draft, name: &str| draft.get(name).is_none_or(|value| value != &Value::Bool(false));
    if !on(draft, "unet.train") {
        draft.note(Group::NotOffered, "unet.train", "the U-Net is always trained");
    } else if draft.all.contains_key("unet.train") {
        draft.note(Group::NoEffect, "unet.train", "the U-Net is always trained");
    }
    let first = on(draft, "text_encoder.train");
    let second = on(draft, "text_encoder_2.train");
    let two = draft.word("model_type").starts_with("stable_diffusion_xl");
    if two && first != second {
        for name in SWITCHES {
            if draft.all.contains_key(*name) {
                draft.note(Group::NotOffered, name, "both text encoders are trained, or none");
            }
        }
    }
    let trained = first || (two && second);
    if trained {
        stop(draft);
    }
    let after = "text_encoder.stop_training_after";
    if draft.all.contains_key(after) && !draft.told(after) {
        draft.note(Group::NoEffect, after, "switched off or as usual");
    }
    (trained, SWITCHES)
}

/// When OneTrainer stops to train text encoders: after 30 epochs unless it says otherwise.
fn stop(draft: &mut Draft) {
    let (after, unit) = (
        "text_encoder.stop_training_after",
        "text_encoder.stop_training_after_unit",
    );
    let never =
        draft.word(unit) == "never" || (draft.all.contains_key(after) && draft.number(after).is_none_or(|n| n <= 0.0));
    if !never {
        let why = "text encoders are trained to the end; OneTrainer stops after 30 epochs unless it is told otherwise";
        draft.note(Group::NotOffered, after, why);
    }
}
