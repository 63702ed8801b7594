//! Opt-out lists as files: CSV with a header, JSON Lines, or plain text with an entry a line.
//!
//! The first line that says something tells which: `{` begins JSON Lines; a line of column names (`url` or `source`;
//! `sha256` or `hash`; `phash`, `pdq` or `perceptual`; `artist`, `name` or `creator`; `alias…`), separated by commas,
//! semicolons or tabs, begins CSV; anything else is plain text. JSON objects use the same names as keys, with a text or
//! a list of texts. An `alias` cell may hold several names between `;` or `|`. CSV cells do not go over line ends.
//!
//! In plain text an address, 64 hexadecimal characters (a SHA-256) or a name stand for themselves; `url:`, `sha256:`,
//! `pdq:` and `artist:` say which is meant. Empty lines and lines that begin with `#` say nothing.
//!
//! Read line by line: memory does not grow with the file. A line that cannot be read is told by its number and with a
//! sentence, and the next one is read.

use std::io::{self, BufRead};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::lists::{EntryKind, ListEntry};
use crate::digest::Sha256Digest;

/// A longer line is not read, in bytes.
const LONGEST_LINE: usize = 1 << 16;
/// More entries in one line are not read.
const MOST_IN_LINE: usize = 1000;

/// A line of a list: its number from 1, the entries it holds, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListLine {
    /// Its number.
    pub number: u64,
    /// What it names.
    pub entries: Vec<ListEntry>,
    /// Why it, or a part of it, cannot be read: sentences.
    pub problems: Vec<String>,
}

/// How a list is written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Unknown,
    Json,
    Csv {
        separator: u8,
        columns: Vec<Option<EntryKind>>,
    },
    Plain,
}

/// A list that is being read. Iterate over its lines, then ask for the digest of the file.
pub struct ListFile<R> {
    reader: R,
    hasher: Sha256,
    form: Form,
    number: u64,
    bytes: u64,
    ignored: Vec<String>,
}

impl<R: BufRead> ListFile<R> {
    /// A list in this file.
    pub fn new(reader: R) -> Self {
        ListFile {
            reader,
            hasher: Sha256::new(),
            form: Form::Unknown,
            number: 0,
            bytes: 0,
            ignored: Vec::new(),
        }
    }

    /// How much was read, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The columns that name nothing known, so that they are not read.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The digest of what was read: of the whole file, after the last line.
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::from_bytes(self.hasher.clone().finalize().into())
    }

    /// The next line that says something; none at the end.
    ///
    /// # Errors
    /// If the file cannot be read on.
    pub fn next_line(&mut self) -> io::Result<Option<ListLine>> {
        loop {
            let read = bounded_line(&mut self.reader, LONGEST_LINE, |read| {
                self.hasher.update(read);
                self.bytes += read.len() as u64;
            })?;
            let Some((line, whole)) = read else { return Ok(None) };
            self.number += 1;
            let wrong = |number, problem: String| ListLine {
                number,
                problems: vec![problem],
                ..ListLine::default()
            };
            if !whole {
                let text = format!("expected at most {LONGEST_LINE} bytes in a line, got more");
                return Ok(Some(wrong(self.number, text)));
            }
            let Ok(text) = std::str::from_utf8(&line) else {
                return Ok(Some(wrong(self.number, "expected UTF-8, got other bytes".to_string())));
            };
            let text = text.trim_start_matches('\u{feff}').trim();
            if text.is_empty() || (text.starts_with('#') && matches!(self.form, Form::Unknown | Form::Plain)) {
                continue;
            }
            if self.form == Form::Unknown {
                self.form = form_of(text, &mut self.ignored);
                if matches!(self.form, Form::Csv { .. }) {
                    continue;
                }
            }
            let mut read = ListLine {
                number: self.number,
                ..ListLine::default()
            };
            match &self.form {
                Form::Json => json(text, &mut read),
                Form::Csv { separator, columns } => row(text, *separator, columns, &mut read),
                Form::Plain | Form::Unknown => plain(text, &mut read),
            }
            if read.entries.is_empty() && read.problems.is_empty() {
                read.problems
                    .push("expected an address, a digest, a perceptual hash or a name, got none".to_string());
            }
            return Ok(Some(read));
        }
    }
}

