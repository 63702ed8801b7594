//! The subjects, as filled shapes in a square of 100 × 100 (y down), each with small variations.

use super::rng::Rng;
use tiny_skia::{Path, PathBuilder, Transform};

/// What everybody draws.
pub const SUBJECTS: [&str; 12] = [
    "house", "tree", "boat", "fish", "flower", "sun", "bird", "cup", "star", "mountain", "mushroom", "key",
];

/// What a shape is to its picture: styles choose the colour by it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Body,
    Accent,
    Detail,
}

/// One filled shape; later ones lie above earlier ones.
pub struct Part {
    pub role: Role,
    pub path: Path,
}

/// The shapes of a subject, turned, scaled, mirrored and bent a little. Unknown subjects have no shapes.
pub fn draw(subject: &str, rng: &mut Rng) -> Vec<Part> {
    let scale = rng.range(0.88, 1.04);
    let angle = if matches!(subject, "house" | "mountain" | "cup") {
        3.0
    } else {
        9.0
    };
    let mut placement = Transform::from_translate(-50.0, -50.0)
        .post_concat(Transform::from_rotate(rng.range(-angle, angle)))
        .post_scale(if rng.coin() { scale } else { -scale }, scale * rng.range(0.92, 1.06));
    placement = placement.post_translate(50.0 + rng.range(-4.0, 4.0), 50.0 + rng.range(-4.0, 4.0));
    let bend = Bend {
        size: rng.range(0.6, 2.2),
        phase: rng.range(0.0, 6.0),
        period: rng.range(16.0, 26.0),
    };
    shapes(subject)
        .into_iter()
        .filter_map(|(role, text)| {
            let path = parse(&text, &bend)?.transform(placement)?;
            Some(Part { role, path })
        })
        .collect()
}

