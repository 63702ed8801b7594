//! From a graph to a plan: back from the picture that is saved to the checkpoint.

use super::classes::{KNOWN, known};
use super::graph::{Graph, sorted};
use super::inputs::{At, Walk};
use super::plan::{Canvas, Channel, Lora, Mask, Plan};
use super::{WorkflowError, shown};

const OUTPUTS: [&str; 2] = ["SaveImage", "PreviewImage"];
const MODEL_SOURCES: &str = "CheckpointLoaderSimple, LoraLoader or LoraLoaderModelOnly";
const CLIP_SOURCES: &str = "CheckpointLoaderSimple, LoraLoader or CLIPSetLastLayer";

/// Follows the graph.
pub(super) fn plan(graph: &Graph) -> Result<Plan, WorkflowError> {
    let class = |id: &str| graph.get(id).map_or("", |node| node.class.as_str());
    let unknown = |ids: Vec<&str>| -> Vec<String> {
        let unknown = ids.into_iter().filter(|id| known(class(id)).is_none());
        unknown.map(|id| graph.name(id)).collect()
    };
    let outputs: Vec<&str> = graph
        .ids()
        .into_iter()
        .filter(|id| OUTPUTS.contains(&class(id)))
        .collect();
    if outputs.is_empty() {
        let others = unknown(graph.ids());
        let others = match others.len() {
            0 => String::new(),
            _ => format!("; not known here are {}", others.join(", ")),
        };
        return Err(WorkflowError::NoOutput(others));
    }
    let needed = sorted(graph.behind(&outputs)?.into_iter());
    let strangers = unknown(needed.clone());
    if !strangers.is_empty() {
        return Err(WorkflowError::Unknown {
            nodes: strangers,
            known: KNOWN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        });
    }
    let mut plans = Vec::new();
    for id in &outputs {
        plans.push(Walk { graph }.output(id)?);
    }
    let mut plans = plans.into_iter();
    let Some(mut plan) = plans.next() else {
        return Err(WorkflowError::NoOutput(String::new()));
    };
    if let Some(at) = plans.position(|other| other != plan) {
        return Err(WorkflowError::Several(
            graph.name(outputs[0]),
            graph.name(outputs[at + 1]),
        ));
    }
    plan.notes.extend(unread(graph, &needed));
    let left: Vec<String> = graph
        .ids()
        .into_iter()
        .filter(|id| !needed.contains(id))
        .map(|id| graph.name(id))
        .collect();
    if !left.is_empty() {
        plan.notes.push(format!(
            "left out, as the picture does not need them: {}",
            left.join(", ")
        ));
    }
    Ok(plan)
}

/// How a sampler of that name is another one here.
fn caveat(sampler: &str) -> Option<&'static str> {
    match sampler {
        "dpmpp_sde" | "dpmpp_sde_gpu" | "dpmpp_2m_sde" | "dpmpp_2m_sde_gpu" => {
            Some("the noise of its steps is drawn from one tree of random numbers in ComfyUI, step by step here")
        }
        "uni_pc" | "uni_pc_bh2" => Some("UniPC is of the third order in ComfyUI, of the second here"),
        "lcm" => Some("LCM keeps the condition at its boundary here, as in diffusers"),
        _ => None,
    }
}

/// Inputs that nobody reads.
fn unread(graph: &Graph, needed: &[&str]) -> Vec<String> {
    let mut notes = Vec::new();
    for id in needed {
        let Some(node) = graph.get(id) else { continue };
        let Some(read) = known(&node.class) else { continue };
        let unread = node.inputs.keys().filter(|name| !read.contains(&name.as_str()));
        // A file name's beginning stands in every workflow; where the picture goes is said on the command line.
        let unread: Vec<String> = unread
            .filter(|name| *name != "filename_prefix")
            .map(|name| shown(name))
            .collect();
        if !unread.is_empty() {
            notes.push(format!("{}: no effect has {}", graph.name(id), unread.join(", ")));
        }
    }
    notes
}

