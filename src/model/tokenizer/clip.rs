//! The tokenizer that every CLIP of Stable Diffusion has, built in, for files that carry none.
//!
//! `clip_merges.zz` holds the merges that OpenAI published with CLIP (`CLIP-LICENSE`), packed by
//! `scripts/clip/pack_merges.py`. The vocabulary follows from them: each byte, each byte at a word's end, each merge in
//! order, and the two markers.

use std::collections::HashMap;
use std::path::Path;

use super::bpe::byte_symbols;
use super::files::{BEGIN, END, Files, bpe, merges};
use super::special::{SpecialToken, SpecialTokens};
use super::{Padding, TokenizerError};

const PACKED: &[u8] = include_bytes!("clip_merges.zz");
/// Unpacked size, and a little more.
const MOST_BYTES: usize = 1 << 20;
/// What errors call the file. It is part of the program, so that they cannot occur.
const NAME: &str = "clip_merges.zz";

/// The tables.
pub(super) fn files(padding: Padding) -> Result<Files, TokenizerError> {
    let path = Path::new(NAME);
    let text = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(PACKED, MOST_BYTES).map_err(|e| {
        TokenizerError::Io {
            path: path.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, e.to_string()),
        }
    })?;

    let mut vocab = HashMap::new();
    let mut put = |token: String| {
        let id = vocab.len() as u32;
        vocab.insert(token, id)
    };
    // Bytes that print come first, in their order, and then the others.
    let symbols = byte_symbols();
    let (printing, others): (Vec<char>, Vec<char>) = symbols.iter().partition(|s| u32::from(**s) < 256);
    for end in ["", "</w>"] {
        for symbol in printing.iter().chain(&others) {
            put(format!("{symbol}{end}"));
        }
    }
    for line in String::from_utf8_lossy(&text).lines() {
        put(line.replace(' ', ""));
    }
    put(BEGIN.to_owned());
    put(END.to_owned());

    let id = |token: &str| {
        vocab.get(token).copied().ok_or_else(|| TokenizerError::MissingToken {
            path: path.to_owned(),
            token: token.to_owned(),
            role: "one of CLIP's".to_owned(),
        })
    };
    let (begin, end, zero) = (id(BEGIN)?, id(END)?, id("!")?);
    let token = |text: &str, id: u32, normalised: bool| SpecialToken {
        text: text.to_owned(),
        id,
        normalised,
    };
    let mut special = vec![token(BEGIN, begin, true), token(END, end, padding == Padding::Zero)];
    let pad = match padding {
        Padding::End => end,
        Padding::Zero => {
            special.push(token("!", zero, false));
            zero
        }
    };
    Ok(Files {
        bpe: bpe(&vocab, end, merges(path, &text, &vocab)?),
        special: SpecialTokens::new(&special),
        begin,
        end,
        pad,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::files::read;

    #[test]
    fn the_tables_are_those_of_a_published_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let theirs = read(&root.join("tests/fixtures/parity/sd15-tiny/model/tokenizer")).unwrap();
        let ours = files(Padding::End).unwrap();
        assert_eq!(ours.bpe.merges, theirs.bpe.merges);
        assert_eq!((ours.bpe.inner, ours.bpe.last), (theirs.bpe.inner, theirs.bpe.last));
        assert_eq!((ours.begin, ours.end, ours.pad), (theirs.begin, theirs.end, theirs.pad));
        assert_eq!((ours.begin, ours.end), (49406, 49407));
        assert_eq!(files(Padding::Zero).unwrap().pad, 0);
    }
}
