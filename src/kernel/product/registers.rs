//! Sixteen numbers in the registers of each kind of vector instructions, for `gemm`.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64 as arm;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;

use crate::kernel::vector::{LANES, Lanes};

/// Sixteen numbers as a register tile holds them. Compilers don't keep whole tiles of `Lanes` in
/// registers, so each kind of instructions has a type of its own; `Lanes` is their twin.
pub(crate) trait Vector: Copy {
    /// # Safety
    /// The processor has the instructions.
    unsafe fn splat(number: f32) -> Self;
    /// # Safety
    /// The processor has the instructions, and sixteen numbers lie at `from`.
    unsafe fn read(from: *const f32) -> Self;
    /// `self` * b + c, rounded once.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn times_plus(self, b: Self, c: Self) -> Self;
    /// # Safety
    /// The processor has the instructions, and there is room for sixteen numbers at `to`.
    unsafe fn write(self, to: *mut f32);
}

impl Vector for Lanes {
    #[inline(always)]
    unsafe fn splat(number: f32) -> Lanes {
        [number; LANES]
    }

    #[inline(always)]
    unsafe fn read(from: *const f32) -> Lanes {
        // SAFETY: the caller's: sixteen numbers lie there.
        unsafe { *from.cast() }
    }

    #[inline(always)]
    unsafe fn times_plus(self, b: Lanes, mut c: Lanes) -> Lanes {
        for lane in 0..LANES {
            c[lane] = self[lane].mul_add(b[lane], c[lane]);
        }
        c
    }

    #[inline(always)]
    unsafe fn write(self, to: *mut f32) {
        // SAFETY: the caller's: there is room for sixteen numbers.
        unsafe { *to.cast() = self }
    }
}

/// Sixteen numbers in one register of AVX-512.
#[cfg(target_arch = "x86_64")]
pub(crate) type Full = x86::__m512;

#[cfg(target_arch = "x86_64")]
impl Vector for Full {
    #[inline(always)]
    unsafe fn splat(number: f32) -> Self {
        // SAFETY: the caller's: the processor has it.
        unsafe { x86::_mm512_set1_ps(number) }
    }

    #[inline(always)]
    unsafe fn read(from: *const f32) -> Self {
        // SAFETY: the caller's: sixteen numbers lie there.
        unsafe { x86::_mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn times_plus(self, b: Self, c: Self) -> Self {
        // SAFETY: the caller's: the processor has it.
        unsafe { x86::_mm512_fmadd_ps(self, b, c) }
    }

    #[inline(always)]
    unsafe fn write(self, to: *mut f32) {
        // SAFETY: the caller's: there is room for sixteen numbers.
        unsafe { x86::_mm512_storeu_ps(to, self) }
    }
}

/// Sixteen numbers in two registers of AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Halves(x86::__m256, x86::__m256);

#[cfg(target_arch = "x86_64")]
impl Vector for Halves {
    #[inline(always)]
    unsafe fn splat(number: f32) -> Self {
        // SAFETY: the caller's: the processor has it.
        let half = unsafe { x86::_mm256_set1_ps(number) };
        Halves(half, half)
    }

    #[inline(always)]
    unsafe fn read(from: *const f32) -> Self {
        // SAFETY: the caller's: sixteen numbers lie there.
        unsafe { Halves(x86::_mm256_loadu_ps(from), x86::_mm256_loadu_ps(from.add(LANES / 2))) }
    }

    #[inline(always)]
    unsafe fn times_plus(self, b: Self, c: Self) -> Self {
        // SAFETY: the caller's: the processor has it.
        unsafe {
            let half = x86::_mm256_fmadd_ps(self.0, b.0, c.0);
            Halves(half, x86::_mm256_fmadd_ps(self.1, b.1, c.1))
        }
    }

    #[inline(always)]
    unsafe fn write(self, to: *mut f32) {
        // SAFETY: the caller's: there is room for sixteen numbers.
        unsafe {
            x86::_mm256_storeu_ps(to, self.0);
            x86::_mm256_storeu_ps(to.add(LANES / 2), self.1);
        }
    }
}

/// Sixteen numbers in four registers of NEON, which every 64-bit ARM processor has.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy)]
pub(crate) struct Quarters([arm::float32x4_t; 4]);

#[cfg(target_arch = "aarch64")]
impl Vector for Quarters {
    #[inline(always)]
    unsafe fn splat(number: f32) -> Self {
        // SAFETY: the caller's: the processor has it.
        Quarters([unsafe { arm::vdupq_n_f32(number) }; 4])
    }

    #[inline(always)]
    unsafe fn read(from: *const f32) -> Self {
        // SAFETY: the caller's: sixteen numbers lie there.
        Quarters(std::array::from_fn(|quarter| unsafe { arm::vld1q_f32(from.add(4 * quarter)) }))
    }

    #[inline(always)]
    unsafe fn times_plus(self, b: Self, c: Self) -> Self {
        // SAFETY: the caller's: the processor has it.
        let one = |at: usize| unsafe { arm::vfmaq_f32(c.0[at], self.0[at], b.0[at]) };
        Quarters(std::array::from_fn(one))
    }

    #[inline(always)]
    unsafe fn write(self, to: *mut f32) {
        for (quarter, numbers) in self.0.into_iter().enumerate() {
            // SAFETY: the caller's: there is room for sixteen numbers.
            unsafe { arm::vst1q_f32(to.add(4 * quarter), numbers) }
        }
    }
}
