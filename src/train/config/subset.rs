//! What a set of pictures and its captions are drawn with: the options that sd-scripts has for each subset.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{needs, share};
use crate::train::masks::Source;

/// Options of one set of pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subset {
    /// How often each picture is in an epoch.
    pub num_repeats: usize,
    /// Every second time, by chance, a picture is mirrored, left to right.
    pub flip_aug: bool,
    /// Pictures whose captions say left or right are never mirrored.
    pub flip_aug_keeps_sides: bool,
    /// What does not fit of a picture is cut off where chance says, and not on both sides alike.
    pub random_crop: bool,
    /// Train on pictures without a caption too.
    pub allow_empty_captions: bool,
    /// Train on captions that the text encoders cut.
    pub allow_long_captions: bool,
    /// The caption of pictures that have none.
    pub class_tokens: Option<String>,
    /// Texts in which `{}` stands for the caption; one is drawn each time.
    pub caption_templates: Vec<String>,
    /// Put `trigger_phrase` before captions that do not hold it.
    pub caption_trigger: bool,
    /// Text before the caption, with a space between.
    pub caption_prefix: Option<String>,
    /// Text behind the caption, with a space between.
    pub caption_suffix: Option<String>,
    /// Share of captions replaced by the empty one, 0 to 1.
    pub caption_dropout_rate: f64,
    /// Every so many epochs all captions are empty; 0 for never.
    pub caption_dropout_every_n_epochs: u64,
    /// Share of a caption's tags that are left out, 0 to 1; never those that are kept.
    pub caption_tag_dropout_rate: f64,
    /// Tags in another order each time.
    pub shuffle_caption: bool,
    /// Tags from the start that stay where they are.
    pub keep_tokens: usize,
    /// What stands in captions between the tags that stay and the others, and behind the others before more that stay.
    pub keep_tokens_separator: Option<String>,
    /// What stands between tags.
    pub caption_separator: String,
    /// What stands between the parts of a tag that are moved together; it becomes `caption_separator`.
    pub secondary_separator: Option<String>,
    /// `{a|b}` in a caption is one of them, and of several lines one is drawn.
    pub enable_wildcard: bool,
    /// Tags, beside those kept, of the first update; each has more until `token_warmup_step`.
    pub token_warmup_min: usize,
    /// The update from which on captions are whole: a number, or below 1 a share of all.
    pub token_warmup_step: f64,
    /// Each place of a picture counts as much as it is opaque.
    pub alpha_mask: bool,
    /// The masks: a PNG for each picture, named as its file, whose red values count; relative to the configuration's own
    /// folder.
    #[serde(skip_serializing)]
    pub conditioning_data_dir: Option<PathBuf>,
}

impl Default for Subset {
    fn default() -> Self {
        Self {
            num_repeats: 1,
            flip_aug: false,
            flip_aug_keeps_sides: true,
            random_crop: false,
            allow_empty_captions: false,
            allow_long_captions: false,
            class_tokens: None,
            caption_templates: Vec::new(),
            caption_trigger: false,
            caption_prefix: None,
            caption_suffix: None,
            caption_dropout_rate: 0.0,
            caption_dropout_every_n_epochs: 0,
            caption_tag_dropout_rate: 0.0,
            shuffle_caption: false,
            keep_tokens: 0,
            keep_tokens_separator: None,
            caption_separator: ",".to_owned(),
            secondary_separator: None,
            enable_wildcard: false,
            token_warmup_min: 1,
            token_warmup_step: 0.0,
            alpha_mask: false,
            conditioning_data_dir: None,
        }
    }
}

/// Most repeats: beyond it the number of a place in an epoch has no room.
const MOST_REPEATS: usize = 1 << 20;

impl Subset {
    pub(super) fn check(&self, trigger: Option<&str>) -> Result<(), String> {
        share("caption_dropout_rate", self.caption_dropout_rate, false)?;
        share("caption_tag_dropout_rate", self.caption_tag_dropout_rate, false)?;
        if !(1..=MOST_REPEATS).contains(&self.num_repeats) {
            return Err(format!(
                "num_repeats: expected 1 to {MOST_REPEATS}, found {}",
                self.num_repeats
            ));
        }
        for (key, text) in [
            ("caption_separator", Some(&self.caption_separator)),
            ("keep_tokens_separator", self.keep_tokens_separator.as_ref()),
            ("secondary_separator", self.secondary_separator.as_ref()),
        ] {
            if text.is_some_and(String::is_empty) {
                return Err(format!(
                    "{key}: expected a text, found an empty one; hint: leave it out"
                ));
            }
        }
        let warmup = self.token_warmup_step;
        if !(warmup.is_finite() && warmup >= 0.0) || (warmup >= 1.0 && warmup.fract() != 0.0) {
            return Err(format!(
                "token_warmup_step: expected a whole number of updates, or a share of all below 1, found {warmup}"
            ));
        }
        if let Some(template) = self.caption_templates.iter().find(|t| !t.contains("{}")) {
            return Err(format!(
                "caption_templates: expected `{{}}` where the caption is to stand, found `{template}`"
            ));
        }
        let of_tags = "set shuffle_caption, caption_tag_dropout_rate or token_warmup_step";
        needs(self.keep_tokens > 0, "keep_tokens", self.divides(), of_tags)?;
        let separator = self.keep_tokens_separator.is_some();
        needs(separator, "keep_tokens_separator", self.divides(), of_tags)?;
        needs(
            !self.flip_aug_keeps_sides,
            "flip_aug_keeps_sides",
            self.flip_aug,
            "set flip_aug = true",
        )?;
        needs(
            self.token_warmup_min != 1,
            "token_warmup_min",
            warmup > 0.0,
            "set token_warmup_step",
        )?;
        needs(
            self.caption_trigger,
            "caption_trigger",
            trigger.is_some_and(|t| !t.trim().is_empty()),
            "set trigger_phrase",
        )?;
        match (self.alpha_mask, &self.conditioning_data_dir) {
            (true, Some(_)) => {
                Err("alpha_mask and conditioning_data_dir both say where masks are; hint: leave one out".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether captions are divided into tags.
    #[must_use]
    pub fn divides(&self) -> bool {
        self.shuffle_caption || self.caption_tag_dropout_rate > 0.0 || self.token_warmup_step > 0.0
    }

    /// Whether chance decides what a caption says, beyond leaving it out as a whole.
    #[must_use]
    pub fn varies(&self) -> bool {
        self.divides() || self.enable_wildcard || self.caption_templates.len() > 1
    }

    /// The options that hold words, for whoever looks what they name.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let single = [
            ("class_tokens", &self.class_tokens),
            ("caption_prefix", &self.caption_prefix),
            ("caption_suffix", &self.caption_suffix),
        ];
        let templates = self.caption_templates.iter().map(|t| ("caption_templates", t.as_str()));
        let single = single
            .into_iter()
            .filter_map(|(key, text)| Some((key, text.as_deref()?)));
        single.chain(templates)
    }

    /// Where masks come from, if they count.
    #[must_use]
    pub fn masks(&self) -> Option<Source<'_>> {
        match &self.conditioning_data_dir {
            Some(folder) => Some(Source::Folder(folder)),
            None => self.alpha_mask.then_some(Source::Alpha),
        }
    }
}