fn shapes(subject: &str) -> Vec<(Role, String)> {
    use Role::{Accent, Body, Detail};
    let fixed: &[(Role, &str)] = match subject {
        "house" => &[
            (Body, "M20 46 L80 46 L80 88 L20 88 Z"),
            (Accent, "M62 18 L72 18 L72 40 L62 32 Z"),
            (Accent, "M10 50 L50 14 L90 50 Z"),
            (Detail, "M43 62 L58 62 L58 88 L43 88 Z"),
            (Detail, "M26 58 L37 58 L37 69 L26 69 Z"),
            (Detail, "M64 58 L75 58 L75 69 L64 69 Z"),
        ],
        "tree" => &[
            (Accent, "M43 60 L57 60 L60 92 L40 92 Z"),
            (
                Body,
                "M50 8 C70 6 78 22 74 30 C90 34 90 58 74 62 C66 74 34 74 26 62 C10 58 10 34 26 30 C22 20 32 8 50 8 Z",
            ),
            (Detail, "M38 30 C44 30 44 38 38 38 C32 38 32 30 38 30 Z"),
            (Detail, "M62 42 C68 42 68 50 62 50 C56 50 56 42 62 42 Z"),
            (Detail, "M42 54 C48 54 48 62 42 62 C36 62 36 54 42 54 Z"),
        ],
        "boat" => &[
            (Detail, "M47 10 L51 10 L51 64 L47 64 Z"),
            (Accent, "M54 12 C78 26 84 44 84 58 L54 58 Z"),
            (Accent, "M44 22 C34 32 22 46 18 58 L44 58 Z"),
            (Body, "M8 64 L92 64 C88 78 80 88 68 88 L30 88 C18 86 12 78 8 64 Z"),
        ],
        "fish" => &[
            (
                Accent,
                "M66 50 C78 40 86 30 94 26 C90 42 90 58 94 74 C84 70 76 60 66 50 Z",
            ),
            (Accent, "M38 32 C44 16 56 16 62 20 C58 28 58 34 58 36 Z"),
            (Body, "M6 50 C18 26 52 22 74 50 C52 78 18 74 6 50 Z"),
            (Detail, "M24 40 C30 40 30 49 24 49 C18 49 18 40 24 40 Z"),
            (Detail, "M42 40 C48 46 48 56 42 62 C40 56 40 46 42 40 Z"),
        ],
        "bird" => &[
            (Detail, "M6 40 L24 32 L24 46 Z"),
            (
                Body,
                "M18 38 C18 20 42 18 46 34 C58 44 72 46 94 34 C92 62 74 80 50 80 C30 80 20 60 18 38 Z",
            ),
            (Accent, "M42 48 C54 50 68 54 80 52 C72 68 52 72 42 62 Z"),
            (Detail, "M29 32 C33 32 33 38 29 38 C25 38 25 32 29 32 Z"),
            (Detail, "M44 78 L48 78 L46 94 L42 94 Z"),
            (Detail, "M56 78 L60 77 L60 94 L56 94 Z"),
        ],
        "cup" => &[
            (Accent, "M70 38 C98 32 98 74 66 70 L67 62 C86 64 86 42 70 47 Z"),
            (Body, "M18 32 L74 32 C74 60 68 82 60 86 L32 86 C24 82 18 60 18 32 Z"),
            (Detail, "M22 46 L72 46 L71 56 L23 56 Z"),
            (Accent, "M36 26 C30 18 42 14 38 6 C46 12 36 18 42 26 Z"),
            (Accent, "M52 26 C46 18 58 14 54 6 C62 12 52 18 58 26 Z"),
        ],
        "mountain" => &[
            (Accent, "M46 88 L72 32 L98 88 Z"),
            (Body, "M2 88 L38 14 L74 88 Z"),
            (Detail, "M38 14 L51 41 L43 36 L38 44 L31 36 L25 41 Z"),
            (Detail, "M72 32 L80 50 L73 46 L68 50 L64 49 Z"),
        ],
        "mushroom" => &[
            (Accent, "M38 50 L62 50 C60 66 64 80 70 90 L30 90 C36 80 40 66 38 50 Z"),
            (Body, "M8 54 C8 2 92 2 92 54 C76 62 24 62 8 54 Z"),
            (Detail, "M34 26 C42 26 42 38 34 38 C26 38 26 26 34 26 Z"),
            (Detail, "M60 20 C68 20 68 32 60 32 C52 32 52 20 60 20 Z"),
            (Detail, "M72 38 C79 38 79 48 72 48 C65 48 65 38 72 38 Z"),
        ],
        "key" => &[
            (Body, "M50 6 C76 6 76 44 50 44 C24 44 24 6 50 6 Z"),
            (Detail, "M50 17 C61 17 61 33 50 33 C39 33 39 17 50 17 Z"),
            (Body, "M45 42 L55 42 L55 94 L45 94 Z"),
            (Accent, "M55 66 L72 66 L72 75 L55 75 Z"),
            (Accent, "M55 81 L76 81 L76 90 L55 90 Z"),
        ],
        "flower" => {
            let mut shapes = vec![(Accent, "M47 54 L53 54 L54 96 L48 96 Z".to_owned())];
            shapes.push((Accent, "M52 84 C62 66 76 68 82 70 C78 82 66 90 52 90 Z".to_owned()));
            shapes.extend((0..6).map(|petal| (Body, blob(petal as f32 / 6.0, 20.0, 12.5))));
            shapes.push((Detail, blob(0.0, 0.0, 10.0)));
            return shapes;
        }
        "sun" => {
            let mut shapes: Vec<_> = (0..10)
                .map(|ray| (Accent, wedge(ray as f32 / 10.0, 30.0, 46.0)))
                .collect();
            shapes.push((Body, "M50 24 C85 24 85 76 50 76 C15 76 15 24 50 24 Z".to_owned()));
            shapes.push((Detail, "M40 42 C45 42 45 50 40 50 C35 50 35 42 40 42 Z".to_owned()));
            shapes.push((Detail, "M60 42 C65 42 65 50 60 50 C55 50 55 42 60 42 Z".to_owned()));
            shapes.push((Detail, "M38 58 C44 68 56 68 62 58 C56 63 44 63 38 58 Z".to_owned()));
            return shapes;
        }
        "star" => {
            return vec![
                (Body, points(45.0, 19.0)),
                (Accent, points(25.0, 11.0)),
                (Detail, points(10.0, 5.0)),
            ];
        }
        _ => &[],
    };
    fixed.iter().map(|(role, text)| (*role, (*text).to_owned())).collect()
}

