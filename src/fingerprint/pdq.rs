//! PDQ, the hash of 256 bits by which platforms and opt-out lists name pictures, as its authors publish it
//! (ThreatExchange, `pdq/cpp`), and exact search among such hashes.
//!
//! The reference blurs the whole picture by two box filters along each axis and takes 64 × 64 points of that. Every
//! point is a weighted sum of pixels, so here the sums are filled row by row; only the order of additions differs.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// Hashes at most this far apart name the same picture, as their authors advise.
pub const PDQ_DISTANCE: u32 = 31;
/// Hashes of pictures of a lower quality are not matched, as their authors advise.
pub const PDQ_QUALITY: u8 = 50;

/// Points along each side of the plane.
const SIDE: usize = 64;
/// Frequencies along each axis.
const FREQUENCIES: usize = 16;
/// The reference hashes nothing with fewer pixels along a side.
const LEAST_SIDE: u32 = 5;

/// A hash of 256 bits, as 16 words: the first word of the text is the last here, as in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pdq(pub [u16; 16]);

impl Pdq {
    /// In how many bits two hashes differ.
    pub fn distance(&self, other: &Pdq) -> u32 {
        self.0.iter().zip(&other.0).map(|(a, b)| (a ^ b).count_ones()).sum()
    }
}

impl fmt::Display for Pdq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|word| write!(f, "{word:04x}"))
    }
}

impl FromStr for Pdq {
    type Err = String;

    /// 64 hexadecimal characters.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected 64 hexadecimal characters, got `{text}`");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut words = [0; 16];
        for (at, word) in words.iter_mut().rev().enumerate() {
            *word = u16::from_str_radix(&text[at * 4..at * 4 + 4], 16).map_err(|_| wrong())?;
        }
        Ok(Pdq(words))
    }
}

/// What PDQ says about a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PdqPrint {
    /// Of the picture.
    pub upright: Pdq,
    /// Of the picture with left and right exchanged.
    pub mirrored: Pdq,
    /// How much there is to see, 0 to 100; below [`PDQ_QUALITY`] the hash says too little.
    pub quality: u8,
}

/// Along one side, the pixels that each point of the plane is a sum of.
struct Blur {
    /// For each point, its first pixel and the weights from there on.
    points: Vec<(usize, Vec<f32>)>,
}

impl Blur {
    fn new(length: usize) -> Blur {
        let full = length.div_ceil(2 * SIDE);
        let half = (full + 2) / 2;
        let window = |at: usize| ((at + half).saturating_sub(full), (at + half - 1).min(length - 1));
        let share = |(from, to): (usize, usize)| 1.0 / (to - from + 1) as f64;
        let point = |point: usize| {
            let at = ((point as f64 + 0.5) * length as f64 / SIDE as f64) as usize;
            let (from, to) = window(at);
            let (first, last) = (window(from).0, window(to).1);
            let mut weights = vec![0.0f64; last - first + 1];
            for middle in from..=to {
                let inner = window(middle);
                for weight in &mut weights[inner.0 - first..=inner.1 - first] {
                    *weight += share((from, to)) * share(inner);
                }
            }
            (first, weights.into_iter().map(|weight| weight as f32).collect())
        };
        Blur {
            points: (0..SIDE).map(point).collect(),
        }
    }
}

/// Collects the rows of a picture for its hash.
pub(super) struct Collector {
    across: Blur,
    down: Blur,
    /// `[row * SIDE + column]`.
    plane: Vec<f32>,
}

impl Collector {
    /// Begins a picture; none for one that is too small to hash.
    pub fn new(width: u32, height: u32) -> Option<Collector> {
        (width.min(height) >= LEAST_SIDE).then(|| Collector {
            across: Blur::new(width as usize),
            down: Blur::new(height as usize),
            plane: vec![0.0; SIDE * SIDE],
        })
    }

    /// Adds row `y`: its luma, 0 to 255.
    pub fn row(&mut self, y: usize, luma: &[f32]) {
        let mut points = [0.0f32; SIDE];
        for (sum, (first, weights)) in points.iter_mut().zip(&self.across.points) {
            *sum = luma[*first..]
                .iter()
                .zip(weights)
                .map(|(luma, weight)| luma * weight)
                .sum();
        }
        for (row, (first, weights)) in self.plane.chunks_exact_mut(SIDE).zip(&self.down.points) {
            let Some(weight) = y.checked_sub(*first).and_then(|at| weights.get(at)) else {
                continue;
            };
            for (sum, point) in row.iter_mut().zip(&points) {
                *sum += point * weight;
            }
        }
    }

    /// The hashes of the rows seen.
    pub fn finish(self) -> PdqPrint {
        let spectrum = spectrum(&self.plane);
        // Exchanging left and right turns the sign of every odd horizontal frequency; the first here is 1.
        let turned = std::array::from_fn(|at| if at % 2 == 0 { -spectrum[at] } else { spectrum[at] });
        PdqPrint {
            upright: bits(&spectrum),
            mirrored: bits(&turned),
            quality: quality(&self.plane),
        }
    }
}

