//! Which timesteps a micro-batch is trained at.

use serde::{Deserialize, Serialize};

use crate::model::weights::Draws;

/// How timesteps are drawn from their range (`timestep_sampling`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// All the same.
    #[default]
    Uniform,
    /// Logit-normal, the middle most (Esser et al. 2024, arXiv:2403.03206).
    Sigmoid,
    /// The more often, the larger the losses there were of late (Nichol and Dhariwal 2021, arXiv:2102.09672); what is
    /// drawn more often counts as much less, so that the expected loss is that of uniform sampling.
    Loss,
}

/// Parts of the range that losses are remembered of.
const PARTS: usize = 20;
/// Losses remembered of each part; before there are as many of each, sampling is uniform.
const HISTORY: usize = 10;
/// Share of the draws that stay uniform.
const UNIFORM: f64 = 1e-3;

/// Draws timesteps, and learns from their losses where it must.
#[derive(Debug, Clone, PartialEq)]
pub struct Timesteps {
    range: [usize; 2],
    sampling: Sampling,
    scale: f64,
    /// Of each part how many losses it has seen, and the squares of the last ones.
    memory: Vec<f64>,
}

impl Timesteps {
    /// Draws from `range[0]..range[1]`, which must not be empty; `scale` stretches the normal values of the sigmoid.
    #[must_use]
    pub fn new(range: [usize; 2], sampling: Sampling, scale: f64) -> Self {
        let parts = PARTS.min(range[1].saturating_sub(range[0]).max(1));
        Self {
            range,
            sampling,
            scale,
            memory: match sampling {
                Sampling::Loss => vec![0.0; parts * (1 + HISTORY)],
                _ => Vec::new(),
            },
        }
    }

    /// `n` timesteps, and of each the weight that makes up for how likely it was.
    pub fn draw(&self, n: usize, draws: &mut Draws) -> (Vec<usize>, Option<Vec<f32>>) {
        let [low, high] = self.range;
        let span = high - low;
        match self.sampling {
            Sampling::Uniform => ((0..n).map(|_| low + draws.below(span)).collect(), None),
            Sampling::Sigmoid => {
                let one = |_| {
                    let share = 1.0 / (1.0 + (-self.scale * draws.normal()).exp());
                    low + ((share * span as f64) as usize).min(span - 1)
                };
                ((0..n).map(one).collect(), None)
            }
            Sampling::Loss => {
                let chances = self.chances();
                let one = |_| {
                    let mut left = draws.uniform();
                    let mut part = 0;
                    while part + 1 < chances.len() && left >= chances[part] {
                        left -= chances[part];
                        part += 1;
                    }
                    let (from, to) = (self.edge(part), self.edge(part + 1));
                    let share = (to - from) as f64 / span as f64;
                    (from + draws.below(to - from), (share / chances[part]) as f32)
                };
                let (timesteps, weights) = (0..n).map(one).unzip();
                (timesteps, Some(weights))
            }
        }
    }

    /// Notes the losses of timesteps.
    pub fn learn(&mut self, seen: &[(usize, f32)]) {
        if self.sampling != Sampling::Loss {
            return;
        }
        let parts = self.parts();
        for (timestep, loss) in seen {
            let Some(part) = (0..parts).find(|&part| *timestep < self.edge(part + 1)) else {
                continue;
            };
            let memory = &mut self.memory[part * (1 + HISTORY)..][..1 + HISTORY];
            let place = memory[0] as usize % HISTORY;
            memory[0] += 1.0;
            memory[1 + place] = f64::from(*loss).powi(2);
        }
    }

    /// What was learned, where something is.
    pub fn memory(&mut self) -> Option<&mut Vec<f64>> {
        (self.sampling == Sampling::Loss).then_some(&mut self.memory)
    }

    /// Whether it learns from losses.
    #[must_use]
    pub fn learns(&self) -> bool {
        self.sampling == Sampling::Loss
    }

