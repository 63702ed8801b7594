//! The training loops: adapters on a frozen base, and a small base from scratch.
//!
//! Works on a verified snapshot only, knows no SQL and no command line; the clock and the seed are arguments.

pub mod adapter;
pub mod aim;
pub mod base;
pub mod config;
pub mod data;
pub mod engine;
pub mod error;
pub mod facts;
pub mod forecast;
pub mod loss;
pub mod masks;
pub mod max_norm;
mod networks;
pub mod noise;
pub mod norms;
pub mod optimizer;
pub mod page;
pub mod schedule;
pub mod sets;
pub mod state;
pub mod stopping;
pub mod tensorboard;
pub mod timesteps;
pub mod watch;

#[cfg(test)]
mod golden;
