//! TIFF and BigTIFF: XMP, IPTC, Photoshop resources and C2PA of every page; the whole file is also its own EXIF block.

use std::collections::BTreeSet;

use super::{Blocks, MOST_BLOCK, photoshop};

const XMP: u64 = 700;
const IPTC: u64 = 33723;
const PHOTOSHOP: u64 = 34377;
const C2PA: u64 = 52545;
const TEXTS: [(u64, &str); 4] = [
    (270, "Description"),
    (305, "Software"),
    (315, "Artist"),
    (33432, "Copyright"),
];
/// More pages or entries than this are a loop or an attack.
const MOST_PAGES: usize = 256;
const MOST_ENTRIES: u64 = 4096;

pub(super) fn read(file: &[u8], blocks: &mut Blocks) {
    let tiff = Tiff {
        file,
        little: file.first() == Some(&b'I'),
        big: file.contains(&43) && file.get(2..4).is_some_and(|v| v.contains(&43)),
    };
    // Strips stay where they are; only a file of moderate size is copied for the reader of EXIF.
    let copied = !tiff.big && file.len() <= MOST_BLOCK;
    if tiff.pages(copied, blocks).is_none() {
        blocks.problem("a TIFF directory points outside the file");
    }
    if copied {
        blocks.add_exif(file);
    }
}

struct Tiff<'a> {
    file: &'a [u8],
    little: bool,
    big: bool,
}

impl Tiff<'_> {
    fn number(&self, at: u64, bytes: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let found = self.file.get(at..at.checked_add(bytes)?)?;
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.little {
            found.iter().rev().fold(0, join)
        } else {
            found.iter().fold(0, join)
        })
    }

    fn pages(&self, copied: bool, blocks: &mut Blocks) -> Option<()> {
        let (word, count_bytes, entry_bytes) = if self.big { (8, 8, 20) } else { (4, 2, 12) };
        let mut at = self.number(if self.big { 8 } else { 4 }, word)?;
        let mut seen = BTreeSet::new();
        while at != 0 && seen.insert(at) && seen.len() <= MOST_PAGES {
            let entries = self.number(at, count_bytes)?;
            if entries > MOST_ENTRIES {
                return None;
            }
            let first = at.checked_add(count_bytes as u64)?;
            for index in 0..entries {
                let entry = first.checked_add(index * entry_bytes)?;
                let tag = self.number(entry, 2)?;
                match tag {
                    XMP => blocks.add_xmp(self.value(entry)?),
                    IPTC => match self.value(entry)? {
                        turned if turned.first() != Some(&0x1c) && turned.get(3) == Some(&0x1c) => {
                            blocks.add_iptc(&turned_back(turned));
                        }
                        records => blocks.add_iptc(records),
                    },
                    PHOTOSHOP => photoshop::read(self.value(entry)?, blocks),
                    C2PA => blocks.add_manifest("image/tiff", self.value(entry)?.len()),
                    _ => {
                        // What the reader of EXIF would find in a file that is not copied for it.
                        if let Some((_, keyword)) = TEXTS.iter().find(|(text, _)| *text == tag && !copied) {
                            let value = self.value(entry)?.split(|&byte| byte == 0).next();
                            blocks.add_text((*keyword).to_string(), value.unwrap_or_default());
                        }
                    }
                }
            }
            at = self.number(first.checked_add(entries * entry_bytes)?, word)?;
        }
        Some(())
    }

    /// The bytes of the value of the entry at `entry`.
    fn value(&self, entry: u64) -> Option<&[u8]> {
        let word = if self.big { 8 } else { 4 };
        let unit = match self.number(entry.checked_add(2)?, 2)? {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            _ => 1,
        };
        let length = self.number(entry.checked_add(4)?, word)?.checked_mul(unit)?;
        let field = entry.checked_add(4 + word as u64)?;
        // What fits into the field stands there.
        let start = if length <= word as u64 {
            field
        } else {
            self.number(field, word)?
        };
        let start = usize::try_from(start).ok()?;
        self.file.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    }
}

/// Some writers store IPTC as long numbers, and turn the bytes of each round.
fn turned_back(iptc: &[u8]) -> Vec<u8> {
    let read = &iptc[..iptc.len().min(MOST_BLOCK)];
    read.chunks(4).flat_map(|four| four.iter().rev().copied()).collect()
}
