//! What a caption says when it is drawn: templates, words before and behind it, wildcards, tags in another order or left
//! out. The order of what is done, and what each option does, are those of sd-scripts.

use crate::model::weights::Draws;
use crate::train::config::Subset;

/// When a caption is drawn, and what decides it.
pub struct Moment<'a> {
    /// Random numbers of this micro-batch alone.
    pub draws: &'a mut Draws,
    /// Updates before this one.
    pub step: u64,
    /// All updates.
    pub total: u64,
}

/// Whether all captions of an epoch are empty; the first epoch is the first, not the zeroth.
#[must_use]
pub fn silent(subset: &Subset, epoch: u64) -> bool {
    let every = subset.caption_dropout_every_n_epochs;
    every > 0 && (epoch + 1).is_multiple_of(every)
}

/// The caption as it is trained on at a moment; without one as it is measured: whole, in its order, the first of what
/// could be drawn. `[trigger]` in it, or in a template, stands for the trigger phrase.
#[must_use]
pub fn caption(subset: &Subset, trigger: Option<&str>, text: &str, mut moment: Option<Moment<'_>>) -> String {
    let mut below = |n: usize| moment.as_mut().map_or(0, |m| m.draws.below(n));
    let mut text = match subset.caption_templates.as_slice() {
        [] => text.to_owned(),
        [one] => one.replace("{}", text),
        several => several[below(several.len())].replace("{}", text),
    };
    if let Some(trigger) = trigger.map(str::trim).filter(|t| !t.is_empty()) {
        text = text.replace("[trigger]", trigger);
        if subset.caption_trigger && !text.contains(trigger) {
            text = format!("{trigger}{} {text}", subset.caption_separator);
        }
    }
    if let Some(prefix) = &subset.caption_prefix {
        text = format!("{prefix} {text}");
    }
    if let Some(suffix) = &subset.caption_suffix {
        text = format!("{text} {suffix}");
    }
    if subset.enable_wildcard {
        text = wildcards(&text, &mut below);
    }
    if subset.divides() {
        text = tags(subset, &text, moment);
    }
    match &subset.secondary_separator {
        Some(secondary) => text.replace(secondary, &subset.caption_separator),
        None => text,
    }
}

/// One of the lines, with one of each `{a|b}`; `{{` and `}}` stand for the braces themselves.
fn wildcards(text: &str, below: &mut dyn FnMut(usize) -> usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut rest = match lines.as_slice() {
        [] => return String::new(),
        [one] => one,
        several => several[below(several.len())],
    };
    let mut out = String::with_capacity(rest.len());
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let choice = tail[1..].find('}').map(|end| (&tail[1..=end], &tail[end + 2..]));
        rest = match (tail.as_bytes(), choice) {
            ([b'{', b'{', ..] | [b'}', b'}', ..], _) => {
                out.push_str(&tail[..1]);
                &tail[2..]
            }
            ([b'{', ..], Some((choices, after))) if !choices.is_empty() => {
                let choices: Vec<&str> = choices.split('|').collect();
                out.push_str(choices[below(choices.len())]);
                after
            }
            _ => {
                out.push_str(&tail[..1]);
                &tail[1..]
            }
        };
    }
    out.push_str(rest);
    out
}

/// The tags that stay, the others as they were drawn, and those that stay behind them; between them stands a comma.
fn tags(subset: &Subset, text: &str, moment: Option<Moment<'_>>) -> String {
    let divide = |text: &str| -> Vec<String> {
        let parts = text.split(subset.caption_separator.as_str()).map(str::trim);
        parts.filter(|t| !t.is_empty()).map(str::to_owned).collect()
    };
    let parted = subset
        .keep_tokens_separator
        .as_ref()
        .and_then(|s| text.split_once(s.as_str()));
    let (mut all, mut flexible, last) = match (parted, &subset.keep_tokens_separator) {
        (Some((first, rest)), Some(separator)) => {
            let (middle, last) = rest.split_once(separator.as_str()).unwrap_or((rest, ""));
            (divide(first), divide(middle), divide(last))
        }
        _ => {
            let mut first = divide(text);
            let flexible = first.split_off(subset.keep_tokens.min(first.len()));
            (first, flexible, Vec::new())
        }
    };
    if let Some(Moment { draws, step, total, .. }) = moment {
        flexible.truncate(warmed_up(subset, flexible.len(), (step, total)));
        if subset.shuffle_caption {
            draws.shuffle(&mut flexible);
        }
        if subset.caption_tag_dropout_rate > 0.0 {
            flexible.retain(|_| draws.uniform() >= subset.caption_tag_dropout_rate);
        }
    }
    all.extend(flexible);
    all.extend(last);
    all.join(", ")
}

/// How many of so many tags there are at an update.
fn warmed_up(subset: &Subset, tags: usize, (step, total): (u64, u64)) -> usize {
    let until = match subset.token_warmup_step {
        share if share < 1.0 => (share * total as f64).floor(),
        steps => steps,
    };
    if step as f64 >= until {
        return tags;
    }
    let least = subset.token_warmup_min as f64;
    let count = (step as f64 * ((tags as f64 - least) / until)).floor() + least;
    (count.max(0.0) as usize).min(tags)
}

