//! Every kernel against its plain burn version: the output, and the gradient of every input.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::reference;

/// Numbers in about [-2, 2] that look random and are the same each time.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count)
        .map(|_| (next() + next() + next() + next() - 2.0) * 2.0)
        .collect()
}

pub(super) fn input<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let count = shape.iter().product();
    Tensor::from_data(TensorData::new(noise(count, seed), shape.to_vec()), device)
}

pub(super) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// Asserts that the largest difference is at most `tolerance` of the largest number of `want`.
fn assert_near(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let size = want.iter().fold(1e-3_f32, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0_f32, f32::max);
    assert!(worst <= tolerance * size, "{what}: off by {worst}, largest {size}");
}

/// Runs `kernel` and `plain` on inputs of the given shapes and compares the outputs and all gradients; then runs the
/// kernel without autodiff, which must give the same bits.
fn compare<const D: usize>(
    what: &str,
    shapes: &[Vec<usize>],
    tolerance: f32,
    kernel: impl Fn(&[Input]) -> Tensor<D>,
    plain: impl Fn(&[Input]) -> Tensor<D>,
) {
    let device = Device::flex().autodiff();
    let run = |f: &dyn Fn(&[Input]) -> Tensor<D>| {
        let inputs: Vec<Input> = (0..)
            .zip(shapes)
            .map(|(seed, shape)| Input::new(shape, seed + 1, &device))
            .collect();
        let y = f(&inputs);
        let weights = input(y.dims(), 77, &device);
        let gradients = (y.clone() * weights).sum().backward();
        let gradients: Vec<Vec<f32>> = inputs
            .iter()
            .map(|input| numbers(input.0.grad(&gradients).unwrap()))
            .collect();
        (numbers(y), gradients)
    };
    let (got, got_gradients) = run(&kernel);
    let (want, want_gradients) = run(&plain);
    assert_near(&format!("{what} {shapes:?} forward"), &got, &want, tolerance);
    for (i, (got, want)) in got_gradients.iter().zip(&want_gradients).enumerate() {
        assert_near(&format!("{what} {shapes:?} gradient {i}"), got, want, 10.0 * tolerance);
    }
    let (again, again_gradients) = run(&kernel);
    assert!(
        got == again && got_gradients == again_gradients,
        "{what}: two runs differ"
    );
    let device = Device::flex();
    let inputs: Vec<Input> = (0..)
        .zip(shapes)
        .map(|(seed, shape)| Input::new(shape, seed + 1, &device))
        .collect();
    assert!(numbers(kernel(&inputs)) == got, "{what}: differs without autodiff");
}

/// A flat leaf, given out in the shape that it was made for.
struct Input(Tensor<1>, Vec<usize>);

impl Input {
    fn new(shape: &[usize], seed: u64, device: &Device) -> Self {
        let flat = input([shape.iter().product()], seed, device);
        let flat = if device.is_autodiff() {
            flat.require_grad()
        } else {
            flat
        };
        Self(flat, shape.to_vec())
    }

    fn shaped<const D: usize>(&self) -> Tensor<D> {
        self.0
            .clone()
            .reshape(<[usize; D]>::try_from(self.1.as_slice()).unwrap())
    }

    /// The same shape, but laid out with the last two axes swapped in memory.
    fn strided<const D: usize>(&self) -> Tensor<D> {
        let mut shape = <[usize; D]>::try_from(self.1.as_slice()).unwrap();
        shape.swap(D - 1, D - 2);
        self.0.clone().reshape(shape).swap_dims(D - 1, D - 2)
    }
}

