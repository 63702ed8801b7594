//! A plane of luma → hashes: which of the lowest frequencies of its cosine transform lie above their median.

use std::sync::LazyLock;

use super::Fingerprint;

/// Cells along each side of the plane.
pub(super) const SIDE: usize = 64;
/// Words of a hash; its 135 bits leave the end of the last one empty.
pub(super) const WORDS: usize = 3;
/// The farthest that two hashes can be apart.
pub(super) const BITS: u32 = 135;
/// The whole picture, and what is left of it when crops take nothing, a twentieth or a tenth off its width and off
/// its height, from one side, the other or both.
pub(super) const WINDOWS: usize = PARTS * PARTS;

/// What is left of one side.
const PARTS: usize = 1 + 3 + 3;

/// Frequencies along each axis.
const FREQUENCIES: usize = 16;

/// One bit a frequency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Hash(pub [u64; WORDS]);

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

/// The part of a side that window `index` keeps: where it begins and how long it is, in parts of the side.
fn part(index: usize) -> (f64, f64) {
    if index == 0 {
        return (0.0, 1.0);
    }
    let loss = if index <= 3 { 0.05 } else { 0.1 };
    (loss * ((index - 1) % 3) as f64 / 2.0, 1.0 - loss)
}

/// `[frequency][cell]`: how much each cell of a side counts for each frequency of one part of it.
type Waves = [[f32; SIDE]; FREQUENCIES];

/// The waves of every part: the integral of cos(π f t) over what each cell covers, t running from 0 to 1 in the part.
static WAVES: LazyLock<[Waves; PARTS]> = LazyLock::new(|| {
    std::array::from_fn(|index| {
        let (start, length) = part(index);
        let place = |cell: usize| ((cell as f64 / SIDE as f64 - start) / length).clamp(0.0, 1.0);
        std::array::from_fn(|frequency| {
            std::array::from_fn(|cell| {
                let (from, to) = (place(cell), place(cell + 1));
                let turn = std::f64::consts::PI * frequency as f64;
                // Orthonormal, so that the frequencies along an edge are weighed like the others.
                (if frequency == 0 {
                    to - from
                } else {
                    std::f64::consts::SQRT_2 * ((turn * to).sin() - (turn * from).sin()) / turn
                }) as f32
            })
        })
    })
});

/// `[vertical * FREQUENCIES + horizontal]`.
type Spectrum = [f32; FREQUENCIES * FREQUENCIES];

/// The fingerprint of a plane of `SIDE * SIDE` means in 0 to 1.
pub(super) fn fingerprint(plane: &[f32], aspect: u32) -> Fingerprint {
    let waves = &*WAVES;
    let mut mirrored = Hash::default();
    let mut hashes = [Hash::default(); WINDOWS];
    for (across, horizontal) in waves.iter().enumerate() {
        // Every row of the plane in horizontal frequencies: [SIDE][FREQUENCIES].
        let mut rows = [[0.0f32; FREQUENCIES]; SIDE];
        for (row, cells) in rows.iter_mut().zip(plane.chunks_exact(SIDE)) {
            for (value, wave) in row.iter_mut().zip(horizontal) {
                *value = dot(cells, wave);
            }
        }
        for (down, vertical) in waves.iter().enumerate() {
            let mut spectrum = [0.0; FREQUENCIES * FREQUENCIES];
            for (line, wave) in spectrum.chunks_exact_mut(FREQUENCIES).zip(vertical) {
                for (row, weight) in rows.iter().zip(wave) {
                    for (value, cell) in line.iter_mut().zip(row) {
                        *value += cell * weight;
                    }
                }
            }
            hashes[down * PARTS + across] = bits(&spectrum);
            if across == 0 && down == 0 {
                // Mirroring turns the sign of every odd horizontal frequency.
                mirrored = bits(&std::array::from_fn(|i| {
                    if i % 2 == 1 { -spectrum[i] } else { spectrum[i] }
                }));
            }
        }
    }
    Fingerprint {
        quality: quality(plane),
        aspect,
        mirrored,
        windows: hashes,
    }
}

/// Sixteen sums at once, which the compiler turns into vector registers; a single one it must keep in order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// 0 to 100: the standard deviation of luma in hundredths; a picture half black and half white has 50.
fn quality(plane: &[f32]) -> u8 {
    let count = plane.len() as f32;
    let mean = plane.iter().sum::<f32>() / count;
    let variance = plane.iter().map(|cell| (cell - mean).powi(2)).sum::<f32>() / count;
    (variance.sqrt() * 100.0).round() as u8
}

/// One bit for each of the 135 lowest frequencies (horizontal and vertical together below 16), whether it lies above
/// their median. The mean, frequency 0, is left out.
fn bits(spectrum: &Spectrum) -> Hash {
    let mut lowest = [0.0; BITS as usize];
    let order = (0..FREQUENCIES)
        .flat_map(|v| (0..FREQUENCIES - v).map(move |h| v * FREQUENCIES + h))
        .skip(1);
    for (value, index) in lowest.iter_mut().zip(order) {
        *value = spectrum[index];
    }
    let mut sorted = lowest;
    let (_, median, _) = sorted.select_nth_unstable_by(BITS as usize / 2, f32::total_cmp);
    let mut hash = Hash::default();
    for (index, value) in lowest.iter().enumerate() {
        if value > median {
            hash.0[index / 64] |= 1 << (index % 64);
        }
    }
    hash
}