/// Nodes of adapters with a strength of each, the last one first.
type Strengths<'a> = Vec<(&'a str, f64)>;

/// Where a VAE is.
#[derive(PartialEq)]
enum Vae {
    /// In the checkpoint.
    Checkpoint(String),
    /// In a file of its own.
    File(String),
}

/// What is found of the text encoder behind a prompt.
#[derive(PartialEq)]
struct Clip<'a> {
    checkpoint: String,
    loras: Strengths<'a>,
    skip: Option<usize>,
}

impl<'a> Walk<'a> {
    fn output(&self, id: &'a str) -> Result<Plan, WorkflowError> {
        let mut notes = Vec::new();
        let save = self.node(id, 0)?;
        let decode = self.from(
            save,
            "images",
            "VAEDecode or VAEDecodeTiled",
            &[("VAEDecode", 0), ("VAEDecodeTiled", 0)],
        )?;
        let vae_tile = match decode.node.class.as_str() {
            "VAEDecodeTiled" if self.has(decode, "tile_size") => Some(self.whole(decode, "tile_size", 64, 8192)?),
            "VAEDecodeTiled" => Some(512),
            _ => None,
        };
        let vae = self.vae(decode)?;
        let sampler = self.from(
            decode,
            "samples",
            "KSampler or KSamplerAdvanced",
            &[("KSampler", 0), ("KSamplerAdvanced", 0)],
        )?;
        let advanced = sampler.node.class == "KSamplerAdvanced";
        let steps = self.whole(sampler, "steps", 1, 10_000)?;
        let denoise = if advanced {
            self.one_run(sampler, steps)?;
            1.0
        } else {
            self.number(sampler, "denoise", "a number above 0 and up to 1", |v| {
                v > 0.0 && v <= 1.0
            })?
        };
        let (checkpoint, model) = self.model(sampler)?;
        let positive = self.from(sampler, "positive", "CLIPTextEncode", &[("CLIPTextEncode", 0)])?;
        let negative = self.from(
            sampler,
            "negative",
            "CLIPTextEncode or ConditioningZeroOut",
            &[("CLIPTextEncode", 0), ("ConditioningZeroOut", 0)],
        )?;
        let (prompt, clip) = (self.text(positive, "text")?, self.clip(positive)?);
        let negative = if negative.node.class == "ConditioningZeroOut" {
            None
        } else {
            if self.clip(negative)? != clip {
                return Err(WorkflowError::Unfit(format!(
                    "{} and {} have different text encoders; expected one model for both",
                    self.graph.name(positive.id),
                    self.graph.name(negative.id)
                )));
            }
            Some(self.text(negative, "text")?)
        };
        let sampler_name = self.text(sampler, "sampler_name")?;
        if let Some(how) = caveat(&sampler_name) {
            notes.push(format!(
                "{}: {how}; the picture is not ComfyUI's",
                self.graph.name(sampler.id)
            ));
        }
        let (canvas, source) = self.canvas(sampler, denoise, &mut notes)?;
        if source.is_some_and(|source| source != vae) {
            let message = "the picture is encoded by one VAE and decoded by another; expected one for both";
            return Err(WorkflowError::Unfit(message.to_owned()));
        }
        let (own, vae) = match vae {
            Vae::Checkpoint(name) => (Some(name), None),
            Vae::File(name) => (None, Some(name)),
        };
        if let Some(other) = [Some(&clip.checkpoint), own.as_ref()]
            .into_iter()
            .flatten()
            .find(|name| **name != checkpoint)
        {
            return Err(WorkflowError::Unfit(format!(
                "the picture is made of two checkpoints, `{}` and `{}`; expected one for model, text and VAE",
                shown(&checkpoint),
                shown(other)
            )));
        }
        let seed = self.seed(sampler, if advanced { "noise_seed" } else { "seed" })?;
        Ok(Plan {
            checkpoint,
            vae,
            loras: self.loras(&model, &clip.loras)?,
            prompt,
            negative,
            clip_skip: clip.skip,
            seed,
            steps,
            cfg: self.number(sampler, "cfg", "a number", f64::is_finite)?,
            sampler: sampler_name,
            scheduler: self.text(sampler, "scheduler")?,
            denoise,
            canvas,
            vae_tile,
            notes,
        })
    }

