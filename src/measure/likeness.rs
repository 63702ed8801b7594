//! Whether drawings of captions come near to pictures.

use std::collections::BTreeSet;

use burn::tensor::Device;

use super::{MeasureError, Options, Seen};
use crate::audit::{Gain, Group, Likeness};
use crate::fingerprint::{Fingerprint, Sketch};
use crate::generate::{Drawing, Job, Settings};
use crate::model::pipeline::Pipeline;

/// Tiles along a side (Carlini et al. 2023, 4.2: sixteen tiles, of which the farthest counts, so that two pictures with
/// the same empty background are not near).
const TILES: usize = 4;
/// Guidance of the drawings.
const CFG: f64 = 2.5;

/// Of 16 tiles the greatest root mean square of the differences, on a scale of 0 to 1.
///
/// # Shapes
/// `[3, size, size]` in [-1, 1], both
pub(super) fn distance(a: &[f32], b: &[f32], size: usize) -> f64 {
    let mut sums = [[0.0_f64; TILES]; TILES];
    let mut counts = [[0_usize; TILES]; TILES];
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let (y, x) = (i / size % size, i % size);
        let (row, column) = (y * TILES / size, x * TILES / size);
        let d = f64::from(a.clamp(-1.0, 1.0) - b.clamp(-1.0, 1.0)) / 2.0;
        sums[row][column] += d * d;
        counts[row][column] += 1;
    }
    let means = sums.iter().flatten().zip(counts.iter().flatten());
    means
        .map(|(sum, &n)| (sum / n.max(1) as f64).sqrt())
        .fold(0.0, f64::max)
}

/// What planes `[3, size, size]` in [-1, 1] look like.
pub(super) fn fingerprint(planes: &[f32], size: usize) -> Fingerprint {
    let n = size * size;
    let byte = |v: f32| ((v.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
    let rgba: Vec<u8> = (0..n)
        .flat_map(|i| [byte(planes[i]), byte(planes[n + i]), byte(planes[2 * n + i]), 255])
        .collect();
    let mut sketch = Sketch::new(size as u32, size as u32);
    sketch.rows(0, &rgba);
    sketch.finish().print
}

/// Draws the captions of the pictures that gained most, with the adapter and with the base from the same noises, and
/// compares each drawing with the measured picture that it is nearest to, as the autoencoder gives that back: nearer than
/// that the model cannot draw.
pub(super) fn likenesses(
    (base, adapted): (&Pipeline, &Pipeline),
    seen: &Seen<'_>,
    gains: &[Gain],
    options: &Options,
    device: &Device,
    tell: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<Likeness>, MeasureError> {
    let captions = chosen(seen, gains, options.captions);
    let settings = Settings {
        size: [options.size; 2],
        steps: options.steps,
        cfg: CFG,
        ..Settings::default()
    };
    let total = captions.len() * options.drawings * 2;
    let mut done = 0;
    let mut found: Vec<Likeness> = Vec::new();
    for caption in captions {
        let prompts = vec![caption; options.drawings];
        let mut draw = |pipeline: &Pipeline| -> Result<Vec<Vec<f32>>, MeasureError> {
            tell("drawing", done, total);
            let drawing = Drawing::new(pipeline, &pipeline.unet, &settings, device);
            let pictures = drawing.draw(&Job::each(&prompts, 0), &mut |_| Ok(()))?;
            done += pictures.len();
            Ok(pictures.into_iter().map(|p| p.planes).collect())
        };
        let (with, without) = (draw(adapted)?, draw(base)?);
        let near = |drawing: &Vec<f32>| {
            let all = seen.drawable.iter().enumerate();
            all.map(|(i, picture)| (distance(drawing, picture, options.size), i))
                .min_by(|a, b| a.0.total_cmp(&b.0))
        };
        let nearest = with.iter().filter_map(|drawing| Some((near(drawing)?, drawing)));
        let Some(((nearest, at), drawing)) = nearest.min_by(|a, b| a.0.0.total_cmp(&b.0.0)) else {
            continue;
        };
        let picture = &seen.drawable[at];
        let mut others: Vec<f64> = without.iter().map(|d| distance(d, picture, options.size)).collect();
        others.sort_by(f64::total_cmp);
        let median = others.get(others.len() / 2).copied().unwrap_or_default();
        let likeness = Likeness {
            sha256: seen.subjects[at].sha256,
            group: seen.subjects[at].group,
            drawings: options.drawings,
            nearest,
            base: median,
            fingerprint: fingerprint(drawing, options.size).distance(&seen.prints[at]),
        };
        match found.iter_mut().find(|l| l.sha256 == likeness.sha256) {
            Some(known) if known.nearest <= likeness.nearest => {}
            Some(known) => *known = likeness,
            None => found.push(likeness),
        }
    }
    found.sort_by(|a, b| a.nearest.total_cmp(&b.nearest).then(a.sha256.cmp(&b.sha256)));
    Ok(found)
}

/// The captions of those that gained most: so many that were trained on, and half as many that were kept out.
fn chosen<'a>(seen: &Seen<'a>, gains: &[Gain], most: usize) -> Vec<&'a str> {
    let mut order: Vec<usize> = (0..gains.len()).collect();
    order.sort_by(|&a, &b| gains[b].gain.total_cmp(&gains[a].gain).then(a.cmp(&b)));
    let mut captions = BTreeSet::new();
    let mut take = |group: Group, most: usize| -> Vec<&'a str> {
        let own = order.iter().map(|&i| seen.subjects[i]).filter(|s| s.group == group);
        own.map(|s| s.caption.as_str())
            .filter(|caption| !caption.is_empty() && captions.insert(*caption))
            .take(most)
            .collect()
    };
    let mut all = take(Group::Trained, most);
    all.extend(take(Group::Refused, most.div_ceil(2)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farthest_tile_counts() {
        let size = 16;
        let white = vec![1.0; 3 * size * size];
        let mut spot = white.clone();
        for c in 0..3 {
            for y in 4..8 {
                for x in 8..12 {
                    spot[c * size * size + y * size + x] = -1.0;
                }
            }
        }
        // One tile of sixteen is black in the one and white in the other.
        assert!((distance(&white, &spot, size) - 1.0).abs() < 1e-9);
        assert!(distance(&spot, &spot, size).abs() < 1e-9);
        let grey = vec![0.0; 3 * size * size];
        assert!((distance(&white, &grey, size) - 0.5).abs() < 1e-9);
        // Values beyond the range are those at its end.
        assert!(distance(&white, &vec![7.0; 3 * size * size], size).abs() < 1e-9);
    }
}
