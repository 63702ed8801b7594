//! A prompt as ComfyUI reads it: stretches of text with weights, and their tokens in rows of the encoder's length.
//!
//! `(text)` is 1.1 times as strong as what it stands in, `(text:1.3)` is 1.3 times as strong as plain text wherever it
//! stands, `\(` and `\)` are plain parentheses, and brackets mean nothing. A parenthesis without its other half is text.

use super::tokenizer::Tokenizer;

/// Tokens of text in a row; the begin and the end token stand around them.
pub const CHUNK: usize = 75;
/// Most rows of one prompt. What does not fit is cut.
pub const CHUNKS: usize = 3;
/// A stretch of fewer tokens than this is not divided between two rows.
const WHOLE: usize = 8;
/// Parentheses within parentheses; deeper ones are text.
const DEPTH: usize = 64;
/// What one pair of parentheses without a number multiplies by.
const STRONGER: f64 = 1.1;

/// Text of one weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The text, without the parentheses that gave it its weight.
    pub text: String,
    /// How strong it is; 1 is plain.
    pub weight: f64,
}

/// The stretches of a prompt, in order.
#[must_use]
pub fn spans(prompt: &str) -> Vec<Span> {
    let mut out = Vec::new();
    // Characters that no prompt holds stand for the escaped parentheses, as in ComfyUI.
    let text = prompt.replace("\\)", "\0\u{1}").replace("\\(", "\0\u{2}");
    read(&text, 1.0, DEPTH, &mut out);
    out
}

fn read(text: &str, weight: f64, depth: usize, out: &mut Vec<Span>) {
    for item in items(text) {
        let inner = item.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let Some(inner) = inner.filter(|_| depth > 0) else {
            out.push(Span {
                text: item.replace("\0\u{1}", ")").replace("\0\u{2}", "("),
                weight,
            });
            continue;
        };
        let stated = inner.rfind(':').filter(|&at| at > 0).and_then(|at| {
            let number: f64 = inner[at + 1..].trim().parse().ok()?;
            number.is_finite().then_some((&inner[..at], number))
        });
        match stated {
            Some((inner, weight)) => read(inner, weight, depth - 1, out),
            None => read(inner, weight * STRONGER, depth - 1, out),
        }
    }
}

/// Cuts a text in front of each outer `(` and behind the `)` that closes it.
fn items(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut level, mut start) = (0i64, 0);
    for (at, c) in text.char_indices() {
        if c == '(' {
            if level == 0 && at > start {
                out.push(&text[start..at]);
                start = at;
            }
            level += 1;
        } else if c == ')' {
            level -= 1;
            if level == 0 {
                out.push(&text[start..=at]);
                start = at + 1;
            }
        }
    }
    if start < text.len() {
        out.push(&text[start..]);
    }
    out
}

/// One row for the encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The ids: begin, at most [`CHUNK`] of text, end, padding.
    pub ids: Vec<u32>,
    /// The weight of each.
    pub weights: Vec<f32>,
}

/// A prompt's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// At least one, at most [`CHUNKS`].
    pub rows: Vec<Row>,
    /// The ids of the empty prompt, from which weights are measured.
    pub empty: Vec<u32>,
    /// Tokens that were cut.
    pub cut: usize,
}

