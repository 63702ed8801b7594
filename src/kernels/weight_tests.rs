//! Weights in int8: how they are rounded, and that products with them are those with what they stand for.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::tests::{input, numbers};
use super::{Int8, Weight};

fn int8<const D: usize>(values: &Tensor<D>) -> Int8 {
    Int8::round(&numbers(values.clone()), &values.dims(), &values.device())
}

fn bytes(int8: &Int8) -> Vec<i8> {
    int8.numbers.clone().into_data().try_to_vec().unwrap()
}

#[test]
fn numbers_are_rounded_half_to_even_by_channel() {
    // Scales 1, 0.5 and 0: the first row has halves, the last nothing.
    let values = [127.0, 0.5, 1.5, -2.5, -63.5, 10.0, 0.2, 0.3, 0.0, -0.0, 0.0, 0.0];
    let int8 = Int8::round(&values, &[3, 4], &Device::flex());
    assert_eq!(bytes(&int8), [127, 0, 2, -2, -127, 20, 0, 1, 0, 0, 0, 0]);
    assert_eq!(numbers(int8.scales.clone()), [1.0, 0.5, 0.0]);
    assert_eq!(numbers(int8.widened())[4..8], [-63.5, 10.0, 0.0, 0.5]);
    assert_eq!(int8.bytes(), 12 + 3 * 4);
    // What it stands for is rounded to the same again.
    assert_eq!(bytes(&int8.rounded(&numbers(int8.widened()))), bytes(&int8));
}

#[test]
fn no_number_is_further_off_than_half_a_step() {
    let values = numbers(input([9, 700], 3, &Device::flex()));
    let int8 = Int8::round(&values, &[9, 700], &Device::flex());
    let scales = numbers(int8.scales.clone());
    for (i, (found, value)) in numbers(int8.widened()).iter().zip(&values).enumerate() {
        assert!(
            (found - value).abs() <= scales[i / 700] * 0.50001,
            "{found} for {value}"
        );
    }
}

/// Output and gradient of the input, with the weight in int8 and with what it stands for.
fn both<const D: usize>(x: &Tensor<D>, run: impl Fn(Tensor<D>, bool) -> Tensor<D>) -> [(Vec<f32>, Vec<f32>); 2] {
    [true, false].map(|narrow| {
        let y = run(x.clone(), narrow);
        let gradients = (y.clone() * input(y.dims(), 5, &y.device())).sum().backward();
        (numbers(y), numbers(x.grad(&gradients).unwrap()))
    })
}

#[test]
fn products_are_those_of_what_the_numbers_stand_for() {
    let device = Device::flex().autodiff();
    // More rows and columns than one tile has, and few.
    for [rows, inputs, outputs] in [[40, 24, 70], [3, 1030, 9], [1100, 8, 1040]] {
        let x = input::<2>([rows, inputs], 1, &device).require_grad();
        let int8 = int8(&input::<2>([outputs, inputs], 3, &device));
        let bias = input::<1>([outputs], 4, &device);
        let [got, want] = both(&x, |x, narrow| match narrow {
            true => super::linear(x, Weight::Int8(int8.clone()), Some(bias.clone())),
            false => super::linear(x, int8.widened(), Some(bias.clone())),
        });
        assert!(got == want, "linear {rows} {inputs} {outputs}");
        assert!(got.1.iter().any(|v| *v != 0.0));
    }
    // By unfolding, by copying nothing, and by Winograd's transforms.
    for ([batch, inputs, height, width], outputs, kernel, stride) in [
        ([2, 6, 9, 7], 10, 3, 1),
        ([1, 6, 9, 7], 10, 3, 2),
        ([1, 12, 8, 8], 20, 1, 1),
        ([1, 16, 40, 40], 24, 3, 1),
    ] {
        let x = input::<4>([batch, inputs, height, width], 1, &device).require_grad();
        let int8 = int8(&input::<4>([outputs, inputs, kernel, kernel], 3, &device));
        let bias = Some(input::<1>([outputs], 4, &device));
        let wide = Weight::<4>::Int8(int8.clone()).widened();
        let [got, want] = both(&x, |x, narrow| match narrow {
            true => super::conv2d(x, Weight::Int8(int8.clone()), bias.clone(), stride, kernel / 2),
            false => super::conv2d(x, wide.clone(), bias.clone(), stride, kernel / 2),
        });
        assert!(got == want, "convolution {inputs} {height} {kernel} {stride}");
        assert!(got.1.iter().any(|v| *v != 0.0));
    }
}

#[test]
fn a_bias_beside_int8_has_its_gradient_and_so_has_it_out_of_autodiff() {
    let device = Device::flex().autodiff();
    let bias = input::<1>([5], 4, &device).require_grad();
    let weight = int8(&input::<2>([5, 8], 3, &device.clone().inner()));
    let x = input::<2>([3, 8], 1, &device);
    // The weight lies outside of autodiff here.
    let y = super::linear(x.clone(), Weight::Int8(weight.clone()), Some(bias.clone()));
    let gradients = y.clone().sum().backward();
    assert_eq!(numbers(bias.grad(&gradients).unwrap()), [3.0; 5]);
    let alone = super::linear(x.inner(), Weight::Int8(weight), Some(bias.inner()));
    assert!(numbers(alone) == numbers(y));
}

#[test]
fn a_changed_weight_is_not_rounded_to_int8_again() {
    let device = Device::flex();
    let values = Tensor::<2>::from_data(TensorData::new(vec![1.0_f32, 0.25, -0.5, 0.0], [2, 2]), &device);
    let changed = values.clone() + 1e-4;
    let Weight::Float(tensor) = Weight::<2>::Int8(int8(&values)).replaced(changed.clone()) else {
        panic!("expected numbers, found bytes");
    };
    assert_eq!(numbers(tensor), numbers(changed.clone()));
    let Weight::Float(tensor) = Weight::Float(values.cast(DType::F16)).replaced(changed) else {
        panic!("expected numbers, found bytes");
    };
    assert_eq!(tensor.dtype(), DType::F16);
}
