//! `assent train --replay RUN`: a recorded run once more, and whether it gives the same.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::train::{Args, Job, train};
use super::{Context, Exit, Style, recorded};
use crate::receipt::RunInputs;
use crate::train::forecast::check_folder;

/// One thing that was compared.
#[derive(Serialize)]
struct Line {
    name: String,
    recorded: String,
    found: String,
    equal: bool,
}

impl Line {
    fn new(name: &str, recorded: impl ToString, found: impl ToString) -> Self {
        let (recorded, found) = (recorded.to_string(), found.to_string());
        Line {
            name: name.to_owned(),
            equal: recorded == found,
            recorded,
            found,
        }
    }
}

/// Repeats the run; findings when it gives other weights.
pub(super) fn run(context: &Context, args: &Args, named: &Path) -> Result<Exit> {
    let registry = context.open_registry()?;
    let recorded = recorded::find(&registry, named)?;
    let (mut config, _) = recorded::configuration(&recorded, args.config.as_deref(), args.base.as_deref())?;
    let scratch = tempfile::tempdir().context("cannot make a folder for the replay")?;
    let out = args.out.clone().unwrap_or_else(|| scratch.path().to_owned());
    check_folder(&out, false)?;
    // What only serves those who watch.
    config.run.sample_every_n_steps = 0;
    config.run.save_every_n_steps = 0;
    config.run.logging_dir = None;
    let job = Job {
        config: &config,
        digest: recorded.record.inputs.config,
        out: &out,
        device: &args.device,
        key: None,
        supersedes: None,
        resume: false,
        dry_run: args.dry_run,
        ignore_memory: args.ignore_memory,
    };
    let begin = || fs::create_dir_all(&out).with_context(|| format!("cannot make `{}`", out.display()));
    let Some(trained) = train(context, &registry, &job, &begin)? else {
        return Ok(Exit::Findings);
    };
    if args.dry_run {
        return Ok(Exit::Done);
    }
    let Some(product) = trained.product else {
        bail!("the replay was stopped before its end, so that there is nothing to compare");
    };
    let (then, now) = (&recorded.record, &product.record);
    let mut lines = inputs(&then.inputs, &now.inputs);
    let metrics = metrics(&recorded.folder, &out)?;
    lines.push(Line::new("kept step", then.steps, now.steps));
    let mut weights = vec![Line::new("tensors", then.adapter.tensors, now.adapter.tensors)];
    if let (Some(then), Some(now)) = (&then.last, &now.last) {
        weights.push(Line::new("last tensors", then.tensors, now.tensors));
    }
    let equal = weights.iter().all(|line| line.equal) && !matches!(metrics, Metrics::Differ(_));
    lines.extend(weights);
    show(context, &lines, &metrics, equal)?;
    Ok(if equal { Exit::Done } else { Exit::Findings })
}

/// What determines the weights, then and now.
fn inputs(then: &RunInputs, now: &RunInputs) -> Vec<Line> {
    let mut lines = vec![
        Line::new("base", then.base.digest, now.base.digest),
        Line::new("configuration", then.config, now.config),
        Line::new("seed", then.seed, now.seed),
        Line::new("program", &then.program, &now.program),
    ];
    for (at, (then, now)) in then.sets().iter().zip(now.sets()).enumerate() {
        let name = |what: &str| match at {
            0 => what.to_owned(),
            _ => format!("{what} {}", at + 1),
        };
        lines.push(Line::new(&name("snapshot"), then.snapshot.root, now.snapshot.root));
        lines.push(Line::new(&name("policy"), then.policy.digest, now.policy.digest));
    }
    for (what, then, now) in [
        ("version", &then.versions, &now.versions),
        ("setting", &then.settings, &now.settings),
    ] {
        let mut names: Vec<&String> = then.keys().chain(now.keys()).collect();
        names.sort();
        names.dedup();
        let value = |of: &std::collections::BTreeMap<String, String>, name| of.get(name).cloned().unwrap_or_default();
        let compared = names
            .into_iter()
            .map(|name| Line::new(&format!("{what} {name}"), value(then, name), value(now, name)));
        // There are many settings, and the configuration's digest covers them.
        lines.extend(compared.filter(|line| what == "version" || !line.equal));
    }
    lines
}

/// The metrics of two runs, line by line.
enum Metrics {
    /// The old ones are not there.
    Gone,
    /// As many lines, all the same.
    Equal(usize),
    /// The first line that differs: `step`, `event`, and `value` then and now.
    Differ(Value),
}

fn metrics(then: &Path, now: &Path) -> Result<Metrics> {
    let file = then.join("metrics.jsonl");
    if !file.is_file() {
        return Ok(Metrics::Gone);
    }
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()));
    let (then, now) = (read(&file)?, read(&now.join("metrics.jsonl"))?);
    let parsed = |line: Option<&str>| line.map(|line| serde_json::from_str::<Value>(line).unwrap_or_default());
    let (mut then, mut now, mut same) = (then.lines(), now.lines(), 0);
    loop {
        let (was, is) = (parsed(then.next()), parsed(now.next()));
        match (was, is) {
            (None, None) => return Ok(Metrics::Equal(same)),
            (was, is) if was == is => same += 1,
            (was, is) => {
                let (was, is) = (was.unwrap_or_default(), is.unwrap_or_default());
                let either = |key: &str| was.get(key).or(is.get(key)).cloned().unwrap_or_default();
                let value = [
                    "loss",
                    "lr",
                    "grad_norm",
                    "weight_norm",
                    "update_norm",
                    "weights",
                    "updates",
                ]
                .into_iter()
                .find(|key| was.get(key) != is.get(key))
                .unwrap_or("event");
                return Ok(Metrics::Differ(json!({
                    "step": either("step"),
                    "event": either("event"),
                    "value": value,
                    "recorded": was.get(value),
                    "found": is.get(value),
                })));
            }
        }
    }
}

fn show(context: &Context, lines: &[Line], metrics: &Metrics, equal: bool) -> Result<()> {
    let verdict = if equal { "equal" } else { "differs" };
    if context.json {
        let (compared, first) = match metrics {
            Metrics::Gone => (None, None),
            Metrics::Equal(lines) => (Some(*lines), None),
            Metrics::Differ(first) => (None, Some(first)),
        };
        return context.json_line(&json!({
            "event": "replay",
            "verdict": verdict,
            "compared": lines,
            "metrics": { "equal_lines": compared, "first_difference": first },
        }));
    }
    let word = |equal: bool| match equal {
        true => context.paint(Style::Good, "equal  "),
        false => context.paint(Style::Bad, "differs"),
    };
    for line in lines {
        let values = match line.equal {
            true => line.found.clone(),
            false => format!("recorded {}, found {}", line.recorded, line.found),
        };
        context.line(format_args!("{:<16}  {}  {values}", line.name, word(line.equal)))?;
    }
    match metrics {
        Metrics::Gone => context.message("the run's metrics.jsonl is not there, so that steps are not compared"),
        Metrics::Equal(lines) => {
            context.line(format_args!("{:<16}  {}  {lines} lines", "metrics", word(true)))?;
        }
        Metrics::Differ(first) => context.line(format_args!(
            "{:<16}  {}  first at step {}: {} {} recorded, {} found",
            "metrics",
            word(false),
            first["step"],
            first["value"].as_str().unwrap_or_default(),
            first["recorded"],
            first["found"]
        ))?,
    }
    context.line(match equal {
        true => "equal: the run gives the same weights again",
        false => "differs: the run gives other weights",
    })
}
