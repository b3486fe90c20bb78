//! The program's own launchers and what lies on a device, and what of the processor's device is
//! compared with it.

#[path = "../../src/device/host/drawn.rs"]
pub mod drawn;
#[path = "../../src/device/gpu"]
pub mod gpu {
    pub mod best;
    pub mod chains;
    pub mod check;
    pub mod cuda;
    pub mod cut;
    pub mod fetch;
    pub mod frames;
    pub mod frozen;
    pub mod held;
    pub mod lanes;
    pub mod launcher;
    pub mod layers;
    pub mod mixture;
    pub mod opencl;
    pub mod queue;
    pub mod staging;
    pub mod window;
}
#[path = "../../src/device/negatives.rs"]
mod negatives;

pub use self::negatives::Negatives;
