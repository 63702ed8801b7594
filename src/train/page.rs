//! `run.html`: a run on one page that opens without a network and without a script.
//!
//! It is written when the run begins, again at each validation and sample, and at the end; while the run goes on it asks
//! the browser to load it again. It holds no time and no path but those of the samples beside it, so that equal runs leave
//! equal pages.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::fs;
use std::path::Path;

use super::error::TrainError;
use super::watch::{Curve, Curves, Metrics};
use crate::digest::write_atomic;
use crate::receipt::{RunInputs, RunRecord, SetFacts, counted};
use crate::sheet::{Chart, Escaped, Series, Stroke};
use crate::snapshot::Role;

/// The page's name in the output folder.
pub const PAGE: &str = "run.html";
/// Seconds after which a browser loads the page of a run that goes on.
const REFRESH: u32 = 10;

const STYLE: &str = "
:root{--ink:#1d2430;--soft:#5d6878;--line:#dde2ea;--paper:#fff;--wash:#f5f7fa}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa6b6;--line:#333c48;--paper:#161b22;--wash:#1e252e}}
*{box-sizing:border-box}body{margin:0;background:var(--wash);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:2rem 1.25rem 4rem}h1{font-size:1.6rem;margin:0 0 .25rem}
h2{font-size:1.1rem;margin:2.25rem 0 .75rem}p{margin:.25rem 0}.soft{color:var(--soft)}
.card{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:1rem 1.25rem;margin:0 0 1rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(24rem,1fr));gap:1rem}
.charts .card{margin:0;padding:.25rem;background:#fff}svg,img{display:block;max-width:100%;height:auto}
figure{margin:0 0 1rem}figcaption{color:var(--soft);font-size:.9rem}.scroll{overflow-x:auto;padding:0}
table{border-collapse:collapse;width:100%;font-size:.92rem}th,td{text-align:left;padding:.4rem .75rem;
border-top:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}th{width:16rem;color:var(--soft);font-weight:600}
tr:first-child>*{border-top:0}code{font:.82rem ui-monospace,monospace}
";

/// Where a run is.
#[derive(Debug, Clone, Copy)]
pub enum State<'a> {
    /// It goes on.
    Running,
    /// It was stopped and can be resumed.
    Stopped,
    /// It is done, with this record.
    Done(&'a RunRecord),
}

/// What a page says of its run, besides what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The adapter's title.
    pub title: String,
    /// What determines the weights.
    pub inputs: RunInputs,
    /// Updates to the end.
    pub total: u64,
    /// The file of the metrics, in the output folder.
    pub metrics: String,
    /// What the names of its samples begin with.
    pub samples: String,
}

impl Page {
    /// Writes the page into the output folder, from what was measured and drawn so far.
    ///
    /// # Errors
    /// If files cannot be read or written, or a curve cannot be drawn.
    pub fn write(&self, out: &Path, state: State<'_>) -> Result<(), TrainError> {
        let metrics = out.join(&self.metrics);
        let curves = match metrics.exists() {
            true => Metrics::read(&metrics)?,
            false => Curves::default(),
        };
        let samples = self.drawn(&out.join("samples"))?;
        let charts = charts(&curves)?;
        let mut html = String::new();
        self.html(&mut html, &charts, &samples, &curves, state)
            .map_err(|e| TrainError::Setting(e.to_string()))?;
        let path = out.join(PAGE);
        write_atomic(&path, html.as_bytes()).map_err(TrainError::io(&path))
    }

