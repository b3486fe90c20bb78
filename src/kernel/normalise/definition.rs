//! What the bits of a row of length 1 are (docs/method.md, section 2.2).

/// Scales the numbers of one row. Sixteen sums, the k-th number in sum k mod 16, each a chain of
/// fused multiply-adds in order from +0; then their sum by halves (8 + 8, 4 + 4, 2 + 2, 1 + 1).
pub fn normalise_l2(row: &mut [f32]) {
    let scale = 1.0 / at_least(squares(row)).sqrt();
    for x in row {
        *x *= scale;
    }
}

/// The sum of a row's squares.
pub fn squares(row: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    for (k, x) in row.iter().enumerate() {
        sums[k % 16] = x.mul_add(*x, sums[k % 16]);
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0]
}

fn at_least(total: f32) -> f32 {
    if total > 1e-12 { total } else { 1e-12 }
}
