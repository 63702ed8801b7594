//! Names of artists in captions, trigger words and prompts.
//!
//! Names and texts are compared in one form: compatibility characters unfolded (NFKD), without diacritics, in lower
//! case, `ß` `æ` `œ` `ø` `đ` `ł` as `ss` `ae` `oe` `o` `d` `l`; apostrophes are left out, and everything else that is
//! neither a letter nor a digit (a space, `-`, `_`, `.`, a bracket) is one space. So `MIRA_LUND`, `Mira-Lund` and
//! `(Míra Lund:1.2)` are one name, and `O’Keeffe` is `OKeeffe`. A possessive `'s` is a word of its own.
//!
//! A name is found where it stands in whole words (in scripts without spaces: anywhere), and, when it is of two words
//! or more and of eight letters or more, also where it is written as one word (`miralund`). `Lund, Mira` is `Mira Lund` too.
//!
//! Not to cry wolf, some names are not looked for: those of fewer than four letters (in scripts without spaces: two),
//! and those of common words only (`common_words.txt`: `Rose`, `Black Cat`). What they refuse is refused all the same
//! by who made a picture; a caption is only one more trace. Identifiers (addresses, accounts) are not looked for.

use std::collections::{BTreeSet, HashSet};

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::identifier::identifier;

/// The longest text that is read, in bytes; of a longer one, its beginning.
const LONGEST: usize = 1 << 20;
/// More mentions in one text are not listed.
const MOST: usize = 100;
/// From how many letters on a name is looked for as one word too.
const JOINED: usize = 8;

/// Names, ready to be looked for. Each belongs to an owner, a number that the caller knows.
#[derive(Debug)]
pub struct Names {
    automaton: AhoCorasick,
    owners: Vec<usize>,
    /// The longest word of each name, in whatever case.
    hints: AhoCorasick,
}

/// A name in a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Whose name it is.
    pub owner: usize,
    /// The name as the text has it.
    pub name: String,
}

impl Names {
    /// A matcher of these names, each with its owner.
    ///
    /// # Errors
    /// If there are more names than a matcher holds: about a hundred million bytes of them.
    pub fn new<'a>(names: impl IntoIterator<Item = (usize, &'a str)>) -> Result<Self, BuildError> {
        let common: HashSet<&str> = include_str!("common_words.txt").split_whitespace().collect();
        let patterns: BTreeSet<(String, usize)> = names
            .into_iter()
            .flat_map(|(owner, name)| patterns(name, &common).into_iter().map(move |pattern| (pattern, owner)))
            .collect();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(patterns.iter().map(|(pattern, _)| pattern))?;
        let longest = |name: &'_ str| name.split(' ').max_by_key(|word| word.len()).map(String::from);
        let hints: BTreeSet<_> = patterns.iter().filter_map(|(pattern, _)| longest(pattern)).collect();
        let hints = AhoCorasick::builder().ascii_case_insensitive(true).build(hints)?;
        let owners = patterns.into_iter().map(|(_, owner)| owner).collect();
        Ok(Names {
            automaton,
            owners,
            hints,
        })
    }

    /// Whether [`Names::find`] may find something: much quicker, and never wrong when it says no. A word of plain
    /// letters stands in a text of plain characters as it is, but for its case and for apostrophes within it.
    pub fn may_be_in(&self, text: &str) -> bool {
        !self.owners.is_empty() && (!text.is_ascii() || text.contains(is_apostrophe) || self.hints.is_match(text))
    }

    /// The names in a text, in the order in which they end; of names of one owner within each other, the longest.
    pub fn find(&self, text: &str) -> Vec<Found> {
        if self.owners.is_empty() {
            return Vec::new();
        }
        let folded = Folded::of(text);
        let mut found: Vec<(std::ops::Range<usize>, usize)> = Vec::new();
        for hit in self.automaton.find_overlapping_iter(&folded.text) {
            let owner = self.owners[hit.pattern().as_usize()];
            if !folded.whole_words(hit.range()) {
                continue;
            }
            let within = |(range, known): &(std::ops::Range<usize>, usize)| {
                *known == owner && range.start >= hit.start() && range.end <= hit.end()
            };
            found.retain(|known| !within(known));
            let inside = |(range, known): &(std::ops::Range<usize>, usize)| {
                *known == owner && range.start <= hit.start() && hit.end() <= range.end
            };
            if !found.iter().any(inside) && found.len() < MOST {
                found.push((hit.range(), owner));
            }
        }
        let shown = |(range, owner): (std::ops::Range<usize>, usize)| Found {
            owner,
            name: folded.original(range, text).to_string(),
        };
        found.into_iter().map(shown).collect()
    }
}

