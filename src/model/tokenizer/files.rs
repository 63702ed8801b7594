//! Reads a tokenizer's folder. Its files come from strangers: every size is bounded, and what is not understood is
//! refused by name.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::TokenizerError;
use super::bpe::{Bpe, Merges, byte_symbols};
use super::special::{SpecialToken, SpecialTokens};

/// Largest `vocab.json` or `merges.txt`: CLIP's have 1 MB and 0.5 MB.
const TABLE_BYTES: u64 = 16 << 20;
/// Largest of the other files.
const CONFIG_BYTES: u64 = 1 << 20;
/// Greatest number of special tokens.
const SPECIAL_TOKENS: usize = 256;

pub(super) const BEGIN: &str = "<|startoftext|>";
pub(super) const END: &str = "<|endoftext|>";
/// Roles of special tokens, in the order in which a later one overrides what an earlier one said of the same text.
const ROLES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// What a folder holds.
pub(super) struct Files {
    pub bpe: Bpe,
    pub special: SpecialTokens,
    pub begin: u32,
    pub end: u32,
    pub pad: u32,
}

/// A token in a configuration: its text alone, or with the way it is looked for.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Token {
    Text(String),
    Added {
        content: String,
        #[serde(default)]
        normalized: bool,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        #[serde(default)]
        single_word: bool,
    },
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Added { content: text, .. } => text,
        }
    }

    /// Special tokens are looked for in the text as it came, unless they say otherwise.
    fn normalised(&self) -> bool {
        matches!(self, Self::Added { normalized: true, .. })
    }

    fn takes_its_neighbours(&self) -> bool {
        matches!(
            self,
            Self::Added { lstrip: true, .. } | Self::Added { rstrip: true, .. } | Self::Added { single_word: true, .. }
        )
    }
}

/// Several tokens, in a list or each under a name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tokens {
    List(Vec<Token>),
    Named(BTreeMap<String, Token>),
}

impl Tokens {
    fn into_vec(self) -> Vec<Token> {
        match self {
            Self::List(tokens) => tokens,
            Self::Named(tokens) => tokens.into_values().collect(),
        }
    }
}

/// The keys that matter of `tokenizer_config.json` and of `special_tokens_map.json`.
///
/// `do_lower_case` and `add_prefix_space` are not among them: no version of CLIP's fast tokenizer heeds them.
#[derive(Deserialize, Default)]
struct Config {
    tokenizer_class: Option<String>,
    padding_side: Option<String>,
    truncation_side: Option<String>,
    added_tokens_decoder: Option<BTreeMap<String, Token>>,
    additional_special_tokens: Option<Tokens>,
    extra_special_tokens: Option<Tokens>,
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
    sep_token: Option<Token>,
    pad_token: Option<Token>,
    cls_token: Option<Token>,
    mask_token: Option<Token>,
}

impl Config {
    fn roles(&mut self) -> [&mut Option<Token>; ROLES.len()] {
        [
            &mut self.bos_token,
            &mut self.eos_token,
            &mut self.unk_token,
            &mut self.sep_token,
            &mut self.pad_token,
            &mut self.cls_token,
            &mut self.mask_token,
        ]
    }
}

pub(super) fn read(folder: &Path) -> Result<Files, TokenizerError> {
    let vocab_path = folder.join("vocab.json");
    let vocab: HashMap<String, u32> = json(&vocab_path)?.ok_or_else(|| missing_file(&vocab_path))?;
    let merges_path = folder.join("merges.txt");
    let bytes = bytes(&merges_path, TABLE_BYTES)?.ok_or_else(|| missing_file(&merges_path))?;
    let merges = merges(&merges_path, &bytes, &vocab)?;

    let added = folder.join("added_tokens.json");
    if added.exists() {
        return Err(TokenizerError::Unsupported {
            path: added,
            found: "tokens beyond the vocabulary".to_owned(),
            expected: "a tokenizer without that file",
        });
    }
    let mut config = config(folder)?;
    let id = |token: &str, role: &str| {
        vocab.get(token).copied().ok_or_else(|| TokenizerError::MissingToken {
            path: vocab_path.clone(),
            token: token.to_owned(),
            role: format!("its `{role}`"),
        })
    };
    let role = |token: &Option<Token>, name, otherwise| id(token.as_ref().map_or(otherwise, Token::text), name);
    let begin = role(&config.bos_token, "bos_token", BEGIN)?;
    let end = role(&config.eos_token, "eos_token", END)?;
    let pad = role(&config.pad_token, "pad_token", END)?;
    // A byte without a token becomes this one; CLIP's vocabulary has them all.
    let unknown = role(&config.unk_token, "unk_token", END)?;

    let mut special = Vec::new();
    for (name, token) in special_tokens(&mut config) {
        let (id, normalised) = (id(token.text(), &name)?, token.normalised());
        special.push(SpecialToken {
            text: token.text().to_owned(),
            id,
            normalised,
        });
    }
    let bpe = bpe(&vocab, unknown, merges);
    Ok(Files {
        bpe,
        special: SpecialTokens::new(&special),
        begin,
        end,
        pad,
    })
}

