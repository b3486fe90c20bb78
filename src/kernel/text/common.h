// What the three compilers of the device text have in common: OpenCL C, CUDA C++ and plain C++.
//
// Every arithmetic operation of the text is a single IEEE one of binary32 (binary64 where it says
// double), as in the processor's kernels; a fused multiply-add is written FMA, and nothing else may
// be contracted: the build options and the pragma below forbid it, and the PTX is looked through.

#if defined(__OPENCL_VERSION__)

#pragma OPENCL FP_CONTRACT OFF
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#define KERNEL(threads, groups) __kernel __attribute__((reqd_work_group_size(threads, 1, 1))) void
#define DEVICE static inline
#define GLOBAL __global
#define SHARED __local
#define UNROLL _Pragma("unroll")
#define UNROLL_BY_EIGHT _Pragma("unroll 8")
#define ROLLED _Pragma("unroll 1")
#define FMA(a, b, c) fma(a, b, c)
#define SQRT(x) sqrt(x)
#define ABS(x) fabs(x)
#define LARGER(a, b) fmax(a, b)
#define SMALLER(a, b) fmin(a, b)
#define BITS(x) as_uint(x)
#define FLOAT(x) as_float(x)
#define HIGH(a, b) mul_hi(a, b)
#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE)
#define THREAD ((int)get_local_id(0))
#define GROUP_X ((int)get_group_id(0))
#define GROUP_Y ((int)get_group_id(1))
typedef float4 quad;
#define SHARED_QUAD(place) (*(SHARED const float4 *)(place))
#define GLOBAL_QUAD(place) (*(GLOBAL const float4 *)(place))
#define PUT_SHARED_QUAD(place, numbers) (*(SHARED float4 *)(place) = (numbers))
#define PUT_GLOBAL_QUAD(place, numbers) (*(GLOBAL float4 *)(place) = (numbers))
#define QUAD(a, b, c, d) ((float4)(a, b, c, d))

#elif defined(__CUDACC__)

#define KERNEL(threads, groups) \
    extern "C" __global__ void __launch_bounds__(threads, groups)
#define DEVICE static __device__ __forceinline__
#define GLOBAL
#define SHARED __shared__ __align__(16)
#define UNROLL _Pragma("unroll")
#define UNROLL_BY_EIGHT _Pragma("unroll 8")
#define ROLLED _Pragma("unroll 1")
#define FMA(a, b, c) __fmaf_rn(a, b, c)
#define SQRT(x) __fsqrt_rn(x)
#define ABS(x) fabsf(x)
#define LARGER(a, b) fmaxf(a, b)
#define SMALLER(a, b) fminf(a, b)
#define BITS(x) __float_as_uint(x)
#define FLOAT(x) __uint_as_float(x)
#define HIGH(a, b) __umulhi(a, b)
#define BARRIER() __syncthreads()
#define THREAD ((int)threadIdx.x)
#define GROUP_X ((int)blockIdx.x)
#define GROUP_Y ((int)blockIdx.y)
typedef unsigned int uint;
typedef float4 quad;
#define SHARED_QUAD(place) (*(const float4 *)(place))
#define GLOBAL_QUAD(place) (*(const float4 *)(place))
#define PUT_SHARED_QUAD(place, numbers) (*(float4 *)(place) = (numbers))
#define PUT_GLOBAL_QUAD(place, numbers) (*(float4 *)(place) = (numbers))
#define QUAD(a, b, c, d) make_float4(a, b, c, d)

// Copies from global to shared memory that go on while the thread computes. They are grouped by
// COMMIT; WAIT lasts until at most so many groups are on their way.
#define ASYNC
DEVICE void copy_one(float *to, const float *from) {
    unsigned int place = (unsigned int)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(place), "l"(from));
}
DEVICE void copy_quad(float *to, const float *from) {
    unsigned int place = (unsigned int)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(from));
}
#define COMMIT() asm volatile("cp.async.commit_group;" ::: "memory")
#define WAIT(groups) asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory")

#else
#include "plain.h"
#endif

#ifndef ASYNC
#define COMMIT()
#define WAIT(groups)
#endif

// Classes or outputs that a panel holds side by side.
#define LANES 16