/// A disc of a flower whose centre is at (50, 38): at `turn` of a full turn, `away` from that centre.
fn blob(turn: f32, away: f32, radius: f32) -> String {
    let (sin, cos) = (turn * std::f32::consts::TAU).sin_cos();
    let (x, y, r, k) = (50.0 + away * cos, 36.0 + away * sin, radius, radius * 0.5523);
    format!(
        "M{} {y} C{} {} {} {} {x} {} C{} {} {} {} {} {y} C{} {} {} {} {x} {} C{} {} {} {} {} {y} Z",
        x + r,
        x + r,
        y + k,
        x + k,
        y + r,
        y + r,
        x - k,
        y + r,
        x - r,
        y + k,
        x - r,
        x - r,
        y - k,
        x - k,
        y - r,
        y - r,
        x + k,
        y - r,
        x + r,
        y - k,
        x + r,
    )
}

/// A ray of the sun.
fn wedge(turn: f32, inner: f32, outer: f32) -> String {
    let at = |turn: f32, r: f32| {
        let (sin, cos) = (turn * std::f32::consts::TAU).sin_cos();
        format!("{} {}", 50.0 + r * cos, 50.0 + r * sin)
    };
    format!(
        "M{} L{} L{} Z",
        at(turn - 0.028, inner),
        at(turn, outer),
        at(turn + 0.028, inner)
    )
}

/// A star of five points.
fn points(outer: f32, inner: f32) -> String {
    let mut text = String::new();
    for corner in 0..10 {
        let (sin, cos) = ((corner as f32 / 10.0 - 0.25) * std::f32::consts::TAU).sin_cos();
        let r = if corner % 2 == 0 { outer } else { inner };
        text += &format!(
            "{}{} {} ",
            if corner == 0 { "M" } else { "L" },
            50.0 + r * cos,
            52.0 + r * sin
        );
    }
    text + "Z"
}

/// A gentle wave that keeps two drawings of one subject from being copies.
struct Bend {
    size: f32,
    phase: f32,
    period: f32,
}

impl Bend {
    fn apply(&self, x: f32, y: f32) -> (f32, f32) {
        (
            x + self.size * (y / self.period + self.phase).sin(),
            y + self.size * (x / self.period - self.phase).sin(),
        )
    }
}

/// Reads the absolute `M`, `L`, `C` and `Z` of an SVG path; `None` when it is not one.
fn parse(text: &str, bend: &Bend) -> Option<Path> {
    let mut path = PathBuilder::new();
    let commands = std::iter::once(' ').chain(text.chars().filter(char::is_ascii_uppercase));
    for (command, numbers) in commands.zip(text.split(|c: char| c.is_ascii_uppercase())) {
        let numbers: Vec<f32> = numbers
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let at: Vec<(f32, f32)> = numbers.chunks_exact(2).map(|p| bend.apply(p[0], p[1])).collect();
        match (command, at.as_slice()) {
            (' ', []) => {}
            ('M', [p]) => path.move_to(p.0, p.1),
            ('L', [p]) => path.line_to(p.0, p.1),
            ('C', [a, b, p]) => path.cubic_to(a.0, a.1, b.0, b.1, p.0, p.1),
            ('Z', []) => path.close(),
            _ => return None,
        }
    }
    path.finish()
}