/// The forms of a name that are looked for; none when it would cry wolf.
fn patterns(name: &str, common: &HashSet<&str>) -> Vec<String> {
    if name.contains([':', '@']) && identifier(name).is_ok() {
        return Vec::new();
    }
    let mut forms = vec![Folded::of(name).text];
    if let Some((family, given)) = name.split_once(',') {
        forms.push(Folded::of(&format!("{given} {family}")).text);
    }
    let joined: Vec<String> = forms
        .iter()
        .filter(|form| form.contains(' ') && form.chars().filter(|c| *c != ' ').count() >= JOINED)
        .map(|form| form.replace(' ', ""))
        .collect();
    forms.extend(joined);
    let worth = |form: &String| {
        let letters = form.chars().filter(|c| c.is_alphabetic()).count();
        let least = if form.chars().any(spaceless) { 2 } else { 4 };
        letters >= least && !form.split(' ').all(|word| common.contains(word))
    };
    forms.retain(worth);
    forms
}

/// A text in the form in which names are compared, with where each of its bytes comes from.
struct Folded {
    text: String,
    /// For each byte, where the character it comes from begins and ends.
    from: Vec<(u32, u32)>,
}

impl Folded {
    fn of(text: &str) -> Folded {
        let mut folded = Folded {
            text: String::with_capacity(text.len()),
            from: Vec::with_capacity(text.len()),
        };
        let mut end = text.len().min(LONGEST);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let characters = text[..end].char_indices();
        for (at, c) in characters {
            let span = (at as u32, (at + c.len_utf8()) as u32);
            if is_apostrophe(c) {
                let rest = &text[at + c.len_utf8()..end];
                let mut after = rest.chars();
                let possessive = after.next().is_some_and(|s| s.eq_ignore_ascii_case(&'s'))
                    && after.next().is_none_or(|next| !next.is_alphanumeric());
                if possessive {
                    folded.space(span);
                }
                continue;
            }
            for part in std::iter::once(c).nfkd().filter(|part| !is_combining_mark(*part)) {
                match part {
                    _ if !part.is_alphanumeric() => folded.space(span),
                    _ => part.to_lowercase().for_each(|lower| folded.push(lower, span)),
                }
            }
        }
        if folded.text.ends_with(' ') {
            folded.text.pop();
            folded.from.pop();
        }
        folded
    }

    fn push(&mut self, c: char, span: (u32, u32)) {
        let plain = match c {
            'ß' => "ss",
            'æ' => "ae",
            'œ' => "oe",
            'ø' => "o",
            'đ' | 'ð' => "d",
            'ł' => "l",
            'ı' => "i",
            'ħ' => "h",
            'þ' => "th",
            _ => {
                self.text.push(c);
                self.from.extend(std::iter::repeat_n(span, c.len_utf8()));
                return;
            }
        };
        self.text.push_str(plain);
        self.from.extend(std::iter::repeat_n(span, plain.len()));
    }

    /// One space for whatever stands between words; none at the beginning.
    fn space(&mut self, span: (u32, u32)) {
        if !self.text.is_empty() && !self.text.ends_with(' ') {
            self.text.push(' ');
            self.from.push(span);
        }
    }

    /// Whether a match neither begins nor ends within a word.
    fn whole_words(&self, range: std::ops::Range<usize>) -> bool {
        let edge = |outer: Option<char>, inner: Option<char>| match (outer, inner) {
            (Some(outer), Some(inner)) => outer == ' ' || spaceless(outer) || spaceless(inner),
            _ => true,
        };
        let inside = &self.text[range.clone()];
        edge(self.text[..range.start].chars().next_back(), inside.chars().next())
            && edge(self.text[range.end..].chars().next(), inside.chars().next_back())
    }

