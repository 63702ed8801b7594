//! Bars and lanes as SVG elements for a page, whose style gives the colours: class `bar`, `rest`, `grid`, `soft`, and
//! one class a kind of mark. Texts are text, so that they are read aloud, searched, and change with the page's colours.

use std::fmt::Write;

use super::html::Escaped;

/// Bars that are drawn; what is beyond them is one bar more.
const SHOWN: usize = 10;
/// Characters of a label.
const LABEL: usize = 24;

/// Counts by name, as horizontal bars, in the order in which they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bars {
    /// What they show, for whoever hears the page.
    pub title: String,
    /// Name and count of each.
    pub bars: Vec<(String, u64)>,
}

impl Bars {
    /// The chart as an SVG element: the first ten, and the sum of the others.
    pub fn svg(&self) -> String {
        let (shown, rest) = self.bars.split_at(self.bars.len().min(SHOWN));
        let mut rows: Vec<(String, u64, &str)> = shown.iter().map(|(name, n)| (name.clone(), *n, "bar")).collect();
        if !rest.is_empty() {
            let sum = rest.iter().map(|(_, n)| n).sum();
            rows.push((format!("{} others", rest.len()), sum, "bar rest"));
        }
        let most = rows.iter().map(|row| row.1).max().unwrap_or(1).max(1) as f64;
        let mut out = String::new();
        let height = 26 * rows.len().max(1) + 4;
        // Writing to a string never fails.
        let _ = write!(
            out,
            "<svg class=\"bars\" viewBox=\"0 0 480 {height}\" role=\"img\" aria-label=\"{}\">",
            Escaped(&self.title)
        );
        for (at, (name, n, class)) in rows.iter().enumerate() {
            let (top, width) = (26 * at, 250.0 * *n as f64 / most);
            let _ = write!(
                out,
                "<g><title>{}: {n}</title><text x=\"166\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{class}\" x=\"174\" y=\"{}\" width=\"{width:.1}\" height=\"18\" rx=\"3\"/>\
                 <text class=\"soft\" x=\"{:.1}\" y=\"{}\">{n}</text></g>",
                Escaped(name),
                top + 18,
                Escaped(cut(name)),
                top + 4,
                180.0 + width,
                top + 18,
            );
        }
        out.push_str("</svg>");
        out
    }
}

/// Marks in time, a lane for each kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Lanes {
    /// What they show, for whoever hears the page.
    pub title: String,
    /// The lanes, top to bottom.
    pub lanes: Vec<Lane>,
    /// What stands at beginning and end of the axis.
    pub ends: [String; 2],
}

/// Marks of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// The class of its marks.
    pub class: String,
    /// Where each is (0 the beginning, 1 the end), and what it is.
    pub marks: Vec<(f64, String)>,
}

impl Lanes {
    /// The lanes as an SVG element.
    pub fn svg(&self) -> String {
        const LEFT: f64 = 150.0;
        const WIDTH: f64 = 720.0;
        let (mut out, bottom) = (String::new(), 34 * self.lanes.len() + 6);
        let _ = write!(
            out,
            "<svg class=\"lanes\" viewBox=\"0 0 900 {}\" role=\"img\" aria-label=\"{}\">",
            bottom + 24,
            Escaped(&self.title)
        );
        for (at, Lane { name, class, marks }) in self.lanes.iter().enumerate() {
            let middle = 34 * at + 20;
            let _ = write!(
                out,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{middle}\" y2=\"{middle}\"/>",
                LEFT - 16.0,
                middle + 5,
                Escaped(name),
                LEFT + WIDTH
            );
            for (place, says) in marks {
                let x = LEFT + WIDTH * place.clamp(0.0, 1.0);
                let _ = write!(
                    out,
                    "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{middle}\" r=\"6\"><title>{}</title></circle>",
                    Escaped(class),
                    Escaped(says)
                );
            }
        }
        for (end, (x, anchor)) in self.ends.iter().zip([(LEFT, "start"), (LEFT + WIDTH, "end")]) {
            let _ = write!(
                out,
                "<text class=\"soft\" x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                bottom + 14,
                Escaped(end)
            );
        }
        out.push_str("</svg>");
        out
    }
}

fn cut(name: &str) -> String {
    match name.char_indices().nth(LABEL) {
        Some((at, _)) => format!("{}…", name[..at].trim_end()),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_bars_and_the_rest_in_proportion() {
        let bars = (0..13).map(|i| (format!("<b{i}>"), 20 - i)).collect();
        let svg = Bars {
            title: "\"x\"".into(),
            bars,
        }
        .svg();
        assert_eq!(svg.matches("<rect").count(), 11);
        assert!(svg.contains("3 others") && svg.contains("width=\"250.0\""));
        // The rest: 10 + 9 + 8, the most of all.
        assert!(svg.contains(">27</text>") && svg.contains("&lt;b0&gt;") && !svg.contains("<b0>"));
        assert!(svg.contains("aria-label=\"&quot;x&quot;\""));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(cut(&"é".repeat(24)), "é".repeat(24));
        assert_eq!(cut(&"é".repeat(25)), "é".repeat(24) + "…");
    }

    #[test]
    fn marks_stand_in_their_lane_and_within_the_picture() {
        let lanes = vec![Lane {
            name: "said".into(),
            class: "bad".into(),
            marks: vec![(0.0, "a".into()), (f64::MAX, "<".into())],
        }];
        let svg = Lanes {
            title: "t".into(),
            lanes,
            ends: ["1".into(), "2".into()],
        }
        .svg();
        assert!(svg.contains("cx=\"150.0\"") && svg.contains("cx=\"870.0\"") && svg.contains("&lt;"));
    }
}
