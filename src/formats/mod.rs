//! Formats of others: each a stream of examples, or of predictions. Nothing here writes shards.

pub mod csv;
pub(crate) mod predictions;
pub mod submission;
pub mod svmlight;
pub mod tf_example;
mod tf_feature;
pub mod tfrecord;
mod wire;