type Spectrum = [f32; FREQUENCIES * FREQUENCIES];

/// `[frequency - 1][point]`.
static WAVES: LazyLock<[[f32; SIDE]; FREQUENCIES]> = LazyLock::new(|| {
    let wave = |frequency: usize, point: usize| {
        let turn = std::f64::consts::PI / 2.0 / SIDE as f64 * ((frequency + 1) * (2 * point + 1)) as f64;
        ((2.0 / SIDE as f64).sqrt() * turn.cos()) as f32
    };
    std::array::from_fn(|frequency| std::array::from_fn(|point| wave(frequency, point)))
});

/// The frequencies 1 to 16 along both axes, `[vertical * FREQUENCIES + horizontal]`.
fn spectrum(plane: &[f32]) -> Spectrum {
    let mut spectrum = [0.0; FREQUENCIES * FREQUENCIES];
    for (line, wave) in spectrum.chunks_exact_mut(FREQUENCIES).zip(&*WAVES) {
        let mut columns = [0.0f32; SIDE];
        for (row, weight) in plane.chunks_exact(SIDE).zip(wave) {
            for (sum, point) in columns.iter_mut().zip(row) {
                *sum += weight * point;
            }
        }
        for (value, across) in line.iter_mut().zip(&*WAVES) {
            *value = columns.iter().zip(across).map(|(column, weight)| column * weight).sum();
        }
    }
    spectrum
}

/// One bit a frequency: whether it lies above the median.
fn bits(spectrum: &Spectrum) -> Pdq {
    let mut sorted = *spectrum;
    let (_, median, _) = sorted.select_nth_unstable_by(spectrum.len() / 2 - 1, f32::total_cmp);
    let mut words = [0u16; 16];
    for (at, value) in spectrum.iter().enumerate() {
        words[at / 16] |= u16::from(value > median) << (at % 16);
    }
    Pdq(words)
}

/// Sums of the differences between neighbours, each cut to whole hundredths, as the reference does.
fn quality(plane: &[f32]) -> u8 {
    let step = |a: f32, b: f32| ((a - b) * 100.0 / 255.0) as i32;
    let mut sum = 0;
    for y in 0..SIDE {
        for x in 0..SIDE {
            let here = plane[y * SIDE + x];
            if y + 1 < SIDE {
                sum += step(here, plane[(y + 1) * SIDE + x]).abs();
            }
            if x + 1 < SIDE {
                sum += step(here, plane[y * SIDE + x + 1]).abs();
            }
        }
    }
    (sum / 90).min(100) as u8
}

/// Hashes, to be searched exactly within [`PDQ_DISTANCE`]: of two hashes at most 31 bits apart, one of the 16 words
/// differs in at most one bit.
#[derive(Debug, Clone)]
pub struct PdqIndex {
    hashes: Vec<Pdq>,
    /// For each word, the places of the hashes by what the word holds: those at `starts[value]..starts[value + 1]`.
    starts: Vec<Vec<u32>>,
    places: Vec<Vec<u32>>,
}

impl PdqIndex {
    /// An index over these; more than four thousand million are not looked at.
    pub fn new(hashes: impl IntoIterator<Item = Pdq>) -> PdqIndex {
        let hashes: Vec<Pdq> = hashes.into_iter().take(u32::MAX as usize).collect();
        let (mut starts, mut places) = (Vec::with_capacity(16), Vec::with_capacity(16));
        for word in 0..16 {
            let mut begins = vec![0u32; (1 << 16) + 1];
            for hash in &hashes {
                begins[hash.0[word] as usize + 1] += 1;
            }
            for value in 0..1 << 16 {
                begins[value + 1] += begins[value];
            }
            let mut next = begins.clone();
            let mut here = vec![0; hashes.len()];
            for (place, hash) in (0u32..).zip(&hashes) {
                let at = &mut next[hash.0[word] as usize];
                here[*at as usize] = place;
                *at += 1;
            }
            starts.push(begins);
            places.push(here);
        }
        PdqIndex { hashes, starts, places }
    }

    /// Whether there is nothing to find.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The hashes at most [`PDQ_DISTANCE`] from this one, each with its distance, sorted.
    pub fn near(&self, hash: &Pdq) -> Vec<(Pdq, u32)> {
        let mut found = BTreeSet::new();
        for (word, value) in hash.0.into_iter().enumerate() {
            let near = std::iter::once(value).chain((0..16).map(|bit| value ^ 1 << bit));
            for value in near.map(usize::from) {
                let range = self.starts[word][value] as usize..self.starts[word][value + 1] as usize;
                for place in &self.places[word][range] {
                    let other = self.hashes[*place as usize];
                    let distance = hash.distance(&other);
                    if distance <= PDQ_DISTANCE {
                        found.insert((other, distance));
                    }
                }
            }
        }
        found.into_iter().collect()
    }
}
