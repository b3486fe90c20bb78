//! The tensors that safetensors and numpy get, which are those of a model directory: names, shapes,
//! and how they are filled. Rows of mixtures stand by class.

use super::file::{NewFile, Region};
use super::source::Source;
use crate::artifact::files::weights_of;
use crate::error::Result;

/// One tensor, whose numbers may still be on their way.
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    holds: Holds,
}

enum Holds {
    Offsets(Vec<i64>),
    Numbers(Vec<f32>),
    Gates,
    Experts,
    Biases,
}

impl Tensor {
    fn new(name: impl Into<String>, shape: &[usize], holds: Holds) -> Tensor {
        Tensor { name: name.into(), shape: shape.to_vec(), holds }
    }

    pub(super) fn is_whole_numbers(&self) -> bool {
        matches!(self.holds, Holds::Offsets(_))
    }

    pub(super) fn bytes(&self) -> u64 {
        let each = if self.is_whole_numbers() { size_of::<i64>() } else { size_of::<f32>() };
        self.shape.iter().map(|side| *side as u64).product::<u64>() * each as u64
    }
}

/// All tensors of a model: offsets first, whose numbers have 8 bytes, and the mixtures last.
pub(super) fn tensors(source: &Source) -> Vec<Tensor> {
    let (shape, layers) = (&source.shape, source.shape.shared_layers());
    let (classes, width) = (shape.class_count, layers.outputs());
    let (mut gates, mut experts) = (vec![0], vec![0]);
    for (of_class, own) in source.columns() {
        gates.push(gates[gates.len() - 1] + of_class as i64);
        experts.push(experts[experts.len() - 1] + own as i64);
    }
    let [all_gates, all_experts] = [gates[classes] as usize, experts[classes] as usize];
    let mut tensors = vec![
        Tensor::new("gates.offsets", &[classes + 1], Holds::Offsets(gates)),
        Tensor::new("experts.offsets", &[classes + 1], Holds::Offsets(experts)),
    ];
    if let Some(standard) = &shape.standard {
        for (name, numbers) in [("means", &standard.means), ("scales", &standard.scales)] {
            let holds = Holds::Numbers(numbers.clone());
            tensors.push(Tensor::new(format!("standard.{name}"), &[numbers.len()], holds));
        }
    }
    let frames = layers.frame_network().len();
    for (index, place) in layers.places.iter().enumerate() {
        let name = match index.checked_sub(frames) {
            None => format!("frames.{index}"),
            Some(index) => format!("layers.{index}"),
        };
        let (weights, biases) = weights_of(place, &source.shared);
        let sides = [place.inputs, place.outputs];
        tensors.push(Tensor::new(format!("{name}.weights"), &sides, Holds::Numbers(weights)));
        tensors.push(Tensor::new(format!("{name}.biases"), &sides[1..], Holds::Numbers(biases)));
    }
    tensors.extend([
        Tensor::new("experts.biases", &[all_experts], Holds::Biases),
        Tensor::new("gates.weights", &[all_gates, width], Holds::Gates),
        Tensor::new("experts.weights", &[all_experts, width], Holds::Experts),
    ]);
    tensors
}

/// Fills the region of each tensor, reading the mixtures once.
///
/// # Errors
/// What the source gives; exit 5: the file system refuses.
pub(super) fn fill(
    source: &Source,
    file: &NewFile,
    tensors: &[Tensor],
    regions: &mut [Region],
) -> Result<()> {
    for (tensor, region) in tensors.iter().zip(&mut *regions) {
        match &tensor.holds {
            Holds::Offsets(numbers) => region.push(file, bytemuck::cast_slice(numbers))?,
            Holds::Numbers(numbers) => region.push(file, bytemuck::cast_slice(numbers))?,
            Holds::Gates | Holds::Experts | Holds::Biases => {}
        }
    }
    (source.mixtures)(&mut |_, rows| {
        for (tensor, region) in tensors.iter().zip(&mut *regions) {
            let numbers = match tensor.holds {
                Holds::Gates => &rows.gates,
                Holds::Experts => &rows.experts,
                Holds::Biases => &rows.biases,
                Holds::Offsets(_) | Holds::Numbers(_) => continue,
            };
            region.push(file, bytemuck::cast_slice(numbers))?;
        }
        Ok(())
    })
}
