use super::*;

fn drawn(width: u32, height: u32, at: impl Fn(f32, f32) -> [u8; 4]) -> Fingerprint {
    let mut sketch = Sketch::new(width, height);
    for y in 0..height {
        let row: Vec<u8> = (0..width)
            .flat_map(|x| at((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32))
            .collect();
        sketch.rows(y, &row);
    }
    sketch.finish()
}

fn spots(x: f32, y: f32) -> [u8; 4] {
    let value = (x * 9.0 + y * y * 5.0).sin() * (y * 11.0 - x * 4.0).cos();
    let level = (value * 120.0 + 128.0) as u8;
    [level, level / 2, 255 - level, 255]
}

#[test]
fn the_same_drawing_at_another_size_is_the_same() {
    let large = drawn(700, 500, spots);
    assert!(large.distance(&drawn(140, 100, spots)) <= 4);
    assert!(large.matches(&drawn(70, 50, spots), SAME));
}

#[test]
fn a_mirror_image_is_the_same() {
    let print = drawn(300, 200, spots);
    assert!(print.matches(&drawn(300, 200, |x, y| spots(1.0 - x, y)), SAME));
}

#[test]
fn a_flat_picture_matches_nothing() {
    let flat = drawn(60, 60, |_, _| [200, 10, 10, 255]);
    assert!(!flat.is_usable());
    assert!(!flat.matches(&flat, BITS));
}

#[test]
fn bytes_come_back_and_others_are_refused() {
    let print = drawn(90, 33, spots);
    let bytes = print.to_bytes();
    assert_eq!(Fingerprint::from_bytes(&bytes), Ok(print));
    assert!(matches!(
        Fingerprint::from_bytes(&bytes[1..]),
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
    let count = 60;
    let originals: Vec<_> = (0..count).map(|seed| drawn(240, 200, art(seed))).collect();
    let crops = [
        [0.05, 0.0, 0.0, 0.0],
        [0.02, 0.03, 0.02, 0.01],
        [0.0, 0.1, 0.0, 0.0],
        [0.04, 0.01, 0.06, 0.08],
    ];
    let mut missed = 0;
    for seed in 0..count {
        for crop in crops {
            let cropped = drawn(170, 150, cut(art(seed), crop));
            missed += usize::from(!originals[seed as usize].matches(&cropped, SAME));
        }
    }
    // Hard edges on half the plane's cells may flip a few bits; one in twenty is what the README says.
    assert!(missed <= 12, "{missed} of 240 crops are missed");
    let index = Index::new((0..count).zip(originals));
    assert_eq!(index.pairs(SAME), [], "different drawings are taken for the same");
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
            sketch.finish()
        };
        let mut bytes = std::io::Cursor::new(Vec::new());
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 60);
        picture.write_with_encoder(encoder).unwrap();
        let again = image::load_from_memory(bytes.get_ref()).unwrap().to_rgb8();
        assert!(print(&picture).matches(&print(&again), SAME), "{seed}");
    }
}
