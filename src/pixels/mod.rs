//! Files of pictures → pixels, within limits: decode, orient, fit to a square, values in [-1, 1].
//!
//! The content decides the format, never the name. Knows nothing of the registry, of consent or of burn. A file may
//! be anything: an absurd one is an error that says what was found and what is allowed, and costs no memory.

mod decode;
mod mask;
mod square;

pub use decode::{Decoded, Format, Limits, PixelsError, Probed, decode, decode_file, probe, read_file};
pub use mask::{Channel, load_mask, mask};
pub use square::{Fit, load_square, square};
