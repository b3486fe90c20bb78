//! What things cost, for planning, training, benchmarks and tests.

pub mod memory;
