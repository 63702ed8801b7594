//! Arithmetic that the compiler turns into vector instructions, and the macro that compiles a loop once for each
//! instruction set and picks the best at run time. The results are the same bits whatever is picked, as every fused
//! multiply-add is written out and every sum has a fixed number of lanes.

/// Lanes of a running sum: one vector register of the widest instruction set.
pub(super) const LANES: usize = 16;

/// Makes `fn name(arguments)` out of an `#[inline(always)]` body, compiled for AVX-512, AVX2 and the baseline.
macro_rules! per_instruction_set {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) = $body:path) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn wide($($arg: $kind),*) {
                    $body($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn medium($($arg: $kind),*) {
                    $body($($arg),*);
                }
                let medium_is_there = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                if medium_is_there
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has just said that it has these features.
                    return unsafe { wide($($arg),*) };
                }
                if medium_is_there {
                    // SAFETY: the processor has just said that it has these features.
                    return unsafe { medium($($arg),*) };
                }
            }
            $body($($arg),*);
        }
    };
}
pub(super) use per_instruction_set;

/// 1.5 · 2²³: adding it rounds a small number to an integer, which then stands in the low bits of the sum.
const ROUNDER: f32 = 12_582_912.0;
/// ln 2 in two parts, the second being what the first leaves out.
const LN2_HIGH: f32 = std::f32::consts::LN_2;
const LN2_LOW: f32 = -1.904_654_3e-9;

/// `e^x` to about one unit in the last place; results below the smallest normal number are about that number instead
/// of zero, and results above the largest are about that one.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Comparisons rather than `clamp`, so that the loop stays a select and a NaN stays a NaN.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.7 { 88.7 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUNDER);
    let n = shifted - ROUNDER;
    let r = n.mul_add(-LN2_HIGH, x);
    let r = n.mul_add(-LN2_LOW, r);
    // (e^r - 1 - r) / r² on |r| <= ln 2 / 2, interpolated at Chebyshev nodes; relative error of e^r 1.1e-8.
    let p = 1.392_632_6e-3_f32;
    let p = p.mul_add(r, 8.363_293e-3);
    let p = p.mul_add(r, 4.166_655_2e-2);
    let p = p.mul_add(r, 1.666_657_6e-1);
    let p = p.mul_add(r, 0.5);
    let e = p.mul_add(r * r, r) + 1.0;
    // The low nine bits of the rounder's own pattern are zero, so the shift keeps n alone. The exponent is one short
    // and made good by the product, as n may be 128.
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(126) << 23);
    e * scale * 2.0
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// The derivative of [`silu`].
#[inline(always)]
pub(super) fn silu_slope(x: f32) -> f32 {
    let e = exp(-x);
    let s = 1.0 / (1.0 + e);
    // e * s is 1 - s without the cancellation.
    s * x.mul_add(e * s, 1.0)
}

/// The distribution function of the normal law at `x`, and `e^(-x²/2)`.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let t = x.abs();
    let t = if t > 14.0 { 14.0 } else { t };
    let square = t * t;
    let lost = t.mul_add(t, -square);
    let e = exp(-0.5 * square);
    let e = e.mul_add(-0.5 * lost, e);
    // The tail divided by e and by u, as a polynomial in u = 1 / (1 + 0.3 t) interpolated at Chebyshev nodes; relative
    // error 4.4e-9 for t in [0, 14].
    let u = 1.0 / t.mul_add(0.3, 1.0);
    let p = -2.091_436e-2_f32;
    let p = p.mul_add(u, 1.140_402_7e-1);
    let p = p.mul_add(u, -2.320_384_8e-1);
    let p = p.mul_add(u, 1.969_406_8e-1);
    let p = p.mul_add(u, -8.374_255e-2);
    let p = p.mul_add(u, 9.848_074e-2);
    let p = p.mul_add(u, 7.758_906_5e-2);
    let p = p.mul_add(u, 1.104_051_8e-1);
    let p = p.mul_add(u, 1.195_517_6e-1);
    let p = p.mul_add(u, 1.196_876_9e-1);
    let tail = e * u * p;
    (if x < 0.0 { tail } else { 1.0 - tail }, e)
}

/// `x` times the distribution function of the normal law: the exact GELU.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    x * normal(x).0
}

/// [`gelu`] and its derivative.
#[inline(always)]
pub(super) fn gelu_and_slope(x: f32) -> (f32, f32) {
    /// 1 / √(2π)
    const DENSITY: f32 = 0.398_942_3;
    let (distribution, e) = normal(x);
    (x * distribution, (x * DENSITY).mul_add(e, distribution))
}

/// Sum of the lanes, halving: the same order each time.
#[inline(always)]
pub(super) fn fold(lanes: &[f64; LANES]) -> f64 {
    let mut sums = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error of `got` against `want` in units of the last place of `want`, over a grid.
    fn worst(range: std::ops::Range<f32>, got: impl Fn(f32) -> f32, want: impl Fn(f64) -> f64) -> f64 {
        let steps = 200_000;
        (0..steps)
            .map(|i| range.start + (range.end - range.start) * i as f32 / steps as f32)
            .map(|x| {
                let exact = want(f64::from(x));
                let unit = f64::from((exact as f32).abs().next_up() - (exact as f32).abs());
                (f64::from(got(x)) - exact).abs() / unit
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_within_an_ulp_or_so() {
        assert!(worst(-86.0..88.0, exp, f64::exp) < 1.5);
        assert!(worst(-1.0..1.0, exp, f64::exp) < 1.5);
        assert!(exp(f32::NAN).is_nan() && exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::INFINITY) > 1e38);
    }

    #[test]
    fn silu_is_within_a_few_ulp() {
        assert!(worst(-80.0..80.0, silu, |x| x / (1.0 + (-x).exp())) < 4.0);
        let slope = |x: f64| {
            let s = 1.0 / (1.0 + (-x).exp());
            s * (1.0 + x * (1.0 - s))
        };
        let steps = (-400..400).map(|i| i as f32 / 20.0);
        let error = steps
            .map(|x| (f64::from(silu_slope(x)) - slope(f64::from(x))).abs())
            .fold(0.0, f64::max);
        assert!(error < 3e-7, "{error}");
    }

    #[test]
    fn gelu_matches_values_of_the_error_function() {
        // x, gelu(x), gelu'(x) from mpmath at 40 digits, rounded.
        let table: [(f32, f64, f64); 7] = [
            (-5.5, -1.0444259356e-7, -5.7334723987e-7),
            (-2.25, -0.0275050634, -0.0591897439),
            (-0.5, -0.1542687693, 0.1325048753),
            (0.0, 0.0, 0.5),
            (0.125, 0.0687172781, 0.5992179356),
            (1.75, 1.6798964754, 1.1109261510),
            (4.0, 3.9998733150, 1.0005036496),
        ];
        for (x, value, slope) in table {
            let (got, got_slope) = gelu_and_slope(x);
            assert!(
                (f64::from(got) - value).abs() <= 2e-7 * value.abs().max(1e-3),
                "gelu({x}) = {got}"
            );
            assert!((f64::from(got_slope) - slope).abs() <= 2e-7, "gelu'({x}) = {got_slope}");
        }
        assert!(gelu(f32::NAN).is_nan());
        assert_eq!(gelu(100.0), 100.0);
    }
}