    /// What a match stands for in the text that was folded.
    fn original<'t>(&self, range: std::ops::Range<usize>, text: &'t str) -> &'t str {
        let start = self.from.get(range.start).map_or(0, |from| from.0 as usize);
        let last = range.end.checked_sub(1).and_then(|at| self.from.get(at));
        let mut end = last.map_or(start, |from| from.1 as usize);
        // Marks that combine with the last letter belong to it.
        end += text[end..]
            .chars()
            .take_while(|c| is_combining_mark(*c))
            .map(char::len_utf8)
            .sum::<usize>();
        text.get(start..end).unwrap_or_default()
    }
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’' | '‘' | 'ʼ' | '`' | '´' | '＇')
}

/// Whether a letter is of a script that is written without spaces between words, or with endings joined to names.
fn spaceless(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{20000}'..='\u{2fa1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Vec<String> {
        let names = Names::new([(0, name)]).unwrap();
        names.find(text).into_iter().map(|found| found.name).collect()
    }

    #[test]
    fn a_name_is_found_however_it_is_written() {
        for (name, text, shown) in [
            ("Mira Lund", "a boat in the style of Mira Lund, oil", "Mira Lund"),
            ("mira lund", "MIRA_LUND, boat", "MIRA_LUND"),
            ("Mira Lund", "boat, (mira-lund:1.2)", "mira-lund"),
            ("Mira Lund", "mira  .  lund", "mira  .  lund"),
            ("Mira Lund", "Mira Lund’s boats", "Mira Lund"),
            ("Mira Lund", "Mira Lund's boats", "Mira Lund"),
            ("Mira Lund", "MIRALUND style", "MIRALUND"),
            ("Mira Lund", "<lora:mira_lund_v2:1>", "mira_lund"),
            ("Lund, Mira", "by Mira Lund", "Mira Lund"),
            ("Lund, Mira", "Lund, Mira: boat", "Lund, Mira"),
            ("Míra Ľund", "by mira lund", "mira lund"),
            (
                "Mira Lund",
                "by Mi\u{301}ra Lun\u{301}d\u{301} now",
                "Mi\u{301}ra Lun\u{301}d\u{301}",
            ),
            ("Jørgen Strauß", "jorgen strauss", "jorgen strauss"),
            ("Georgia O'Keeffe", "a flower by georgia okeeffe", "georgia okeeffe"),
            ("Georgia OKeeffe", "Georgia O’Keeffe’s flowers", "Georgia O’Keeffe"),
            ("J.R.R. Tolkien", "j r r tolkien", "j r r tolkien"),
            ("Ｍｉｒａ Lund", "ⓜira lund", "ⓜira lund"),
            ("葛飾北斎", "葛飾北斎風の波", "葛飾北斎"),
            ("Zdzisław", "style of zdzislaw", "zdzislaw"),
            ("Banksy", "banksy-like wall", "banksy"),
            ("Black Otter", "a black otter", "black otter"),
            ("Ким", "", ""),
        ] {
            let expected: Vec<_> = Some(shown).filter(|shown| !shown.is_empty()).into_iter().collect();
            assert_eq!(found(name, text), expected, "{name} in {text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_name_is_not_one() {
        for (name, text) in [
            ("Mira Lund", "admira lunda"),
            ("Mira Lund", "mira and lund"),
            ("Mira Lund", "smiralunds"),
            ("Rose", "a red rose"),
            ("The Artist", "by the artist"),
            ("Black Cat", "a black cat"),
            ("Bo", "bo in a boat"),
            ("Kim", "kim"),
            ("R2", "r2"),
            ("李", "李子"),
            ("...", "wait..."),
            ("", "anything"),
            ("deviantart:mira", "deviantart mira"),
            ("https://mira.example/art", "https mira example art"),
        ] {
            assert!(
                found(name, text).is_empty(),
                "{name} in {text}: {:?}",
                found(name, text)
            );
        }
    }

    #[test]
    fn names_within_names_are_told_apart_by_owner() {
        let names = Names::new([
            (0, "Mira Lund"),
            (0, "Lund"),
            (1, "Lunde"),
            (2, "Lund Studio"),
            (0, "Mira Lund"),
        ])
        .unwrap();
        let owners = |text: &str| {
            names
                .find(text)
                .into_iter()
                .map(|found| (found.owner, found.name))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            owners("mira lund studio"),
            [(0, "mira lund".into()), (2, "lund studio".into())]
        );
        assert_eq!(owners("lunde, lund"), [(1, "lunde".into()), (0, "lund".into())]);
        assert_eq!(owners(&"lund ".repeat(1000)).len(), MOST);
        assert!(Names::new([]).unwrap().find("lund").is_empty());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_read(name in "\\PC{0,12}", before in "\\PC{0,8}", after in "\\PC{0,8}") {
            for found in Names::new([(0, name.as_str()), (0, "Mira Lund")]).unwrap().find(&format!("{before} {name} {after}")) {
                proptest::prop_assert!(!found.name.is_empty());
            }
        }
    }
}