    /// The samples by step.
    fn drawn(&self, folder: &Path) -> Result<Vec<(u64, String)>, TrainError> {
        let mut found = Vec::new();
        if !folder.exists() {
            return Ok(found);
        }
        for entry in fs::read_dir(folder).map_err(TrainError::io(folder))? {
            let name = entry.map_err(TrainError::io(folder))?.file_name();
            let name = name.to_string_lossy().into_owned();
            let step = name
                .strip_prefix(&format!("{}-", self.samples))
                .and_then(|rest| rest.strip_suffix(".png"))
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok());
            found.extend(step.map(|step| (step, name)));
        }
        found.sort();
        Ok(found)
    }

    fn html(
        &self,
        out: &mut String,
        charts: &[String],
        samples: &[(u64, String)],
        curves: &Curves,
        state: State<'_>,
    ) -> fmt::Result {
        let (title, inputs) = (Escaped(&self.title), &self.inputs);
        let refresh = match state {
            State::Running => format!("<meta http-equiv=\"refresh\" content=\"{REFRESH}\">"),
            _ => String::new(),
        };
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">{refresh}\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title>\
             <style>{STYLE}</style></head><body><main>\n<h1>{title}</h1>\n"
        )?;
        let step = curves.train.last().map_or(0, |(step, _)| *step as u64);
        let says = match state {
            State::Running => format!("running: step {step} of {}", self.total),
            State::Stopped => format!("stopped after step {step} of {}", self.total),
            State::Done(record) if record.steps < step => {
                format!("done after step {step}; the weights of step {} are kept", record.steps)
            }
            State::Done(_) => format!("done: {step} steps"),
        };
        writeln!(out, "<p class=\"soft\">{says}</p>")?;
        if !charts.is_empty() {
            writeln!(out, "<h2>Curves</h2><div class=\"charts\">")?;
            for chart in charts {
                writeln!(out, "<div class=\"card\">{chart}</div>")?;
            }
            writeln!(out, "</div>")?;
        }
        if !samples.is_empty() {
            writeln!(out, "<h2>Samples</h2>")?;
            for (step, name) in samples {
                writeln!(
                    out,
                    "<figure><img src=\"samples/{name}\" alt=\"samples of step {step}\"><figcaption>step {step}</figcaption>\
                     </figure>",
                    name = Escaped(name)
                )?;
            }
        }
        if let State::Done(record) = state {
            let losses = record
                .losses
                .iter()
                .map(|(name, loss)| (name.replace('_', " "), format!("{loss:.4}")));
            table(out, "Losses", losses)?;
        }
        let counts = |counts: &BTreeMap<String, u64>| match counts.is_empty() {
            true => "none".to_owned(),
            false => counted(counts),
        };
        let out_of =
            |counts: &BTreeMap<String, u64>| format!("{}: {}", counts.values().sum::<u64>(), self::counts(counts));
        for set in inputs.sets() {
            let s = &set.snapshot;
            let heading = match set.role {
                Role::Training => "Training set",
                Role::Regularization => "Regularization set",
            };
            let rows = [
                ("name", s.name.clone()),
                ("pictures", s.members.to_string()),
                (
                    "kept out",
                    if s.excluded.is_empty() {
                        "none".to_owned()
                    } else {
                        out_of(&s.excluded)
                    },
                ),
                ("licences", self::counts(&s.licenses)),
                ("obliges to", counts(&s.obligations)),
                ("rests on", counts(&s.bases)),
                ("policy", format!("{}, for {}", set.policy.name, set.policy.purpose)),
            ];
            table(out, heading, rows.into_iter().map(|(k, v)| (k.to_owned(), v)))?;
        }
        let versions = inputs.versions.iter().map(|(k, v)| (k.clone(), v.clone()));
        let settings = inputs.settings.iter().map(|(k, v)| (k.clone(), v.clone()));
        let more = [("seed".to_owned(), inputs.seed.to_string())];
        table(out, "Settings", settings.chain(more).chain(versions))?;
        let of_set = |set: &SetFacts| [("snapshot", set.snapshot.root), ("policy", set.policy.digest)];
        let mut digests: Vec<_> = inputs.sets().iter().flat_map(of_set).collect();
        digests.extend([("base", inputs.base.digest), ("configuration", inputs.config)]);
        if let State::Done(record) = state {
            digests.extend([
                ("run", record.run),
                ("adapter", record.adapter.file),
                ("its tensors", record.adapter.tensors),
                ("its receipt", record.adapter.receipt),
            ]);
        }
        table(
            out,
            "Digests",
            digests.into_iter().map(|(k, v)| (k.to_owned(), v.to_string())),
        )?;
        writeln!(
            out,
            "<p class=\"soft\">{}</p></main></body></html>",
            Escaped(&inputs.program)
        )
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter().map(|(what, count)| format!("{what} {count}"));
    each.collect::<Vec<_>>().join(", ")
}

fn table(out: &mut String, heading: &str, rows: impl Iterator<Item = (impl Display, impl Display)>) -> fmt::Result {
    writeln!(out, "<h2>{heading}</h2><div class=\"card scroll\"><table>")?;
    for (name, value) in rows {
        writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", Escaped(name), Escaped(value))?;
    }
    writeln!(out, "</table></div>")
}

/// Losses, learning rate and norms, where there are any.
fn charts(curves: &Curves) -> Result<Vec<String>, TrainError> {
    let series = |name: &str, points: &Curve, stroke| Series {
        name: name.to_owned(),
        points: points.clone(),
        stroke,
    };
    let sets = curves.validation.iter();
    let sets = sets.map(|(set, points)| series(&set.replace('_', " "), points, Stroke::Marked));
    let losses = std::iter::once(series("training", &curves.train, Stroke::Noisy)).chain(sets);
    let all = [
        ("Loss", "loss", losses.collect()),
        (
            "Learning rate",
            "rate",
            vec![series("learning rate", &curves.lr, Stroke::Plain)],
        ),
        (
            "Gradient before clipping",
            "norm",
            vec![series("gradient", &curves.grad_norm, Stroke::Noisy)],
        ),
        (
            "Weights",
            "norm",
            vec![series("weights", &curves.weight_norm, Stroke::Plain)],
        ),
        (
            "What an update adds to the weights",
            "norm",
            vec![series("update", &curves.update_norm, Stroke::Noisy)],
        ),
    ];
    let drawn = all.into_iter().filter_map(|(title, values, series)| {
        let chart = Chart {
            along: "step".to_owned(),
            title: title.to_owned(),
            values: values.to_owned(),
            series,
        };
        let any = chart.series.iter().any(|s| s.points.iter().any(|p| p.1.is_finite()));
        any.then(|| chart.svg().map_err(TrainError::from))
    });
    drawn.collect()
}
