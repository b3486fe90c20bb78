//! The shared layers on the host: a thread takes pieces of rows to the video network, then whole
//! row blocks through it, and back; where few are left all threads together.

use std::cell::OnceCell;

use crate::device::{FrameReader, FramesAgain, Leaves, Piece};
use crate::error::Result;
use crate::kernel::mixture::Kernel;
use crate::kernel::product::Workspace;
use crate::labels::Labels;
use crate::model::Matrix;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::shared::Tape;
use crate::team::Team;

/// Pieces of rows that a thread is given at once on the way to a wave.
const PIECES: usize = 4;

/// The model's weights, and their transposes once they are needed for the way back.
pub struct Network<'a> {
    model: &'a Annotator,
    transposed: OnceCell<Vec<Vec<f32>>>,
}

/// A wave: row blocks, or groups of a mini-batch, in order.
#[derive(Default)]
pub struct Wave {
    pub(super) blocks: Vec<BlockRows>,
    /// Memory for a visitor's transposed weights.
    pub(super) turned: Vec<f32>,
}

/// The rows of one row block or group.
pub(super) struct BlockRows {
    tape: Tape,
    pub(crate) labels: Labels,
    /// dL/dv [rows][d], summed over the class blocks that have visited; empty before the first.
    slopes: Matrix,
    pub(crate) loss: f64,
    /// Pieces that the rows were read in.
    pieces: usize,
}

impl BlockRows {
    /// v, and dL/dv so far.
    pub(crate) fn sides(&mut self) -> (&Matrix, &mut Matrix) {
        let v = self.tape.output();
        if self.slopes.rows() != v.rows() {
            self.slopes = Matrix::zeros(v.rows(), v.width());
        }
        (v, &mut self.slopes)
    }
}

impl Wave {
    pub(crate) fn outputs(&self, to: &mut Vec<f32>) {
        self.blocks.iter().for_each(|rows| to.extend_from_slice(&rows.tape.output().data));
    }

    /// v and labels of each row block or group.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Matrix, &Labels)> {
        self.blocks.iter().map(|rows| (rows.tape.output(), &rows.labels))
    }

    pub(crate) fn give_slopes(&mut self, slopes: &[f32]) {
        let mut rest = slopes;
        for rows in &mut self.blocks {
            let own = &mut rows.sides().1.data;
            let (here, after) = rest.split_at(own.len());
            own.copy_from_slice(here);
            rest = after;
        }
        assert!(rest.is_empty(), "slopes of other rows");
    }

    pub(crate) fn losses(&self) -> Vec<f64> {
        self.blocks.iter().map(|rows| rows.loss).collect()
    }
}

impl<'a> Network<'a> {
    pub(crate) fn new(model: &'a Annotator) -> Network<'a> {
        Network { model, transposed: OnceCell::new() }
    }

    pub(crate) fn activations(
        &self,
        mut team: Team<Kernel>,
        pieces: &mut dyn Iterator<Item = Result<(Features, Labels)>>,
        take: &mut dyn FnMut(Matrix, Labels) -> Result<()>,
    ) -> Result<()> {
        let model = self.model;
        loop {
            let turn = pieces.take(team.threads()).collect::<Result<Vec<_>>>()?;
            if turn.is_empty() {
                return Ok(());
            }
            let made = team.map(turn, |kernel, (features, labels)| {
                (model.forward(kernel.gemm(), features).into_output(), labels)
            });
            made.into_iter().try_for_each(|(activations, labels)| take(activations, labels))?;
        }
    }

    pub(crate) fn forward(
        &self,
        mut team: Team<Kernel>,
        pieces: &mut dyn Iterator<Item = Result<Piece>>,
    ) -> Result<Wave> {
        let (model, mut wave) = (self.model, Wave::default());
        let nothing = || (Matrix::zeros(0, model.layers.pooled()), Labels::new(), 0);
        let mut open = nothing();
        loop {
            let turn = pieces.take(PIECES * team.threads()).collect::<Result<Vec<_>>>()?;
            if turn.is_empty() {
                return Ok(wave);
            }
            let inputs = team.map(turn, |kernel, Piece { features, labels, last }| {
                (model.input(kernel.gemm(), features), labels, last)
            });
            let mut whole = Vec::new();
            for (input, labels, last) in inputs {
                open.0.append(input);
                open.1.extend(&labels);
                open.2 += 1;
                if last {
                    whole.push(std::mem::replace(&mut open, nothing()));
                }
            }
            wave.blocks.extend(team.together(whole, |team, (input, labels, pieces)| {
                let tape = model.layers.forward(team, &model.shared, input);
                BlockRows { tape, labels, slopes: Matrix::default(), loss: 0.0, pieces }
            }));
        }
    }

    pub(crate) fn backward(
        &self,
        kernels: &mut [Kernel],
        wave: Wave,
        frames: &dyn FramesAgain,
        leaves: &mut dyn Leaves,
    ) -> Result<()> {
        let layers = &self.model.layers;
        let transposed = self.transposed.get_or_init(|| layers.transpose(&self.model.shared));
        let mut workers: Vec<KernelAndFrames> = kernels
            .iter_mut()
            .map(|kernel| KernelAndFrames { kernel, frames: frames.reader() })
            .collect();
        type Item = ((usize, BlockRows), Vec<f32>);
        let mut blocks = wave.blocks.into_iter().enumerate();
        loop {
            let turn: Vec<_> = blocks.by_ref().take(workers.len()).collect();
            if turn.is_empty() {
                return Ok(());
            }
            let items = turn.into_iter().map(|own| leaves.room().map(|leaf| (own, leaf)));
            let items = items.collect::<Result<Vec<_>>>()?;
            let work = |team: &mut Team<KernelAndFrames>, ((index, rows), mut leaf): Item| {
                backward(team, self.model, transposed, (index, rows), &mut leaf).map(|()| leaf)
            };
            for leaf in Team::new(&mut workers).together(items, work) {
                leaves.add(leaf?);
            }
        }
    }
}

/// What one thread needs on the way back through the network.
struct KernelAndFrames<'a> {
    kernel: &'a mut Kernel,
    frames: FrameReader<'a>,
}

