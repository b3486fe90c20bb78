//! Class blocks held on a device: where everything of them lies, and how it is written and read.

use std::ops::Range;

use super::cut::Extent;
use super::queue::{Memory, Queue};
use crate::kernel::text::calls::{Buffer, Moments, PANELS_MAX, Panels, Stepper};
use crate::kernel::text::sweeps::{GROUP_WORDS, Groups};
use crate::model::LANES;
use crate::model::Layout;
use crate::model::spec::Dummy;

/// Groups whose logits are worked on at once, and their panels.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(crate) groups: Range<usize>,
    pub(crate) panels: Range<usize>,
}

/// Numbers for each parameter of all blocks: weights, their gradient, what a solver keeps of them.
pub(crate) struct Vector {
    /// [panel][width][16]
    pub(super) weights: Memory,
    /// [panel][16]
    pub(super) biases: Memory,
}

/// What a mini-batch or a run of rows is worked on in.
pub(crate) struct Scratch {
    /// Rows at once, and panels of logits.
    rows: usize,
    panels: usize,
    pub(super) logits: Memory,
    /// [rows][groups][16]
    pub(super) losses: Memory,
    /// W' of a span in panels, where activations' gradients were asked for.
    turned_weights: Option<Memory>,
}

/// Class blocks on a device, all of one width and dummy, their panels and groups end to end.
pub(crate) struct Held {
    pub(super) queue: Queue,
    pub(super) layouts: Vec<Layout>,
    pub(super) width: usize,
    dummy: i32,
    pub(super) epsilon: f32,
    /// The most that there is memory for.
    pub(super) room: Extent,
    /// First panel of each group, and the end.
    firsts: Vec<usize>,
    /// First group of each block, and the end.
    pub(super) group_firsts: Vec<usize>,
    /// Bytes that logits may take, unless those of one group are more.
    logits_bytes: usize,
    pub(super) shapes: Memory,
    /// 1 for each panel of experts, whose biases are learned.
    pub(super) learned: Memory,
    pub(super) parameters: Vector,
    /// What the solver keeps, in its order, and then whatever else is kept of each parameter.
    pub(super) vectors: Vec<Vector>,
    /// Of biases, of what is worked on.
    pub(super) bias_gradient: Memory,
    /// [chains][groups there is memory for][16] in float64.
    pub(super) class_losses: Memory,
    /// Chains of losses of each class.
    pub(super) chains: usize,
    scratch: Option<Scratch>,
}

/// What lies on the device of blocks' layouts.
pub(super) struct Tables {
    /// [groups][GROUP_WORDS]
    pub(super) shapes: Vec<i32>,
    /// [panels]
    pub(super) learned: Vec<i32>,
}

