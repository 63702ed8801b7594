//! CLIP's tokenizer: text in, the text encoder's token ids out.
//!
//! Reads the `tokenizer/` folder of a diffusers model (`vocab.json`, `merges.txt`, and the special tokens from
//! `tokenizer_config.json` and `special_tokens_map.json`), or takes the tables that are built in, and gives the ids that transformers' fast `CLIPTokenizer`
//! gives. Knows nothing of tensors, and makes no artefact.
//!
//! A text passes through four steps: special tokens written out in it are taken out (`special`), what is left is
//! normalised and split into words (`split`), and each word's bytes are merged pair by pair (`bpe`).

mod bpe;
mod clip;
mod files;
mod special;
mod split;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bpe::Bpe;
use special::SpecialTokens;

/// Longest text that is read, in bytes; what stands after it is not tokenized.
///
/// An encoder takes 77 tokens, of which one seldom covers more than some ten bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// How many words are remembered with their tokens, and the longest of them in bytes.
const CACHED_WORDS: usize = 1 << 16;
const CACHED_WORD_BYTES: usize = 64;

/// Why a tokenizer's folder was refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file could not be read.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is larger than any tokenizer's.
    #[error("`{path}` has {found} bytes, expected at most {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The greatest size that is read.
        limit: u64,
    },
    /// A file is not the JSON expected of it.
    #[error("`{path}` is not what a tokenizer's file should be: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// `merges.txt` is not UTF-8, or one of its lines is no merge of two known tokens.
    #[error("`{path}` line {line}: expected {expected}, found `{found}`")]
    Merge {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A special token, or the token of a byte, is not in the vocabulary.
    #[error("`{path}` lacks the token `{token}`, which is {role}")]
    MissingToken {
        /// The vocabulary.
        path: PathBuf,
        /// The token.
        token: String,
        /// What it is for.
        role: String,
    },
    /// The folder asks for something that this tokenizer does not do.
    #[error("`{path}` has {found}, which is not supported: expected {expected}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        found: String,
        /// What would be read.
        expected: &'static str,
    },
}

/// What fills a short text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The end token: CLIP-L, in Stable Diffusion 1.x and as SDXL's first encoder.
    End,
    /// Id 0, which is `!`: OpenCLIP, in Stable Diffusion 2.x and as SDXL's second encoder.
    Zero,
}

/// A CLIP tokenizer, ready to encode.
pub struct Tokenizer {
    bpe: Bpe,
    special: SpecialTokens,
    begin: u32,
    end: u32,
    pad: u32,
    words: Mutex<HashMap<Box<str>, Box<[u32]>>>,
}

impl Tokenizer {
    /// Reads a diffusers `tokenizer/` folder.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        Ok(Self::of(files::read(folder)?))
    }

    /// The tokenizer that is built in, with the vocabulary that OpenAI published with CLIP.
    pub fn clip(padding: Padding) -> Result<Self, TokenizerError> {
        Ok(Self::of(clip::files(padding)?))
    }

    fn of(files: files::Files) -> Self {
        Self {
            bpe: files.bpe,
            special: files.special,
            begin: files.begin,
            end: files.end,
            pad: files.pad,
            words: Mutex::new(HashMap::new()),
        }
    }

    /// The ids of a text between the begin and the end token, neither padded nor cut (but see [`MAX_TEXT_BYTES`]).
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_at_most(text, usize::MAX)
    }

    /// Exactly `length` ids: cut in front of the end token when the text has more, padded behind it when it has less.
    pub fn encode_padded(&self, text: &str, length: usize) -> Vec<u32> {
        let mut ids = self.encode_at_most(text, length.saturating_sub(2));
        ids.resize(length, self.pad);
        ids
    }

    /// The id that stands at the beginning of every text.
    pub fn begin(&self) -> u32 {
        self.begin
    }

    /// The id that stands at the end of every text, in front of the padding.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The id that fills a short text: the end token for CLIP-L, `!` (0) for SD 2 and SDXL's second encoder.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    fn encode_at_most(&self, text: &str, limit: usize) -> Vec<u32> {
        let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
        let mut ids = vec![self.begin];
        // With room for the begin token, and without overflow where there is no limit.
        let limit = limit.saturating_add(1);
        self.special.split_raw(text, |token, rest| {
            if let Some(id) = token {
                ids.push(id);
            }
            let normal = split::normalise(rest);
            self.special.split_normalised(&normal, |token, rest| {
                if let Some(id) = token {
                    ids.push(id);
                }
                for word in split::words(rest) {
                    if ids.len() >= limit {
                        return;
                    }
                    self.push_word(word, &mut ids);
                }
            });
        });
        ids.truncate(limit);
        ids.push(self.end);
        ids
    }

    fn push_word(&self, word: &str, ids: &mut Vec<u32>) {
        // A poisoned cache is still a cache: every entry in it was put there whole.
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = words.get(word) {
            ids.extend_from_slice(known);
            return;
        }
        let merged = self.bpe.merge(word.as_bytes());
        ids.extend_from_slice(&merged);
        if words.len() < CACHED_WORDS && word.len() <= CACHED_WORD_BYTES {
            words.insert(word.into(), merged.into());
        }
    }
}

#[cfg(test)]
mod tests;
