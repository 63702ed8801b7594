//! The configurations of a single file's parts, from the shapes of its tensors.
//!
//! Shapes tell everything but the numbers of heads and of groups: these are the published models', so a model that
//! divides otherwise has to come with its configuration.

use super::{CLIP_1, CLIP_XL, OPEN_CLIP_2, OPEN_CLIP_XL, UNET, VAE};
use crate::model::base::Family;
use crate::model::config::{PerBlock, TextConfig, UNetConfig, VaeConfig};
use crate::model::weights::Checkpoint;

/// Groups of every norm.
const GROUPS: usize = 32;
/// Width of a head, but for Stable Diffusion 1's U-Net.
const HEAD: usize = 64;
/// Heads of Stable Diffusion 1's U-Net, on every level.
const HEADS_SD1: usize = 8;
/// Most levels, layers or blocks that are counted.
const MOST: usize = 256;

fn shape<'a>(checkpoint: &'a Checkpoint, key: &str) -> Result<&'a [usize], String> {
    checkpoint.shape(key).ok_or_else(|| format!("it has no `{key}`"))
}

fn dim(checkpoint: &Checkpoint, key: &str, i: usize) -> Result<usize, String> {
    let shape = shape(checkpoint, key)?;
    shape
        .get(i)
        .copied()
        .ok_or_else(|| format!("`{key}` has shape {shape:?}, expected more dimensions"))
}

/// How many keys there are in a row: `key(0)`, `key(1)`, …
fn count(checkpoint: &Checkpoint, key: impl Fn(usize) -> String) -> usize {
    (0..MOST).take_while(|&i| checkpoint.shape(&key(i)).is_some()).count()
}

fn uncommon(what: &str, widths: &[usize]) -> String {
    format!(
        "its {what} is {widths:?} wide, which no published model is, so that its heads and groups are not known; hint: \
         name a folder with its configurations by --base-config"
    )
}

pub(super) fn unet(c: &Checkpoint, family: Family) -> Result<UNetConfig, String> {
    let input = |place: usize, rest: &str| format!("{UNET}input_blocks.{place}.{rest}");
    let levels = count(c, |level| input(1 + 3 * level, "0.in_layers.2.weight"));
    let channels = (0..levels)
        .map(|level| dim(c, &input(1 + 3 * level, "0.in_layers.2.weight"), 0))
        .collect::<Result<Vec<_>, _>>()?;
    let head = if family == Family::Sd1 { HEADS_SD1 } else { HEAD };
    if levels == 0 || channels.iter().any(|&n| n == 0 || n % GROUPS != 0 || n % head != 0) {
        return Err(uncommon("U-Net", &channels));
    }
    let block = |level: usize, i: usize| input(1 + 3 * level, &format!("1.transformer_blocks.{i}.attn2.to_k.weight"));
    let depths: Vec<usize> = (0..levels).map(|level| count(c, |i| block(level, i))).collect();
    let attends = |level: usize| depths[level] > 0;
    let deepest = (0..levels)
        .rfind(|&level| attends(level))
        .ok_or("its U-Net does not attend to a text")?;
    let proj_in = shape(c, &input(1 + 3 * deepest, "1.proj_in.weight"))?;
    let named = |level: usize, with: &str, without: &str| if attends(level) { with } else { without }.to_owned();
    let mut config = UNetConfig {
        sample_size: if family == Family::Xl { 128 } else { 64 },
        in_channels: dim(c, &input(0, "0.weight"), 1)?,
        out_channels: dim(c, &format!("{UNET}out.2.weight"), 0)?,
        down_block_types: (0..levels)
            .map(|level| named(level, "CrossAttnDownBlock2D", "DownBlock2D"))
            .collect(),
        up_block_types: (0..levels)
            .rev()
            .map(|level| named(level, "CrossAttnUpBlock2D", "UpBlock2D"))
            .collect(),
        cross_attention_dim: dim(c, &block(deepest, 0), 1)?,
        attention_head_dim: match family {
            Family::Sd1 => PerBlock::One(HEADS_SD1),
            _ => PerBlock::Each(channels.iter().map(|n| n / HEAD).collect()),
        },
        transformer_layers_per_block: PerBlock::Each(depths.iter().map(|&n| n.max(1)).collect()),
        use_linear_projection: proj_in.len() == 2,
        block_out_channels: channels,
        norm_num_groups: GROUPS,
        ..UNetConfig::default()
    };
    if family == Family::Xl {
        let added = dim(c, &format!("{UNET}label_emb.0.0.weight"), 1)?;
        let pooled = dim(c, &format!("{OPEN_CLIP_XL}text_projection"), 1)?;
        let ids = added.checked_sub(pooled).filter(|ids| ids % 6 == 0);
        let ids =
            ids.ok_or_else(|| format!("its added embedding takes {added}, expected {pooled} and six time ids"))?;
        config.addition_embed_type = Some("text_time".to_owned());
        config.addition_time_embed_dim = Some(ids / 6);
        config.projection_class_embeddings_input_dim = Some(added);
    }
    Ok(config)
}

