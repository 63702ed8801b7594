//! Line charts of what was measured over training steps, as PNG or as SVG.

use std::ops::Range;

use super::{SheetError, blank, encode, text};
use plotters::coord::Shift;
use plotters::prelude::*;

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    /// Every value, pale, under a smoothed line: for a loss that jumps from batch to batch.
    Noisy,
    /// The values joined by lines, each marked: for measurements.
    Marked,
    /// The values joined by lines: for what does not jump.
    Plain,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// (step, value), by rising step (or share). Values that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub stroke: Stroke,
}

/// A chart of values over steps, or over shares of a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What stands above it.
    pub title: String,
    /// What the values are: `loss`.
    pub values: String,
    /// What they are drawn over: `step`.
    pub along: String,
    /// Its lines, the first drawn first.
    pub series: Vec<Series>,
}

const WIDTH: u64 = 820;
const HEIGHT: u64 = 460;
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x2b, 0x6c, 0xb0),
    RGBColor(0xc0, 0x4f, 0x15),
    RGBColor(0x2f, 0x85, 0x5a),
    RGBColor(0x80, 0x4a, 0xb8),
    RGBColor(0xb8, 0x8a, 0x00),
    RGBColor(0x5c, 0x63, 0x70),
];
/// The weight of a new value in the smoothed line.
const SMOOTHING: f64 = 0.08;

impl Chart {
    /// The chart as the bytes of a PNG.
    ///
    /// # Errors
    /// When there is no finite point.
    pub fn png(&self) -> Result<Vec<u8>, SheetError> {
        let series: Vec<Vec<(f64, f64)>> = self.series.iter().map(|series| finite(&series.points)).collect();
        let (x, y) = self.axes(&series)?;
        let (width, height, mut pixels) = blank(WIDTH, HEIGHT, [255; 3])?;
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        self.plot(&area, &series, x, y)
            .map_err(|e| SheetError::Draw(e.to_string()))?;
        drop(area);
        encode(width, height, &pixels)
    }

    /// The chart as an SVG element, for a page. Where a line has more points than the picture has columns, only the
    /// extremes of each stretch are drawn.
    ///
    /// # Errors
    /// When there is no finite point.
    pub fn svg(&self) -> Result<String, SheetError> {
        let series: Vec<Vec<(f64, f64)>> = self.series.iter().map(|series| finite(&series.points)).collect();
        let (x, y) = self.axes(&series)?;
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, HEIGHT as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(|e| SheetError::Draw(e.to_string()))?;
        self.plot(&area, &series, x, y)
            .map_err(|e| SheetError::Draw(e.to_string()))?;
        drop(area);
        Ok(svg)
    }

    /// The ranges of steps and values.
    fn axes(&self, series: &[Vec<(f64, f64)>]) -> Result<(Range<f64>, Range<f64>), SheetError> {
        let points = || series.iter().flatten();
        let bounds = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            })
        };
        if points().next().is_none() {
            return Err(SheetError::NoPoints {
                title: self.title.clone(),
            });
        }
        let (x, y) = (bounds(&mut points().map(|p| p.0)), bounds(&mut points().map(|p| p.1)));
        let room = ((y.1 - y.0) * 0.06).max(y.1.abs() * 1e-3).max(1e-9);
        Ok((x.0..x.1.max(x.0 + 1.0), (y.0 - room)..(y.1 + room)))
    }

    fn plot<B: DrawingBackend<ErrorType: 'static>>(
        &self,
        area: &DrawingArea<B, Shift>,
        series: &[Vec<(f64, f64)>],
        x: Range<f64>,
        y: Range<f64>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let small = y.end.abs().max(y.start.abs()) < 0.01;
        let shares = x.end - x.start <= 1.0;
        let width = area.dim_in_pixel().0;
        let mut chart = ChartBuilder::on(area)
            .caption(text::fit(&self.title, 19.0, width - 40), text::style(19.0))
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(0xe3, 0xe5, 0xe8))
            .axis_style(text::INK)
            .label_style(text::style(13.0))
            .axis_desc_style(text::style(14.0))
            .x_desc(&self.along)
            .y_desc(&self.values)
            .x_label_formatter(&|at| match shares {
                true => format!("{at:.1}"),
                false => format!("{at:.0}"),
            })
            .y_label_formatter(&|value| match small {
                true => format!("{value:.1e}"),
                false => format!("{value:.3}"),
            })
            .draw()?;
        for (i, (points, Series { name, stroke, .. })) in series.iter().zip(&self.series).enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let line = match stroke {
                Stroke::Noisy => {
                    chart.draw_series(LineSeries::new(thinned(points), colour.mix(0.22)))?;
                    thinned(&smoothed(points))
                }
                Stroke::Marked => {
                    let points = thinned(points);
                    chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
                    points
                }
                Stroke::Plain => thinned(points),
            };
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
                .label(name.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(text::style(13.0))
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(0xe3, 0xe5, 0xe8))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// The least and the largest value of each stretch of steps, where there are more points than columns to draw them in.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stretch = points.len().div_ceil(WIDTH as usize);
    if stretch <= 2 {
        return points.to_vec();
    }
    let extremes = |part: &[(f64, f64)]| {
        let least = part.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a });
        let most = part.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
        let mut both: Vec<(f64, f64)> = least.into_iter().chain(most).collect();
        both.sort_by(|a, b| a.0.total_cmp(&b.0));
        both.dedup();
        both
    };
    points.chunks(stretch).flat_map(extremes).collect()
}

