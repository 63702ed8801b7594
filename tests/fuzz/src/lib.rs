//! The rooms that read what strangers wrote.

#[path = "../../../src/consent/mod.rs"]
pub mod consent;
#[path = "../../../src/digest/mod.rs"]
pub mod digest;
#[path = "../../../src/signals/mod.rs"]
pub mod signals;
