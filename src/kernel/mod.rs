//! Arithmetic: one folder for each operation, in vector code for every processor, bit for bit the
//! same on all of them. It knows no file, rank or clock.

pub mod adagrad;
pub mod adam;
pub mod add;
pub mod average;
pub mod best;
pub mod coefficients;
pub mod dense;
pub mod dequantise;
pub mod dropout;
pub mod finite;
pub mod functions;
pub mod gating;
pub mod irprop;
pub mod matrix;
pub mod mixture;
pub mod normalise;
pub mod permutation;
pub mod philox;
pub mod pooling;
pub mod product;
pub mod residual;
pub mod standardise;
pub mod sweep;
pub mod text;
pub mod vector;
