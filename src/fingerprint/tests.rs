use proptest::prelude::*;

use super::*;

fn drawn(width: u32, height: u32, at: impl Fn(f32, f32) -> [u8; 4]) -> Fingerprint {
    let mut sketch = Sketch::new(width, height);
    for y in 0..height {
        let row: Vec<u8> = (0..width)
            .flat_map(|x| at((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32))
            .collect();
        sketch.rows(y, &row);
    }
    sketch.finish().print
}

fn same(a: &Fingerprint, b: &Fingerprint) -> bool {
    a.distance(b).is_some_and(|distance| distance <= SAME)
}

fn spots(x: f32, y: f32) -> [u8; 4] {
    let value = (x * 9.0 + y * y * 5.0).sin() * (y * 11.0 - x * 4.0).cos();
    let level = (value * 120.0 + 128.0) as u8;
    [level, level / 2, 255 - level, 255]
}

#[test]
fn the_same_drawing_at_another_size_is_the_same() {
    let large = drawn(700, 500, spots);
    assert!(
        large
            .distance(&drawn(140, 100, spots))
            .is_some_and(|distance| distance <= 4)
    );
    assert!(same(&large, &drawn(70, 50, spots)));
}

#[test]
fn a_mirror_image_is_the_same() {
    let print = drawn(300, 200, spots);
    assert!(same(&print, &drawn(300, 200, |x, y| spots(1.0 - x, y))));
}

#[test]
fn a_flat_picture_matches_nothing() {
    let flat = drawn(60, 60, |_, _| [200, 10, 10, 255]);
    assert!(!flat.is_usable());
    assert_eq!(flat.distance(&flat), None);
    assert_eq!(flat.codes(), None);
}

#[test]
fn bytes_come_back_and_others_are_refused() {
    let print = drawn(90, 33, spots);
    let bytes = print.to_bytes();
    assert_eq!(Fingerprint::from_bytes(&bytes), Ok(print));
    assert!(matches!(
        Fingerprint::from_bytes(&bytes[..bytes.len() - 1]),
        Err(FingerprintError::Length { .. })
    ));
    assert!(matches!(
        Fingerprint::from_bytes(&[]),
        Err(FingerprintError::Length { .. })
    ));
    let other = [[9].as_slice(), &bytes[1..]].concat();
    assert!(matches!(
        Fingerprint::from_bytes(&other),
        Err(FingerprintError::Version { found: 9, .. })
    ));
}

/// A drawing that differs with `seed`: discs and bars on paper.
fn art(seed: u32) -> impl Fn(f32, f32) -> [u8; 4] {
    // A small generator of fixed numbers is enough; the drawings only have to differ.
    let number = move |index: u32| {
        let mixed = (seed * 7919 + index * 104_729).wrapping_mul(2_654_435_761);
        ((mixed ^ (mixed >> 15)).wrapping_mul(2_246_822_519) >> 8) as f32 / (1 << 24) as f32
    };
    move |x, y| {
        let mut color = [250, 245, 235, 255];
        for shape in 0..9u32 {
            let at = |part: u32| number(shape * 8 + part);
            let (dx, dy) = (x - at(0), y - at(1));
            let inside = match shape % 3 {
                0 => dx * dx + dy * dy < 0.06 * at(2),
                1 => dx.abs() < 0.3 * at(2) && dy.abs() < 0.08,
                _ => (dx + dy * (at(2) - 0.5)).abs() < 0.04,
            };
            if inside {
                color = [(at(3) * 220.0) as u8, (at(4) * 220.0) as u8, (at(5) * 220.0) as u8, 255];
            }
        }
        color
    }
}

/// What is left of a drawing when `left`, `top`, `right`, `bottom` are cut off.
fn cut(draw: impl Fn(f32, f32) -> [u8; 4], [left, top, right, bottom]: [f32; 4]) -> impl Fn(f32, f32) -> [u8; 4] {
    move |x, y| draw(left + x * (1.0 - left - right), top + y * (1.0 - top - bottom))
}

#[test]
fn crops_are_found_and_other_drawings_are_not() {
    let count = 20;
    let originals: Vec<_> = (0..count).map(|seed| drawn(240, 200, art(seed))).collect();
    let crops = [
        [0.05, 0.0, 0.0, 0.0],
        [0.02, 0.03, 0.02, 0.01],
        [0.0, 0.1, 0.0, 0.0],
        [0.04, 0.01, 0.06, 0.08],
    ];
    let (mut doubtful, mut missed) = (0, 0);
    for seed in 0..count {
        for crop in crops {
            let cropped = drawn(170, 150, cut(art(seed), crop));
            match originals[seed as usize].distance(&cropped) {
                Some(distance) => doubtful += usize::from(distance > SAME),
                None => missed += 1,
            }
        }
    }
    // Hard edges on half the plane's cells may flip a few bits, and one of the crops lies between those looked for.
    assert!(
        missed <= 2 && doubtful <= 9,
        "of 80 crops {missed} are missed, {doubtful} doubtful"
    );
    for (at, a) in originals.iter().enumerate() {
        for b in &originals[at + 1..] {
            assert!(!same(a, b), "different drawings are taken for the same");
        }
    }
}

#[test]
fn distance_is_symmetric() {
    for seed in 0..20 {
        let a = drawn(120, 100, art(seed));
        let b = drawn(120, 100, cut(art(seed), [0.1, 0.0, 0.0, 0.05]));
        assert_eq!(a.distance(&b), b.distance(&a));
    }
}

#[test]
fn re_encoding_as_jpeg_changes_little() {
    for seed in 0..20 {
        let draw = art(seed);
        let (width, height) = (200u32, 160u32);
        let picture = image::RgbImage::from_fn(width, height, |x, y| {
            let [r, g, b, _] = draw(x as f32 / width as f32, y as f32 / height as f32);
            image::Rgb([r, g, b])
        });
        let print = |picture: &image::RgbImage| {
            let mut sketch = Sketch::new(width, height);
            sketch.rows(0, image::DynamicImage::ImageRgb8(picture.clone()).to_rgba8().as_raw());
            sketch.finish().print
        };
        let mut bytes = std::io::Cursor::new(Vec::new());
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 60);
        picture.write_with_encoder(encoder).unwrap();
        let again = image::load_from_memory(bytes.get_ref()).unwrap().to_rgb8();
        assert!(same(&print(&picture), &print(&again)), "{seed}");
    }
}

