//! The program's own launchers and what lies on a device, and what of the processor's device is
//! compared with it.

#[path = "../../src/device/host/drawn.rs"]
pub mod drawn;
#[path = "../../src/device/dropout.rs"]
mod dropout;
#[path = "../../src/device/gpu/mod.rs"]
pub mod gpu;
#[path = "../../src/device/negatives.rs"]
mod negatives;

pub use self::dropout::Dropout;
pub use self::negatives::Negatives;
