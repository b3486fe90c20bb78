//! The kernels of devices: one text in the common part of OpenCL C, CUDA C++ and plain C++, whose
//! results have the bits of the processor's kernels, and how it is called.
//!
//! The text lies in the headers of `kernel/`, `all.h` names them. Its PTX for CUDA (`device.ptx`)
//! is made by `ptx.py` there.

pub mod calls;
pub mod inspect;
pub mod sweeps;

/// What CUDA's driver takes: the text compiled for compute capability 8.0 and above, every
/// operation rounded to nearest, denormals kept, nothing contracted.
pub const PTX: &str = include_str!("../../kernel/device.ptx");

/// Options that OpenCL compilers take the text with.
pub const OPENCL_OPTIONS: &str = "-cl-std=CL1.2 -cl-fp32-correctly-rounded-divide-sqrt";

const HEADERS: [(&str, &str); 9] = [
    ("all.h", include_str!("../../kernel/all.h")),
    ("common.h", include_str!("../../kernel/common.h")),
    ("functions.h", include_str!("../../kernel/functions.h")),
    ("mixture.h", include_str!("../../kernel/mixture.h")),
    ("product.h", include_str!("../../kernel/product.h")),
    ("product_words.h", include_str!("../../kernel/product_words.h")),
    ("rows.h", include_str!("../../kernel/rows.h")),
    ("solver.h", include_str!("../../kernel/solver.h")),
    ("sweep.h", include_str!("../../kernel/sweep.h")),
];

/// The whole text, its includes resolved, as compilers at run time take it.
pub fn whole() -> String {
    let mut whole = String::new();
    append("all.h", &mut whole);
    whole
}

fn append(name: &str, whole: &mut String) {
    let found = HEADERS.iter().find(|header| header.0 == name);
    // plain.h is for C++ alone, which finds it by itself.
    let Some((_, header)) = found else { return };
    for line in header.lines() {
        match line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) {
            Some(included) => append(included, whole),
            None => {
                whole.push_str(line);
                whole.push('\n');
            }
        }
    }
}
