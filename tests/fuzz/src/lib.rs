//! The rooms that read what strangers wrote, and those that they use.

#[path = "../../../src/adapter/mod.rs"]
pub mod adapter;
#[path = "../../../src/consent/mod.rs"]
pub mod consent;
#[path = "../../../src/digest/mod.rs"]
pub mod digest;
#[path = "../../../src/fingerprint/mod.rs"]
pub mod fingerprint;
#[path = "../../../src/keys/mod.rs"]
pub mod keys;
#[path = "../../../src/log/mod.rs"]
pub mod log;
#[path = "../../../src/names/mod.rs"]
pub mod names;
#[path = "../../../src/receipt/mod.rs"]
pub mod receipt;
#[path = "../../../src/registry/mod.rs"]
pub mod registry;
#[path = "../../../src/signals/mod.rs"]
pub mod signals;
#[path = "../../../src/snapshot/mod.rs"]
pub mod snapshot;