#[test]
fn the_gaps_between_the_crops_are_found_too() {
    let mut missed = 0;
    for seed in 0..15 {
        let original = drawn(240, 200, art(seed));
        let uneven = drawn(190, 160, cut(art(seed), [0.07, 0.02, 0.0, 0.03]));
        missed += usize::from(original.distance(&uneven).is_none());
    }
    assert!(missed <= 1, "{missed} of 15 uneven crops are missed");
}

/// A fingerprint of these hashes, the windows being the core with some bits turned.
fn hashed(core: [u64; 3], mirrored: [u64; 3], turns: &[[u8; 3]]) -> Fingerprint {
    let cut = |words: [u64; 3]| Hash([words[0], words[1], words[2] & ((1 << (BITS - 128)) - 1)]);
    let core = cut(core);
    let window = |turns: &[u8; 3]| {
        let mut words = core.0;
        for bit in turns.map(|bit| usize::from(bit) % BITS) {
            words[bit / 64] ^= 1 << (bit % 64);
        }
        Hash(words)
    };
    Fingerprint {
        quality: 50,
        detail: 135,
        aspect: 1.0f32.to_bits(),
        core,
        mirrored: cut(mirrored),
        windows: turns.iter().map(window).collect(),
    }
}

/// Fingerprints of which many are near: each is one of `seeds` with a few bits turned; a single seed makes them equal
/// but for these.
fn prints(seeds: usize, turned: usize) -> impl Strategy<Value = Vec<Fingerprint>> {
    let bits = prop::collection::vec(any::<u8>(), 0..=turned);
    let one = (
        0..seeds,
        any::<bool>(),
        bits,
        prop::collection::vec(any::<[u8; 3]>(), 1..6),
    );
    let seeds = prop::collection::vec(any::<[[u64; 3]; 2]>(), seeds);
    (seeds, prop::collection::vec(one, 1..60)).prop_map(|(seeds, ones)| {
        let print = |(seed, swap, bits, turns): (usize, bool, Vec<u8>, Vec<[u8; 3]>)| {
            let [mut core, mut mirrored] = seeds[seed];
            for bit in bits {
                core[usize::from(bit) % 192 / 64] ^= 1 << (bit % 64);
            }
            if swap {
                std::mem::swap(&mut core, &mut mirrored);
            }
            hashed(core, mirrored, &turns)
        };
        ones.into_iter().map(print).collect()
    })
}