    /// A `KSamplerAdvanced` that does what a `KSampler` does: all steps, from noise of its own to none.
    fn one_run(&self, at: At<'a>, steps: usize) -> Result<(), WorkflowError> {
        let [start, end] = ["start_at_step", "end_at_step"].map(|name| self.whole(at, name, 0, usize::MAX));
        let bad = |input, expected, found: String| WorkflowError::Value {
            node: self.graph.name(at.id),
            input,
            expected,
            found,
        };
        let noise = self.text(at, "add_noise")?;
        if noise != "enable" {
            return Err(bad("add_noise", "enable", shown(&noise)));
        }
        match (start?, end?) {
            (0, end) if end >= steps => Ok(()),
            (0, end) => Err(bad(
                "end_at_step",
                "all steps: a run in parts is not known here",
                end.to_string(),
            )),
            (start, _) => Err(bad(
                "start_at_step",
                "0: a run in parts is not known here",
                start.to_string(),
            )),
        }
    }

    /// The checkpoint, and the adapters with their strengths, the last one first.
    fn model(&self, sampler: At<'a>) -> Result<(String, Strengths<'a>), WorkflowError> {
        let fit = [
            ("CheckpointLoaderSimple", 0),
            ("LoraLoader", 0),
            ("LoraLoaderModelOnly", 0),
        ];
        let mut loras = Vec::new();
        let mut at = self.from(sampler, "model", MODEL_SOURCES, &fit)?;
        while at.node.class != "CheckpointLoaderSimple" {
            loras.push((at.id, self.strength(at, "strength_model")?));
            at = self.from(at, "model", MODEL_SOURCES, &fit)?;
        }
        Ok((self.text(at, "ckpt_name")?, loras))
    }

