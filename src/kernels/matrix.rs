//! Strided views of f32 matrices and their product, one thread's worth: the callers spread products over threads.

use std::marker::PhantomData;

use gemm::Parallelism;

/// A matrix in borrowed memory; element (i, j) lies at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    start: *const f32,
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
    life: PhantomData<&'a [f32]>,
}

/// The same, to be written.
pub(super) struct MatrixMut<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
    life: PhantomData<&'a mut [f32]>,
}

/// Numbers that a view spans, from its first to its last.
fn span(rows: usize, columns: usize, row: usize, column: usize) -> usize {
    if rows == 0 || columns == 0 {
        0
    } else {
        (rows - 1) * row + (columns - 1) * column + 1
    }
}

impl<'a> Matrix<'a> {
    /// A view of `data` from its start, with strides `row` and `column`.
    pub(super) fn new(data: &'a [f32], [rows, columns]: [usize; 2], [row, column]: [usize; 2]) -> Self {
        assert!(
            span(rows, columns, row, column) <= data.len(),
            "a view must lie inside its data"
        );
        let start = data.as_ptr();
        Self {
            start,
            rows,
            columns,
            row,
            column,
            life: PhantomData,
        }
    }

    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row: self.column,
            column: self.row,
            ..self
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// A view of `data` from its start, with strides `row` and `column`.
    pub(super) fn new(data: &'a mut [f32], [rows, columns]: [usize; 2], [row, column]: [usize; 2]) -> Self {
        assert!(
            span(rows, columns, row, column) <= data.len(),
            "a view must lie inside its data"
        );
        let start = data.as_mut_ptr();
        Self {
            start,
            rows,
            columns,
            row,
            column,
            life: PhantomData,
        }
    }
}

/// Memory that several threads write at once, each its own part.
pub(super) struct Shared<'a> {
    start: *mut f32,
    length: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only ways to the memory are the unsafe functions below, whose callers promise disjoint parts.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(data: &'a mut [f32]) -> Self {
        Self {
            start: data.as_mut_ptr(),
            length: data.len(),
            life: PhantomData,
        }
    }

    /// # Safety
    /// While the view lives, nobody else may touch the elements that it reaches.
    pub(super) unsafe fn matrix(
        &self,
        offset: usize,
        [rows, columns]: [usize; 2],
        [row, column]: [usize; 2],
    ) -> MatrixMut<'a> {
        assert!(
            offset + span(rows, columns, row, column) <= self.length,
            "a view must lie inside its data"
        );
        // SAFETY: the assertion keeps the start inside the memory.
        let start = unsafe { self.start.add(offset) };
        MatrixMut {
            start,
            rows,
            columns,
            row,
            column,
            life: PhantomData,
        }
    }

    /// # Safety
    /// While the slice lives, nobody else may touch its elements.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice(&self, offset: usize, length: usize) -> &mut [f32] {
        assert!(offset + length <= self.length, "a slice must lie inside its data");
        // SAFETY: inside the memory, which is initialised; alone there, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), length) }
    }
}

/// `out = scale * left · right`, added to what is in `out` when `add`.
pub(super) fn multiply(out: &mut MatrixMut<'_>, add: bool, scale: f32, left: Matrix<'_>, right: Matrix<'_>) {
    let fits = left.rows == out.rows && right.columns == out.columns && left.columns == right.rows;
    assert!(fits, "matrix sizes must agree");
    // SAFETY: the views were checked when they were made, and `out` is borrowed alone.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            left.columns,
            out.start,
            out.column as isize,
            out.row as isize,
            add,
            left.start,
            left.column as isize,
            left.row as isize,
            right.start,
            right.column as isize,
            right.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
