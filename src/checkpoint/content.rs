//! The content hash of a model: SHA-256 over its logical content, the same for equal models on any
//! number of ranks and however files or class blocks are cut.

use sha2::{Digest, Sha256};

use crate::comm::Comm;
use crate::human::hex;
use crate::model::annotator::Annotator;
use crate::model::mixture::Block;
use crate::progress::tick;

/// Hex digits of the SHA-256 over the model's shape, its shared layers (weights [inputs, outputs],
/// biases) and, per class, the digest of its gates and experts. Collective.
pub fn content_hash(comm: &Comm, annotator: &Annotator) -> String {
    let mut shape = annotator.shape.clone();
    // How classes are cut decides the order of sums, not what the model is.
    shape.class_blocks = 0;
    let mut whole = Sha256::new();
    whole.update(serde_json::to_vec(&shape).expect("a shape is plain data"));
    for place in &annotator.layers.places {
        for input in 0..place.inputs {
            for output in 0..place.outputs {
                whole.update(annotator.shared[place.weight_at(input, output)].to_le_bytes());
            }
        }
        for bias in &annotator.shared[place.biases()][..place.outputs] {
            whole.update(bias.to_le_bytes());
        }
    }
    let own = annotator.experts.own.clone();
    let digests: Vec<u8> =
        own.flat_map(|block| class_digests(annotator.experts.block(block))).collect();
    comm.all_gather_any(&digests).iter().for_each(|digests| whole.update(digests));
    hex(&whole.finalize())
}

fn class_digests(block: Block) -> Vec<u8> {
    let mut digests = Vec::new();
    for class in 0..block.layout.classes.len() {
        let mut digest = Sha256::new();
        digest.update((block.layout.experts[class] as u64).to_le_bytes());
        for place in block.layout.places_of(class).0 {
            digest.update(block.parameters[place].to_le_bytes());
        }
        digests.extend(digest.finalize());
        tick();
    }
    digests
}
