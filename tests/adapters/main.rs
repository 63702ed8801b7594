//! Adapters of every kind that others wrote (LyCORIS, PEFT, diffusers), and fresh ones of the same kinds.
//! `scripts/parity/make_adapters.py` makes the fixture.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod fresh;
mod loading;
mod net;
mod peer;
#[path = "../support/python.rs"]
mod support;
