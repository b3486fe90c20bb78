//! The kernels of devices: one text in the common part of OpenCL C, CUDA C++ and plain C++, whose
//! results have the bits of the processor's kernels, and how it is called.
//!
//! It lies in `device.h` of each operation, beside the definition that it equals; `all.h` here
//! names them all. Its PTX for CUDA (`device.ptx`) is made by `ptx.py`. device/gpu/ launches it.

pub mod calls;
pub(crate) mod frames;
pub mod inspect;
pub(crate) mod layers;
pub mod sweeps;

/// What CUDA's driver takes: the text compiled for compute capability 8.0 and above, every
/// operation rounded to nearest, denormals kept, nothing contracted.
pub const PTX: &str = include_str!("device.ptx");

/// Options that OpenCL compilers take the text with.
pub const OPENCL_OPTIONS: &str = "-cl-std=CL1.2 -cl-fp32-correctly-rounded-divide-sqrt";

/// Every header by the end of its path, as the others name it.
const HEADERS: [(&str, &str); 22] = [
    ("common.h", include_str!("common.h")),
    ("order.h", include_str!("order.h")),
    ("turn.h", include_str!("turn.h")),
    ("sums.h", include_str!("sums.h")),
    ("../functions/device.h", include_str!("../functions/device.h")),
    ("../adagrad/device.h", include_str!("../adagrad/device.h")),
    ("../adam/device.h", include_str!("../adam/device.h")),
    ("../irprop/device.h", include_str!("../irprop/device.h")),
    ("../add/device.h", include_str!("../add/device.h")),
    ("../average/device.h", include_str!("../average/device.h")),
    ("../product/device_words.h", include_str!("../product/device_words.h")),
    ("../product/device.h", include_str!("../product/device.h")),
    ("../sweep/device.h", include_str!("../sweep/device.h")),
    ("../mixture/device.h", include_str!("../mixture/device.h")),
    ("../best/device.h", include_str!("../best/device.h")),
    ("../normalise/device.h", include_str!("../normalise/device.h")),
    ("../standardise/device.h", include_str!("../standardise/device.h")),
    ("../dense/device.h", include_str!("../dense/device.h")),
    ("../gating/device.h", include_str!("../gating/device.h")),
    ("../residual/device.h", include_str!("../residual/device.h")),
    ("../dequantise/device.h", include_str!("../dequantise/device.h")),
    ("../pooling/device.h", include_str!("../pooling/device.h")),
];

/// The whole text, its includes resolved, as compilers at run time take it.
pub fn whole() -> String {
    let mut whole = String::new();
    append(include_str!("all.h"), &mut whole);
    whole
}

fn append(header: &str, whole: &mut String) {
    for line in header.lines() {
        match line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) {
            // It is for C++ alone, which finds it by itself.
            Some("plain.h") => (),
            Some(name) => {
                let found = HEADERS.iter().find(|header| header.0 == name);
                append(found.expect("a header of the text").1, whole);
            }
            None => {
                whole.push_str(line);
                whole.push('\n');
            }
        }
    }
}
