//! The optimizer and its arguments.

use serde_json::Value;
use toml::Value as Toml;

use super::draft::{Draft, is_off, number};
use super::{Group, Tool};

/// sd-scripts' names.
pub(super) const SD_SCRIPTS: &[(&str, &str)] = &[
    ("AdamW", "AdamW"),
    ("PagedAdamW", "AdamW"),
    ("PagedAdamW32bit", "AdamW"),
    ("AdamW8bit", "AdamW8bit"),
    ("PagedAdamW8bit", "AdamW8bit"),
    ("AdamWScheduleFree", "AdamWScheduleFree"),
    ("AdaFactor", "Adafactor"),
    ("Lion", "Lion"),
    ("Prodigy", "Prodigy"),
    ("prodigyopt.Prodigy", "Prodigy"),
];

/// OneTrainer's names.
pub(super) const ONE_TRAINER: &[(&str, &str)] = &[
    ("ADAMW", "AdamW"),
    ("ADAMW_8BIT", "AdamW8bit"),
    ("SCHEDULE_FREE_ADAMW", "AdamWScheduleFree"),
    ("ADAFACTOR", "Adafactor"),
    ("LION", "Lion"),
    ("PRODIGY", "Prodigy"),
];

/// The arguments of each optimizer here.
pub(super) const ARGUMENTS: &[(&str, &[&str])] = &[
    ("AdamW", &["betas", "eps", "weight_decay"]),
    ("AdamW8bit", &["betas", "eps", "weight_decay", "min_8bit_size"]),
    (
        "AdamWScheduleFree",
        &["betas", "eps", "weight_decay", "warmup_steps", "r", "weight_lr_power"],
    ),
    (
        "Adafactor",
        &[
            "eps",
            "clip_threshold",
            "decay_rate",
            "beta1",
            "weight_decay",
            "scale_parameter",
            "relative_step",
            "warmup_init",
        ],
    ),
    ("Lion", &["betas", "weight_decay"]),
    (
        "Prodigy",
        &[
            "betas",
            "beta3",
            "eps",
            "weight_decay",
            "decouple",
            "use_bias_correction",
            "safeguard_warmup",
            "d0",
            "d_coef",
            "growth_rate",
        ],
    ),
];

/// Arguments that are pairs, and OneTrainer's fields for the two numbers, with what it takes without them.
const PAIRS: &[(&str, &str, [&str; 2], [f64; 2])] = &[
    ("AdamW", "betas", ["beta1", "beta2"], [0.9, 0.999]),
    ("AdamW8bit", "betas", ["beta1", "beta2"], [0.9, 0.999]),
    ("AdamWScheduleFree", "betas", ["beta1", "beta2"], [0.9, 0.999]),
    ("Lion", "betas", ["beta1", "beta2"], [0.9, 0.99]),
    ("Prodigy", "betas", ["beta1", "beta2"], [0.9, 0.999]),
    ("Adafactor", "eps", ["eps", "eps2"], [1e-30, 1e-3]),
];

/// Switches that OneTrainer has off where a file leaves them out.
const SWITCHES: &[(&str, &[&str])] = &[
    ("Adafactor", &["scale_parameter", "relative_step", "warmup_init"]),
    ("Prodigy", &["decouple", "use_bias_correction", "safeguard_warmup"]),
];

/// The options that named an optimizer before `optimizer_type` was there.
pub(super) fn old_switch(draft: &mut Draft, name: &str) {
    let optimizer = if name == "use_8bit_adam" { "AdamW8bit" } else { "Lion" };
    match draft.on(name) {
        true => draft.write("optimizer_type", optimizer, &[name]),
        false => draft.note(Group::NoEffect, name, "switched off or as usual"),
    }
}

/// Writes the arguments, and takes back what the optimizer makes without effect.
pub(super) fn finish(draft: &mut Draft) {
    if draft.ours("optimizer_type").is_none() {
        let named = ["optimizer_type", "optimizer.optimizer"]
            .iter()
            .any(|name| draft.told(name));
        match named {
            true => draft.state("optimizer_type", "AdamW", "in the place of one that is not offered"),
            false => draft.default("optimizer_type", "AdamW"),
        }
    }
    let optimizer = draft.our_word("optimizer_type").to_owned();
    let known = listed(ARGUMENTS, &optimizer);
    let mut arguments: Vec<(String, String)> = Vec::new();
    match draft.tool {
        Tool::OneTrainer => of_one_trainer(draft, &optimizer, known, &mut arguments),
        _ => of_sd_scripts(draft, known, &mut arguments),
    }
    let relative = optimizer == "Adafactor" && !arguments.iter().any(|(n, v)| n == "relative_step" && is_false(v));
    if !arguments.is_empty() {
        let list: Vec<Toml> = arguments.iter().map(|(n, v)| Toml::from(format!("{n}={v}"))).collect();
        draft.state("optimizer_args", list, "from the optimizer's own arguments");
    }
    course(draft, &optimizer, relative);
}

