//! Text as CLIP sees it: composed, in lower case, with plain spaces, and split into words.
//!
//! Pure functions of a string. The rules are those of the fast `CLIPTokenizer`: a contraction's ending, a run of
//! letters, one digit, or a run of anything else that is not a space.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// The special tokens' texts, which stay whole against a run of signs around them.
const MARKERS: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];
const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

#[derive(PartialEq, Clone, Copy)]
enum Class {
    Letter,
    Number,
    Space,
    Sign,
}

fn class(c: char) -> Class {
    if c.is_ascii_alphabetic() {
        return Class::Letter;
    }
    if c.is_whitespace() {
        return Class::Space;
    }
    match c.general_category_group() {
        GeneralCategoryGroup::Letter => Class::Letter,
        GeneralCategoryGroup::Number => Class::Number,
        _ => Class::Sign,
    }
}

/// NFC, each run of white space as one space, and lower case by character (a final sigma stays `σ`).
pub(super) fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_space = false;
    for c in text.nfc() {
        let space = c.is_whitespace();
        if !space {
            out.extend(c.to_lowercase());
        } else if !in_space {
            out.push(' ');
        }
        in_space = space;
    }
    out
}

/// The words of a normalised text, in order.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    // What is left of a marker, whose signs and letters are three words.
    let mut marker = "";
    std::iter::from_fn(move || {
        if marker.is_empty() {
            rest = rest.trim_start();
            if let Some(found) = MARKERS.iter().find(|m| rest.starts_with(**m)) {
                (marker, rest) = rest.split_at(found.len());
            }
        }
        let from = if marker.is_empty() { &mut rest } else { &mut marker };
        let (word, after) = from.split_at(word_length(from));
        *from = after;
        (!word.is_empty()).then_some(word)
    })
}

/// How many bytes the first word of a text has that does not begin with a space; 0 when the text is empty.
fn word_length(text: &str) -> usize {
    if let Some(found) = CONTRACTIONS.iter().find(|c| text.starts_with(**c)) {
        return found.len();
    }
    let mut chars = text.char_indices();
    let Some((_, first)) = chars.next() else {
        return 0;
    };
    let kind = class(first);
    if kind == Class::Number {
        return first.len_utf8();
    }
    chars.find(|(_, c)| class(*c) != kind).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(&normalise(text)).map(str::to_owned).collect()
    }

    #[test]
    fn words_are_contractions_letters_digits_and_signs() {
        assert_eq!(split("I'll say: 42%!"), ["i", "'ll", "say", ":", "4", "2", "%!"]);
        assert_eq!(split("'there"), ["'t", "here"]);
        assert_eq!(split(" \t\r\n "), Vec::<String>::new());
        assert_eq!(split(""), Vec::<String>::new());
    }

    #[test]
    fn letters_and_numbers_are_unicode_categories() {
        // A combining vowel sign is a mark, not a letter; a Roman numeral and a vulgar fraction are numbers.
        assert_eq!(split("हि"), ["ह", "ि"]);
        assert_eq!(split("aⅧ½b"), ["a", "ⅷ", "½", "b"]);
    }

    #[test]
    fn lower_case_knows_no_neighbours() {
        assert_eq!(normalise("ΣΊΣΥΦΟΣ"), "σίσυφοσ");
        assert_eq!(normalise("İ"), "i\u{307}");
    }

    #[test]
    fn normalising_composes_and_joins_spaces() {
        assert_eq!(normalise("cafe\u{301}\u{a0}\u{3000}\u{85} x"), "café x");
    }

    #[test]
    fn a_marker_is_cut_from_signs_behind_it_but_not_in_front() {
        assert_eq!(split("<|endoftext|>!!"), ["<|", "endoftext", "|>", "!!"]);
        assert_eq!(split("!!<|endoftext|>!!"), ["!!<|", "endoftext", "|>!!"]);
    }
}
