//! The tokenizer's whole, on a folder of a few tokens; CLIP's own vocabulary is for `tests/parity.rs`.

use std::fs;

use super::*;

/// A folder with the 512 byte tokens (0 to 511), `lo`, `low`, `low</w>` and the two markers.
fn folder(config: &str, map: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let symbols = bpe::byte_symbols();
    let mut tokens: Vec<String> = symbols.iter().map(|s| s.to_string()).collect();
    tokens.extend(symbols.iter().map(|s| format!("{s}</w>")));
    tokens.extend(["lo", "low", "low</w>", "<|startoftext|>", "<|endoftext|>"].map(str::to_owned));
    let vocab: HashMap<&String, usize> = tokens.iter().enumerate().map(|(i, t)| (t, i)).collect();
    fs::write(dir.path().join("vocab.json"), serde_json::to_vec(&vocab).unwrap()).unwrap();
    fs::write(dir.path().join("merges.txt"), "#version: 0.2\nl o\nlo w</w>\nlo w\n").unwrap();
    fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    if let Some(map) = map {
        fs::write(dir.path().join("special_tokens_map.json"), map).unwrap();
    }
    dir
}

fn open(config: &str, map: Option<&str>) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_folder(folder(config, map).path())
}

const LOW: u32 = 514;
const BEGIN: u32 = 515;
const END: u32 = 516;

#[test]
fn texts_are_framed_cut_and_padded() {
    let t = open("{}", None).unwrap();
    assert_eq!(t.encode("Low LOW"), [BEGIN, LOW, LOW, END]);
    assert_eq!(t.encode("lows"), [BEGIN, 513, 256 + u32::from(b's'), END]);
    assert_eq!(t.encode(""), [BEGIN, END]);
    assert_eq!(t.encode_padded("low", 5), [BEGIN, LOW, END, END, END]);
    assert_eq!(t.encode_padded("low low low low", 4), [BEGIN, LOW, LOW, END]);
    // A cut may fall within a word.
    assert_eq!(
        t.encode_padded("xyz", 4),
        [BEGIN, u32::from(b'x'), u32::from(b'y'), END]
    );
    assert_eq!((t.begin(), t.end(), t.pad()), (BEGIN, END, END));
    // Twice the same, once from the cache.
    assert_eq!(t.encode("low"), t.encode("low"));
}

#[test]
fn the_pad_token_is_taken_out_of_a_text_before_all_else() {
    let t = open("{}", Some(r#"{"pad_token": "!"}"#)).unwrap();
    assert_eq!(t.pad(), u32::from(b'!'));
    assert_eq!(t.encode("low!!"), [BEGIN, LOW, t.pad(), t.pad(), END]);
    assert_eq!(t.encode_padded("low", 4), [BEGIN, LOW, END, t.pad()]);
    let t = open("{}", None).unwrap();
    assert_eq!(t.encode("!"), [BEGIN, 256 + u32::from(b'!'), END]);
}

#[test]
fn a_normalised_special_token_is_found_in_any_case() {
    let start = r#"{"content": "<|startoftext|>", "normalized": true}"#;
    let t = open(&format!(r#"{{"bos_token": {start}}}"#), None).unwrap();
    assert_eq!(t.encode("low<|STARTofTEXT|>low"), [BEGIN, LOW, BEGIN, LOW, END]);
    // The end token's default is to be looked for as it is written.
    assert_eq!(t.encode("<|endoftext|>"), [BEGIN, END, END]);
    assert!(t.encode("<|ENDOFTEXT|>").len() > 3);
}

#[test]
fn added_tokens_in_the_configuration_override_the_older_file() {
    let config = r#"{"added_tokens_decoder": {"33": {"content": "!", "normalized": false}}, "pad_token": "!"}"#;
    let t = open(config, Some(r#"{"pad_token": "<|endoftext|>"}"#)).unwrap();
    assert_eq!(t.encode_padded("!", 4), [BEGIN, t.pad(), END, t.pad()]);
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let message = |config: &str, map: Option<&str>| open(config, map).err().unwrap().to_string();
    assert!(message(r#"{"tokenizer_class": "T5Tokenizer"}"#, None).contains("T5Tokenizer"));
    assert!(message(r#"{"padding_side": "left"}"#, None).contains("left"));
    assert!(message("[1]", None).contains("tokenizer_config.json"));
    assert!(message("{}", Some(r#"{"pad_token": "<pad>"}"#)).contains("lacks the token `<pad>`"));
    let strip = r#"{"pad_token": {"content": "!", "lstrip": true}}"#;
    assert!(message("{}", Some(strip)).contains("lstrip"));
    let many: Vec<String> = (0..300).map(|i| format!("<{i}>")).collect();
    let many = serde_json::json!({ "extra_special_tokens": many }).to_string();
    assert!(message(&many, None).contains("300 special tokens"));
}

#[test]
fn a_broken_table_is_refused_with_its_line() {
    let refusal = |name: &str, bytes: &[u8]| {
        let dir = folder("{}", None);
        fs::write(dir.path().join(name), bytes).unwrap();
        Tokenizer::from_folder(dir.path()).err().unwrap().to_string()
    };
    assert!(refusal("merges.txt", b"#version: 0.2\nl o\nl o w\n").contains("line 3: expected two tokens"));
    assert!(refusal("merges.txt", b"l w\n").contains("line 1: expected tokens of the vocabulary"));
    assert!(refusal("merges.txt", b"l o\n\xff\n").contains("line 2: expected UTF-8"));
    assert!(refusal("vocab.json", br#"{"a": -1}"#).contains("vocab.json"));
    assert!(refusal("vocab.json", &vec![b' '; (16 << 20) + 1]).contains("expected at most"));
    assert!(refusal("added_tokens.json", b"{}").contains("beyond the vocabulary"));
    let empty = tempfile::tempdir().unwrap();
    assert!(
        Tokenizer::from_folder(empty.path())
            .err()
            .unwrap()
            .to_string()
            .contains("vocab.json")
    );
}

#[test]
fn what_stands_behind_the_longest_text_is_left_out() {
    let t = open("{}", None).unwrap();
    let mut text = " ".repeat(MAX_TEXT_BYTES - 4);
    text.push_str("low é and more");
    assert_eq!(t.encode(&text), [BEGIN, LOW, END]);
}