/// The two configuration files as one, with every role's token filled in, and refused where they ask for too much.
fn config(folder: &Path) -> Result<Config, TokenizerError> {
    let path = folder.join("tokenizer_config.json");
    let mut config: Config = json(&path)?.unwrap_or_default();
    let refuse = |found: String, expected| {
        Err(TokenizerError::Unsupported {
            path: path.clone(),
            found,
            expected,
        })
    };
    if let Some(class) = config.tokenizer_class.as_deref()
        && !matches!(class, "CLIPTokenizer" | "CLIPTokenizerFast")
    {
        return refuse(format!("the tokenizer_class `{class}`"), "`CLIPTokenizer`");
    }
    for side in [&config.padding_side, &config.truncation_side].into_iter().flatten() {
        if side != "right" {
            return refuse(format!("a padding or truncation side `{side}`"), "`right`");
        }
    }

    let mut map = Config::default();
    let known: Vec<Token> = config
        .added_tokens_decoder
        .iter()
        .flat_map(|tokens| tokens.values().cloned())
        .collect();
    if config.added_tokens_decoder.is_none() {
        // The older way: a file of its own, which has the last word.
        map = json(&folder.join("special_tokens_map.json"))?.unwrap_or_default();
        for (ours, theirs) in config.roles().into_iter().zip(map.roles()) {
            *ours = theirs.take().or_else(|| ours.take());
        }
    }
    for token in config.roles().into_iter().flatten() {
        if let Some(described) = known.iter().find(|k| k.text() == token.text()) {
            *token = described.clone();
        }
    }
    for (token, otherwise) in config
        .roles()
        .into_iter()
        .zip([Some(BEGIN), Some(END), Some(END), None, Some(END)])
    {
        *token = token
            .take()
            .or_else(|| otherwise.map(|text| Token::Text(text.to_owned())));
    }

    let more = [&mut config.additional_special_tokens, &mut config.extra_special_tokens];
    let more = more
        .into_iter()
        .chain([&mut map.additional_special_tokens, &mut map.extra_special_tokens]);
    let more: Vec<Token> = more.filter_map(Option::take).flat_map(Tokens::into_vec).collect();
    if known.len() + more.len() > SPECIAL_TOKENS {
        return refuse(format!("{} special tokens", known.len() + more.len()), "at most 256");
    }
    let all = config
        .roles()
        .into_iter()
        .flatten()
        .map(|t| &*t)
        .chain(&known)
        .chain(&more);
    if let Some(token) = all.into_iter().find(|t| t.takes_its_neighbours()) {
        let found = format!("`lstrip`, `rstrip` or `single_word` on `{}`", token.text());
        return refuse(found, "all three false");
    }
    config.additional_special_tokens = Some(Tokens::List(more));
    Ok(config)
}

/// Every special token once, with the name of where it was given. Of two entries for one text the later one counts.
fn special_tokens(config: &mut Config) -> Vec<(String, Token)> {
    let mut by_text = BTreeMap::new();
    let mut give = |name: String, token: Token| by_text.insert(token.text().to_owned(), (name, token));
    for (id, token) in config.added_tokens_decoder.take().into_iter().flatten() {
        give(format!("added_tokens_decoder.{id}"), token);
    }
    for (name, token) in ROLES.iter().zip(config.roles()) {
        token.take().map(|token| give((*name).to_owned(), token));
    }
    for token in config
        .additional_special_tokens
        .take()
        .into_iter()
        .flat_map(Tokens::into_vec)
    {
        give("additional_special_tokens".to_owned(), token);
    }
    by_text.into_values().collect()
}

/// The table of merges over a vocabulary; a byte without a token becomes `unknown`.
pub(super) fn bpe(vocab: &HashMap<String, u32>, unknown: u32, merges: Merges) -> Bpe {
    let byte = |suffix: &str| {
        let symbols = byte_symbols().map(|symbol| format!("{symbol}{suffix}"));
        Box::new(symbols.map(|symbol| vocab.get(&symbol).copied().unwrap_or(unknown)))
    };
    Bpe {
        inner: byte(""),
        last: byte("</w>"),
        merges,
    }
}

/// The merges in the text of a `merges.txt`; `path` is what errors call it.
pub(super) fn merges(path: &Path, bytes: &[u8], vocab: &HashMap<String, u32>) -> Result<Merges, TokenizerError> {
    let refuse = |line: usize, expected: &'static str, found: &str| TokenizerError::Merge {
        path: path.to_owned(),
        line,
        expected,
        found: found.chars().take(100).collect(),
    };
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        refuse(line, "UTF-8", "other bytes")
    })?;

    let mut merges = HashMap::new();
    let mut rank = 0;
    for (i, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        let pair = line.split_once(' ').filter(|(_, right)| !right.contains(' '));
        let (left, right) = pair.ok_or_else(|| refuse(i + 1, "two tokens and a space between them", line))?;
        let id = |token: &str| {
            let id = vocab.get(token).copied();
            id.ok_or_else(|| refuse(i + 1, "tokens of the vocabulary that make another one", line))
        };
        merges.insert((id(left)?, id(right)?), (rank, id(&format!("{left}{right}"))?));
        rank += 1;
    }
    Ok(merges)
}

/// A JSON file, or nothing where there is none.
fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, TokenizerError> {
    let limit = if path.ends_with("vocab.json") {
        TABLE_BYTES
    } else {
        CONFIG_BYTES
    };
    let Some(bytes) = bytes(path, limit)? else {
        return Ok(None);
    };
    let value = serde_json::from_slice(&bytes).map_err(|source| TokenizerError::Json {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(value))
}

/// A file's bytes, or nothing where there is none.
fn bytes(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, TokenizerError> {
    let io = |source| TokenizerError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(io)?,
    };
    let found = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::new();
    // The size may change, and a device or pipe states none: the reading itself is bounded too.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(TokenizerError::TooLarge {
            path: path.to_owned(),
            found,
            limit,
        });
    }
    Ok(Some(bytes))
}

fn missing_file(path: &Path) -> TokenizerError {
    TokenizerError::Io {
        path: PathBuf::from(path),
        source: std::io::ErrorKind::NotFound.into(),
    }
}
