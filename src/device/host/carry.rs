//! Sums of slices on their way along the tree, on the host.

use crate::device::Nodes;
use crate::kernel::add::add;
use crate::kernel::mixture::Kernel;
use crate::kernel::vector::{Instructions, LANES};
use crate::team::Team;
use crate::tree::{Node, Partials};

/// Gradients, of slices or sums of them.
#[derive(Default)]
pub(crate) struct Vectors(Vec<Vec<f32>>);

impl Vectors {
    /// So many of so many numbers each, which hold anything.
    pub(crate) fn of(&mut self, count: usize, numbers: usize) -> &mut [Vec<f32>] {
        self.0.resize_with(self.0.len().max(count), Vec::new);
        let vectors = &mut self.0[..count];
        vectors.iter_mut().for_each(|vector| vector.resize(numbers, 0.0));
        vectors
    }

    /// One of them.
    pub(crate) fn at(&self, index: usize) -> &[f32] {
        &self.0[index]
    }
}

/// Partial sums of a gradient, and memory for more. Of S slices there are at most log2(S) + 1
/// vectors at a time.
#[derive(Default)]
struct Carry {
    sums: Partials<Vec<f32>>,
    free: Vec<Vec<f32>>,
}

impl Carry {
    /// Memory for a gradient of so many numbers, holding anything.
    fn room(&mut self, numbers: usize) -> Vec<f32> {
        let mut room = self.free.pop().unwrap_or_default();
        room.resize(numbers, 0.0);
        room
    }

    /// Takes memory that is no longer needed.
    fn give_back(&mut self, room: Vec<f32>) {
        self.free.push(room);
    }

    /// Takes the gradient of the next slice, which has this index.
    fn push<S: Send>(
        &mut self,
        team: &mut Team<S>,
        instructions: Instructions,
        (slice, gradient): (usize, Vec<f32>),
    ) {
        let free = &mut self.free;
        let plus = |left, right| plus(team, instructions, (left, right), free);
        self.sums.push(Node::leaf(slice), gradient, plus);
    }

    /// The sum of all slices, if there was any. None are left.
    fn total<S: Send>(
        &mut self,
        team: &mut Team<S>,
        instructions: Instructions,
    ) -> Option<Vec<f32>> {
        let (sums, free) = (std::mem::take(&mut self.sums), &mut self.free);
        sums.total(|left, right| plus(team, instructions, (left, right), free))
    }

    /// The partial sums that are left of a run of slices. None are left.
    fn nodes(&mut self) -> Vec<Vec<f32>> {
        std::mem::take(&mut self.sums).into_sums().collect()
    }

    /// Leaves out what has come so far.
    fn forget(&mut self) {
        let nodes = self.nodes();
        self.free.extend(nodes);
    }
}

/// Adds a sum to the one left of it, by all threads.
fn plus<S: Send>(
    team: &mut Team<S>,
    instructions: Instructions,
    (mut left, right): (Vec<f32>, Vec<f32>),
    free: &mut Vec<Vec<f32>>,
) -> Vec<f32> {
    let stretch = left.len().div_ceil(team.threads()).next_multiple_of(LANES).max(LANES);
    let stretches = left.chunks_mut(stretch).zip(right.chunks(stretch));
    team.for_each(stretches, |_, (left, right)| add(instructions, left, right));
    free.push(right);
    left
}

/// Of a pass over all rows the slices that are complete: their gradients and losses.
#[derive(Default)]
pub(crate) struct Complete {
    gradients: Carry,
    losses: Partials<Vec<f64>>,
}

impl Complete {
    /// Takes the sums of the next slice, which has this index, and leaves zeros in their place.
    pub(crate) fn take<S: Send>(
        &mut self,
        team: &mut Team<S>,
        instructions: Instructions,
        slice: usize,
        (gradient, losses): (&mut Vec<f32>, &mut Vec<f64>),
    ) {
        let mut zeros = self.gradients.room(gradient.len());
        zeros.fill(0.0);
        let gradient = std::mem::replace(gradient, zeros);
        self.gradients.push(team, instructions, (slice, gradient));
        let zeros = vec![0.0; losses.len()];
        self.losses.push(Node::leaf(slice), std::mem::replace(losses, zeros), plus_losses);
    }

    /// The sums of all slices, in place of those of none.
    pub(crate) fn total<S: Send>(
        &mut self,
        team: &mut Team<S>,
        instructions: Instructions,
        (gradient, losses): (&mut Vec<f32>, &mut Vec<f64>),
    ) {
        if let Some(sum) = self.gradients.total(team, instructions) {
            self.gradients.give_back(std::mem::replace(gradient, sum));
        }
        if let Some(sum) = std::mem::take(&mut self.losses).total(plus_losses) {
            *losses = sum;
        }
    }

    /// The partial sums that are left of a run of slices. None are left.
    pub(crate) fn nodes(&mut self) -> Nodes {
        let losses = std::mem::take(&mut self.losses).into_sums();
        self.gradients.nodes().into_iter().zip(losses).collect()
    }

    pub(crate) fn forget(&mut self) {
        self.gradients.forget();
        self.losses = Partials::default();
    }
}

fn plus_losses(mut left: Vec<f64>, right: Vec<f64>) -> Vec<f64> {
    left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
    left
}

/// One thread's kernel with the gradients that it makes, of the block that it works on.
pub(crate) struct KernelAndSums<'a> {
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) sums: &'a mut Vectors,
}

impl KernelAndSums<'_> {
    /// Pairs of one kernel and one thread's gradients each; there are equally many.
    pub(crate) fn team<'a>(
        kernels: &'a mut [Kernel],
        sums: &'a mut [Vectors],
    ) -> Vec<KernelAndSums<'a>> {
        let places = kernels.iter_mut().zip(sums);
        places.map(|(kernel, sums)| KernelAndSums { kernel, sums }).collect()
    }
}

impl AsMut<Kernel> for KernelAndSums<'_> {
    fn as_mut(&mut self) -> &mut Kernel {
        self.kernel
    }
}
