//! Prompts with weights: rows, weights and embeddings equal to those of `scripts/parity/prompts.py`, which reads them by
//! ComfyUI's rules and encodes with transformers. `tests/fixtures/prompts` holds its output for the parity fixture.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/prompts.rs"]
mod support;

use std::path::Path;

use assent::model::base::Base;
use assent::model::pipeline::Pipeline;
use burn::tensor::Device;

#[test]
fn prompts_are_read_and_encoded_as_the_reference_does() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let base = Base::open(&fixtures.join("parity/sd15-tiny/model"), None).unwrap();
    let pipeline = Pipeline::load(&base, &Device::flex()).unwrap();
    let cases = support::check(&pipeline, &fixtures.join("prompts"));
    assert_eq!(cases, 30);
}
