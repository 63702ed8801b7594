//! Contact sheets of registered pictures, for those who would rather look than read.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Context;
use crate::digest::write_atomic;
use crate::pixels::{Fit, Limits, load_square};
use crate::registry::ImageRecord;
use crate::sheet::{Row, Sheet, Tile};

/// Rows of a sheet.
const ROWS: usize = 40;
/// Pictures of a row.
const ACROSS: usize = 8;
/// The side of a picture on a sheet, in pixels.
const SIDE: u32 = 160;

/// A sheet while its rows are found: it holds the first ones and counts the others.
pub(super) struct Contacts {
    columns: Vec<String>,
    rows: Vec<Row>,
    /// Rows that found no place.
    hidden: usize,
    /// Pictures of which no file can be read any more.
    unread: usize,
}

impl Contacts {
    /// An empty sheet with these words over its columns.
    pub fn new<const N: usize>(columns: [&str; N]) -> Self {
        Contacts {
            columns: columns.map(str::to_string).to_vec(),
            rows: Vec::new(),
            hidden: 0,
            unread: 0,
        }
    }

    /// Whether a further row is only counted.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= ROWS
    }

    /// Adds a row of pictures, of which the first few are drawn; `None` leaves a place empty.
    pub fn row<'i>(&mut self, label: String, images: impl IntoIterator<Item = Option<&'i ImageRecord>>) {
        if self.is_full() {
            self.hidden += 1;
            return;
        }
        let mut tiles = Vec::new();
        for image in images.into_iter().take(ACROSS) {
            let tile = image.and_then(tile);
            self.unread += usize::from(image.is_some() && tile.is_none());
            tiles.push(tile);
        }
        self.rows.push(Row { label, tiles });
    }

    /// Draws the sheet into a file and says what it does not show.
    pub fn write(self, context: &Context, path: &Path, title: &str) -> Result<()> {
        if self.rows.is_empty() {
            context.message("there is nothing to draw: no sheet was written");
            return Ok(());
        }
        let shown = self.rows.len();
        let title = match self.hidden {
            0 => format!("{shown} {title}"),
            hidden => format!("{shown} of {} {title}", shown + hidden),
        };
        let sheet = Sheet {
            title,
            columns: self.columns,
            rows: self.rows,
            side: SIDE,
        };
        write_atomic(path, &sheet.png()?).with_context(|| format!("cannot write `{}`", path.display()))?;
        let (hidden, unread) = (self.hidden, self.unread);
        context.message(format_args!(
            "wrote `{}`; rows shown: {shown}, rows not shown: {hidden}, pictures not readable: {unread}",
            path.display()
        ));
        Ok(())
    }
}

/// The whole picture on white, from the first file of it that can be read.
fn tile(image: &ImageRecord) -> Option<Tile> {
    let read = |path: &PathBuf| load_square(path, SIDE, Fit::PadWhite, &Limits::default()).ok();
    let planes = image.paths.iter().find_map(read)?;
    Tile::from_planes(SIDE, SIDE, &planes).ok()
}

/// A path as it is written from the current folder, when it lies in it.
pub(super) fn near_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let inside = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    inside.unwrap_or_else(|| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_find_no_place_are_counted() {
        let mut contacts = Contacts::new(["a", "b"]);
        for number in 0..ROWS + 3 {
            assert_eq!(contacts.is_full(), number >= ROWS);
            contacts.row(number.to_string(), vec![None; ACROSS + 2]);
        }
        assert_eq!((contacts.rows.len(), contacts.hidden, contacts.unread), (ROWS, 3, 0));
        assert!(contacts.rows.iter().all(|row| row.tiles.len() == ACROSS));
    }
}
