//! Arithmetic: one folder for each operation, in vector code for every processor, bit for bit the
//! same on all of them. It knows no file, rank or clock.

pub mod dequantise;
pub mod finite;
pub mod matrix;
pub mod mixture;
pub mod pooling;
pub mod product;
pub mod sweep;
pub mod vector;
