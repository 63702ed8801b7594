//! The numbers of a weight as they lie in memory, and parts of it in f32.

use std::borrow::Cow;
use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::matrix::Matrix;
use super::memory;
use super::simd::per_instruction_set;

/// A matrix `[rows, width]` of numbers, row by row.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    /// A scale for each row, by which its numbers are multiplied.
    I8 {
        numbers: &'a [i8],
        scales: &'a [f32],
    },
}

per_instruction_set!(
    /// `out = numbers · scale`.
    fn scaled(numbers: &[i8], scale: f32, out: &mut [f32]) = scaled_body
);

#[inline(always)]
fn scaled_body(numbers: &[i8], scale: f32, out: &mut [f32]) {
    for (out, number) in out.iter_mut().zip(numbers) {
        *out = f32::from(*number) * scale;
    }
}

impl<'a> Stored<'a> {
    /// Some columns of a row in f32.
    fn widen(&self, row: usize, width: usize, columns: &Range<usize>, out: &mut [f32]) {
        let places = row * width + columns.start..row * width + columns.end;
        match self {
            Stored::F32(values) => out.copy_from_slice(&values[places]),
            Stored::F16(values) => values[places].convert_to_f32_slice(out),
            Stored::I8 { numbers, scales } => scaled(&numbers[places], scales[row], out),
        }
    }

    /// Some rows and columns as a view, widened into `room` where they are not f32.
    pub(super) fn part<'b>(
        &self,
        width: usize,
        rows: &Range<usize>,
        columns: &Range<usize>,
        room: &'b mut Vec<f32>,
    ) -> Matrix<'b>
    where
        'a: 'b,
    {
        let shape = [rows.len(), columns.len()];
        if let Stored::F32(values) = self {
            return Matrix::new(&values[rows.start * width + columns.start..], shape, [width, 1]);
        }
        room.resize(shape[0] * shape[1], 0.0);
        for (row, room) in rows.clone().zip(room.chunks_exact_mut(shape[1].max(1))) {
            self.widen(row, width, columns, room);
        }
        Matrix::new(room, shape, [shape[1], 1])
    }

    /// All of it, on all threads; copied only where it is not f32.
    pub(super) fn widened(&self, width: usize) -> Cow<'a, [f32]> {
        let length = match self {
            Stored::F32(values) => return Cow::Borrowed(values),
            Stored::F16(values) => values.len(),
            Stored::I8 { numbers, .. } => numbers.len(),
        };
        let mut out = memory::zeros(length);
        let rows = out.par_chunks_exact_mut(width.max(1)).enumerate();
        rows.for_each(|(row, out)| self.widen(row, width, &(0..width), out));
        Cow::Owned(out)
    }
}
