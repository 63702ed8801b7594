//! The small plane of luma that a picture is reduced to, strip by strip, by exact area averages.

use super::hash::{self, SIDE};
use super::pdq::Collector;
use super::{Fingerprint, PdqPrint};

/// What a picture looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// By which it is compared with other pictures.
    pub print: Fingerprint,
    /// By which lists name it; none when it is smaller than 5 pixels along a side.
    pub pdq: Option<PdqPrint>,
}

/// Collects a picture's rows into a plane of `SIDE` × `SIDE` means, whatever its size.
pub struct Sketch {
    width: u32,
    height: u32,
    /// Sums of luma, 0 to 1, weighted by the area each pixel covers in the plane.
    plane: Vec<f32>,
    luma: Vec<f32>,
    /// The same luma as PDQ weighs it, 0 to 255.
    levels: Vec<f32>,
    pdq: Option<Collector>,
}

impl Sketch {
    /// Begins a picture of `width` × `height` pixels.
    pub fn new(width: u32, height: u32) -> Self {
        Sketch {
            width,
            height,
            plane: vec![0.0; SIDE * SIDE],
            luma: vec![0.0; width as usize],
            levels: vec![0.0; width as usize],
            pdq: Collector::new(width, height),
        }
    }

    /// Adds whole rows of 8-bit RGBA, not premultiplied, the first being row `first`. Transparent is white. Rows
    /// beyond the picture are ignored.
    pub fn rows(&mut self, first: u32, rgba: &[u8]) {
        let row_bytes = self.width as usize * 4;
        if row_bytes == 0 {
            return;
        }
        let per_row = SIDE as f64 / f64::from(self.height);
        for (y, row) in (first..self.height).zip(rgba.chunks_exact(row_bytes)) {
            let values = self.luma.iter_mut().zip(&mut self.levels);
            for ((luma, level), pixel) in values.zip(row.chunks_exact(4)) {
                let [r, g, b, a] = [pixel[0], pixel[1], pixel[2], pixel[3]].map(u32::from);
                *luma = ((77 * r + 150 * g + 29 * b) * a + 65_280 * (255 - a)) as f32;
                let over = |c: u32| {
                    if a == 255 {
                        c as f32
                    } else {
                        (c * a + 255 * (255 - a)) as f32 / 255.0
                    }
                };
                *level = 0.299 * over(r) + 0.587 * over(g) + 0.114 * over(b);
            }
            if let Some(pdq) = &mut self.pdq {
                pdq.row(y as usize, &self.levels);
            }
            let cells = self.cells();
            let (top, bottom) = (f64::from(y) * per_row, f64::from(y + 1) * per_row);
            let mut row = top as usize;
            while row < SIDE && (row as f64) < bottom {
                let covered = bottom.min((row + 1) as f64) - top.max(row as f64);
                let weight = covered as f32;
                for (sum, cell) in self.plane[row * SIDE..(row + 1) * SIDE].iter_mut().zip(&cells) {
                    *sum += cell * weight;
                }
                row += 1;
            }
        }
    }

    /// The means of the current row under each column of the plane, 0 to 1.
    fn cells(&self) -> [f32; SIDE] {
        let per_cell = f64::from(self.width) / SIDE as f64;
        std::array::from_fn(|column| {
            let (left, right) = (column as f64 * per_cell, (column + 1) as f64 * per_cell);
            let (first, last) = (left as usize, (right as usize).min(self.luma.len() - 1));
            let sum = if first == last {
                self.luma[first] * (right - left) as f32
            } else {
                self.luma[first] * (1.0 - left.fract()) as f32
                    + self.luma[first + 1..last].iter().sum::<f32>()
                    + self.luma[last] * (right - last as f64) as f32
            };
            sum / (per_cell as f32 * 65_280.0 * 255.0)
        })
    }

    /// What the rows seen look like.
    pub fn finish(self) -> Look {
        let aspect = self.width.max(1) as f32 / self.height.max(1) as f32;
        Look {
            print: hash::fingerprint(&self.plane, aspect),
            pdq: self.pdq.map(Collector::finish),
        }
    }
}
