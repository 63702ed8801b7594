//! Picture files → the blocks of metadata they carry, uninterpreted: XMP packets, EXIF, IPTC, text.
//!
//! Walks the structure only and never decodes pixels, so it reads what it can of files that no decoder takes. Every
//! size in a file is somebody's claim: nothing is allocated on its word.

mod gif;
mod jpeg;
mod photoshop;
mod png;
mod profile;
mod tiff;
mod webp;

/// The most bytes of one block; real packets are a few kilobytes.
const MOST_BLOCK: usize = 8 << 20;
/// The most bytes of all the blocks of one file.
const MOST_TOTAL: usize = 32 << 20;
/// The most blocks of one file.
const MOST_BLOCKS: usize = 4096;
/// The most bytes of a C2PA store; those with thumbnails of many ingredients have a few million.
const MOST_STORE: usize = 64 << 20;

/// The metadata blocks of one file, in the order they stand there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    /// XMP packets.
    pub xmp: Vec<Vec<u8>>,
    /// EXIF blocks, each beginning with its TIFF header.
    pub exif: Vec<Vec<u8>>,
    /// IPTC records: IIM data sets one after the other.
    pub iptc: Vec<Vec<u8>>,
    /// The media type of the file when a C2PA manifest store is in it.
    pub manifest: Option<&'static str>,
    /// Keyword and text of each text chunk.
    pub text: Vec<(String, String)>,
    /// What could not be read, for a person to look at.
    pub problems: Vec<String>,
    held: usize,
    count: usize,
    store: usize,
}

impl Blocks {
    fn admit(&mut self, what: &str, length: usize) -> bool {
        if self.count >= MOST_BLOCKS {
            self.problem(format!("it holds more than {MOST_BLOCKS} blocks of metadata"));
            return false;
        }
        let fits = length <= self.room();
        if fits {
            self.held += length;
            self.count += 1;
        } else {
            self.problem(format!("{what} of {length} bytes is larger than is read"));
        }
        fits
    }

    /// The bytes that one more block may have.
    fn room(&self) -> usize {
        MOST_BLOCK.min(MOST_TOTAL - self.held)
    }

    fn add_xmp(&mut self, bytes: &[u8]) {
        if self.admit("XMP", bytes.len()) {
            self.xmp.push(bytes.to_vec());
        }
    }

    fn add_exif(&mut self, bytes: &[u8]) {
        if self.admit("EXIF", bytes.len()) {
            self.exif.push(bytes.to_vec());
        }
    }

    fn add_iptc(&mut self, bytes: &[u8]) {
        if self.admit("IPTC", bytes.len()) {
            self.iptc.push(bytes.to_vec());
        }
    }

    /// A part of the C2PA store of a file of media type `kind`.
    fn add_manifest(&mut self, kind: &'static str, length: usize) {
        self.store = self.store.saturating_add(length);
        self.manifest = (self.store <= MOST_STORE).then_some(kind);
        if self.manifest.is_none() {
            self.problem("the C2PA store is larger than is read");
        }
    }

    fn add_text(&mut self, keyword: String, bytes: &[u8]) {
        if self.admit("a text chunk", bytes.len()) {
            self.text.push((keyword, text(bytes)));
        }
    }

    fn problem(&mut self, problem: impl Into<String>) {
        // A file made of problems is reported by its first ones.
        if self.problems.len() < 16 {
            self.problems.push(problem.into());
        }
    }
}

/// The blocks of the picture in `file`; the content decides its format.
pub(super) fn blocks(file: &[u8]) -> Blocks {
    let mut blocks = Blocks::default();
    match file {
        [0x89, b'P', b'N', b'G', ..] => png::read(file, &mut blocks),
        [0xff, 0xd8, 0xff, ..] => jpeg::read(file, &mut blocks),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp::read(file, &mut blocks),
        [b'G', b'I', b'F', b'8', ..] => gif::read(file, &mut blocks),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => tiff::read(file, &mut blocks),
        _ => {}
    }
    blocks
}

/// The first `count` bytes and the rest, when there are so many.
fn split(bytes: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(count)
}

/// What stands before the first zero byte, and after it.
fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// UTF-8 where the bytes are that, else Latin-1: writers use either, whatever the format says.
pub(super) fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| latin1(bytes), str::to_string)
}

/// Latin-1, in which every byte is a character.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}
