//! TIFF and BigTIFF: tag 700 (XMP) of every page; the whole file is also its own EXIF block.

use std::collections::BTreeSet;

use super::Blocks;

const XMP: u16 = 700;
/// More pages or entries than this are a loop or an attack.
const MOST_PAGES: usize = 256;
const MOST_ENTRIES: u64 = 4096;

pub(super) fn read(file: &[u8], blocks: &mut Blocks) {
    let tiff = Tiff {
        file,
        little: file.first() == Some(&b'I'),
        big: file.contains(&43) && file.get(2..4).is_some_and(|v| v.contains(&43)),
    };
    if tiff.pages(blocks).is_none() {
        blocks.problem("a TIFF directory points outside the file");
    }
    // Strips stay where they are; only a file of moderate size is copied for the reader of EXIF.
    if !tiff.big && file.len() <= super::MOST_BLOCK {
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

    fn pages(&self, blocks: &mut Blocks) -> Option<()> {
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
                if self.number(entry, 2)? == u64::from(XMP) {
                    let length = self.number(entry.checked_add(4)?, word)?;
                    // Packets are longer than the field that would hold them in place.
                    let start = usize::try_from(self.number(entry.checked_add(4 + word as u64)?, word)?).ok()?;
                    let end = start.checked_add(usize::try_from(length).ok()?)?;
                    blocks.add_xmp(self.file.get(start..end)?);
                }
            }
            at = self.number(first.checked_add(entries * entry_bytes)?, word)?;
        }
        Some(())
    }
}
