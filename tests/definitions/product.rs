//! Products, whatever the strides.

use reelscale::internals::kernel::product::{Left, Output, Panels, Size, Workspace, definition};
use reelscale::internals::kernel::vector::LANES;

use super::draws::Draws;
use super::{cases, kernels, same};

#[test]
fn products_are_their_definition() {
    for case in 0..cases(150) {
        let mut draws = Draws::new(case);
        let (rows, depth, panels) = (draws.far(115), draws.far(380), draws.below(6));
        let size = Size { rows, depth, panels };
        // Rows or columns of A lie end to end, with or without room between them.
        let gap = draws.below(3);
        let (row, column) = match draws.below(2) {
            0 => (depth + gap, 1),
            _ => (1, rows + gap),
        };
        let a = draws.numbers((rows + gap + 1) * (depth + gap + 1), 1.0);
        let b = draws.numbers((depth + 1) * (panels + 1) * LANES, 1.0);
        let c = draws.numbers((rows + 1) * (panels + 1) * LANES, 1.0);
        // Row after row, or panel after panel.
        let by_row = draws.below(2) == 0;
        let strides = |height: usize| match by_row {
            true => ((panels + 1) * LANES, LANES),
            false => (LANES, (height + 1) * LANES),
        };
        let left = Left { data: &a, row, column };
        let (row, panel) = strides(depth);
        let right = Panels { data: &b, row, panel };
        let (row, panel) = strides(rows);
        for fresh in [false, true] {
            let mut expected = c.clone();
            let output = &mut Output { data: &mut expected, row, panel };
            match fresh {
                true => definition::multiply(size, left, right, output),
                false => definition::accumulate(size, left, right, output),
            }
            for kernel in kernels() {
                let (mut found, mut workspace) = (c.clone(), Workspace::new(kernel));
                let output = &mut Output { data: &mut found, row, panel };
                match fresh {
                    true => workspace.multiply(size, left, right, output),
                    false => workspace.accumulate(size, left, right, output),
                }
                let what = || format!("case {case}: {rows} x {depth} x {panels} on {kernel:?}");
                same(&found, &expected, &what);
            }
        }
    }
}
