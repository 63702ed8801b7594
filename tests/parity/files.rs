//! The files of a fixture that hold the same thing in two layouts.

use anyhow::{Result, ensure};
use assent::adapter::{self, AdapterFile, Format, encode};

use crate::fixture::Fixture;

/// Each pair of files that is there, and whether both hold the same.
pub fn check(fixture: &Fixture) -> Vec<(&'static str, Result<()>)> {
    let mut out = Vec::new();
    if fixture.root.join("lora_peft.safetensors").exists() {
        out.push(("files/adapters", adapters(fixture)));
    }
    out
}

/// The adapter in PEFT's layout is the one in kohya's, and what is written of it has the keys of the file that was read.
fn adapters(fixture: &Fixture) -> Result<()> {
    let of = |name: &str| adapter::read(&fixture.root.join(name));
    let (kohya, peft) = (of("lora_kohya.safetensors")?, of("lora_peft.safetensors")?);
    ensure!(kohya.modules == peft.modules, "lora_kohya and lora_peft differ");
    for (name, format) in [
        ("lora_kohya.safetensors", Format::Kohya),
        ("locon_full_kohya.safetensors", Format::Kohya),
        ("lora_peft.safetensors", Format::Peft),
    ] {
        let read = adapter::Container::read(&fixture.root.join(name))?;
        // Without the header, so that the layout is known from the modules alone.
        let bare = AdapterFile {
            modules: of(name)?.modules,
            ..AdapterFile::default()
        };
        let written = encode(&bare, format, adapter::Dtype::F32)?;
        ensure!(
            written.entries() == read.entries() && written.tensor_digest() == read.tensor_digest(),
            "`{name}` is written otherwise than it was read"
        );
    }
    Ok(())
}
