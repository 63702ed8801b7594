//! Special tokens that are written out in a text, and the pieces between them.
//!
//! Some are looked for in the text as it came, the rest after it was normalised; which, their entry in the
//! tokenizer's configuration says (`normalized`). `!` is one of the former where it is the pad token.

use super::split;

/// Special tokens by where they are looked for.
pub(super) struct SpecialTokens {
    raw: Matcher,
    normalised: Matcher,
}

/// A special token's text, id, and whether it is looked for in the normalised text.
pub(super) struct SpecialToken {
    pub text: String,
    pub id: u32,
    pub normalised: bool,
}

impl SpecialTokens {
    pub(super) fn new(tokens: &[SpecialToken]) -> Self {
        let texts = |normalised| tokens.iter().filter(move |t| t.normalised == normalised);
        Self {
            raw: Matcher::new(texts(false).map(|t| (t.text.clone(), t.id))),
            normalised: Matcher::new(texts(true).map(|t| (split::normalise(&t.text), t.id))),
        }
    }

    /// Calls `piece` with the text in front of the first token, and then with each token and the text behind it.
    pub(super) fn split_raw(&self, text: &str, piece: impl FnMut(Option<u32>, &str)) {
        self.raw.split(text, piece);
    }

    /// As [`Self::split_raw`], for the tokens that are looked for in normalised text.
    pub(super) fn split_normalised(&self, text: &str, piece: impl FnMut(Option<u32>, &str)) {
        self.normalised.split(text, piece);
    }
}

/// Finds the leftmost and, among those, the longest of some texts.
struct Matcher {
    /// Longest first.
    texts: Vec<(String, u32)>,
    /// Whether a text begins with this byte.
    first: [bool; 256],
}

impl Matcher {
    fn new(texts: impl Iterator<Item = (String, u32)>) -> Self {
        let mut texts: Vec<_> = texts.filter(|(text, _)| !text.is_empty()).collect();
        texts.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        let mut first = [false; 256];
        for (text, _) in &texts {
            first[usize::from(text.as_bytes()[0])] = true;
        }
        Self { texts, first }
    }

    fn split(&self, text: &str, mut piece: impl FnMut(Option<u32>, &str)) {
        let (mut token, mut start, mut at) = (None, 0, 0);
        while at < text.len() {
            let rest = &text.as_bytes()[at..];
            let found = match self.first[usize::from(rest[0])] {
                true => self.texts.iter().find(|(text, _)| rest.starts_with(text.as_bytes())),
                false => None,
            };
            let Some((found, id)) = found else {
                at += 1;
                continue;
            };
            piece(token, &text[start..at]);
            at += found.len();
            (token, start) = (Some(*id), at);
        }
        piece(token, &text[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(matcher: &Matcher, text: &str) -> Vec<(Option<u32>, String)> {
        let mut out = Vec::new();
        matcher.split(text, |token, rest| out.push((token, rest.to_owned())));
        out
    }

    #[test]
    fn the_leftmost_and_longest_wins() {
        let matcher = Matcher::new([("!".to_owned(), 0), ("<e>".to_owned(), 1), ("<e>!".to_owned(), 2)].into_iter());
        assert_eq!(
            pieces(&matcher, "é<e>!x!<e"),
            [(None, "é".into()), (Some(2), "x".into()), (Some(0), "<e".into())]
        );
        assert_eq!(pieces(&matcher, ""), [(None, String::new())]);
        assert_eq!(
            pieces(&matcher, "!!"),
            [(None, "".into()), (Some(0), "".into()), (Some(0), "".into())]
        );
    }
}