/// What the index finds, checked, is what comparing with every one finds, for each.
fn searched_is_scanned(prints: &[Fingerprint]) {
    let codes = prints.iter().enumerate();
    let index = Index::new(codes.filter_map(|(key, print)| Some((key, print.codes()?))));
    for print in prints {
        let found = index.candidates(print).into_iter();
        let found: Vec<_> = found
            .filter_map(|key| Some((key, print.finds(&prints[key])?)))
            .collect();
        let scanned: Vec<_> = prints
            .iter()
            .enumerate()
            .filter_map(|(key, other)| Some((key, print.finds(other)?)))
            .collect();
        assert_eq!(found, scanned);
    }
}

proptest! {
    #[test]
    fn the_index_finds_what_a_scan_finds(prints in prints(20, 8)) {
        searched_is_scanned(&prints);
    }

    #[test]
    fn the_index_finds_what_a_scan_finds_among_the_nearly_equal(prints in prints(1, 6)) {
        searched_is_scanned(&prints);
    }

    #[test]
    fn distance_is_the_same_both_ways(prints in prints(2, 6)) {
        for a in &prints {
            for b in &prints {
                prop_assert_eq!(a.distance(b), b.distance(a));
                prop_assert!(a.distance(b) <= a.finds(b) || a.finds(b).is_none());
            }
        }
    }

    #[test]
    fn pdq_is_searched_exactly(
        seeds in prop::collection::vec(any::<[u16; 16]>(), 1..4),
        turns in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..40)), 1..60),
        start in any::<prop::sample::Index>(),
    ) {
        let mut hashes: Vec<Pdq> = turns
            .iter()
            .map(|(seed, bits)| {
                let mut words = *seed.get(&seeds);
                for bit in bits {
                    words[usize::from(bit / 16)] ^= 1 << (bit % 16);
                }
                Pdq(words)
            })
            .collect();
        hashes.sort();
        hashes.dedup();
        let index = PdqIndex::new(hashes.iter().copied());
        let query = Pdq(*start.get(&seeds));
        let scanned: Vec<_> = hashes.iter().map(|hash| (*hash, query.distance(hash))).collect();
        let scanned: Vec<_> = scanned.into_iter().filter(|(_, distance)| *distance <= PDQ_DISTANCE).collect();
        prop_assert_eq!(index.near(&query), scanned);
    }
}

#[test]
fn equal_fingerprints_all_find_each_other() {
    searched_is_scanned(&vec![hashed([7; 3], [9; 3], &[[0; 3]]); 300]);
}

#[test]
fn a_pdq_hash_goes_through_its_text() {
    let text = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22";
    assert_eq!(text.parse::<Pdq>().unwrap().to_string(), text);
    assert!("f8".parse::<Pdq>().is_err());
    assert!("é".repeat(32).parse::<Pdq>().is_err());
}
