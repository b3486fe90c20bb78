//! Arithmetic on sixteen lanes, and the choice of the instructions that carry it out.
//!
//! One virtual width of 16 lanes for every processor: two AVX2 registers, one of AVX-512, four of
//! NEON, or a loop. Lane operations are single IEEE operations (fused multiply-add among them), so
//! the bits are the same whichever instructions run; `exp` and `log` are our own polynomials of
//! those operations, never a library's.

/// Number of lanes, and the width of every panel of weights.
pub const LANES: usize = 16;

/// Sixteen numbers that are worked on together, one class (or one output) each.
pub(crate) type Lanes = [f32; LANES];

/// The vector instructions that a kernel runs on: a token that only detection makes, so whoever has
/// one may run what it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Instructions(Set);

/// What kernels are compiled for, apart from what this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// What the build's baseline offers: the twin of the others.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 64-bit ARM, whose baseline has fused multiply-add: what `Plain` compiles to there.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Set {
    /// All that this build knows, the widest last.
    const ALL: &[Set] = &[
        Set::Plain,
        #[cfg(target_arch = "x86_64")]
        Set::Avx2,
        #[cfg(target_arch = "x86_64")]
        Set::Avx512,
        #[cfg(target_arch = "aarch64")]
        Set::Neon,
    ];

    /// Whether this processor has them; who has the wider ones has the narrower ones.
    fn is_here(self) -> bool {
        match self {
            Set::Plain => true,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => {
                let words =
                    is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512bw");
                let wide =
                    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
                Set::Avx2.is_here() && wide && words
            }
            #[cfg(target_arch = "aarch64")]
            Set::Neon => true,
        }
    }
}

impl Instructions {
    /// The widest that this processor has.
    pub fn detect() -> Instructions {
        let widest = Set::ALL.iter().rev().find(|set| set.is_here());
        Instructions(*widest.expect("the plain ones"))
    }

    /// Those that every processor has.
    pub fn plain() -> Instructions {
        Instructions(Set::Plain)
    }

    /// All that this processor has, the plain ones first.
    pub fn available() -> Vec<Instructions> {
        Set::ALL.iter().filter(|set| set.is_here()).map(|set| Instructions(*set)).collect()
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
        match self.0 {
            Set::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
        }
    }

    /// What to run; this processor has it.
    pub(crate) fn set(self) -> Set {
        self.0
    }
}

impl std::fmt::Debug for Instructions {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

/// Compiles a body once per set of instructions and calls the one asked for:
/// `vectorised!(instructions, |x: &[f32], y: &mut [f32]| body(x, y); x, y)`. The body must consist
/// of `#[inline(always)]` code, so that it takes on the instructions of the function around it.
macro_rules! vectorised {
    ($instructions:expr, |$($name:ident: $type:ty),* $(,)?| $body:expr; $($argument:expr),*) => {{
        fn plain($($name: $type),*) { $body }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2($($name: $type),*) { $body }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw")]
        fn avx512($($name: $type),*) { $body }
        let set = $instructions.set();
        $(let $name: $type = $argument;)*
        match set {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token `$instructions` is only made where they were detected.
            $crate::kernel::vector::Set::Avx2 => unsafe { avx2($($name),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            $crate::kernel::vector::Set::Avx512 => unsafe { avx512($($name),*) },
            _ => plain($($name),*),
        }
    }};
}
pub(crate) use vectorised;

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
