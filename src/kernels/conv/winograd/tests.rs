//! Winograd's transforms against the sum that a convolution is.

use super::*;

/// Numbers in [-1, 1] that look random.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The sum that a convolution is, in f64.
fn exact(x: &[f32], weight: &[f32], bias: &[f32], sizes: &Sizes) -> Vec<f64> {
    let (height, width, inputs) = (sizes.height, sizes.width, sizes.inputs);
    let mut y = Vec::new();
    for at in 0..sizes.batch * sizes.outputs * height * width {
        let (column, row) = (at % width, at / width % height);
        let (output, picture) = (at / width / height % sizes.outputs, at / width / height / sizes.outputs);
        let mut sum = f64::from(bias[output]);
        for input in 0..inputs {
            for tap in 0..9 {
                let (from, across) = (row + tap / 3, column + tap % 3);
                if (1..=height).contains(&from) && (1..=width).contains(&across) {
                    let x = x[((picture * inputs + input) * height + from - 1) * width + across - 1];
                    sum += f64::from(x) * f64::from(weight[(output * inputs + input) * 9 + tap]);
                }
            }
        }
        y.push(sum);
    }
    y
}

#[test]
fn any_size_in_any_blocks_is_the_convolution() {
    for [batch, inputs, outputs, height, width] in [
        [1, 1, 1, 1, 1],
        [2, 3, 5, 9, 14],
        [1, 17, 4, 8, 8],
        [3, 2, 20, 5, 31],
        [1, 20, 6, 33, 7],
    ] {
        let sizes = Sizes {
            batch,
            inputs,
            height,
            width,
            outputs,
            kernel: [3, 3],
            stride: 1,
            padding: 1,
        };
        let x = noise(batch * inputs * height * width, 1);
        let (weight, bias) = (noise(outputs * inputs * 9, 2), noise(outputs, 3));
        let want = exact(&x, &weight, &bias, &sizes);
        let kernels = Kernels {
            weight: &weight,
            strides: [9 * inputs, 9],
            turned: false,
        };
        let largest = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        for blocks in [[1, 1], [2, 3], [5, 16], [1000, 1000]] {
            let got = in_blocks(&x, &kernels, &bias, &sizes, blocks);
            assert_eq!(got.len(), want.len());
            let worst = got
                .iter()
                .zip(&want)
                .map(|(g, w)| (f64::from(*g) - w).abs())
                .fold(0.0, f64::max);
            assert!(
                worst <= 3e-6 * largest,
                "{sizes:?} in {blocks:?}: off by {worst} of {largest}"
            );
        }
    }
}
