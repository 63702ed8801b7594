//! Curates the images a model may be trained on, trains LoRA adapters on exactly those, and proves which images
//! trained which adapter.
//!
//! The rooms and the direction in which they may use each other stand in `ARCHITECTURE.md`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod adapter;
pub mod audit;
pub mod cli;
pub mod consent;
pub mod digest;
pub mod documents;
pub mod fingerprint;
pub mod generate;
pub mod imports;
pub mod ingest;
pub mod kernels;
pub mod keys;
pub mod label;
pub mod log;
pub mod lora;
pub mod measure;
pub mod model;
pub mod names;
pub mod pixels;
pub mod receipt;
pub mod registry;
pub mod sheet;
pub mod signals;
pub mod snapshot;
pub mod train;
pub mod workflow;