/// The rows of a prompt. A row is filled to its end, but a stretch of fewer than eight tokens goes to the next one
/// whole.
#[must_use]
pub fn rows(prompt: &str, tokenizer: &Tokenizer) -> Rows {
    let mut filled: Vec<Vec<(u32, f32)>> = vec![Vec::new()];
    let mut put = |tokens: &[(u32, f32)], fresh: bool| {
        if fresh {
            filled.push(Vec::new());
        }
        if let Some(row) = filled.last_mut() {
            row.extend_from_slice(tokens);
        }
        filled.last().map_or(0, Vec::len)
    };
    let mut used = 0;
    for span in spans(prompt) {
        let ids = tokenizer.encode(&span.text);
        let inner = ids.get(1..ids.len().saturating_sub(1)).unwrap_or_default();
        let tokens: Vec<(u32, f32)> = inner.iter().map(|&id| (id, span.weight as f32)).collect();
        let mut rest = tokens.as_slice();
        let whole = rest.len() < WHOLE;
        while !rest.is_empty() {
            let room = CHUNK - used;
            if rest.len() <= room {
                used = put(rest, false);
                break;
            }
            if !whole {
                let (now, later) = rest.split_at(room);
                put(now, false);
                rest = later;
            }
            used = put(&[], true);
        }
    }
    let cut = filled.iter().skip(CHUNKS).map(Vec::len).sum();
    let rows = filled
        .into_iter()
        .take(CHUNKS)
        .map(|tokens| {
            let framed = std::iter::once((tokenizer.begin(), 1.0))
                .chain(tokens)
                .chain([(tokenizer.end(), 1.0)]);
            let (mut ids, mut weights): (Vec<u32>, Vec<f32>) = framed.unzip();
            ids.resize(CHUNK + 2, tokenizer.pad());
            weights.resize(CHUNK + 2, 1.0);
            Row { ids, weights }
        })
        .collect();
    let empty = tokenizer.encode_padded("", CHUNK + 2);
    Rows { rows, empty, cut }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::Padding;

    fn shown(prompt: &str) -> Vec<(String, f64)> {
        let round = |w: f64| (w * 1e6).round() / 1e6;
        spans(prompt).into_iter().map(|s| (s.text, round(s.weight))).collect()
    }

    fn is(prompt: &str, expected: &[(&str, f64)]) {
        let expected: Vec<(String, f64)> = expected.iter().map(|(t, w)| ((*t).to_owned(), *w)).collect();
        assert_eq!(shown(prompt), expected, "{prompt}");
    }

    #[test]
    fn parentheses_weigh() {
        is("a (b) c", &[("a ", 1.0), ("b", 1.1), (" c", 1.0)]);
        is("((a) b)", &[("a", 1.21), (" b", 1.1)]);
        is("(a:1.3)", &[("a", 1.3)]);
        is("(a (b) c:1.3)", &[("a ", 1.3), ("b", 1.43), (" c", 1.3)]);
        is("((a:0.5):2)", &[("a", 0.5)]);
        is("[a] {b}", &[("[a] {b}", 1.0)]);
        is("", &[]);
    }

    #[test]
    fn what_is_escaped_or_half_is_text() {
        is(r"a \(b\) (c\))", &[("a (b) ", 1.0), ("c)", 1.1)]);
        is("(a", &[("(a", 1.0)]);
        is("a) (b)", &[("a) (b)", 1.0)]);
        is("(:1.3)", &[(":1.3", 1.1)]);
        is("(a:b)", &[("a:b", 1.1)]);
        is("(a:nan)", &[("a:nan", 1.1)]);
        is("()", &[]);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "(".repeat(100_000) + "a" + &")".repeat(100_000);
        let found = spans(&deep);
        assert!(found.len() == 1 && found[0].weight.is_finite() && found[0].text.contains("(a)"));
    }

    #[test]
    fn rows_are_filled_and_short_stretches_stay_whole() {
        let tokenizer = Tokenizer::clip(Padding::End).unwrap();
        let cats = |n: usize| vec!["cat"; n].join(" ");
        let lengths = |prompt: &str| {
            let found = rows(prompt, &tokenizer);
            let end = |row: &Row| row.ids.iter().position(|&id| id == tokenizer.end()).unwrap() - 1;
            assert!(
                found
                    .rows
                    .iter()
                    .all(|row| row.ids.len() == 77 && row.weights.len() == 77)
            );
            (found.rows.iter().map(end).collect::<Vec<_>>(), found.cut)
        };
        assert_eq!(lengths(""), (vec![0], 0));
        assert_eq!(lengths(&cats(75)), (vec![75], 0));
        assert_eq!(lengths(&cats(76)), (vec![75, 1], 0));
        assert_eq!(lengths(&format!("{} ({})", cats(70), cats(7))), (vec![70, 7], 0));
        assert_eq!(lengths(&format!("{} ({})", cats(70), cats(8))), (vec![75, 3], 0));
        assert_eq!(lengths(&cats(240)), (vec![75, 75, 75], 15));
        let weighed = rows("a (cat:1.5)", &tokenizer);
        assert_eq!(weighed.rows[0].weights[..5], [1.0, 1.0, 1.5, 1.0, 1.0]);
        assert_eq!(weighed.rows[0].ids, tokenizer.encode_padded("a cat", 77));
    }
}
