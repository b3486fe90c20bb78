//! The content hash of a model: SHA-256 over its logical content, the same for equal models on any
//! number of ranks and however files or class blocks are cut.

use sha2::{Digest, Sha256};

use crate::comm::Comm;
use crate::human::hex;
use crate::kernel::mixture::Block;
use crate::kernel::mixture::layout::Role;
use crate::kernel::vector::LANES;
use crate::model::annotator::Annotator;
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
    let own = annotator.experts.own();
    let digests: Vec<u8> =
        own.flat_map(|block| class_digests(annotator.experts.block(block))).collect();
    comm.all_gather_any(&digests).iter().for_each(|digests| whole.update(digests));
    hex(&whole.finalize())
}

/// The digests of a block's classes, end to end: of the number of experts, the weights of gates
/// and experts, the biases of experts. Panel by panel, since the sixteen classes of a group lie in
/// the same cache lines.
fn class_digests(block: Block) -> Vec<u8> {
    let (layout, parameters) = (block.layout, block.parameters);
    let (mut digests, mut column) = (Vec::new(), Vec::with_capacity(layout.width));
    for (index, group) in layout.groups.iter().enumerate() {
        let first = index * LANES;
        let experts = &layout.experts[first..layout.experts.len().min(first + LANES)];
        let begun =
            experts.iter().map(|count| Sha256::new_with_prefix((*count as u64).to_le_bytes()));
        let mut sums: Vec<Sha256> = begun.collect();
        let panels = || layout.roles(group).into_iter().zip(group.first_panel..);
        for (role, panel) in panels() {
            for (lane, sum) in sums.iter_mut().enumerate() {
                if layout.is_real(first + lane, role) {
                    let places = (0..layout.width).map(|k| layout.weight_at(panel, lane, k));
                    column.clear();
                    column.extend(places.map(|place| parameters[place]));
                    sum.update(bytemuck::cast_slice(&column));
                }
            }
        }
        for (role, panel) in panels().filter(|(role, _)| matches!(role, Role::Expert(_))) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                if layout.is_real(first + lane, role) {
                    sum.update(parameters[layout.bias_at(panel, lane)].to_le_bytes());
                }
            }
        }
        sums.into_iter().for_each(|sum| digests.extend(sum.finalize()));
        tick();
    }
    digests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::experts::{Experts, layouts};
    use crate::model::spec::Dummy;

    /// Against the order that `places_of` gives, number by number.
    #[test]
    fn a_class_is_its_experts_weights_and_biases() {
        for dummy in [Dummy::Learned, Dummy::Zero, Dummy::None] {
            let counts: Vec<usize> = (0..37).map(|class| 1 + class % 5).collect();
            let layouts = layouts(&counts, dummy, 7, 2);
            let owners = Comm::serial().deal(layouts.len());
            let experts = Experts::new(layouts.clone(), owners, 3, 1);
            for (block, layout) in layouts.iter().enumerate() {
                let mut expected = Vec::new();
                for class in 0..layout.classes.len() {
                    let mut sum = Sha256::new();
                    sum.update((layout.experts[class] as u64).to_le_bytes());
                    for place in layout.places_of(class).0 {
                        sum.update(experts.block(block).parameters[place].to_le_bytes());
                    }
                    expected.extend(sum.finalize());
                }
                assert_eq!(class_digests(experts.block(block)), expected, "{dummy:?}");
            }
        }
    }
}