/// The bytes of the next line, cut at `longest`, and whether they are all of it; none at the end. The rest of a long line
/// is skipped. `seen` is given everything that is read, line ends included.
pub fn bounded_line(
    reader: &mut impl BufRead,
    longest: usize,
    mut seen: impl FnMut(&[u8]),
) -> io::Result<Option<(Vec<u8>, bool)>> {
    let mut line = Vec::new();
    let (mut any, mut whole) = (false, true);
    loop {
        let buffer = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if buffer.is_empty() {
            return Ok(any.then_some((line, whole)));
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let room = longest.saturating_sub(line.len());
        whole &= part.len() <= room;
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = end.map_or(buffer.len(), |end| end + 1);
        seen(&buffer[..used]);
        reader.consume(used);
        if end.is_some() {
            return Ok(Some((line, whole)));
        }
    }
}

/// What a column or a key names.
fn column(name: &str) -> Option<EntryKind> {
    let name: String = name
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    match name.as_str() {
        "url" | "source" | "address" => Some(EntryKind::Source),
        "sha256" | "hash" => Some(EntryKind::Sha256),
        "phash" | "pdq" | "perceptual" => Some(EntryKind::Perceptual),
        "artist" | "name" | "creator" => Some(EntryKind::Artist),
        alias if alias.starts_with("alias") => Some(EntryKind::Artist),
        _ => None,
    }
}

fn form_of(first: &str, ignored: &mut Vec<String>) -> Form {
    if first.starts_with('{') {
        return Form::Json;
    }
    for separator in *b",;\t" {
        let Ok(names) = cells(first, separator) else { continue };
        let columns: Vec<_> = names.iter().map(|name| column(name)).collect();
        if columns.iter().any(Option::is_some) {
            let unknown = names.into_iter().zip(&columns).filter(|(_, kind)| kind.is_none());
            ignored.extend(unknown.map(|(name, _)| name));
            return Form::Csv { separator, columns };
        }
    }
    Form::Plain
}

/// The cells of a line.
fn cells(line: &str, separator: u8) -> Result<Vec<String>, String> {
    if !line.contains('"') {
        return Ok(line
            .split(char::from(separator))
            .map(|cell| cell.trim().to_string())
            .collect());
    }
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(line.as_bytes());
    let open = !line.matches('"').count().is_multiple_of(2);
    match reader.records().next() {
        Some(Ok(record)) if !open => Ok(record.iter().map(|cell| cell.trim().to_string()).collect()),
        _ => Err("expected cells whose quotes are closed in the same line".to_string()),
    }
}

fn row(text: &str, separator: u8, columns: &[Option<EntryKind>], read: &mut ListLine) {
    match cells(text, separator) {
        Err(problem) => read.problems.push(problem),
        Ok(cells) if cells.len() > columns.len() => {
            let (expected, found) = (columns.len(), cells.len());
            read.problems
                .push(format!("expected {expected} cells as in the header, got {found}"));
        }
        Ok(cells) => {
            for (cell, kind) in cells.iter().zip(columns) {
                if let Some(kind) = kind {
                    several(*kind, cell, read);
                }
            }
        }
    }
}

fn json(text: &str, read: &mut ListLine) {
    let fields = match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => {
            return read
                .problems
                .push("expected a JSON object, got another value".to_string());
        }
        Err(error) => return read.problems.push(format!("expected a JSON object: {error}")),
    };
    for (key, value) in &fields {
        let Some(kind) = column(key) else { continue };
        match value {
            Value::Null => {}
            Value::String(text) => several(kind, text, read),
            Value::Array(texts) => {
                for text in texts {
                    match text {
                        Value::String(text) => several(kind, text, read),
                        _ => read.problems.push(format!("expected texts in `{}`", shortened(key))),
                    }
                }
            }
            _ => read
                .problems
                .push(format!("expected a text or a list of texts in `{}`", shortened(key))),
        }
    }
}

fn plain(text: &str, read: &mut ListLine) {
    const PREFIXES: [(&str, EntryKind); 4] = [
        ("url:", EntryKind::Source),
        ("sha256:", EntryKind::Sha256),
        ("pdq:", EntryKind::Perceptual),
        ("artist:", EntryKind::Artist),
    ];
    for (prefix, kind) in PREFIXES {
        if let Some(rest) = text.strip_prefix(prefix) {
            return add(kind, rest, read);
        }
    }
    let hexadecimal = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let host = |word: &str| {
        word.rsplit_once('.')
            .is_some_and(|(_, end)| end.len() >= 2 && !word.ends_with('.'))
    };
    match text {
        _ if text.contains("://") => add(EntryKind::Source, text, read),
        _ if hexadecimal => add(EntryKind::Sha256, text, read),
        _ if !text.contains(' ') && !text.contains('@') && (text.contains('/') || host(text)) => {
            let shown = shortened(text);
            let text =
                format!("expected `https://{shown}` for an address or `artist:{shown}` for a name, got `{shown}`");
            read.problems.push(text);
        }
        _ => add(EntryKind::Artist, text, read),
    }
}

