//! Files of pictures → pixels, within limits: decode, orient, place on a canvas, values in [-1, 1].
//!
//! The content decides the format, never the name. Knows nothing of the registry, of consent or of burn. A file may
//! be anything: an absurd one is an error that says what was found and what is allowed, and costs no memory.

mod decode;
mod mask;
mod placing;
mod planes;

pub use decode::{Decoded, Format, Limits, PixelsError, Probed, decode, decode_file, probe, read_file};
pub use mask::{Channel, load_mask, mask};
pub use placing::{Fit, Placing, mirror};
pub use planes::{load_square, planes};