    fn parts(&self) -> usize {
        self.memory.len() / (1 + HISTORY)
    }

    /// Where a part begins.
    fn edge(&self, part: usize) -> usize {
        let [low, high] = self.range;
        low + (high - low) * part / self.parts()
    }

    /// How likely each part is: as the root of the mean squared loss.
    fn chances(&self) -> Vec<f64> {
        let parts = self.memory.chunks(1 + HISTORY);
        let count = self.parts() as f64;
        if parts.clone().any(|memory| memory[0] < HISTORY as f64) {
            return vec![1.0 / count; self.parts()];
        }
        let roots: Vec<f64> = parts
            .map(|memory| (memory[1..].iter().sum::<f64>() / HISTORY as f64).sqrt())
            .collect();
        let total: f64 = roots.iter().sum();
        let even = 1.0 / count;
        roots
            .into_iter()
            .map(|root| {
                let share = if total > 0.0 { root / total } else { even };
                share * (1.0 - UNIFORM) + even * UNIFORM
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(timesteps: &Timesteps) -> (Vec<usize>, Option<Vec<f32>>) {
        timesteps.draw(20_000, &mut Draws::new(1, "timesteps"))
    }

    #[test]
    fn stays_within_its_range() {
        for sampling in [Sampling::Uniform, Sampling::Sigmoid, Sampling::Loss] {
            for range in [[0, 1000], [200, 650], [999, 1000], [0, 7]] {
                let (drawn, _) = many(&Timesteps::new(range, sampling, 1.0));
                assert!(
                    drawn.iter().all(|t| (range[0]..range[1]).contains(t)),
                    "{sampling:?} {range:?}"
                );
                let found = drawn.iter().max().unwrap() - drawn.iter().min().unwrap() + 1;
                assert!(
                    found as f64 >= 0.9 * (range[1] - range[0]) as f64,
                    "{sampling:?} {range:?}"
                );
            }
        }
    }

    #[test]
    fn a_sigmoid_has_the_shares_of_the_logit_normal() {
        for (scale, share) in [(1.0, 0.7286), (2.0, 0.4172)] {
            // The chance of a normal value to have a sigmoid of 0.25 to 0.75: of lying within ±ln 3 / scale.
            let (drawn, _) = many(&Timesteps::new([0, 1000], Sampling::Sigmoid, scale));
            let within = drawn.iter().filter(|t| (250..750).contains(*t)).count() as f64 / drawn.len() as f64;
            assert!((within - share).abs() < 0.01, "{within}, expected {share}");
        }
    }

    #[test]
    fn larger_losses_are_drawn_more_often_and_count_less() {
        let mut timesteps = Timesteps::new([0, 1000], Sampling::Loss, 1.0);
        assert!(many(&timesteps).1.unwrap().iter().all(|w| (*w - 1.0).abs() < 1e-6));
        // The upper half is three times as hard.
        let seen: Vec<(usize, f32)> = (0..2000)
            .map(|i| (i % 1000, if i % 1000 < 500 { 1.0 } else { 3.0 }))
            .collect();
        timesteps.learn(&seen);
        let (drawn, weights) = many(&timesteps);
        let upper = drawn.iter().filter(|t| **t >= 500).count() as f64 / drawn.len() as f64;
        assert!((upper - 0.75).abs() < 0.01, "{upper}");
        let weights = weights.unwrap();
        let (mut sum, mut weighted) = (0.0, 0.0);
        for (t, w) in drawn.iter().zip(&weights) {
            let loss = if *t < 500 { 1.0 } else { 3.0 };
            sum += f64::from(*w);
            weighted += f64::from(*w) * loss;
        }
        let n = drawn.len() as f64;
        assert!(
            (sum / n - 1.0).abs() < 0.02 && (weighted / n - 2.0).abs() < 0.02,
            "{sum} {weighted}"
        );
    }
}
