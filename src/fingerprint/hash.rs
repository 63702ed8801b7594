//! A plane of luma → hashes of its core and of its windows: which of the lowest frequencies of a cosine transform are
//! clearly positive.

use std::sync::LazyLock;

use super::Fingerprint;

/// Cells along each side of the plane.
pub(super) const SIDE: usize = 64;
/// Bits of a hash: frequencies, horizontal and vertical together below [`FREQUENCIES`], without the mean.
pub(super) const BITS: usize = FREQUENCIES * (FREQUENCIES + 1) / 2 - 1;
/// Bytes of a stored hash.
pub(super) const HASH_BYTES: usize = BITS.div_ceil(8);
/// Where the core of another picture may lie in this one: in its own place, where it lies when this is a crop of the
/// other, and where it lies when the other is a crop of this.
pub(super) const WINDOWS: usize = 1 + 2 * (CROPS * CROPS - 1);

/// Frequencies along each axis.
const FREQUENCIES: usize = 16;
/// What crops leave of one side: all of it, or what remains when a twentieth or a tenth goes, from its beginning, its
/// end or half from each.
const CROPS: usize = 1 + 3 + 3;
/// Parts of one side that are looked at: the core; the core of the original in each crop; the core of each crop.
const PARTS: usize = 2 * CROPS - 1;
/// The core lies this far inside every edge, so that a crop of a tenth leaves all of it.
const MARGIN: f64 = 0.1;
/// A frequency weaker than this share of all of them together counts as none: re-encoding turns its sign.
const NOTHING: f32 = 0.006;

/// One bit a frequency, the lowest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Hash(pub [u64; 3]);

impl Hash {
    pub fn distance(&self, other: &Hash) -> u32 {
        self.0.iter().zip(&other.0).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    pub fn to_bytes(self) -> impl Iterator<Item = u8> {
        self.0.into_iter().flat_map(u64::to_le_bytes).take(HASH_BYTES)
    }

    pub fn from_bytes(bytes: &[u8]) -> Hash {
        let mut words = bytes
            .chunks(8)
            .map(|b| b.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b)));
        Hash(std::array::from_fn(|_| words.next().unwrap_or_default()))
    }
}

/// Where part `index` of a side begins and how long it is, in parts of the side.
fn part(index: usize) -> (f64, f64) {
    let core = 1.0 - 2.0 * MARGIN;
    let crop = |index: usize| {
        let loss = if index <= 3 { 0.05 } else { 0.1 };
        (loss * ((index - 1) % 3) as f64 / 2.0, 1.0 - loss)
    };
    match index {
        0 => (MARGIN, core),
        index if index < CROPS => {
            let (start, length) = crop(index);
            ((MARGIN - start) / length, core / length)
        }
        index => {
            let (start, length) = crop(index + 1 - CROPS);
            (start + MARGIN * length, core * length)
        }
    }
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

/// Places in a spectrum, the lowest frequencies first: they change least when a picture is cropped.
static ORDER: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let mut order: Vec<_> = (0..FREQUENCIES)
        .flat_map(|v| (0..FREQUENCIES - v).map(move |h| (v + h, v.max(h), v * FREQUENCIES + h)))
        .skip(1)
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, place)| place).collect()
});

/// `[vertical * FREQUENCIES + horizontal]`.
type Spectrum = [f32; FREQUENCIES * FREQUENCIES];

/// The fingerprint of a plane of `SIDE * SIDE` means in 0 to 1.
pub(super) fn fingerprint(plane: &[f32], aspect: f32) -> Fingerprint {
    let waves = &*WAVES;
    let (mut core, mut mirrored, mut detail) = (Hash::default(), Hash::default(), 0);
    let mut windows = Vec::with_capacity(WINDOWS);
    for (across, horizontal) in waves.iter().enumerate() {
        // Every row of the plane in horizontal frequencies: [SIDE][FREQUENCIES].
        let mut rows = [[0.0f32; FREQUENCIES]; SIDE];
        for (row, cells) in rows.iter_mut().zip(plane.chunks_exact(SIDE)) {
            for (value, wave) in row.iter_mut().zip(horizontal) {
                *value = dot(cells, wave);
            }
        }
        for (down, vertical) in waves.iter().enumerate() {
            // A picture is not a crop of another along one side and the other's original along the other.
            if (1..CROPS).contains(&across.min(down)) && across.max(down) >= CROPS {
                continue;
            }
            let mut spectrum = [0.0; FREQUENCIES * FREQUENCIES];
            for (line, wave) in spectrum.chunks_exact_mut(FREQUENCIES).zip(vertical) {
                for (row, weight) in rows.iter().zip(wave) {
                    for (value, cell) in line.iter_mut().zip(row) {
                        *value += cell * weight;
                    }
                }
            }
            let (hash, strong) = bits(&spectrum);
            if across == 0 && down == 0 {
                // Mirroring turns the sign of every odd horizontal frequency.
                let turned = std::array::from_fn(|i| if i % 2 == 1 { -spectrum[i] } else { spectrum[i] });
                (core, mirrored, detail) = (hash, bits(&turned).0, strong);
            }
            windows.push(hash);
        }
    }
    Fingerprint {
        quality: quality(plane),
        detail,
        aspect: aspect.to_bits(),
        core,
        mirrored,
        windows,
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

/// One bit for each of the lowest frequencies, whether it is clearly positive; and how many are clearly anything.
fn bits(spectrum: &Spectrum) -> (Hash, u8) {
    let lowest = || ORDER.iter().map(|place| spectrum[*place]);
    let least = NOTHING * lowest().map(|value| value * value).sum::<f32>().sqrt();
    let (mut hash, mut strong) = (Hash::default(), 0);
    for (index, value) in lowest().enumerate() {
        if value > least {
            hash.0[index / 64] |= 1 << (index % 64);
        }
        strong += u8::from(value.abs() > least);
    }
    (hash, strong)
}
