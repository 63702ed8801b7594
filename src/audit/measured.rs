//! What a measurement of an adapter found: plain values. The room `measure` makes them.

use serde::Serialize;

use super::finding::{Code, Finding};
use super::report::Report;
use crate::digest::Sha256Digest;
use crate::sheet::{Chart, Series, Stroke};

/// A probability below this is a finding, after correction for the number of tests.
pub const SIGNIFICANT: f64 = 0.01;
/// A drawing at this distance from a picture or nearer is a copy of it, where the base's drawings are twice as far.
pub const COPIED: f64 = 0.3;

/// What a picture was to the training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// It was trained on.
    Trained,
    /// It was held out of the training set, and measured only.
    HeldOut,
    /// It was kept out of the snapshot.
    Refused,
}

impl Group {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Group::Trained => "trained on",
            Group::HeldOut => "held out",
            Group::Refused => "kept out",
        }
    }
}

/// How much better the adapter knows a picture than its base does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gain {
    /// Digest of the file.
    pub sha256: Sha256Digest,
    /// Who made it.
    pub artist: Option<String>,
    /// What it was to the training.
    pub group: Group,
    /// Mean loss with the base alone.
    pub base: f64,
    /// Mean loss with the adapter.
    pub adapter: f64,
    /// ln(base ÷ adapter): above 0 the adapter knows it better.
    pub gain: f64,
}

/// How far the gains of the pictures that were trained on stand above those of others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Separation {
    /// Which others.
    pub against: Group,
    /// Pictures that were trained on.
    pub trained: usize,
    /// The others.
    pub others: usize,
    /// Area under the curve: the chance that one that was trained on stands above one of the others; 0.5 is chance.
    pub auc: f64,
    /// Share of those trained on that is told at no more than 1 % false positives.
    pub true_positives: f64,
    /// How likely that is by chance (Mann and Whitney, one-sided); none where a group is empty.
    pub p_value: Option<f64>,
    /// False and true positives as the threshold falls.
    pub roc: Vec<(f64, f64)>,
}

/// Whether the kept-out pictures of an artist look as if they had been trained on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArtistTest {
    /// Who.
    pub artist: String,
    /// Pictures measured.
    pub images: usize,
    /// Their mean gain.
    pub gain: f64,
    /// How likely gains as large are among held-out pictures of the training set; none where none were held out.
    pub p_value: Option<f64>,
    /// The same, corrected for the number of artists (Holm).
    pub p_corrected: Option<f64>,
}

/// How near the adapter's drawings of a caption come to the measured picture that they are nearest to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Likeness {
    /// Digest of the picture's file.
    pub sha256: Sha256Digest,
    /// What it was to the training.
    pub group: Group,
    /// Drawings made with the adapter, and as many with the base.
    pub drawings: usize,
    /// Distance of the nearest drawing from the picture as the autoencoder gives it back: of 16 tiles the greatest root mean
    /// square, on a scale of 0 to 1.
    pub nearest: f64,
    /// The median of the base's drawings.
    pub base: f64,
    /// Distance of the fingerprints of picture and nearest drawing, where they are near.
    pub fingerprint: Option<u32>,
}

impl Likeness {
    /// Whether the adapter reproduces the picture.
    pub fn copied(&self) -> bool {
        self.nearest <= COPIED && self.nearest * 2.0 <= self.base
    }
}

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Timesteps and noises that each picture was asked with.
    pub questions: usize,
    /// The pictures, the greatest gain first.
    pub images: Vec<Gain>,
    /// How far groups stand apart.
    pub separations: Vec<Separation>,
    /// Artists whose pictures were kept out.
    pub artists: Vec<ArtistTest>,
    /// Drawings compared with pictures.
    pub likenesses: Vec<Likeness>,
    /// What these numbers cannot show.
    pub limits: Vec<String>,
}

impl Measured {
    /// The curves of true over false positives, with the line of chance.
    pub fn chart(&self) -> Chart {
        let line = |name: String, points: Vec<(f64, f64)>| Series {
            name,
            points,
            stroke: Stroke::Plain,
        };
        let mut series: Vec<Series> = self
            .separations
            .iter()
            .map(|s| {
                let name = format!(
                    "{} against {}: area {:.2}",
                    Group::Trained.as_str(),
                    s.against.as_str(),
                    s.auc
                );
                line(name, s.roc.clone())
            })
            .collect();
        series.push(line("chance".to_owned(), vec![(0.0, 0.0), (1.0, 1.0)]));
        Chart {
            title: "Pictures told from others by what the adapter gains".to_owned(),
            values: "true positives".to_owned(),
            along: "false positives".to_owned(),
            series,
        }
    }

    /// What must be looked at.
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for likeness in self.likenesses.iter().filter(|likeness| likeness.copied()) {
            let (code, what) = match likeness.group {
                Group::Trained => (Code::PictureMemorised, "which trained it"),
                Group::HeldOut => (Code::RefusedReproduced, "which was held out of its training"),
                Group::Refused => (Code::RefusedReproduced, "which was kept out of its training"),
            };
            let says = format!(
                "given its caption, the adapter draws the picture {} again, {what}: the nearest of {} drawings is {:.2} away, \
                 those of the base {:.2}",
                likeness.sha256.short(),
                likeness.drawings,
                likeness.nearest,
                likeness.base
            );
            found.push(Finding::new(code, format!("image:{}", likeness.sha256), says));
        }
        for test in &self.artists {
            if let Some(p) = test.p_corrected.filter(|p| *p < SIGNIFICANT) {
                let says = format!(
                    "{} pictures by {} were kept out, and the adapter knows them better than those that were held out of its \
                     own training set (p = {p:.1e}): were they trained on under another name?",
                    test.images, test.artist
                );
                found.push(Finding::new(
                    Code::RefusedLearned,
                    format!("artist:{}", test.artist),
                    says,
                ));
            }
        }
        found
    }
}

impl Report {
    /// The report with what was measured, and what follows from it.
    #[must_use]
    pub fn with_measured(mut self, measured: Measured) -> Self {
        self.findings.extend(measured.findings());
        self.measured = Some(measured);
        self.conclude()
    }
}
