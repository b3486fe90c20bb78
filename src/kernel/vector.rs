//! Arithmetic on sixteen lanes, and the choice of the instructions that carry it out.
//!
//! One virtual width of 16 lanes for every processor: two AVX2 registers, one of AVX-512, four of
//! NEON, or a loop. Lane operations are single IEEE operations (fused multiply-add among them), so
//! the bits are the same whichever instructions run; `exp` and `log` are our own polynomials of
//! those operations, never a library's.

/// Number of lanes, and the width of every panel of weights.
pub const LANES: usize = 16;

/// Sixteen numbers that are worked on together, one class (or one output) each.
pub type Lanes = [f32; LANES];

/// The vector instructions that a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// What the build's baseline offers: the twin of the others.
    Plain,
    Avx2,
    Avx512,
    /// 64-bit ARM, whose baseline has fused multiply-add: what `Plain` compiles to there.
    Neon,
}

impl Instructions {
    /// The widest that this processor has.
    pub fn detect() -> Instructions {
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
            let words =
                is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512bw");
            if fma && wide && words {
                return Instructions::Avx512;
            }
            if fma {
                return Instructions::Avx2;
            }
        }
        if cfg!(target_arch = "aarch64") { Instructions::Neon } else { Instructions::Plain }
    }

    /// The instructions of this name, as `--kernel` and `run.kernel` take it; `auto` is `detect`.
    ///
    /// # Errors
    /// What was expected, or that this processor has none of them.
    pub fn parse(name: &str) -> Result<Instructions, String> {
        if name == "auto" {
            return Ok(Instructions::detect());
        }
        let available = Instructions::available();
        available.iter().copied().find(|one| one.name() == name).ok_or_else(|| {
            let names: Vec<&str> = available.iter().map(|one| one.name()).collect();
            format!("expected auto or what this processor has: {}", names.join(", "))
        })
    }

    /// The name that `parse` takes.
    pub fn name(self) -> &'static str {
        match self {
            Instructions::Plain => "plain",
            Instructions::Avx2 => "avx2",
            Instructions::Avx512 => "avx512",
            Instructions::Neon => "neon",
        }
    }

    /// All that this processor has, the plain ones first.
    pub fn available() -> Vec<Instructions> {
        use Instructions::*;
        match Instructions::detect() {
            Plain => vec![Plain],
            Avx2 => vec![Plain, Avx2],
            Avx512 => vec![Plain, Avx2, Avx512],
            Neon => vec![Plain, Neon],
        }
    }
}

/// Compiles a body once per set of instructions and calls the one asked for:
/// `vectorised!(instructions, |x: &[f32], y: &mut [f32]| body(x, y); x, y)`. The body must consist
/// of `#[inline(always)]` code, so that it takes on the instructions of the function around it.
#[macro_export]
macro_rules! vectorised {
    ($instructions:expr, |$($name:ident: $type:ty),* $(,)?| $body:expr; $($argument:expr),*) => {{
        fn plain($($name: $type),*) { $body }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2($($name: $type),*) { $body }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw")]
        fn avx512($($name: $type),*) { $body }
        match $instructions {
            // SAFETY: `Instructions` other than `Plain` are only made where they were detected.
            #[cfg(target_arch = "x86_64")]
            $crate::kernel::vector::Instructions::Avx2 => unsafe { avx2($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            $crate::kernel::vector::Instructions::Avx512 => unsafe { avx512($($argument),*) },
            _ => plain($($argument),*),
        }
    }};
}

/// `f` of every lane.
#[inline(always)]
pub fn map(x: Lanes, f: impl Fn(f32) -> f32) -> Lanes {
    let mut y = x;
    for lane in 0..LANES {
        y[lane] = f(x[lane]);
    }
    y
}

/// `f` of every pair of lanes.
#[inline(always)]
pub fn map2(x: Lanes, y: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    let mut z = x;
    for lane in 0..LANES {
        z[lane] = f(x[lane], y[lane]);
    }
    z
}

/// The sixteen numbers from `at` on.
#[inline(always)]
pub fn load(from: &[f32], at: usize) -> Lanes {
    from[at..at + LANES].try_into().expect("sixteen lanes")
}

/// Puts sixteen numbers from `at` on.
#[inline(always)]
pub fn store(to: &mut [f32], at: usize, x: Lanes) {
    to[at..at + LANES].copy_from_slice(&x);
}

/// The sum of all lanes: eight pairs, four, two, one, the same tree everywhere.
#[inline(always)]
pub fn sum(x: Lanes) -> f32 {
    let mut y = x;
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            y[lane] += y[lane + half];
        }
    }
    y[0]
}

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
    let size = (-2.0f32).mul_add(small, 1.0);
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
