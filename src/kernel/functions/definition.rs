//! What the bits of exp, log, sigmoid and tanh are: our own polynomials, a line for each operation
//! in its order; only `mul_add` is fused (docs/method.md, section 8.3). Vector code is compiled
//! from this text, lane by lane.

/// e^x with a relative error below 2e-7 for -87 <= x <= 88; 0 below, e^88 above.
///
/// x = n ln 2 + r with |r| <= ln(2) / 2, then a polynomial of degree 6 in r (Cephes `expf`).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    let clamped = if x > 88.0 { 88.0 } else { x };
    let clamped = if clamped < -87.0 { -87.0 } else { clamped };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut y = 1.987_569_1e-4f32;
    y = y.mul_add(r, 1.398_199_9e-3);
    y = y.mul_add(r, 8.333_452e-3);
    y = y.mul_add(r, 4.166_579_6e-2);
    y = y.mul_add(r, 1.666_666_5e-1);
    y = y.mul_add(r, 5e-1);
    y = y.mul_add(r * r, r) + 1.0;
    // The lower bits of `shifted` hold n: they become the exponent of 2^n.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { y * power }
}

/// ln x for normal x > 0 with an absolute error below 1e-7 near 1 and a relative one below 2e-7.
///
/// x = m 2^n with sqrt(1/2) <= m < sqrt(2), then a polynomial in m - 1 (Cephes `logf`).
#[inline(always)]
pub fn log(x: f32) -> f32 {
    let bits = x.to_bits().wrapping_sub(0x3f35_04f3); // bits of sqrt(1/2)
    let n = ((bits as i32) >> 23) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
    let mut y = 7.037_683_6e-2f32;
    y = y.mul_add(m, -1.151_461e-1);
    y = y.mul_add(m, 1.167_699_8e-1);
    y = y.mul_add(m, -1.242_014_1e-1);
    y = y.mul_add(m, 1.424_932_3e-1);
    y = y.mul_add(m, -1.666_805_7e-1);
    y = y.mul_add(m, 2.000_071_5e-1);
    y = y.mul_add(m, -2.499_999_4e-1);
    y = y.mul_add(m, 3.333_333e-1);
    let square = m * m;
    y = y * m * square;
    y = n.mul_add(-2.121_944_4e-4, y);
    y = square.mul_add(-0.5, y) + m;
    n.mul_add(0.693_359_4, y)
}

/// The smaller of sigmoid(z) and sigmoid(-z), with full relative accuracy: e / (1 + e), e =
/// exp(-|z|).
#[inline(always)]
pub fn smaller_sigmoid(z: f32) -> f32 {
    let e = exp(-z.abs());
    e / (1.0 + e)
}

/// 1 / (1 + exp(-z)).
#[inline(always)]
pub fn sigmoid(z: f32) -> f32 {
    let small = smaller_sigmoid(z);
    if z >= 0.0 { 1.0 - small } else { small }
}

/// tanh(z) = 2 sigmoid(2 z) - 1, accurate to 1e-7 in absolute terms.
#[inline(always)]
pub fn tanh(z: f32) -> f32 {
    let small = smaller_sigmoid(2.0 * z);
    // 2 small is exact, so this is rounded once. A fused multiply-add wouldn't do: its negative,
    // for z < 0, becomes one instruction on ARM, which gives 0 where -0 is meant.
    let size = 1.0 - 2.0 * small;
    if z >= 0.0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative_error(found: f32, exact: f64) -> f64 {
        (f64::from(found) - exact).abs() / exact.abs().max(1e-30)
    }

    #[test]
    fn exp_and_log_keep_their_stated_errors() {
        for step in -870_000..880_000 {
            let x = step as f32 * 1e-4;
            assert!(relative_error(exp(x), f64::from(x).exp()) < 2e-7, "exp {x}");
        }
        for step in 1..2_000_000 {
            let x = f32::from_bits(0x0080_0000 + step * 1061);
            let exact = f64::from(x).ln();
            let error = (f64::from(log(x)) - exact).abs();
            assert!(error < 1e-7 || error < 2e-7 * exact.abs(), "log {x}: {error}");
        }
        assert_eq!((exp(-1e30), exp(0.0), log(1.0)), (0.0, 1.0, 0.0));
        assert!(exp(1e30).is_finite());
    }

    #[test]
    fn sigmoid_and_tanh_are_accurate() {
        for step in -1000..1000 {
            let z = step as f32 * 0.05;
            let exact = 1.0 / (1.0 + (-f64::from(z)).exp());
            assert!(relative_error(sigmoid(z), exact) < 5e-7, "{z}");
            assert!((f64::from(tanh(z)) - f64::from(z).tanh()).abs() < 2e-7, "{z}");
        }
    }
}