fn finite(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points
        .iter()
        .copied()
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect()
}

/// The exponential moving average, corrected for its start.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let average = |&(x, y): &(f64, f64)| {
        sum += SMOOTHING * (y - sum);
        weight += SMOOTHING * (1.0 - weight);
        (x, sum / weight)
    };
    points.iter().map(average).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let noisy = (0..200).map(|i| {
            (
                f64::from(i),
                0.2 + 0.3 / (1.0 + f64::from(i) / 20.0) + 0.05 * f64::from(i % 3),
            )
        });
        let held_out = [(0.0, 0.5), (100.0, 0.25), (150.0, f64::NAN), (199.0, 0.22)];
        let series = |name: &str, points, stroke| Series {
            name: name.into(),
            points,
            stroke,
        };
        Chart {
            title: "loss".into(),
            values: "loss".into(),
            along: "step".into(),
            series: vec![
                series("training", noisy.collect(), Stroke::Noisy),
                series("held out", held_out.to_vec(), Stroke::Marked),
            ],
        }
    }

    #[test]
    fn lines_and_labels_are_drawn_and_repeat_byte_for_byte() {
        let png = chart().png().unwrap();
        assert_eq!(png, chart().png().unwrap());
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(u64::from(picture.width()), WIDTH);
        let count = |colour: RGBColor| {
            picture
                .pixels()
                .filter(|p| p.0 == [colour.0, colour.1, colour.2])
                .count()
        };
        assert!(count(COLOURS[0]) > 300, "the smoothed training line");
        assert!(count(COLOURS[1]) > 300, "the held-out line");
        let title = picture
            .enumerate_pixels()
            .filter(|(_, y, p)| *y < 40 && p.0[0] < 100)
            .count();
        let axis = picture
            .enumerate_pixels()
            .filter(|(x, _, p)| *x < 70 && p.0[0] < 100)
            .count();
        assert!(title > 30 && axis > 100, "letters are drawn: {title} {axis}");
    }

    #[test]
    fn a_page_has_the_same_chart_and_no_more_points_than_columns() {
        let mut long = chart();
        long.title = "a < b".into();
        let wave = (0..100_000).map(|i| (f64::from(i), f64::from(i % 1000) / 1000.0));
        long.series[0].points = wave.collect();
        let svg = long.svg().unwrap();
        assert!(svg.starts_with("<svg ") && svg.contains("a &lt; b") && svg.contains("held out"));
        assert!(!svg.contains("<script") && svg.len() < 150_000, "{}", svg.len());
        let drawn = thinned(&long.series[0].points);
        assert!(drawn.len() <= 2 * WIDTH as usize);
        assert!(drawn.is_sorted_by(|a, b| a.0 < b.0));
        assert!(drawn.iter().any(|p| p.1 == 0.0) && drawn.iter().any(|p| p.1 == 0.999));
    }

    #[test]
    fn a_single_point_and_a_flat_line_are_drawn() {
        let points = vec![(0.0, 0.4)];
        let series = vec![Series {
            name: "held out".into(),
            points,
            stroke: Stroke::Marked,
        }];
        assert!(
            Chart {
                title: "one".into(),
                values: "loss".into(),
                along: "step".into(),
                series
            }
            .png()
            .is_ok()
        );
    }

    #[test]
    fn a_chart_without_points_says_so() {
        let series = vec![Series {
            name: "lost".into(),
            points: vec![(1.0, f64::NAN)],
            stroke: Stroke::Noisy,
        }];
        let error = Chart {
            title: "empty".into(),
            values: "loss".into(),
            along: "step".into(),
            series,
        }
        .png()
        .unwrap_err();
        assert!(matches!(error, SheetError::NoPoints { title } if title == "empty"));
    }

    #[test]
    fn smoothing_keeps_a_constant_and_damps_a_jump() {
        let flat = smoothed(&[(0.0, 2.0), (1.0, 2.0), (2.0, 2.0)]);
        assert!(flat.iter().all(|p| (p.1 - 2.0).abs() < 1e-12));
        let jump = smoothed(&[(0.0, 0.0), (1.0, 1.0)]);
        assert!(jump[1].1 > 0.4 && jump[1].1 < 0.6, "{jump:?}");
    }
}