#[test]
fn group_norm_matches() {
    for (shape, groups) in [
        ([2, 8, 5, 3], 4),
        ([1, 6, 1, 1], 2),
        ([3, 64, 16, 16], 32),
        ([2, 12, 33, 47], 3),
    ] {
        let shapes = [shape.to_vec(), vec![shape[1]], vec![shape[1]]];
        for silu in [false, true] {
            compare(
                "group norm",
                &shapes,
                2e-6,
                |i| super::group_norm(i[0].shaped(), i[1].shaped(), i[2].shaped(), groups, 1e-5, silu),
                |i| reference::group_norm(i[0].shaped(), i[1].shaped(), i[2].shaped(), groups, 1e-5, silu),
            );
        }
        compare(
            "group norm, strided",
            &shapes,
            2e-6,
            |i| super::group_norm(i[0].strided(), i[1].shaped(), i[2].shaped(), groups, 1e-5, true),
            |i| reference::group_norm(i[0].strided(), i[1].shaped(), i[2].shaped(), groups, 1e-5, true),
        );
    }
}

#[test]
fn group_norm_over_its_input_gives_the_same_bits() {
    let device = Device::flex();
    let x = input::<4>([2, 12, 33, 47], 5, &device);
    let (weight, bias) = (input([12], 6, &device), input([12], 7, &device));
    let norm = |x: Tensor<4>| numbers(super::group_norm(x, weight.clone(), bias.clone(), 3, 1e-5, true));
    let values = numbers(x.clone());
    let kept = norm(x.clone());
    assert!(numbers(x.clone()) == values, "somebody else's tensor was changed");
    assert!(norm(x) == kept);
}

#[test]
fn group_norm_holds_a_large_mean() {
    let device = Device::flex();
    let x = input::<4>([1, 4, 16, 16], 5, &device);
    let (weight, bias) = (Tensor::ones([4], &device), Tensor::zeros([4], &device));
    // A power of two, so that adding it rounds the inputs but little.
    let shifted = x.clone() + 64.0;
    let want = numbers(super::group_norm(
        shifted.clone() - 64.0,
        weight.clone(),
        bias.clone(),
        2,
        1e-5,
        false,
    ));
    let got = numbers(super::group_norm(shifted, weight, bias, 2, 1e-5, false));
    assert_near("group norm", &got, &want, 1e-6);
}

#[test]
fn layer_norm_matches() {
    for shape in [[2, 7, 64], [1, 1, 5], [3, 50, 129], [2, 64, 192]] {
        let shapes = [shape.to_vec(), vec![shape[2]], vec![shape[2]]];
        compare(
            "layer norm",
            &shapes,
            2e-6,
            |i| super::layer_norm(i[0].shaped(), i[1].shaped(), i[2].shaped(), 1e-5),
            |i| reference::layer_norm(i[0].shaped(), i[1].shaped(), i[2].shaped(), 1e-5),
        );
        compare(
            "layer norm, strided",
            &shapes,
            2e-6,
            |i| super::layer_norm(i[0].strided(), i[1].shaped(), i[2].shaped(), 1e-5),
            |i| reference::layer_norm(i[0].strided(), i[1].shaped(), i[2].shaped(), 1e-5),
        );
    }
}

#[test]
fn silu_matches() {
    for shape in [[1, 1, 1], [3, 5, 7], [4, 64, 300]] {
        compare(
            "silu",
            &[shape.to_vec()],
            1e-6,
            |i| super::silu::<3>(i[0].shaped()),
            |i| reference::silu(i[0].shaped()),
        );
        compare(
            "silu, strided",
            &[shape.to_vec()],
            1e-6,
            |i| super::silu::<3>(i[0].strided()),
            |i| reference::silu(i[0].strided()),
        );
    }
}

#[test]
fn geglu_matches() {
    for shape in [[1, 1, 2], [3, 5, 14], [2, 64, 512]] {
        compare(
            "geglu",
            &[shape.to_vec()],
            1e-6,
            |i| super::geglu(i[0].shaped()),
            |i| reference::geglu(i[0].shaped()),
        );
        compare(
            "geglu, strided",
            &[shape.to_vec()],
            1e-6,
            |i| super::geglu(i[0].strided()),
            |i| reference::geglu(i[0].strided()),
        );
    }
}

