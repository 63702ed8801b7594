//! Aspect-ratio buckets: pictures of about the same shape get the same size, so that they can be in one micro-batch.
//!
//! Which sizes there are, which of them a picture gets, and what SDXL is told of it are those of sd-scripts'
//! `BucketManager`, in the same 64-bit arithmetic.

use serde::Serialize;

use crate::train::config::Data;

/// What decides the sizes; widths before heights, in pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    sizes: Vec<[u32; 2]>,
    /// Without scaling up: the largest area, and what sides are multiples of.
    no_upscale: Option<(u64, u32)>,
}

/// The bucket of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Its size.
    pub bucket: [u32; 2],
    /// What the picture is scaled to: it covers the bucket.
    pub resized: [u32; 2],
}

/// How many pictures a bucket has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BucketCount {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pictures trained on.
    pub pictures: usize,
    /// The same with their repeats.
    pub turns: usize,
}

impl Buckets {
    /// The buckets that a configuration asks for: one where it asks for none.
    #[must_use]
    pub fn new(data: &Data) -> Self {
        let [width, height] = data.resolution.sides();
        let area = u64::from(width) * u64::from(height);
        let steps = data.bucket_reso_steps.max(1);
        if !data.enable_bucket {
            return Self {
                sizes: vec![[width, height]],
                no_upscale: None,
            };
        }
        if data.bucket_no_upscale {
            return Self {
                sizes: Vec::new(),
                no_upscale: Some((area, steps)),
            };
        }
        // Limits that are no multiples become the next ones outwards.
        let least = data.min_bucket_reso - data.min_bucket_reso % steps;
        let most = data.max_bucket_reso.next_multiple_of(steps);
        let mut sizes = std::collections::BTreeSet::new();
        let side = ((area as f64).sqrt() / f64::from(steps)).floor() as u32 * steps;
        sizes.insert([side, side]);
        let mut width = least.max(steps);
        while width <= most {
            let height = (area / u64::from(width) / u64::from(steps)) as u32 * steps;
            let height = height.min(most);
            if height >= least && height > 0 {
                sizes.insert([width, height]);
                sizes.insert([height, width]);
            }
            width += steps;
        }
        Self {
            sizes: sizes.into_iter().filter(|size| !size.contains(&0)).collect(),
            no_upscale: None,
        }
    }

    /// The bucket of a picture of this width and height; none for one with a side below the least.
    #[must_use]
    pub fn of(&self, picture: [u32; 2]) -> Option<Spot> {
        let [width, height] = picture.map(f64::from);
        let aspect = width / height;
        let spot = match self.no_upscale {
            Some((area, steps)) => self::no_upscale(picture, area, steps)?,
            None => {
                let off = |size: &[u32; 2]| (f64::from(size[0]) / f64::from(size[1]) - aspect).abs();
                let same = self.sizes.iter().find(|size| **size == picture);
                let mut nearest = self.sizes.first()?;
                for size in &self.sizes {
                    if off(size) < off(nearest) {
                        nearest = size;
                    }
                }
                let bucket = *same.unwrap_or(nearest);
                let [w, h] = bucket.map(f64::from);
                let scale = if aspect > w / h { h / height } else { w / width };
                Spot {
                    bucket,
                    resized: [width, height].map(|side| (side * scale + 0.5) as u32),
                }
            }
        };
        let covers = (0..2).all(|side| spot.bucket[side] > 0 && spot.resized[side] >= spot.bucket[side]);
        covers.then_some(spot)
    }
}

/// Large pictures are scaled down to about `area`, with the side that keeps their shape better a multiple of `steps`;
/// others stay. What is above the multiples is cut off.
fn no_upscale(picture: [u32; 2], area: u64, steps: u32) -> Option<Spot> {
    let [width, height] = picture.map(f64::from);
    let aspect = width / height;
    let whole = |side: f64| (side + 0.5) as u32;
    let rounded = |side: f64| whole(side) - whole(side) % steps;
    let mut resized = picture;
    if u64::from(picture[0]) * u64::from(picture[1]) > area {
        let ideal = (area as f64 * aspect).sqrt();
        let by_width = rounded(ideal);
        let by_height = rounded(area as f64 / ideal);
        let off = |w: u32, h: u32| (f64::from(w) / f64::from(h) - aspect).abs();
        let (across, up) = (
            rounded(f64::from(by_height) * aspect),
            rounded(f64::from(by_width) / aspect),
        );
        if [by_width, by_height, up].contains(&0) {
            return None;
        }
        resized = match off(by_width, up) < off(across, by_height) {
            true => [by_width, whole(f64::from(by_width) / aspect)],
            false => [whole(f64::from(by_height) * aspect), by_height],
        };
    }
    Some(Spot {
        bucket: resized.map(|side| side - side % steps),
        resized,
    })
}

