//! Where the numbers of a product go.

use super::{LANES, Size, within};

/// C: memory that has a place for each row and panel of a product.
///
/// # Safety
/// Where `check` has passed, sixteen numbers of each row and panel lie where `places` says, no two
/// of them on each other.
pub unsafe trait Destination {
    #[doc(hidden)]
    type Places<'a>: Places
    where
        Self: 'a;

    /// Sees that all numbers of a product of this size, of which there is at least one, lie within
    /// it, and each in a place of its own.
    fn check(&self, size: Size);

    #[doc(hidden)]
    fn places(&mut self) -> Self::Places<'_>;
}

/// Where panels begin, and how far rows are apart.
pub trait Places {
    /// The first number of the first row of a panel.
    fn of(&mut self, panel: usize) -> *mut f32;
    /// Numbers from a row to the next.
    fn row(&self) -> usize;
}

/// C, by row and panel: sixteen numbers begin at `data[i * row + panel * panel_stride]`.
pub struct Output<'a> {
    pub data: &'a mut [f32],
    pub row: usize,
    pub panel: usize,
}

/// C whose panels lie apart from each other, each [rows][16].
pub(crate) struct Apart<'a, 'b> {
    pub(crate) panels: &'a mut [&'b mut [f32]],
}

/// The panels of an `Output`.
#[doc(hidden)]
pub struct Together {
    first: *mut f32,
    row: usize,
    panel: usize,
}

// SAFETY: `check` sees that the last number lies within `data` and that strides keep rows and
// panels apart.
unsafe impl Destination for Output<'_> {
    type Places<'a>
        = Together
    where
        Self: 'a;

    fn check(&self, Size { rows, panels, .. }: Size) {
        let apart = |outer: usize, stride: usize, inner: usize, step: usize| {
            (outer == 1 || stride >= (inner - 1) * step + LANES) && (inner == 1 || step >= LANES)
        };
        let steps = [(rows, self.row), (panels, self.panel)];
        assert!(within(steps, LANES, self.data), "C is too short");
        let by_row = apart(rows, self.row, panels, self.panel);
        let by_panel = apart(panels, self.panel, rows, self.row);
        assert!(by_row || by_panel, "numbers of C lie on each other");
    }

    fn places(&mut self) -> Together {
        Together { first: self.data.as_mut_ptr(), row: self.row, panel: self.panel }
    }
}

impl Places for Together {
    #[inline(always)]
    fn of(&mut self, panel: usize) -> *mut f32 {
        self.first.wrapping_add(panel * self.panel)
    }

    #[inline(always)]
    fn row(&self) -> usize {
        self.row
    }
}

// SAFETY: `check` sees that each panel holds its rows; exclusive slices don't lie on each other.
unsafe impl<'b> Destination for Apart<'_, 'b> {
    type Places<'a>
        = &'a mut [&'b mut [f32]]
    where
        Self: 'a;

    fn check(&self, size: Size) {
        assert_eq!(self.panels.len(), size.panels, "a place for each panel");
        let holds = |panel: &&mut [f32]| panel.len() / LANES >= size.rows;
        assert!(self.panels.iter().all(holds), "C is too short");
    }

    fn places(&mut self) -> &mut [&'b mut [f32]] {
        self.panels
    }
}

impl Places for &mut [&mut [f32]] {
    #[inline(always)]
    fn of(&mut self, panel: usize) -> *mut f32 {
        self[panel].as_mut_ptr()
    }

    #[inline(always)]
    fn row(&self) -> usize {
        LANES
    }
}
