//! Where a picture lies in what is trained on.

/// How a picture of another shape than the canvas is laid on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fit {
    /// The whole picture, with white beside it: for drawings, whose outline is the point.
    PadWhite,
    /// The largest part of the canvas's shape in the middle: for photographs, where white bars would be learnt.
    CropCentre,
}

/// How a picture is scaled and where it is put on a canvas; widths before heights, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placing {
    /// By its own shape.
    Fit {
        /// What is done with what does not fit.
        fit: Fit,
        /// The canvas.
        size: [u32; 2],
    },
    /// Scaled as a whole to a size that covers the canvas, which shows a part of it.
    Cover {
        /// The scaled picture: at least as large as the canvas on both sides.
        resized: [u32; 2],
        /// Where the canvas lies on it: its left upper corner.
        corner: [u32; 2],
        /// The canvas.
        size: [u32; 2],
    },
}

impl Placing {
    /// The middle of a picture that is scaled to cover the canvas.
    #[must_use]
    pub fn centre(resized: [u32; 2], size: [u32; 2]) -> Self {
        let corner = [0, 1].map(|side| resized[side].saturating_sub(size[side]) / 2);
        Self::Cover { resized, corner, size }
    }

    /// Width and height of the canvas.
    #[must_use]
    pub fn size(&self) -> [u32; 2] {
        match self {
            Self::Fit { size, .. } | Self::Cover { size, .. } => *size,
        }
    }

    /// The same for a picture of this width and height, in numbers.
    pub(super) fn of(&self, [width, height]: [u32; 2]) -> Laid {
        let scaled =
            |side: u32, to: u32, from: u32| ((f64::from(side) * f64::from(to) / f64::from(from)).round() as u32).max(1);
        let wider = |[w, h]: [u32; 2]| u64::from(width) * u64::from(h) >= u64::from(height) * u64::from(w);
        match *self {
            Self::Fit {
                fit: Fit::PadWhite,
                size,
            } => {
                let [w, h] = match wider(size) {
                    true => [size[0], scaled(height, size[0], width).min(size[1])],
                    false => [scaled(width, size[1], height).min(size[0]), size[1]],
                };
                Laid {
                    part: [0, 0, width, height],
                    scaled: [w, h],
                    at: [i64::from((size[0] - w) / 2), i64::from((size[1] - h) / 2)],
                    size,
                }
            }
            Self::Fit {
                fit: Fit::CropCentre,
                size,
            } => {
                let [w, h] = match wider(size) {
                    true => [scaled(height, size[0], size[1]).min(width), height],
                    false => [width, scaled(width, size[1], size[0]).min(height)],
                };
                Laid {
                    part: [(width - w) / 2, (height - h) / 2, w, h],
                    scaled: size,
                    at: [0, 0],
                    size,
                }
            }
            Self::Cover { resized, corner, size } => Laid {
                part: [0, 0, width, height],
                scaled: resized,
                at: corner.map(|side| -i64::from(side)),
                size,
            },
        }
    }
}

/// A placing of one picture in numbers: a part of it is scaled and laid on a canvas.
pub(super) struct Laid {
    /// Left, top, width and height in the picture.
    pub part: [u32; 4],
    /// Width and height that the part is scaled to.
    pub scaled: [u32; 2],
    /// Where its left upper corner lies on the canvas; what is outside is cut off.
    pub at: [i64; 2],
    /// Width and height of the canvas.
    pub size: [u32; 2],
}

/// Rows turned round, left to right: `[…, width]`.
pub fn mirror(values: &mut [f32], width: usize) {
    values.chunks_mut(width.max(1)).for_each(<[f32]>::reverse);
}
