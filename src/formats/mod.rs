//! Formats of others: each a stream of examples, or of predictions. Nothing here writes shards.

pub(crate) mod class_names;
mod compressed;
pub mod csv;
pub(crate) mod first_bytes;

pub(crate) mod predictions;
pub(crate) mod protobuf;
mod source;
pub mod submission;
pub mod svmlight;
mod svmlight_line;
pub mod table;
pub mod tf_example;
mod tf_feature;
mod tf_frames;
mod tf_keys;
mod tf_labels;
mod tf_segments;
pub mod tfrecord;
mod wire;
pub(crate) mod written;
