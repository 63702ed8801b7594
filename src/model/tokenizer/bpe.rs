//! Byte-pair encoding: a word's bytes become tokens, and the best known pair of neighbours is merged until none is
//! known.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Two neighbours → how early they are merged, and what they become.
pub(super) type Merges = HashMap<(u32, u32), (u32, u32)>;

/// The merges and the tokens of single bytes.
pub(super) struct Bpe {
    /// The id of each byte within a word, and of each byte at a word's end.
    pub inner: Box<[u32; 256]>,
    pub last: Box<[u32; 256]>,
    pub merges: Merges,
}

/// One place of a word: its token, and the places beside it that are still there.
struct Symbol {
    id: u32,
    before: Option<usize>,
    after: Option<usize>,
    gone: bool,
}

impl Bpe {
    /// The tokens of one word. Takes time proportional to `n log n`.
    pub(super) fn merge(&self, word: &[u8]) -> Vec<u32> {
        let end = word.len().saturating_sub(1);
        let mut symbols: Vec<Symbol> = word
            .iter()
            .enumerate()
            .map(|(i, byte)| Symbol {
                id: if i == end {
                    self.last[usize::from(*byte)]
                } else {
                    self.inner[usize::from(*byte)]
                },
                before: i.checked_sub(1),
                after: (i < end).then_some(i + 1),
                gone: false,
            })
            .collect();

        // The earliest merge comes first, and of equal ones the leftmost.
        let mut queue = BinaryHeap::new();
        for i in 0..end {
            self.consider(&symbols, i, &mut queue);
        }
        while let Some(Reverse((_, at, merged))) = queue.pop() {
            // An entry is stale when one of its two tokens was merged with something else since.
            let Some(right) = symbols[at].after.filter(|_| !symbols[at].gone) else {
                continue;
            };
            let pair = (symbols[at].id, symbols[right].id);
            if self.merges.get(&pair).is_none_or(|(_, id)| *id != merged) {
                continue;
            }
            symbols[at].id = merged;
            symbols[at].after = symbols[right].after;
            symbols[right].gone = true;
            if let Some(after) = symbols[at].after {
                symbols[after].before = Some(at);
                self.consider(&symbols, at, &mut queue);
            }
            if let Some(before) = symbols[at].before {
                self.consider(&symbols, before, &mut queue);
            }
        }
        symbols.iter().filter(|s| !s.gone).map(|s| s.id).collect()
    }

    fn consider(&self, symbols: &[Symbol], at: usize, queue: &mut BinaryHeap<Reverse<(u32, usize, u32)>>) {
        let Some(right) = symbols[at].after else {
            return;
        };
        if let Some((rank, merged)) = self.merges.get(&(symbols[at].id, symbols[right].id)) {
            queue.push(Reverse((*rank, at, *merged)));
        }
    }
}

/// The printable stand-in of each byte in a vocabulary file: itself where it prints, or else a character from 256 on.
pub(super) fn byte_symbols() -> [char; 256] {
    let mut next = 256u32;
    std::array::from_fn(|byte| {
        let byte = byte as u32;
        let prints = (0x21..=0x7e).contains(&byte) || (0xa1..=0xac).contains(&byte) || byte >= 0xae;
        let code = if prints {
            byte
        } else {
            next += 1;
            next - 1
        };
        // Every code up to 323 is a character.
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes are their own ids, and at a word's end 256 more; merges make ids from 1000 on.
    fn bpe(merges: &[(u32, u32)]) -> Bpe {
        Bpe {
            inner: Box::new(std::array::from_fn(|i| i as u32)),
            last: Box::new(std::array::from_fn(|i| 256 + i as u32)),
            merges: merges
                .iter()
                .enumerate()
                .map(|(i, pair)| (*pair, (i as u32, 1000 + i as u32)))
                .collect(),
        }
    }

    const A: u32 = b'a' as u32;

    #[test]
    fn the_last_byte_is_another_token() {
        assert_eq!(bpe(&[]).merge(b"aa"), [A, A + 256]);
        assert!(bpe(&[]).merge(b"").is_empty());
    }

    #[test]
    fn equal_pairs_merge_from_the_left_and_better_ones_first() {
        // aaaa, with the last a apart: (a a) a|  -> the first two, then nothing pairs with the odd one.
        assert_eq!(bpe(&[(A, A)]).merge(b"aaaa"), [1000, A, A + 256]);
        assert_eq!(bpe(&[(A, A + 256), (A, A)]).merge(b"aaaa"), [1001, 1000]);
        assert_eq!(bpe(&[(A, A), (1000, 1000)]).merge(b"aaaaa"), [1001, A + 256]);
    }

    #[test]
    fn a_long_word_takes_no_quadratic_time() {
        let word = vec![b'a'; 1 << 20];
        let ids = bpe(&[(A, A), (1000, 1000), (1001, 1001)]).merge(&word);
        assert_eq!(ids.len(), (1 << 17) + 3);
    }

    #[test]
    fn stand_ins_are_distinct() {
        let symbols = byte_symbols();
        assert_eq!(symbols[usize::from(b'a')], 'a');
        assert_eq!(symbols[0], 'Ā');
        assert_eq!(symbols[usize::from(b' ')], 'Ġ');
        assert_eq!(std::collections::HashSet::from(symbols).len(), 256);
    }
}
