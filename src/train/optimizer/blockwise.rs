//! Values in eight bits with a scale for each block: the dynamic quantisation of Dettmers (2016, arXiv:1511.04561; 2022,
//! arXiv:2110.02861).
//!
//! A value is divided by the largest of its block and rounded to the nearest of 256 numbers. These lie in decades from 1
//! down to 10⁻⁷, with fewer in each lower one: the nearer to zero, the smaller the error.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::Part;

/// Values that share a scale.
pub(super) const BLOCK: usize = 256;

/// The numbers that codes stand for, ascending.
pub(super) type Codes = [f32; 256];

/// Quantised values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Blockwise {
    codes: Vec<u8>,
    scales: Vec<f32>,
}

impl Blockwise {
    /// `n` zeros; where they stay positive, the sign's bit serves precision.
    pub(super) fn zeros(n: usize, signed: bool) -> Self {
        let zero = nearest(Self::codes(signed), 0.0);
        Self {
            codes: vec![zero; n],
            scales: vec![0.0; n.div_ceil(BLOCK)],
        }
    }

    /// The table of a state with or without negative values.
    pub(super) fn codes(signed: bool) -> &'static Codes {
        static TABLES: [OnceLock<Codes>; 2] = [const { OnceLock::new() }; 2];
        TABLES[usize::from(signed)].get_or_init(|| table(signed))
    }

    /// Its pieces of `n` values, a multiple of the block.
    pub(super) fn pieces(&mut self, n: usize) -> impl IndexedParallelIterator<Item = Piece<'_>> {
        self.codes
            .par_chunks_mut(n)
            .zip(self.scales.par_chunks_mut(n / BLOCK))
            .map(|(codes, scales)| Piece { codes, scales })
    }

    pub(super) fn visit<'a>(&'a mut self, name: &str, f: &mut dyn FnMut(&str, Part<'a>)) {
        f(&format!("{name}_codes"), Part::U8(&mut self.codes));
        f(&format!("{name}_scales"), Part::F32(&mut self.scales));
    }
}

/// A part of a state that one thread works on.
pub(super) struct Piece<'a> {
    codes: &'a mut [u8],
    scales: &'a mut [f32],
}

impl Piece<'_> {
    /// The values of block `b`.
    pub(super) fn read(&self, b: usize, codes: &Codes, out: &mut [f32]) {
        for (value, &code) in out.iter_mut().zip(&self.codes[b * BLOCK..]) {
            *value = codes[usize::from(code)] * self.scales[b];
        }
    }

    /// Rounds values into block `b`.
    pub(super) fn write(&mut self, b: usize, codes: &Codes, values: &[f32]) {
        let scale = values.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        self.scales[b] = scale;
        for (code, &value) in self.codes[b * BLOCK..].iter_mut().zip(values) {
            *code = nearest(codes, if scale > 0.0 { value / scale } else { 0.0 });
        }
    }
}

/// The place of the code nearest to a value in [-1, 1]; of two as near, the lower.
fn nearest(codes: &Codes, value: f32) -> u8 {
    let above = codes.partition_point(|&c| c < value).min(255);
    let below = above.saturating_sub(1);
    let place = if value - codes[below] <= codes[above] - value {
        below
    } else {
        above
    };
    place as u8
}

/// Decade `e` below 1 has `2^(6 − e)` numbers of each sign, or twice as many without signs: the middles of as many equal
/// parts of [0.1, 1], times `10^−e`. Besides there are 0 and 1.
fn table(signed: bool) -> Codes {
    let mut codes = [0.0; 256];
    let mut place = 0;
    let mut put = |value: f32| {
        codes[place] = value;
        place += 1;
    };
    for decade in 0..7 {
        let parts = (if signed { 1 } else { 2 }) << (6 - decade);
        let scale = 10f64.powi(-decade) as f32;
        // Even steps as PyTorch's `linspace` makes them: from the nearer end.
        let (first, last) = (0.1f32, 1.0f32);
        let step = (last - first) / parts as f32;
        let edge = |i: i32| {
            if i < (parts + 1) / 2 {
                step.mul_add(i as f32, first)
            } else {
                (-step).mul_add((parts - i) as f32, last)
            }
        };
        for i in 0..parts {
            let middle = scale * ((edge(i) + edge(i + 1)) / 2.0);
            put(middle);
            if signed {
                put(-middle);
            }
        }
    }
    put(0.0);
    put(1.0);
    codes.sort_by(f32::total_cmp);
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_bitsandbytes() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/optimizers/optimizers.json")).unwrap();
        for (signed, name) in [(true, "signed"), (false, "unsigned")] {
            let expected: Vec<f32> = serde_json::from_value(golden["codes"][name].clone()).unwrap();
            assert_eq!(Blockwise::codes(signed).as_slice(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_rounded_is_near_and_keeps_its_sign() {
        let codes = Blockwise::codes(true);
        let values: Vec<f32> = (0..600).map(|i| (i as f32 - 299.5).powi(3) * 1e-4).collect();
        let mut state = Blockwise::zeros(values.len(), true);
        let mut read = vec![0.0; values.len()];
        for piece in &mut state.pieces(1024).collect::<Vec<_>>() {
            for (b, part) in values.chunks(BLOCK).enumerate() {
                piece.write(b, codes, part);
                piece.read(b, codes, &mut read[b * BLOCK..(b * BLOCK + part.len())]);
            }
        }
        for (block, (values, read)) in values.chunks(BLOCK).zip(read.chunks(BLOCK)).enumerate() {
            let most = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            for (value, read) in values.iter().zip(read) {
                // The widest step of the table lies in its first decade: 0.9 / 64 of the block's largest value.
                assert!(
                    (value - read).abs() <= most * 0.9 / 128.0 * 1.001,
                    "block {block}: {value} became {read}"
                );
                assert!(value * read >= 0.0);
            }
        }
        assert_eq!(state.codes.len() + 4 * state.scales.len(), 600 + 12);
    }
}