impl AsMut<Workspace> for KernelAndFrames<'_> {
    fn as_mut(&mut self) -> &mut Workspace {
        self.kernel.gemm()
    }
}

/// Writes the gradient of the shared layers over the rows of block `index`.
fn backward(
    team: &mut Team<KernelAndFrames>,
    model: &Annotator,
    transposed: &[Vec<f32>],
    (index, mut rows): (usize, BlockRows),
    gradient: &mut [f32],
) -> Result<()> {
    rows.sides();
    let dx = model.layers.backward(team, transposed, rows.tape, rows.slopes, gradient);
    if model.layers.frame_network().is_empty() {
        return Ok(());
    }
    let mut at = 0;
    for piece in 0..rows.pieces {
        let features = (team.own().frames)(index, piece)?;
        if let Features::Frames(frames) = &*features {
            model.frame_gradient(team, transposed, frames, &dx, at, gradient);
        }
        at += features.rows();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use super::*;
    use crate::device::{Device, Host, Pace};
    use crate::example::FeaturePart;
    use crate::model::annotator::Shape;
    use crate::model::experts::{Experts, layouts};
    use crate::model::features::Frames;
    use crate::model::initial;
    use crate::model::spec::{Activation, Dummy, Layer, Normalize, Pooling};
    use crate::partition::Grid;
    use crate::rng::{Purpose, Stream};

    /// The row blocks of a wave, each in pieces, which are also there again for the way back.
    struct Blocks(Vec<Vec<(Features, Labels)>>);

    impl FramesAgain for Blocks {
        fn reader(&self) -> FrameReader<'_> {
            Box::new(|block, piece| Ok(Cow::Borrowed(&self.0[block][piece].0)))
        }
    }

    #[derive(Default)]
    struct Collected(Vec<Vec<f32>>, usize);

    impl Leaves for Collected {
        fn room(&mut self) -> Result<Vec<f32>> {
            Ok(vec![7.0; self.1])
        }

        fn next(&self) -> usize {
            self.0.len()
        }

        fn add_sum(&mut self, leaves: usize, sum: Vec<f32>) {
            assert_eq!(leaves, 1);
            self.0.push(sum);
        }
    }

    const WIDTH: usize = 37;

    fn annotator(frames: &[Layer]) -> Annotator {
        let dense = |units| Layer::Dense { units, activation: Activation::Tanh };
        let shape = Shape {
            parts: vec![FeaturePart { name: "rgb".into(), size: WIDTH }],
            class_count: 150,
            normalize: Normalize::L2,
            standard: None,
            frames: frames.to_vec(),
            pooling: (!frames.is_empty()).then_some(Pooling::Swap),
            layers: vec![dense(50), Layer::Gating, Layer::Residual],
            dummy: Dummy::Learned,
            epsilon: 1e-5,
            class_blocks: 3,
        };
        let layers = shape.shared_layers();
        let shared = initial::shared(&layers, 5);
        let cut = layouts(&[2; 150], shape.dummy, layers.outputs(), shape.class_blocks);
        let owners = Grid::new((1, 1), 1, 1, 0).deal(&vec![1; cut.len()], &[1]).owners;
        Annotator { shape, layers, shared, experts: Experts::new(cut, owners, 5, 1), names: None }
    }

    /// Rows `rows` of some that are always the same; of frames in pieces of seven rows.
    fn block(model: &Annotator, rows: std::ops::Range<usize>) -> Vec<(Features, Labels)> {
        let frames = model.shape.pooling.is_some();
        let rows: Vec<usize> = rows.collect();
        let pieces = rows.chunks(if frames { 7 } else { rows.len() });
        let piece = |rows: &[usize]| {
            let (mut labels, mut given) = (Labels::new(), Frames::new(WIDTH));
            let mut videos = Vec::new();
            for row in rows {
                let mut stream = Stream::new(3, Purpose::PlantedRows, *row as u64);
                labels.push(&[(row % 150) as u32]);
                videos.extend((0..WIDTH).map(|_| stream.uniform() - 0.5));
                let count = if row % 5 == 0 { 0 } else { 1 + row % 40 };
                let bytes: Vec<u8> = (0..count * WIDTH).map(|_| stream.below(256) as u8).collect();
                given.push(&bytes, [0.01, -1.2]);
            }
            let videos = Features::Videos(Matrix::from_rows(&videos, WIDTH));
            (if frames { Features::Frames(given) } else { videos }, labels)
        };
        pieces.map(piece).collect()
    }

    /// v, losses and gradients of these row blocks on so many threads, by all class blocks.
    fn pass(model: &Annotator, threads: usize, blocks: &Blocks) -> (Vec<f32>, Vec<f64>, Collected) {
        let mut host = Host::detected(threads, model.shape.epsilon);
        let network = host.network(model);
        let mut pieces = blocks.0.iter().flat_map(|own| {
            let pieces = own.iter().enumerate();
            pieces.map(|(at, (features, labels))| {
                let (features, labels) = (features.clone(), labels.clone());
                Ok(Piece { features, labels, last: at + 1 == own.len() })
            })
        });
        let mut wave = host.forward(&network, &mut pieces).unwrap();
        let mut outputs = Vec::new();
        host.outputs(&wave, &mut outputs).unwrap();
        for (layout, weights) in model.experts.layouts.iter().zip(&model.experts.parameters) {
            let (visitor, mut poll) = (host.visitor(layout, Arc::clone(weights)), || ());
            host.visit(&visitor, &mut wave, &mut Pace::new(&mut poll, &|| false)).unwrap();
        }
        let losses = host.losses(&wave).unwrap();
        let mut leaves = Collected(Vec::new(), model.layers.parameters());
        host.backward(&network, wave, blocks, &mut leaves).unwrap();
        (outputs, losses, leaves)
    }

    fn bits(numbers: &[f32]) -> Vec<u32> {
        numbers.iter().map(|number| number.to_bits()).collect()
    }

    /// One to seventeen threads at one row block, at fewer than they are, and at more: the same
    /// bits. As a control, sums over rows that are cut in two and added have others.
    #[test]
    fn threads_at_few_row_blocks_make_the_bits_of_one() {
        let relu = Layer::Dense { units: 20, activation: Activation::Relu };
        for frames in [&[][..], &[relu, Layer::Gating]] {
            let model = annotator(frames);
            let of = |ends: &[usize]| {
                let ends = ends.windows(2);
                Blocks(ends.map(|ends| block(&model, ends[0]..ends[1])).collect())
            };
            for ends in [&[0, 311][..], &[0, 100, 150, 311]] {
                let blocks = of(ends);
                let (v, losses, alone) = pass(&model, 1, &blocks);
                for threads in 2..=17 {
                    let found = pass(&model, threads, &blocks);
                    let what = format!("{threads} threads, blocks to {ends:?}");
                    assert_eq!((bits(&found.0), found.1), (bits(&v), losses.clone()), "{what}");
                    assert_eq!(found.2.0.len(), alone.0.len());
                    for (found, alone) in found.2.0.iter().zip(&alone.0) {
                        assert_eq!(bits(found), bits(alone), "{what}");
                    }
                }
            }
            let [whole, cut] =
                [&[0, 311][..], &[0, 150, 311]].map(|ends| pass(&model, 3, &of(ends)));
            let sum: Vec<f32> = cut.2.0[0].iter().zip(&cut.2.0[1]).map(|(a, b)| a + b).collect();
            for place in &model.layers.places {
                for own in [place.weights(), place.biases()] {
                    let [whole, cut] = [&whole.2.0[0][own.clone()], &sum[own]].map(bits);
                    assert_ne!(whole, cut, "lanes cut in rows aren't seen");
                }
            }
        }
    }
}
