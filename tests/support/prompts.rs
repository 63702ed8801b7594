//! Compares a pipeline with what `scripts/parity/prompts.py` wrote for the same model.

use std::path::Path;

use assent::model::params::to_vec;
use assent::model::pipeline::Pipeline;
use assent::model::prompt;
use burn::tensor::Device;
use safetensors::SafeTensors;
use serde::Deserialize;

/// The parity fixtures' share of an output's magnitude that another correct f32 implementation may differ by.
const TOLERANCE: f32 = 2e-5;

#[derive(Deserialize)]
struct Case {
    name: String,
    prompt: String,
    clip_skip: Option<usize>,
    /// For each encoder, for each row.
    ids: Vec<Vec<Vec<u32>>>,
    weights: Vec<Vec<Vec<f32>>>,
}

/// Checks every case of `folder/prompts.json`, and returns how many there were.
pub fn check(pipeline: &Pipeline, folder: &Path) -> usize {
    let text = std::fs::read(folder.join("prompts.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&text).unwrap();
    let bytes = std::fs::read(folder.join("prompts.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut worst = 0.0f32;
    for case in &cases {
        let second = pipeline.second.as_ref().map(|s| &s.tokenizer);
        let tokenizers: Vec<_> = std::iter::once(&pipeline.tokenizer).chain(second).collect();
        assert_eq!(tokenizers.len(), case.ids.len());
        for (i, tokenizer) in tokenizers.into_iter().enumerate() {
            let found = prompt::rows(&case.prompt, tokenizer).rows;
            let ids: Vec<Vec<u32>> = found.iter().map(|row| row.ids.clone()).collect();
            assert_eq!(ids, case.ids[i], "{}", case.prompt);
            let weights: Vec<Vec<f32>> = found.into_iter().map(|row| row.weights).collect();
            assert_eq!(weights, case.weights[i], "{}", case.prompt);
        }
        let found = pipeline
            .encode(&[Some(&case.prompt)], case.clip_skip, &Device::flex())
            .unwrap();
        let pooled = found.pooled.map(|p| (p.dims().to_vec(), to_vec(p)));
        let outputs = [
            ("context", Some((found.context.dims().to_vec(), to_vec(found.context)))),
            ("pooled", pooled),
        ];
        for (role, output) in outputs {
            let name = format!("{}/{role}", case.name);
            let Some((shape, values)) = output else {
                assert!(tensors.tensor(&name).is_err(), "{name} was not computed");
                continue;
            };
            let view = tensors.tensor(&name).unwrap();
            assert_eq!(view.shape(), shape, "{name}: {}", case.prompt);
            let expected: Vec<f32> = view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect();
            let scale = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let error = values
                .iter()
                .zip(&expected)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(
                error <= TOLERANCE * scale,
                "{name}: {error:e} of {scale:e}: {}",
                case.prompt
            );
            worst = worst.max(error / (TOLERANCE * scale));
        }
    }
    println!(
        "worst error of {} prompts, as a share of its tolerance: {worst:.3}",
        cases.len()
    );
    cases.len()
}
