//! Contact sheets: a grid of pictures with a title, labels over the columns and beside the rows.

use super::{SheetError, blank, encode, text};
use plotters::prelude::{BitMapBackend, IntoDrawingArea};
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One picture of the grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    width: u32,
    height: u32,
    /// RGB bytes, row by row.
    pixels: Vec<u8>,
}

impl Tile {
    /// A tile from RGB bytes, row by row.
    ///
    /// # Errors
    /// When there are not three bytes a pixel, or no pixels.
    pub fn from_rgb(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, SheetError> {
        let expected = width as usize * height as usize * 3;
        if expected == 0 || pixels.len() != expected {
            return Err(SheetError::TileSize {
                width,
                height,
                expected,
                found: pixels.len(),
            });
        }
        Ok(Self { width, height, pixels })
    }

    /// A tile from planes of values in [-1, 1], as the model's decoder gives them; values outside are clamped.
    ///
    /// # Shapes
    /// `planes`: `[3, height, width]`, row-major.
    ///
    /// # Errors
    /// When `planes` has another length, or there are no pixels.
    pub fn from_planes(width: u32, height: u32, planes: &[f32]) -> Result<Self, SheetError> {
        let area = width as usize * height as usize;
        if area == 0 || planes.len() != 3 * area {
            return Err(SheetError::TileSize {
                width,
                height,
                expected: 3 * area,
                found: planes.len(),
            });
        }
        let byte = |value: f32| ((value.clamp(-1.0, 1.0) + 1.0) * 127.5 + 0.5) as u8;
        let pixels = (0..area)
            .flat_map(|i| [0, 1, 2].map(|plane| byte(planes[plane * area + i])))
            .collect();
        Ok(Self { width, height, pixels })
    }

    /// The RGB pixel of this tile under (x, y) of a square of `side` pixels that the tile is stretched over.
    fn sample(&self, x: u32, y: u32, side: u32) -> &[u8] {
        let column = (u64::from(x) * u64::from(self.width) / u64::from(side)) as usize;
        let row = (u64::from(y) * u64::from(self.height) / u64::from(side)) as usize;
        let start = (row * self.width as usize + column) * 3;
        &self.pixels[start..start + 3]
    }
}

/// A row of the grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What stands to the left of the row.
    pub label: String,
    /// The row's pictures; `None` leaves the place empty.
    pub tiles: Vec<Option<Tile>>,
}

/// A contact sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// What stands above the grid.
    pub title: String,
    /// What stands above the columns; may be empty.
    pub columns: Vec<String>,
    /// The rows, from the top.
    pub rows: Vec<Row>,
    /// The side of a tile in pixels; tiles are stretched to it without smoothing.
    pub side: u32,
}

const GAP: u32 = 6;
const MARGIN: u32 = 14;
const TITLE: f64 = 19.0;
const LABEL: f64 = 14.0;
const LABEL_WIDTH: u32 = 150;
const GROUND: [u8; 3] = [0xf6, 0xf6, 0xf3];
const EMPTY: [u8; 3] = [0xe4, 0xe4, 0xe0];

impl Sheet {
    /// The sheet as the bytes of a PNG. Labels that are too long are cut.
    ///
    /// # Errors
    /// When the sheet would have no or too many pixels.
    pub fn png(&self) -> Result<Vec<u8>, SheetError> {
        let across = self
            .rows
            .iter()
            .map(|row| row.tiles.len())
            .chain([self.columns.len()])
            .max()
            .unwrap_or(0) as u64;
        let step = u64::from(self.side) + u64::from(GAP);
        let left = MARGIN
            + if self.rows.iter().any(|row| !row.label.is_empty()) {
                LABEL_WIDTH
            } else {
                0
            };
        let head = if self.columns.iter().any(|column| !column.is_empty()) {
            24
        } else {
            0
        };
        let top = MARGIN + 32 + head;
        let (width, height, mut pixels) = blank(
            u64::from(left + MARGIN) + across * step - u64::from(GAP).min(across * step),
            u64::from(top + MARGIN) + self.rows.len() as u64 * step,
            GROUND,
        )?;
        // All positions are below LIMIT from here on.
        let step = self.side + GAP;
        for (r, row) in self.rows.iter().enumerate() {
            for (c, tile) in row.tiles.iter().enumerate() {
                let (x0, y0) = (left + c as u32 * step, top + r as u32 * step);
                for y in 0..self.side {
                    for x in 0..self.side {
                        let at = ((y0 + y) as usize * width as usize + (x0 + x) as usize) * 3;
                        let colour = tile.as_ref().map_or(&EMPTY[..], |tile| tile.sample(x, y, self.side));
                        pixels[at..at + 3].copy_from_slice(colour);
                    }
                }
            }
        }
        self.write_labels(&mut pixels, (width, height), left, top)
            .map_err(SheetError::Draw)?;
        encode(width, height, &pixels)
    }

