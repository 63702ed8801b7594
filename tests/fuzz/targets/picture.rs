//! The bytes of a picture's file → everything that it says about itself.
#![no_main]

use std::sync::LazyLock;

use assent_fuzz::digest::Sha256Digest;
use assent_fuzz::signals::{Sources, Trust, read};
use libfuzzer_sys::fuzz_target;

static TRUST: LazyLock<Trust> = LazyLock::new(Trust::default);

fuzz_target!(|picture: &[u8]| {
    read(&Sources {
        picture,
        digest: Sha256Digest::of_bytes(picture),
        reuse: None,
        licensing: &[],
        xmp: None,
        caption: None,
        drawing: None,
        trust: &TRUST,
    });
});