#[test]
fn conv2d_matches() {
    // batch, inputs, outputs, height, width, kernel, stride, padding
    let table = [
        [2, 3, 5, 7, 9, 3, 1, 1],
        [1, 1, 1, 1, 1, 1, 1, 0],
        [3, 4, 6, 8, 8, 3, 2, 1],
        [5, 7, 3, 5, 4, 1, 1, 0],
        [2, 5, 4, 9, 6, 3, 2, 0],
        [16, 20, 24, 4, 4, 3, 1, 1],
        [7, 33, 9, 8, 8, 3, 1, 1],
        [1, 40, 16, 40, 33, 3, 1, 1],
        [2, 6, 8, 65, 64, 1, 1, 0],
        [1, 3, 2, 6, 7, 4, 3, 2],
        [2, 2, 3, 2, 2, 3, 1, 2],
        [1, 2, 2, 5, 5, 1, 2, 3],
    ];
    for [batch, inputs, outputs, height, width, kernel, stride, padding] in table {
        let shapes = [
            vec![batch, inputs, height, width],
            vec![outputs, inputs, kernel, kernel],
            vec![outputs],
        ];
        compare(
            &format!("conv2d by {stride} with {padding}"),
            &shapes,
            2e-6,
            |i| super::conv2d(i[0].shaped(), i[1].shaped(), Some(i[2].shaped()), stride, padding),
            |i| reference::conv2d(i[0].shaped(), i[1].shaped(), Some(i[2].shaped()), stride, padding),
        );
        compare(
            "conv2d, strided, without bias",
            &shapes[..2],
            2e-6,
            |i| super::conv2d(i[0].strided(), i[1].strided(), None, stride, padding),
            |i| reference::conv2d(i[0].strided(), i[1].strided(), None, stride, padding),
        );
    }
}

#[test]
fn conv2d_of_many_tiles_matches() {
    // batch, inputs, outputs, height, width: enough for Winograd's transforms, whose rounding is larger.
    for [batch, inputs, outputs, height, width] in [[2, 17, 19, 30, 33], [6, 16, 24, 17, 16]] {
        let shapes = [
            vec![batch, inputs, height, width],
            vec![outputs, inputs, 3, 3],
            vec![outputs],
        ];
        compare(
            "conv2d of many tiles",
            &shapes,
            4e-6,
            |i| super::conv2d(i[0].strided(), i[1].shaped(), Some(i[2].shaped()), 1, 1),
            |i| reference::conv2d(i[0].strided(), i[1].shaped(), Some(i[2].shaped()), 1, 1),
        );
    }
}

#[test]
fn conv2d_gives_gradients_only_where_they_are_wanted() {
    let device = Device::flex().autodiff();
    let (x, weight) = (
        input::<4>([2, 3, 6, 6], 1, &device),
        input::<4>([4, 3, 3, 3], 2, &device),
    );
    let trained = x.clone().require_grad();
    let gradients = super::conv2d(trained.clone(), weight.clone(), None, 1, 1)
        .sum()
        .backward();
    let want = reference::conv2d(trained.clone(), weight.clone(), None, 1, 1)
        .sum()
        .backward();
    assert!(weight.grad(&gradients).is_none());
    assert_near(
        "x",
        &numbers(trained.grad(&gradients).unwrap()),
        &numbers(trained.grad(&want).unwrap()),
        1e-5,
    );

    let trained = weight.require_grad();
    let gradients = super::conv2d(x.clone(), trained.clone(), None, 1, 1).sum().backward();
    let want = reference::conv2d(x.clone(), trained.clone(), None, 1, 1)
        .sum()
        .backward();
    assert!(x.grad(&gradients).is_none());
    assert_near(
        "weight",
        &numbers(trained.grad(&gradients).unwrap()),
        &numbers(trained.grad(&want).unwrap()),
        1e-5,
    );
}

