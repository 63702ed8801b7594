//! What numbers of two groups say: how far they stand apart, and how likely that is by chance.

use statrs::stats_tests::Alternative;
use statrs::stats_tests::mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu};

/// False positives are allowed up to this share.
pub const FALSE_POSITIVES: f64 = 0.01;

/// The curve of true positives over false positives, from (0, 0) to (1, 1), when values above a threshold are called
/// positive and the threshold falls. Equal values are called at once.
#[must_use]
pub fn roc(positives: &[f64], negatives: &[f64]) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, bool)> = positives.iter().map(|&v| (v, true)).collect();
    all.extend(negatives.iter().map(|&v| (v, false)));
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut alarms) = (0_usize, 0_usize);
    let share = |count: usize, of: &[f64]| count as f64 / of.len().max(1) as f64;
    let mut curve = vec![(0.0, 0.0)];
    for same in all.chunk_by(|a, b| a.0 == b.0) {
        hits += same.iter().filter(|(_, positive)| *positive).count();
        alarms += same.iter().filter(|(_, positive)| !positive).count();
        curve.push((share(alarms, negatives), share(hits, positives)));
    }
    curve
}

/// The area under a curve: the chance that a positive stands above a negative (equal ones count half).
#[must_use]
pub fn area(curve: &[(f64, f64)]) -> f64 {
    let step = |pair: &[(f64, f64)]| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0;
    curve.windows(2).map(step).sum()
}

/// The share of true positives at no more than [`FALSE_POSITIVES`] false ones (Carlini et al. 2022, "Membership inference
/// attacks from first principles": what counts is not the mean but what can be said without wronging others).
#[must_use]
pub fn true_positives(curve: &[(f64, f64)]) -> f64 {
    let allowed = curve.iter().filter(|(alarms, _)| *alarms <= FALSE_POSITIVES);
    allowed.map(|(_, hits)| *hits).fold(0.0, f64::max)
}

/// How likely values as large as `these` are, compared with `those`, if both were drawn from one distribution: the
/// one-sided test of Mann, Whitney and Wilcoxon by the normal approximation, with its corrections for continuity and ties.
/// None for an empty group.
#[must_use]
pub fn greater(these: &[f64], those: &[f64]) -> Option<f64> {
    // The crate's exact method counts the wrong tail, and every choice of a hundred values.
    let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
    let (_, p) = mannwhitneyu(these, those, method, Alternative::Greater).ok()?;
    p.is_finite().then_some(p.clamp(0.0, 1.0))
}

/// The same probabilities when each of them is one of several tests (Holm 1979): in the same order.
#[must_use]
pub fn holm(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut adjusted = vec![0.0; values.len()];
    let mut least = 0.0_f64;
    for (rank, &at) in order.iter().enumerate() {
        least = least.max(values[at] * (values.len() - rank) as f64).min(1.0);
        adjusted[at] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn curves_and_their_areas() {
        for (positives, negatives, expected, hits) in [
            (&[3.0, 4.0][..], &[1.0, 2.0][..], 1.0, 1.0),
            (&[1.0, 2.0], &[3.0, 4.0], 0.0, 0.0),
            (&[1.0, 1.0], &[1.0, 1.0], 0.5, 0.0),
            // Of six pairs five are in order, and one positive stands above all negatives.
            (&[2.0, 5.0], &[1.0, 3.0, 0.0], 5.0 / 6.0, 0.5),
        ] {
            let curve = roc(positives, negatives);
            assert_eq!((curve[0], curve[curve.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
            assert!(near(area(&curve), expected), "{positives:?} {negatives:?}");
            assert!(near(true_positives(&curve), hits), "{positives:?} {negatives:?}");
        }
        // Two false positives in two hundred are within 1 %, a third is not.
        let negatives: Vec<f64> = (0..200).map(f64::from).collect();
        assert!(near(true_positives(&roc(&[198.5, 197.5], &negatives)), 1.0));
        assert!(near(true_positives(&roc(&[197.5, 196.5], &negatives)), 0.5));
    }

    #[test]
    fn probabilities_are_those_of_scipy() {
        // scipy.stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic").pvalue
        for (these, those, expected) in [
            (
                &[5.0, 6.0, 7.0][..],
                &[1.0, 2.0, 3.0, 4.0][..],
                0.025_914_963_608_954_84,
            ),
            (&[1.0, 2.0], &[3.0, 4.0], 0.973_596_244_291_943_2),
            (
                &[1.0, 2.5, 2.5, 4.0, 6.0],
                &[0.5, 2.5, 1.5, 2.0, 3.0, 1.0],
                0.098_041_057_512_556_65,
            ),
        ] {
            assert!(near(greater(these, those).unwrap(), expected), "{these:?}");
        }
        assert_eq!(greater(&[], &[1.0]), None);
    }

    #[test]
    fn several_tests_ask_for_more() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.5]);
        for (found, expected) in adjusted.iter().zip([0.04, 0.09, 0.09, 0.5]) {
            assert!(near(*found, expected), "{adjusted:?}");
        }
        assert!(holm(&[]).is_empty());
    }
}