/// What SDXL is told of a picture in a bucket: original height and width, crop from the top and from the left, height and
/// width of the bucket.
///
/// As in sd-scripts, the crop is half of what the bucket has beyond the picture's shape laid into it, wherever the
/// picture was cut; in a mirrored picture left counts from its right.
#[must_use]
pub fn size_ids(picture: [u32; 2], bucket: [u32; 2], mirrored: bool) -> [f32; 6] {
    let [width, height] = bucket.map(f64::from);
    let aspect = f64::from(picture[0]) / f64::from(picture[1]);
    let inner = match width / height > aspect {
        true => [height * aspect, height],
        false => [width, width / aspect],
    };
    let left = ((width - inner[0]) / 2.0).floor();
    let top = ((height - inner[1]) / 2.0).floor();
    let left = match mirrored {
        true => width - (left + inner[0]),
        false => left,
    };
    [
        f64::from(picture[1]),
        f64::from(picture[0]),
        top.trunc(),
        left.trunc(),
        height,
        width,
    ]
    .map(|value| value as f32)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What sd-scripts itself says, from `scripts/parity/make_buckets.py`.
    #[test]
    fn buckets_are_those_of_sd_scripts() {
        let golden: Value = serde_json::from_str(include_str!("../../../tests/fixtures/buckets/cases.json")).unwrap();
        let numbers = |value: &Value| -> Vec<u32> {
            let numbers = value.as_array().unwrap().iter();
            numbers.map(|n| n.as_u64().unwrap() as u32).collect()
        };
        let (mut placed, mut refused) = (0, 0);
        for case in golden["cases"].as_array().unwrap() {
            let resolution = numbers(&case["resolution"]);
            let data: Data = toml::from_str(&format!(
                "resolution = {resolution:?}\nenable_bucket = true\nmin_bucket_reso = {}\nmax_bucket_reso = {}\n\
                 bucket_reso_steps = {}\nbucket_no_upscale = {}\n",
                case["min_bucket_reso"], case["max_bucket_reso"], case["bucket_reso_steps"], case["bucket_no_upscale"]
            ))
            .unwrap();
            let buckets = Buckets::new(&data);
            let sizes: Vec<Vec<u32>> = case["sizes"].as_array().unwrap().iter().map(numbers).collect();
            let own: Vec<Vec<u32>> = buckets.sizes.iter().map(|size| size.to_vec()).collect();
            assert_eq!(own, sizes, "{resolution:?}");
            for picture in case["pictures"].as_array().unwrap() {
                let numbers = numbers(picture);
                let size = [numbers[0], numbers[1]];
                let [w, h, to_w, to_h, top, left, mirrored] = numbers[2..] else {
                    assert_eq!(buckets.of(size), None, "{size:?}");
                    refused += 1;
                    continue;
                };
                let spot = buckets.of(size).unwrap_or_else(|| panic!("{size:?}"));
                assert_eq!(
                    (spot.bucket, spot.resized),
                    ([w, h], [to_w, to_h]),
                    "{size:?} of {resolution:?}"
                );
                for (mirror, left) in [(false, left), (true, mirrored)] {
                    let told = [size[1], size[0], top, left, h, w].map(|n| n as f32);
                    assert_eq!(size_ids(size, spot.bucket, mirror), told, "{size:?} of {resolution:?}");
                }
                placed += 1;
            }
        }
        assert!(placed > 800 && refused > 10, "{placed} {refused}");
    }

    #[test]
    fn without_buckets_there_is_one() {
        let buckets = Buckets::new(&toml::from_str("resolution = \"96,64\"").unwrap());
        let spot = buckets.of([300, 100]).unwrap();
        assert_eq!((spot.bucket, spot.resized), ([96, 64], [192, 64]));
    }
}