    fn clip(&self, prompt: At<'a>) -> Result<Clip<'a>, WorkflowError> {
        let fit = [
            ("CheckpointLoaderSimple", 1),
            ("LoraLoader", 1),
            ("CLIPSetLastLayer", 0),
        ];
        let (mut loras, mut skip) = (Vec::new(), None);
        let mut at = self.from(prompt, "clip", CLIP_SOURCES, &fit)?;
        while at.node.class != "CheckpointLoaderSimple" {
            if at.node.class == "LoraLoader" {
                loras.push((at.id, self.strength(at, "strength_clip")?));
            } else {
                let layer = self.number(at, "stop_at_clip_layer", "a whole number from -24 to -1", |v| {
                    v.fract() == 0.0 && (-24.0..=-1.0).contains(&v)
                })?;
                // The one nearest to the prompt decides.
                skip = skip.or(Some(-layer as usize));
            }
            at = self.from(at, "clip", CLIP_SOURCES, &fit)?;
        }
        let checkpoint = self.text(at, "ckpt_name")?;
        Ok(Clip {
            checkpoint,
            loras,
            skip,
        })
    }

    /// The adapters in the order in which they are put on, without those of no strength.
    fn loras(&self, model: &[(&'a str, f64)], clip: &[(&'a str, f64)]) -> Result<Vec<Lora>, WorkflowError> {
        let more = clip
            .iter()
            .filter(|(id, _)| !model.iter().any(|(known, _)| known == id));
        let ids = model.iter().chain(more).map(|(id, _)| *id).rev();
        let strength =
            |list: &[(&str, f64)], id| list.iter().find(|(known, _)| *known == id).map_or(0.0, |found| found.1);
        let mut loras = Vec::new();
        for id in ids.collect::<Vec<_>>() {
            let lora = Lora {
                name: self.text(self.node(id, 0)?, "lora_name")?,
                model: strength(model, id),
                clip: strength(clip, id),
            };
            if lora.model != 0.0 || lora.clip != 0.0 {
                loras.push(lora);
            }
        }
        Ok(loras)
    }

    fn vae(&self, at: At<'a>) -> Result<Vae, WorkflowError> {
        let fit = [("CheckpointLoaderSimple", 2), ("VAELoader", 0)];
        let loader = self.from(at, "vae", "CheckpointLoaderSimple or VAELoader", &fit)?;
        Ok(match loader.node.class.as_str() {
            "VAELoader" => Vae::File(self.text(loader, "vae_name")?),
            _ => Vae::Checkpoint(self.text(loader, "ckpt_name")?),
        })
    }

    /// What is drawn on, and the VAE that encodes it.
    fn canvas(
        &self,
        sampler: At<'a>,
        denoise: f64,
        notes: &mut Vec<String>,
    ) -> Result<(Canvas, Option<Vae>), WorkflowError> {
        const SOURCES: &str = "EmptyLatentImage, VAEEncode, VAEEncodeForInpaint or SetLatentNoiseMask";
        let encoders = [("VAEEncode", 0), ("VAEEncodeForInpaint", 0)];
        let all = [&[("EmptyLatentImage", 0), ("SetLatentNoiseMask", 0)][..], &encoders].concat();
        let mut at = self.from(sampler, "latent_image", SOURCES, &all)?;
        if at.node.class == "EmptyLatentImage" {
            if denoise < 1.0 {
                return Err(WorkflowError::Value {
                    node: self.graph.name(sampler.id),
                    input: "denoise",
                    expected: "1 where it draws on an empty latent",
                    found: denoise.to_string(),
                });
            }
            let count = self.whole(at, "batch_size", 1, 4096)?;
            if count > 1 {
                notes.push(format!(
                    "{}: of {count} pictures only the first is ComfyUI's; the next ones have seeds that count on",
                    self.graph.name(at.id)
                ));
            }
            let [width, height] = ["width", "height"].map(|side| self.whole(at, side, 1, 16_384));
            let (width, height) = (width?, height?);
            return Ok((Canvas::Empty { width, height, count }, None));
        }
        let masks = at;
        let mut mask = None;
        if at.node.class == "SetLatentNoiseMask" {
            mask = Some(self.mask(at, 1)?);
            at = self.from(at, "samples", "VAEEncode", &encoders[..1])?;
        } else if at.node.class == "VAEEncodeForInpaint" {
            let grow = match self.has(at, "grow_mask_by") {
                true => self.whole(at, "grow_mask_by", 0, 64)?,
                false => 6,
            };
            mask = Some(self.mask(at, grow)?);
        }
        if mask.is_some() {
            let node = self.graph.name(masks.id);
            notes.push(format!("{node}: the mask's edge is hard here, in ComfyUI it is soft"));
        }
        let pixels = self.from(at, "pixels", "LoadImage", &[("LoadImage", 0)])?;
        let image = self.text(pixels, "image")?;
        Ok((Canvas::Picture { image, mask }, Some(self.vae(at)?)))
    }

    fn mask(&self, at: At<'a>, grow: usize) -> Result<Mask, WorkflowError> {
        let from = self.from(
            at,
            "mask",
            "LoadImage or LoadImageMask",
            &[("LoadImage", 1), ("LoadImageMask", 0)],
        )?;
        let image = self.text(from, "image")?;
        let channel = match from.node.class.as_str() {
            "LoadImage" => Channel::Alpha,
            _ => match self.text(from, "channel")?.as_str() {
                "alpha" => Channel::Alpha,
                "red" => Channel::Red,
                "green" => Channel::Green,
                "blue" => Channel::Blue,
                other => {
                    return Err(WorkflowError::Value {
                        node: self.graph.name(from.id),
                        input: "channel",
                        expected: "alpha, red, green or blue",
                        found: shown(other),
                    });
                }
            },
        };
        Ok(Mask { image, channel, grow })
    }
}