/// Adds what a cell names: a name may be several.
fn several(kind: EntryKind, cell: &str, read: &mut ListLine) {
    match kind {
        EntryKind::Artist => cell.split([';', '|']).for_each(|name| add(kind, name, read)),
        _ => add(kind, cell, read),
    }
}

fn add(kind: EntryKind, text: &str, read: &mut ListLine) {
    if text.trim().is_empty() {
        return;
    }
    if read.entries.len() >= MOST_IN_LINE {
        let problem = format!("expected at most {MOST_IN_LINE} entries in a line, got more");
        if read.problems.last() != Some(&problem) {
            read.problems.push(problem);
        }
        return;
    }
    match ListEntry::new(kind, text) {
        Ok(entry) => read.entries.push(entry),
        Err(problem) => read.problems.push(problem),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> (usize, Vec<(u64, String)>) {
        let mut file = ListFile::new(text);
        let (mut entries, mut problems) = (0, Vec::new());
        while let Some(line) = file.next_line().unwrap() {
            entries += line.entries.len();
            problems.extend(line.problems.into_iter().map(|problem| (line.number, problem)));
        }
        assert_eq!(file.digest(), Sha256Digest::of_bytes(text));
        assert_eq!(file.bytes(), text.len() as u64);
        (entries, problems)
    }

    #[test]
    fn the_form_is_told_by_the_first_line() {
        let sha = "a".repeat(64);
        for (text, entries) in [
            (
                "url,comment\nhttps://a.example/1,x\nhttps://a.example/2,y\n".to_string(),
                2,
            ),
            (
                "\u{feff}Artist;Aliases\r\nMira Lund;\"M. Lund|Mira L.\"\r\n".to_string(),
                3,
            ),
            (format!("SHA-256\tpHash\n{sha}\t{sha}\n\t{sha}\n"), 3),
            (
                "{\"url\":\"https://a.example\",\"aliases\":[\"x y\",\"z w\"],\"n\":1}\n".to_string(),
                3,
            ),
            (
                format!("# ours\n\nhttps://a.example/1\n{sha}\nMira Lund\n@mira@a.example\npdq:{sha}"),
                5,
            ),
            ("name\nMira\n".to_string(), 1),
            (String::new(), 0),
        ] {
            assert_eq!(read(text.as_bytes()), (entries, Vec::new()), "{text}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_the_next_one_read() {
        let long = "x".repeat(LONGEST_LINE + 10);
        for (text, entries, bad) in [
            (
                "url,sha256\nhttps://a.example,zz\n,\nhttps://b.example,\na,b,c\n\"https://c.example,\n".to_string(),
                2,
                vec![2, 3, 5, 6],
            ),
            (
                "{\"url\":\"https://a.example\"}\n{\"url\":\n[1]\n{\"url\":3}\n{}\n".to_string(),
                1,
                vec![2, 3, 4, 5],
            ),
            (format!("Mira\n{long}\nAnn\na.example/x\nmira.lund\n"), 2, vec![2, 4, 5]),
        ] {
            let (found, problems) = read(text.as_bytes());
            let numbers: Vec<_> = problems.iter().map(|(number, _)| *number).collect();
            assert_eq!((found, numbers), (entries, bad), "{problems:?}");
            assert!(
                problems.iter().all(|(_, sentence)| sentence.starts_with("expected ")),
                "{problems:?}"
            );
        }
        let (found, problems) = read(b"Mira\n\xff\xfe\nAnn");
        assert_eq!((found, problems[0].0), (2, 2));
        let (found, problems) = read(format!("name\n{}", "a;".repeat(2000)).as_bytes());
        assert_eq!((found, problems.len()), (MOST_IN_LINE, 1));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            read(&bytes);
        }

        #[test]
        fn any_text_is_read_to_its_end(text in "(url,name|\\{|sha256;x)?[\\n\"',;{}:a-z\\t ]{0,80}") {
            read(text.as_bytes());
        }
    }
}
