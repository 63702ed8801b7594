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
    assert!(large.distance(&drawn(140, 100, spots)) <= 8);
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
    assert!(!flat.matches(&flat, 256));
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
