//! A plane of luma → hashes: which of the lowest frequencies of its cosine transform lie above their median.

use super::Fingerprint;

/// Cells along each side of the plane.
pub(super) const SIDE: usize = 128;
/// Bits of a hash.
pub(super) const BITS: u32 = 256;
/// The whole picture, and what is left of it when a crop takes a twentieth or a tenth off a side.
pub(super) const WINDOWS: usize = 1 + 9 + 9;

/// Samples along each side of a window.
const SAMPLES: usize = 64;
/// Frequencies along each axis.
const FREQUENCIES: usize = 16;

/// 256 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Hash(pub [u64; 4]);

impl Hash {
    pub fn distance(&self, other: &Hash) -> u32 {
        self.0.iter().zip(&other.0).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    pub fn from_bytes(bytes: &[u8]) -> Hash {
        let mut words = bytes
            .chunks_exact(8)
            .map(|b| b.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b)));
        Hash(std::array::from_fn(|_| words.next().unwrap_or_default()))
    }
}

/// A rectangle in the plane, in parts of its side.
#[derive(Clone, Copy)]
struct Window {
    x: f32,
    y: f32,
    side: f32,
}

fn windows() -> [Window; WINDOWS] {
    std::array::from_fn(|index| {
        if index == 0 {
            return Window {
                x: 0.0,
                y: 0.0,
                side: 1.0,
            };
        }
        let loss = if index <= 9 { 0.05 } else { 0.1 };
        let place = (index - 1) % 9;
        let at = |third: usize| loss * third as f32 / 2.0;
        Window {
            x: at(place % 3),
            y: at(place / 3),
            side: 1.0 - loss,
        }
    })
}

/// The fingerprint of a plane of `SIDE * SIDE` means in 0 to 1.
pub(super) fn fingerprint(plane: &[f32], aspect: u32) -> Fingerprint {
    let sums = integral(plane);
    let cosines = cosines();
    let mut mirrored = Hash::default();
    let hashes = windows().map(|window| {
        let spectrum = spectrum(&sums, window, &cosines);
        if window.side == 1.0 {
            // Mirroring turns the sign of every odd horizontal frequency.
            mirrored = bits(&std::array::from_fn(|i| {
                if i % FREQUENCIES % 2 == 1 {
                    -spectrum[i]
                } else {
                    spectrum[i]
                }
            }));
        }
        bits(&spectrum)
    });
    Fingerprint {
        quality: quality(plane),
        aspect,
        mirrored,
        windows: hashes,
    }
}

/// 0 to 100: the mean step between neighbouring cells, a flat picture having none.
fn quality(plane: &[f32]) -> u8 {
    let mut steps = 0.0;
    for row in plane.chunks_exact(SIDE) {
        steps += row.windows(2).map(|pair| (pair[0] - pair[1]).abs()).sum::<f32>();
    }
    for (above, below) in plane.iter().zip(&plane[SIDE..]) {
        steps += (above - below).abs();
    }
    // A step of a tenth in every cell, both ways, is a picture full of detail.
    let mean = steps / (2 * SIDE * SIDE) as f32;
    (mean * 1000.0).min(100.0) as u8
}

/// `(SIDE + 1)²` sums of everything above and to the left.
fn integral(plane: &[f32]) -> Vec<f32> {
    let stride = SIDE + 1;
    let mut sums = vec![0.0f32; stride * stride];
    for y in 0..SIDE {
        let mut row = 0.0;
        for x in 0..SIDE {
            row += plane[y * SIDE + x];
            sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + row;
        }
    }
    sums
}

/// `cosines[f][n]` = cos(π f (2 n + 1) / (2 · SAMPLES)).
fn cosines() -> Vec<[f32; SAMPLES]> {
    (0..FREQUENCIES)
        .map(|f| {
            std::array::from_fn(|n| {
                (std::f64::consts::PI * (f * (2 * n + 1)) as f64 / (2 * SAMPLES) as f64).cos() as f32
            })
        })
        .collect()
}

/// The lowest frequencies of one window, row by row, `[vertical * FREQUENCIES + horizontal]`.
fn spectrum(sums: &[f32], window: Window, cosines: &[[f32; SAMPLES]]) -> [f32; FREQUENCIES * FREQUENCIES] {
    let stride = SIDE + 1;
    let edge = |start: f32, n: usize| {
        let at = (start + window.side * n as f32 / SAMPLES as f32) * SIDE as f32;
        let cell = (at as usize).min(SIDE - 1);
        (cell, at - cell as f32)
    };
    let xs: Vec<_> = (0..=SAMPLES).map(|n| edge(window.x, n)).collect();
    // Sums up to each sample's edge, then differences: exact means over parts of cells.
    let line = |y: usize| {
        let (row, part) = edge(window.y, y);
        let at = |x: usize| {
            let (above, below) = (sums[row * stride + x], sums[(row + 1) * stride + x]);
            above + (below - above) * part
        };
        let mut line = [0.0f32; SAMPLES + 1];
        for (value, &(cell, part)) in line.iter_mut().zip(&xs) {
            let (left, right) = (at(cell), at(cell + 1));
            *value = left + (right - left) * part;
        }
        line
    };
    let mut columns = [[0.0f32; SAMPLES]; FREQUENCIES];
    let mut above = line(0);
    for y in 0..SAMPLES {
        let below = line(y + 1);
        let samples: [f32; SAMPLES] = std::array::from_fn(|x| (below[x + 1] - below[x]) - (above[x + 1] - above[x]));
        for (column, wave) in columns.iter_mut().zip(cosines) {
            column[y] = samples.iter().zip(wave).map(|(s, c)| s * c).sum();
        }
        above = below;
    }
    std::array::from_fn(|i| {
        let (v, h) = (i / FREQUENCIES, i % FREQUENCIES);
        columns[h].iter().zip(&cosines[v]).map(|(s, c)| s * c).sum()
    })
}

/// One bit a frequency: above the median or not. The mean (frequency 0, 0) is left out of the median and its bit is 0.
fn bits(spectrum: &[f32; FREQUENCIES * FREQUENCIES]) -> Hash {
    let mut sorted = *spectrum;
    sorted[0] = sorted[1];
    sorted.sort_by(f32::total_cmp);
    let median = (sorted[127] + sorted[128]) / 2.0;
    let mut hash = Hash::default();
    for (index, value) in spectrum.iter().enumerate().skip(1) {
        if *value > median {
            hash.0[index / 64] |= 1 << (index % 64);
        }
    }
    hash
}