#[test]
fn attention_matches() {
    // batch, heads, queries, keys, width
    let table = [
        [1, 1, 1, 1, 1],
        [2, 3, 5, 7, 4],
        [1, 2, 70, 77, 40],
        [2, 2, 256, 256, 32],
        [1, 5, 130, 1100, 8],
        [3, 1, 9, 600, 17],
    ];
    for [batch, heads, queries, keys, width] in table {
        let shapes = [
            vec![batch, heads, queries, width],
            vec![batch, heads, keys, width],
            vec![batch, heads, keys, width],
        ];
        let by_token = [
            vec![batch, queries, heads, width],
            vec![batch, keys, heads, width],
            vec![batch, keys, heads, width],
        ];
        let scale = 1.0 / (width as f64).sqrt();
        for causal in [false, true] {
            compare(
                "attention",
                &shapes,
                2e-6,
                |i| super::attention(i[0].shaped(), i[1].shaped(), i[2].shaped(), scale, causal),
                |i| reference::attention(i[0].shaped(), i[1].shaped(), i[2].shaped(), scale, causal),
            );
            compare(
                "attention, strided",
                &shapes,
                2e-6,
                |i| super::attention(i[0].strided(), i[1].strided(), i[2].strided(), scale, causal),
                |i| reference::attention(i[0].strided(), i[1].strided(), i[2].strided(), scale, causal),
            );
            let swapped = |i: &Input| i.shaped::<4>().swap_dims(1, 2);
            compare(
                "attention, by token",
                &by_token,
                2e-6,
                |i| super::attention(swapped(&i[0]), swapped(&i[1]), swapped(&i[2]), scale, causal).swap_dims(1, 2),
                |i| reference::attention(swapped(&i[0]), swapped(&i[1]), swapped(&i[2]), scale, causal).swap_dims(1, 2),
            );
        }
    }
}

#[test]
fn attention_bears_large_scores() {
    let device = Device::flex();
    let [q, k, v] = [1, 2, 3].map(|seed| input::<4>([1, 2, 70, 16], seed, &device) * 8.0);
    let got = numbers(super::attention(q.clone(), k.clone(), v.clone(), 1.0, false));
    let want = numbers(reference::attention(q, k, v, 1.0, false));
    // Scores of several hundred carry an error of 1e-5 into their exponentials.
    assert_near("attention", &got, &want, 1e-4);
}

#[test]
fn linear_matches() {
    for [rows, inputs, outputs] in [[1, 1, 1], [7, 33, 5], [1030, 20, 70], [3, 20, 1100], [130, 1, 65]] {
        let shapes = [vec![rows, inputs], vec![outputs, inputs], vec![outputs]];
        compare(
            "linear",
            &shapes,
            2e-6,
            |i| super::linear(i[0].shaped(), i[1].shaped(), Some(i[2].shaped())),
            |i| reference::linear(i[0].shaped(), i[1].shaped(), Some(i[2].shaped())),
        );
        compare(
            "linear, strided, without bias",
            &shapes[..2],
            2e-6,
            |i| super::linear(i[0].strided(), i[1].strided(), None),
            |i| reference::linear(i[0].strided(), i[1].strided(), None),
        );
    }
}

#[test]
fn weights_in_f16_give_what_they_give_widened() {
    let device = Device::flex().autodiff();
    let x = input::<2>([40, 24], 1, &device).require_grad();
    let picture = input::<4>([2, 6, 9, 7], 2, &device).require_grad();
    let narrow = input::<2>([70, 24], 3, &device).cast(DType::F16);
    let kernel = input::<4>([10, 6, 3, 3], 4, &device).cast(DType::F16);
    let run = |weight: Tensor<2>, kernel: Tensor<4>| {
        let y = super::linear(x.clone(), weight, None);
        let z = super::conv2d(picture.clone(), kernel, None, 1, 1);
        let loss = (y.clone() * input(y.dims(), 5, &device)).sum() + (z.clone() * input(z.dims(), 6, &device)).sum();
        let gradients = loss.backward();
        let [dx, dp] = [
            numbers(x.grad(&gradients).unwrap()),
            numbers(picture.grad(&gradients).unwrap()),
        ];
        [numbers(y), numbers(z), dx, dp]
    };
    let got = run(narrow.clone(), kernel.clone());
    let want = run(narrow.cast(DType::F32), kernel.cast(DType::F32));
    assert!(got == want);
    assert!(got.iter().all(|values| values.iter().any(|v| *v != 0.0)));
}