impl Held {
    /// Room for blocks of these layouts, at least one, of one width and dummy, with `vectors` of
    /// numbers for each parameter besides the parameters themselves. Losses are 0.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn new(
        queue: &Queue,
        layouts: Vec<Layout>,
        epsilon: f32,
        vectors: usize,
        logits_bytes: usize,
    ) -> Result<Held, String> {
        let (panels, groups) = (
            layouts.iter().map(|layout| layout.panels).sum(),
            layouts.iter().map(|layout| layout.groups.len()).sum(),
        );
        let (room, like) = (Extent { panels, groups }, (layouts[0].width, layouts[0].dummy));
        let mut held = Held::with_room(queue, room, like, (epsilon, vectors, logits_bytes))?;
        let Tables { shapes, learned } = held.renew(layouts);
        held.shapes.write(0, &shapes)?;
        held.learned.write(0, &learned)?;
        held.class_losses.clear()?;
        Ok(held)
    }

    /// The same for blocks that are yet to come, of this width and dummy and no more than the room.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(super) fn with_room(
        queue: &Queue,
        room: Extent,
        (width, dummy): (usize, Dummy),
        (epsilon, vectors, logits_bytes): (f32, usize, usize),
    ) -> Result<Held, String> {
        let Extent { panels, groups } = room;
        let vector = || Held::vector(queue, width, panels);
        Ok(Held {
            queue: queue.clone(),
            layouts: Vec::new(),
            width,
            dummy: dummy_word(dummy),
            epsilon,
            room,
            firsts: vec![0],
            group_firsts: vec![0],
            logits_bytes,
            shapes: queue.make(groups * GROUP_WORDS * size_of::<i32>())?,
            learned: queue.make(panels * size_of::<i32>())?,
            parameters: vector()?,
            vectors: (0..vectors).map(|_| vector()).collect::<Result<_, _>>()?,
            bias_gradient: queue.make(panels * LANES * size_of::<f32>())?,
            class_losses: queue.make(groups * LANES * size_of::<f64>())?,
            chains: 1,
            scratch: None,
        })
    }

    fn vector(queue: &Queue, width: usize, panels: usize) -> Result<Vector, String> {
        let weights = queue.make(panels * width * LANES * size_of::<f32>())?;
        Ok(Vector { weights, biases: queue.make(panels * LANES * size_of::<f32>())? })
    }

    /// Whether blocks of this extent, width and dummy can be in its memory.
    pub(super) fn has_room(&self, extent: Extent, (width, dummy): (usize, Dummy)) -> bool {
        extent.within(self.room) && (width, dummy_word(dummy)) == (self.width, self.dummy)
    }

    /// From now on it is that of blocks of these layouts, in the same memory, to which the tables
    /// and all numbers of the blocks are yet to be copied.
    pub(super) fn renew(&mut self, layouts: Vec<Layout>) -> Tables {
        let (width, dummy) = (layouts[0].width, layouts[0].dummy);
        assert!(layouts.iter().all(|one| one.width == width && one.dummy == dummy), "like blocks");
        let (mut shapes, mut learned) = (Vec::<i32>::new(), Vec::<i32>::new());
        let mut group_firsts = vec![0];
        for layout in &layouts {
            let before = learned.len();
            for (index, group) in layout.groups.iter().enumerate() {
                let class = layout.classes.start + index * LANES;
                let live = LANES.min(layout.classes.end - class);
                let words = [before + group.first_panel, group.gates, group.experts, class, live];
                shapes.extend(words.map(|word| word as i32));
                learned.extend(std::iter::repeat_n(0, group.gates));
                learned.extend(std::iter::repeat_n(1, group.experts));
            }
            group_firsts.push(shapes.len() / GROUP_WORDS);
        }
        let words = shapes.chunks(GROUP_WORDS).map(|words| words[0] as usize);
        let firsts: Vec<usize> = words.chain([learned.len()]).collect();
        let own = Extent { panels: learned.len(), groups: shapes.len() / GROUP_WORDS };
        assert!(width == self.width && own.within(self.room), "blocks that the memory is for");
        (self.layouts, self.firsts, self.group_firsts) = (layouts, firsts, group_firsts);
        Tables { shapes, learned }
    }

    /// One more vector, of zeros.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn zeros(&self) -> Result<Vector, String> {
        let vector = Held::vector(&self.queue, self.width, self.room.panels)?;
        vector.weights.clear()?;
        vector.biases.clear()?;
        Ok(vector)
    }

    pub(crate) fn parameters(&self) -> &Vector {
        &self.parameters
    }

    pub(crate) fn vectors(&self) -> &[Vector] {
        &self.vectors
    }

    /// Lanes of all groups, sixteen each.
    pub(crate) fn lanes(&self) -> usize {
        (self.firsts.len() - 1) * LANES
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> usize {
        self.layouts.len()
    }

    /// The panels of some neighbouring blocks.
    pub(super) fn panels(&self, blocks: &Range<usize>) -> Range<usize> {
        let [from, to] = [blocks.start, blocks.end].map(|block| self.group_firsts[block]);
        self.firsts[from]..self.firsts[to]
    }

    /// Where a block's weights and biases begin in a vector.
    pub(super) fn places(&self, block: usize) -> [usize; 2] {
        let panels = self.panels(&(block..block + 1));
        [panels.start * self.width * LANES, panels.start * LANES]
    }

    /// Writes a block's numbers, in the order of its layout.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn write(&self, to: &Vector, block: usize, numbers: &[f32]) -> Result<(), String> {
        self.write_by(Memory::write, to, block, numbers)
    }

    /// The same beside launches that don't use this memory, if no launch before does.
    ///
    /// # Errors
    /// The device is lost.
    pub(super) fn write_beside(
        &self,
        to: &Vector,
        block: usize,
        numbers: &[f32],
    ) -> Result<(), String> {
        self.write_by(Memory::write_beside, to, block, numbers)
    }

    fn write_by(
        &self,
        write: fn(&Memory, usize, &[f32]) -> Result<(), String>,
        to: &Vector,
        block: usize,
        numbers: &[f32],
    ) -> Result<(), String> {
        let panels = self.panels(&(block..block + 1));
        let (weights, biases) = numbers.split_at(self.layouts[block].biases());
        assert_eq!(biases.len(), panels.len() * LANES, "numbers of another block");
        write(&to.weights, panels.start * self.width * LANES, weights)?;
        write(&to.biases, panels.start * LANES, biases)
    }

    /// A block's numbers, in the order of its layout.
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    pub(crate) fn read(&self, from: &Vector, block: usize) -> Result<Vec<f32>, String> {
        let mut numbers = vec![0.0; self.layouts[block].parameters()];
        self.read_into(from, block, &mut numbers)?;
        Ok(numbers)
    }

    /// Reads a block's numbers, in the order of its layout.
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    pub(super) fn read_into(
        &self,
        from: &Vector,
        block: usize,
        numbers: &mut [f32],
    ) -> Result<(), String> {
        let panels = self.panels(&(block..block + 1));
        let (weights, biases) = numbers.split_at_mut(self.layouts[block].biases());
        from.weights.read_into(panels.start * self.width * LANES, weights)?;
        from.biases.read_into(panels.start * LANES, biases)
    }

    /// All blocks' biases of a vector.
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    pub(crate) fn read_biases(&self, from: &Vector) -> Result<Vec<f32>, String> {
        from.biases.read(0, self.panels(&(0..self.blocks())).len() * LANES)
    }

    /// Room for so many rows at once: what is there already, where it is large enough.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(super) fn prepare(&mut self, rows: usize) -> Result<(), String> {
        let (row, groups) = (LANES * size_of::<f32>(), self.firsts.len() - 1);
        let largest = self.firsts.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
        let at_once = |rows: usize| {
            let panels = (self.logits_bytes / (rows * row).max(1)).min(PANELS_MAX);
            panels.clamp(largest, self.firsts[groups])
        };
        if let Some(Scratch { rows: room, panels, losses, .. }) = &self.scratch {
            let whole = losses.fits(room * groups.min(*panels) * row);
            if *room >= rows && *panels >= at_once(*room) && whole {
                return Ok(());
            }
        }
        self.scratch = None;
        let panels = at_once(rows);
        self.scratch = Some(Scratch {
            rows,
            panels,
            logits: self.queue.make(rows.next_multiple_of(4) * panels * row)?,
            losses: self.queue.make(rows * groups.min(panels) * row)?,
            turned_weights: None,
        });
        Ok(())
    }

    /// Exchanges what it works in, which may have served other blocks of the same width.
    pub(crate) fn exchange(&mut self, scratch: &mut Option<Scratch>) {
        std::mem::swap(&mut self.scratch, scratch);
    }

    pub(super) fn scratch(&self) -> &Scratch {
        self.scratch.as_ref().expect("prepared")
    }

    /// Room for W' of the largest span.
    pub(super) fn turned_weights(&mut self) -> Result<Buffer, String> {
        let (queue, width) = (&self.queue, self.width);
        let scratch = self.scratch.as_mut().expect("prepared");
        let bytes = scratch.panels * LANES * width.next_multiple_of(LANES) * size_of::<f32>();
        if scratch.turned_weights.as_ref().is_none_or(|memory| !memory.fits(bytes)) {
            scratch.turned_weights = None;
            scratch.turned_weights = Some(queue.make(bytes)?);
        }
        Ok(scratch.turned_weights.as_ref().expect("just made").buffer())
    }

    /// Cuts the groups of some blocks into spans whose logits fit.
    pub(super) fn spans(&self, blocks: &Range<usize>) -> Vec<Span> {
        let (mut from, end) = (self.group_firsts[blocks.start], self.group_firsts[blocks.end]);
        let mut spans = Vec::new();
        while from < end {
            let ends = &self.firsts[from + 1..=end];
            let (first, most) = (self.firsts[from], self.scratch().panels);
            let fits = ends.iter().take_while(|end| **end - first <= most).count();
            let to = from + fits;
            spans.push(Span { groups: from..to, panels: first..self.firsts[to] });
            from = to;
        }
        spans
    }

    pub(super) fn groups(&self, span: &Span) -> Groups {
        Groups {
            shapes: self.shapes.buffer(),
            first: span.groups.start,
            count: span.groups.len(),
            panels: span.panels.len(),
            dummy: self.dummy,
        }
    }

    /// Some panels of something laid out as the weights.
    pub(super) fn panels_of(&self, panels: &Range<usize>, buffer: Buffer) -> Panels {
        let panel = self.width * LANES;
        Panels { buffer, from: panels.start * panel, row: LANES, panel }
    }

    /// What the solver keeps of weights, and of biases.
    pub(super) fn moments(&self, stepper: Stepper) -> [Moments; 2] {
        let of = |buffer: fn(&Vector) -> Buffer| match (stepper, &self.vectors[..]) {
            (Stepper::Adagrad, [squares, ..]) => Moments::Adagrad(buffer(squares)),
            (Stepper::Adam, [first, second, ..]) => Moments::Adam(buffer(first), buffer(second)),
            _ => panic!("a solver without what it keeps"),
        };
        [of(|vector| vector.weights.buffer()), of(|vector| vector.biases.buffer())]
    }
}

/// A dummy as kernels know it.
fn dummy_word(dummy: Dummy) -> i32 {
    match dummy {
        Dummy::Learned => 0,
        Dummy::Zero => 1,
        Dummy::None => 2,
    }
}