/// Whether a caption says which side something is on, so that its picture turned round would be wrong.
#[must_use]
pub fn names_a_side(caption: &str) -> bool {
    let mut words = caption.split(|c: char| !c.is_alphanumeric());
    words.any(|word| {
        let word = word.to_ascii_lowercase();
        ["left", "right"].iter().any(|side| {
            word.strip_prefix(side)
                .is_some_and(|rest| matches!(rest, "" | "s" | "hand" | "handed" | "most" | "ward" | "wards" | "side"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subset(options: &str) -> Subset {
        toml::from_str(options).unwrap()
    }

    fn drawn(options: &str, text: &str, seed: u64, step: u64) -> String {
        let mut draws = Draws::new(seed, "captions");
        let moment = Moment {
            draws: &mut draws,
            step,
            total: 100,
        };
        caption(&subset(options), Some("night rings"), text, Some(moment))
    }

    #[test]
    fn options_without_chance_do_what_they_say() {
        for (options, text, expected) in [
            ("", "a boat,  by the sea", "a boat,  by the sea"),
            (
                "caption_prefix = 'night'\ncaption_suffix = 'ink'",
                "a boat",
                "night a boat ink",
            ),
            (
                "caption_templates = ['a drawing of {}']",
                "a boat",
                "a drawing of a boat",
            ),
            ("caption_trigger = true", "a boat", "night rings, a boat"),
            ("caption_trigger = true", "a boat, night rings", "a boat, night rings"),
            ("", "[trigger] with a boat", "night rings with a boat"),
            ("secondary_separator = ';;;'", "a, red;;;blue", "a, red,blue"),
            ("shuffle_caption = true\nkeep_tokens = 9", "a, b ,,c", "a, b, c"),
            (
                "shuffle_caption = true\nkeep_tokens_separator = '|||'",
                "a, b ||| c ||| d",
                "a, b, c, d",
            ),
            ("caption_tag_dropout_rate = 1.0\nkeep_tokens = 1", "a, b, c", "a"),
            (
                "caption_tag_dropout_rate = 1.0\nkeep_tokens_separator = '|||'",
                "a|||b|||c",
                "a, c",
            ),
            (
                "shuffle_caption = true\ncaption_separator = ';'\nkeep_tokens = 2",
                "a, b; c",
                "a, b, c",
            ),
        ] {
            assert_eq!(drawn(options, text, 1, 0), expected, "{options}");
        }
    }

    #[test]
    fn tags_are_shuffled_and_left_out_by_chance_alone() {
        let orders: std::collections::BTreeSet<String> = (0..60)
            .map(|seed| drawn("shuffle_caption = true\nkeep_tokens = 1", "a, b, c, d", seed, 0))
            .collect();
        assert_eq!(orders.len(), 6, "{orders:?}");
        assert!(orders.iter().all(|o| o.starts_with("a, ")));
        let options = "caption_tag_dropout_rate = 0.25";
        let kept: usize = (0..400)
            .map(|seed| drawn(options, "a, b, c, d", seed, 0).split(", ").count())
            .sum();
        assert!((1120..1280).contains(&kept), "{kept} of 1600");
        assert_eq!(drawn(options, "a, b, c, d", 3, 0), drawn(options, "a, b, c, d", 3, 0));
        assert_eq!(caption(&subset(options), None, "a, b, c, d", None), "a, b, c, d");
    }

    #[test]
    fn captions_grow_until_they_are_whole() {
        let options = "token_warmup_step = 0.4\ntoken_warmup_min = 1\nkeep_tokens = 1";
        let count = |step| drawn(options, "k, a, b, c, d, e", 1, step).split(", ").count();
        // floor(step · (5 − 1) / 40) + 1 tags beside the one that is kept.
        assert_eq!([0, 9, 10, 20, 39, 40, 99].map(count), [2, 2, 3, 4, 5, 6, 6]);
    }

    #[test]
    fn wildcards_are_one_of_their_words() {
        let found: std::collections::BTreeSet<String> = (0..40)
            .map(|seed| drawn("enable_wildcard = true", "a {red|blue} boat {{x}} {", seed, 0))
            .collect();
        let expected = ["a blue boat {x} {", "a red boat {x} {"].map(str::to_owned);
        assert_eq!(found, expected.into());
        let lines: std::collections::BTreeSet<String> = (0..40)
            .map(|seed| drawn("enable_wildcard = true", "one\n\ntwo\n", seed, 0))
            .collect();
        assert_eq!(lines, ["one", "two"].map(str::to_owned).into());
    }

    #[test]
    fn whole_epochs_are_silent() {
        let every = subset("caption_dropout_every_n_epochs = 3");
        let silent: Vec<u64> = (0..9).filter(|&epoch| silent(&every, epoch)).collect();
        assert_eq!(silent, [2, 5, 8]);
        assert!(!super::silent(&subset(""), 0));
    }

    #[test]
    fn sides_are_words() {
        for text in ["A hand on the LEFT", "right-handed", "the leftmost tree", "left,right"] {
            assert!(names_a_side(text), "{text}");
        }
        for text in [
            "a cleft rock",
            "bright",
            "copyrighted",
            "the leftover cake",
            "righteous",
        ] {
            assert!(!names_a_side(text), "{text}");
        }
    }
}