pub(super) fn vae(c: &Checkpoint, family: Family) -> Result<VaeConfig, String> {
    let block = |level: usize, i: usize| format!("{VAE}encoder.down.{level}.block.{i}.conv1.weight");
    let levels = count(c, |level| block(level, 0));
    let channels = (0..levels)
        .map(|level| dim(c, &block(level, 0), 0))
        .collect::<Result<Vec<_>, _>>()?;
    if levels == 0 || channels.iter().any(|&n| n == 0 || n % GROUPS != 0) {
        return Err(uncommon("VAE", &channels));
    }
    Ok(VaeConfig {
        in_channels: dim(c, &format!("{VAE}encoder.conv_in.weight"), 1)?,
        out_channels: dim(c, &format!("{VAE}decoder.conv_out.weight"), 0)?,
        down_block_types: vec!["DownEncoderBlock2D".to_owned(); levels],
        up_block_types: vec!["UpDecoderBlock2D".to_owned(); levels],
        block_out_channels: channels,
        layers_per_block: count(c, |i| block(0, i)),
        latent_channels: dim(c, &format!("{VAE}decoder.conv_in.weight"), 1)?,
        norm_num_groups: GROUPS,
        sample_size: if family == Family::Xl { 1024 } else { 512 },
        scaling_factor: if family == Family::Xl { 0.13025 } else { 0.18215 },
        ..VaeConfig::default()
    })
}

pub(super) fn texts(c: &Checkpoint, family: Family) -> Result<Vec<TextConfig>, String> {
    match family {
        Family::Sd1 => Ok(vec![clip(c, CLIP_1)?]),
        Family::Sd2 => {
            let mut config = open_clip(c, OPEN_CLIP_2)?;
            config.num_hidden_layers = config.num_hidden_layers.saturating_sub(1);
            Ok(vec![config])
        }
        Family::Xl => {
            let mut second = open_clip(c, OPEN_CLIP_XL)?;
            second.architectures = vec!["CLIPTextModelWithProjection".to_owned()];
            second.projection_dim = dim(c, &format!("{OPEN_CLIP_XL}text_projection"), 1)?;
            Ok(vec![clip(c, CLIP_XL)?, second])
        }
    }
}

/// A text encoder of transformers' layout, with or without `text_model.`: CLIP-L.
fn clip(c: &Checkpoint, prefix: &str) -> Result<TextConfig, String> {
    let nested = format!("{prefix}text_model.");
    let root = if c.has_prefix(&nested) {
        nested
    } else {
        prefix.to_owned()
    };
    let layer = |i: usize| format!("{root}encoder.layers.{i}.mlp.fc1.weight");
    text(
        c,
        [
            format!("{root}embeddings.token_embedding.weight"),
            format!("{root}embeddings.position_embedding.weight"),
            layer(0),
        ],
        count(c, layer),
        "quick_gelu",
    )
}

fn open_clip(c: &Checkpoint, prefix: &str) -> Result<TextConfig, String> {
    let layer = |i: usize| format!("{prefix}transformer.resblocks.{i}.mlp.c_fc.weight");
    text(
        c,
        [
            format!("{prefix}token_embedding.weight"),
            format!("{prefix}positional_embedding"),
            layer(0),
        ],
        count(c, layer),
        "gelu",
    )
}

fn text(
    c: &Checkpoint,
    [tokens, positions, fc1]: [String; 3],
    layers: usize,
    activation: &str,
) -> Result<TextConfig, String> {
    let width = dim(c, &tokens, 1)?;
    if width == 0 || width % HEAD != 0 {
        return Err(uncommon("text encoder", &[width]));
    }
    Ok(TextConfig {
        hidden_size: width,
        intermediate_size: dim(c, &fc1, 0)?,
        num_hidden_layers: layers,
        num_attention_heads: width / HEAD,
        hidden_act: activation.to_owned(),
        projection_dim: width,
        vocab_size: dim(c, &tokens, 0)?,
        max_position_embeddings: dim(c, &positions, 0)?,
        bos_token_id: 49406,
        eos_token_id: 49407,
        ..TextConfig::default()
    })
}