    fn write_labels(&self, pixels: &mut [u8], size: (u32, u32), left: u32, top: u32) -> Result<(), String> {
        let area = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
        let write = |words: &str, size_px: f64, room: u32, anchor: Pos, x: u32, y: u32| {
            let words = text::fit(words, size_px, room);
            area.draw_text(&words, &text::style(size_px).pos(anchor), (x as i32, y as i32))
                .map_err(|e| e.to_string())
        };
        let step = self.side + GAP;
        let west = Pos::new(HPos::Left, VPos::Center);
        write(&self.title, TITLE, size.0 - 2 * MARGIN, west, MARGIN, MARGIN + 12)?;
        for (c, column) in self.columns.iter().enumerate() {
            let middle = left + c as u32 * step + self.side / 2;
            write(
                column,
                LABEL,
                step,
                Pos::new(HPos::Center, VPos::Center),
                middle,
                top - 12,
            )?;
        }
        for (r, row) in self.rows.iter().enumerate() {
            let middle = top + r as u32 * step + self.side / 2;
            write(&row.label, LABEL, LABEL_WIDTH - GAP, west, MARGIN, middle)?;
        }
        area.present().map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let red = Tile::from_rgb(1, 1, vec![200, 10, 10]).unwrap();
        // One pixel dark, one bright, one out of range: planes are [3, 1, 2].
        let planes = Tile::from_planes(2, 1, &[-1.0, 1.0, -1.0, 1.0, -1.0, 7.0]).unwrap();
        let rows = vec![
            Row {
                label: "before".into(),
                tiles: vec![Some(red), None],
            },
            Row {
                label: "after".into(),
                tiles: vec![None, Some(planes)],
            },
        ];
        Sheet {
            title: "a fish".into(),
            columns: vec!["seed 1".into(), "seed 2".into()],
            rows,
            side: 64,
        }
    }

    #[test]
    fn tiles_lie_in_their_places_and_labels_are_written() {
        let png = sheet().png().unwrap();
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        let (left, top) = (MARGIN + LABEL_WIDTH, MARGIN + 32 + 24);
        assert_eq!(picture.get_pixel(left + 3, top + 3).0, [200, 10, 10]);
        assert_eq!(picture.get_pixel(left + 64 + GAP + 3, top + 3).0, EMPTY);
        assert_eq!(picture.get_pixel(left + 64 + GAP + 3, top + 64 + GAP + 3).0, [0, 0, 0]);
        assert_eq!(
            picture.get_pixel(left + 64 + GAP + 60, top + 64 + GAP + 3).0,
            [255, 255, 255]
        );
        let ink = |x0: u32, y0: u32, x1: u32, y1: u32| {
            (x0..x1)
                .flat_map(|x| (y0..y1).map(move |y| (x, y)))
                .filter(|p| picture.get_pixel(p.0, p.1).0[0] < 100)
                .count()
        };
        assert!(ink(0, 0, 120, MARGIN + 30) > 40, "the title is written");
        assert!(ink(left, top - 24, left + 64, top) > 40, "the columns are labelled");
        assert!(ink(0, top, left, top + 64) > 40, "the rows are labelled");
    }

    #[test]
    fn drawing_twice_gives_the_same_bytes() {
        assert_eq!(sheet().png().unwrap(), sheet().png().unwrap());
    }

    #[test]
    fn wrong_sizes_are_refused() {
        assert!(matches!(
            Tile::from_rgb(2, 2, vec![0; 3]),
            Err(SheetError::TileSize {
                expected: 12,
                found: 3,
                ..
            })
        ));
        assert!(matches!(Tile::from_planes(0, 2, &[]), Err(SheetError::TileSize { .. })));
        let mut huge = sheet();
        huge.side = u32::MAX;
        assert!(matches!(huge.png(), Err(SheetError::Extent { .. })));
    }

    #[test]
    fn long_labels_are_cut_to_their_room() {
        let cut = text::fit("a very long label that cannot stand here", LABEL, 80);
        assert!(cut.starts_with("a very") && cut.ends_with('…'), "{cut}");
        assert_eq!(text::fit("short", LABEL, 80), "short");
    }
}
