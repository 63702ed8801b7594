//! Why nothing was drawn.

use crate::model::pipeline::PipelineError;
use crate::model::scheduler::ScheduleError;

/// Why nothing was drawn.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A size that the model cannot draw.
    #[error("expected width and height to be multiples of {multiple}, found {width}×{height}")]
    Size {
        /// What they must be multiples of.
        multiple: usize,
        /// Width asked for.
        width: usize,
        /// Height asked for.
        height: usize,
    },
    /// A guidance that is no number, or a rescaling out of range.
    #[error("guidance: expected a finite number, and its rescaling within 0 to 1, found {cfg} and {rescale}")]
    Guidance {
        /// Guidance asked for.
        cfg: f64,
        /// Rescaling asked for.
        rescale: f64,
    },
    /// A strength out of range.
    #[error("strength: expected a number above 0 and up to 1, found {found}")]
    Strength {
        /// What was asked for.
        found: f64,
    },
    /// A strength that leaves nothing to do.
    #[error("a strength of {strength} leaves none of {steps} steps; hint: give more strength or more steps")]
    NoStep {
        /// The strength.
        strength: f64,
        /// The steps of the whole run.
        steps: usize,
    },
    /// A picture to start from, or a mask, of another size.
    #[error("the {what} is {}×{}, the drawing {}×{}; expected the same size", found[0], found[1], expected[0], expected[1])]
    StartSize {
        /// Which of them.
        what: &'static str,
        /// Its width and height.
        found: [usize; 2],
        /// The drawing's.
        expected: [usize; 2],
    },
    /// A mask of which nothing is left at the latents' size.
    #[error(
        "the mask is white nowhere that counts: of each {factor}×{factor} pixels the first one does; hint: make it wider"
    )]
    Mask {
        /// Pixels of a latent on a side.
        factor: usize,
    },
    /// A base for inpainting with nothing to paint in.
    #[error(
        "this base is made for inpainting: expected a picture to start from and a mask; hint: give --init-image and --mask"
    )]
    Inpainting,
    /// A tile whose overlap, a quarter, is not whole.
    #[error("VAE tiles: expected a multiple of 4 latent pixels on a side, found {found}")]
    Tile {
        /// What was asked for.
        found: usize,
    },
    /// The sampler.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The prompt.
    #[error(transparent)]
    Prompt(#[from] PipelineError),
    /// The network gave NaN or infinity.
    #[error("the model's output at step {step} is not finite; hint: are the adapter and the base of one family?")]
    NotFinite {
        /// The step, from 0.
        step: usize,
    },
    /// The VAE did.
    #[error("the VAE's output is not finite; hint: weights in f16 can overflow, try another VAE")]
    NotFinitePicture,
    /// Whoever watches gave up.
    #[error("{0}")]
    Watch(String),
}