fn of_sd_scripts(draft: &mut Draft, known: &[&str], arguments: &mut Vec<(String, String)>) {
    let names: Vec<String> = draft
        .all
        .keys()
        .filter(|n| n.starts_with("optimizer_args."))
        .cloned()
        .collect();
    for name in names {
        let argument = name.trim_start_matches("optimizer_args.").to_owned();
        let value = draft.get(&name).and_then(Value::as_str).map(str::to_owned);
        match value {
            Some(value) if known.contains(&argument.as_str()) => {
                arguments.push((argument, value));
                draft.told_of(&name);
            }
            _ if draft.get(&name).is_none_or(is_off) => {
                draft.note(Group::NoEffect, &name, "switched off or as usual");
            }
            _ => draft.note(Group::NotOffered, &name, "the optimizer has no such argument here"),
        }
    }
    if draft.all.contains_key("optimizer_args") {
        let empty = draft.get("optimizer_args").is_none_or(is_off);
        let group = if empty { Group::NoEffect } else { Group::NotOffered };
        draft.note(
            group,
            "optimizer_args",
            if empty {
                "empty"
            } else {
                "expected a list of name=value"
            },
        );
    }
}

fn of_one_trainer(draft: &mut Draft, optimizer: &str, known: &[&str], arguments: &mut Vec<(String, String)>) {
    let mut fields = Vec::new();
    for (_, argument, pair, usual) in PAIRS.iter().filter(|(of, ..)| *of == optimizer) {
        let names = pair.map(|field| format!("optimizer.{field}"));
        let given = names.iter().any(|name| draft.number(name).is_some());
        if given {
            let at = |i: usize| draft.number(&names[i]).unwrap_or(usual[i]);
            arguments.push(((*argument).to_owned(), format!("{},{}", at(0), at(1))));
        }
        for name in names
            .iter()
            .filter(|name| draft.all.contains_key(*name))
            .collect::<Vec<_>>()
        {
            draft.told_of(name);
        }
        fields.extend(pair.iter().copied().chain([*argument]));
    }
    for argument in known.iter().filter(|argument| !fields.contains(argument)) {
        let name = format!("optimizer.{argument}");
        let switch = listed(SWITCHES, optimizer).contains(argument);
        let value = match draft.get(&name) {
            Some(Value::Bool(flag)) => Some(if *flag { "True" } else { "False" }.to_owned()),
            Some(value) => number(value).map(|n| n.to_string()),
            None => switch.then(|| "False".to_owned()),
        };
        if let Some(value) = value {
            arguments.push(((*argument).to_owned(), value));
            draft.told_of(&name);
        }
    }
    let warmup = draft.number("learning_rate_warmup_steps").unwrap_or(200.0);
    if optimizer == "AdamWScheduleFree" && warmup >= 1.0 {
        arguments.push(("warmup_steps".to_owned(), format!("{}", warmup.trunc())));
    }
    let names: Vec<String> = draft
        .all
        .keys()
        .filter(|n| n.starts_with("optimizer."))
        .cloned()
        .collect();
    for name in names
        .iter()
        .filter(|name| !draft.told(name))
        .cloned()
        .collect::<Vec<_>>()
    {
        draft.note(
            Group::NoEffect,
            &name,
            "an argument of other optimizers, or how a step is computed",
        );
    }
}

/// The course of the rate: a default, and none where the optimizer has its own.
fn course(draft: &mut Draft, optimizer: &str, relative: bool) {
    if draft.tool == Tool::OneTrainer && !draft.told("learning_rate_warmup_steps") {
        let each = draft
            .number("gradient_accumulation_steps")
            .filter(|n| *n >= 1.0)
            .unwrap_or(1.0);
        draft.default("lr_warmup_steps", (200.0 / each).trunc());
    }
    if relative || optimizer == "AdamWScheduleFree" {
        let why = match relative {
            true => "Adafactor with relative_step finds its own rate",
            false => "a schedule-free optimizer has no course",
        };
        for key in [
            "lr_scheduler",
            "lr_warmup_steps",
            "lr_scheduler_num_cycles",
            "lr_scheduler_power",
        ] {
            draft.unwrite(key, why);
        }
        if relative {
            draft.unwrite("learning_rate", why);
        }
    } else if draft.ours("lr_scheduler").is_none() {
        match draft.told("lr_scheduler") || draft.told("learning_rate_scheduler") {
            true => draft.state(
                "lr_scheduler",
                "constant",
                "in the place of a course that is not offered",
            ),
            false => draft.default("lr_scheduler", "constant"),
        }
    }
    if draft.our_word("lr_scheduler") == "constant" && draft.ours("lr_warmup_steps").is_some() {
        match draft.tool {
            // Its warm-up goes before any course.
            Tool::OneTrainer => draft.state(
                "lr_scheduler",
                "constant_with_warmup",
                "constant, with the warm-up below",
            ),
            _ => draft.unwrite("lr_warmup_steps", "a constant course has no warm-up"),
        }
    }
}

fn is_false(value: &str) -> bool {
    value.eq_ignore_ascii_case("false") || value == "0"
}

fn listed(table: &'static [(&str, &[&'static str])], name: &str) -> &'static [&'static str] {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(&[], |(_, list)| *list)
}
