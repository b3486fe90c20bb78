//! Rates of the product, of the expert step and of the shared step's visit, and one large case
//! whose bits are compared.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use serde::Serialize;

use crate::best;
use crate::compared::Compared;
use crate::device::gpu::frozen::BlockLosses;
use crate::device::gpu::held::Held;
use crate::device::gpu::launcher::{Lane, Launcher, Mark, SLACK, Stage};
use crate::device::gpu::queue::Queue;
use crate::kernel::mixture::Passing;
use crate::kernel::text::calls::{
    self, Buffer, Form, Launch, Panels, Rates, Rows, Size, Start, Stepper,
};
use crate::labels::Labels;
use crate::learning::{Learning, learn};
use crate::mixtures::{World, window};
use crate::model::Layout;
use crate::model::Matrix;
use crate::model::spec::Dummy;
use crate::rng::{Purpose, Stream};

type Outcome = Result<(), String>;

/// Panels of all columns of 3862 classes x 2 experts.
pub const PANELS: usize = 1207;

/// How fast something was.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    pub name: String,
    pub rows: usize,
    pub tflops: f64,
    /// Of one of it, the median of several.
    pub seconds: f64,
}

/// Sums up the seconds of each kernel while it is asked to: waits after each launch then.
pub struct Timed {
    pub inner: Box<dyn Launcher>,
    pub seconds: Seconds,
}

/// Seconds of each kernel, where they are wanted.
pub type Seconds = Rc<RefCell<Option<BTreeMap<&'static str, f64>>>>;

impl Timed {
    /// Waits for all work so far.
    fn finish(&mut self) -> Outcome {
        let mark = self.inner.mark(Lane::Work)?;
        self.inner.wait(mark)?;
        self.inner.forget(mark);
        Ok(())
    }
}

impl Launcher for Timed {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn free_bytes(&mut self) -> Result<usize, String> {
        self.inner.free_bytes()
    }
    fn largest(&mut self) -> Result<usize, String> {
        self.inner.largest()
    }
    fn make(&mut self, bytes: usize) -> Result<Buffer, String> {
        // What nobody has written is no number, neither in 32 nor in 64 bits.
        let buffer = self.inner.make(bytes)?;
        self.inner.fill(buffer, 0, bytes + SLACK, 0xff)?;
        Ok(buffer)
    }
    fn free(&mut self, buffer: Buffer) {
        self.inner.free(buffer);
    }
    fn fill(&mut self, buffer: Buffer, at: usize, bytes: usize, with: u8) -> Outcome {
        self.inner.fill(buffer, at, bytes, with)
    }
    fn launch(&mut self, launch: &Launch) -> Outcome {
        if self.seconds.borrow().is_none() {
            return self.inner.launch(launch);
        }
        self.finish()?;
        let start = Instant::now();
        self.inner.launch(launch)?;
        self.finish()?;
        let mut seconds = self.seconds.borrow_mut();
        let seconds = seconds.get_or_insert_default().entry(launch.kernel).or_default();
        *seconds += start.elapsed().as_secs_f64();
        Ok(())
    }
    fn stage(&mut self, bytes: usize) -> Result<Stage, String> {
        self.inner.stage(bytes)
    }
    fn unstage(&mut self, stage: Stage) {
        self.inner.unstage(stage);
    }
    fn staged(&mut self, stage: Stage, bytes: Range<usize>) -> &mut [u8] {
        self.inner.staged(stage, bytes)
    }
    fn send(&mut self, lane: Lane, from: (Stage, Range<usize>), to: (Buffer, usize)) -> Outcome {
        self.inner.send(lane, from, to)
    }
    fn fetch(&mut self, lane: Lane, from: (Buffer, usize), to: (Stage, Range<usize>)) -> Outcome {
        self.inner.fetch(lane, from, to)
    }
    fn mark(&mut self, lane: Lane) -> Result<Mark, String> {
        self.inner.mark(lane)
    }
    fn follow(&mut self, lane: Lane, mark: Mark) -> Outcome {
        self.inner.follow(lane, mark)
    }
    fn passed(&mut self, mark: Mark) -> Result<bool, String> {
        self.inner.passed(mark)
    }
    fn wait(&mut self, mark: Mark) -> Outcome {
        self.inner.wait(mark)
    }
    fn forget(&mut self, mark: Mark) {
        self.inner.forget(mark);
    }
}

/// The median of seven times that `work` takes, run `repeat` times each, after one run unmeasured.
pub fn seconds(
    queue: &Queue,
    repeat: usize,
    work: &mut dyn FnMut() -> Outcome,
) -> Result<f64, String> {
    work()?;
    queue.finish()?;
    let mut times = Vec::new();
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..repeat {
            work()?;
        }
        queue.finish()?;
        times.push(start.elapsed().as_secs_f64() / repeat as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[3])
}

/// Everything that is measured; where `only` isn't 0, the steps alone with so many rows.
///
/// # Errors
/// The device is full or lost.
pub fn all(queue: &Queue, seconds: &Seconds, only: usize, compared: &mut Compared) -> Outcome {
    if only > 0 {
        return steps(queue, seconds, (3862, 16), &[only]).map(drop);
    }
    large(queue, compared)?;
    best::rates(queue, 8192)?;
    products(queue, &[256, 1024, 2048, 4096, 8192], PANELS)?;
    for shape in [(3862, 16), (3862, 2)] {
        steps(queue, seconds, shape, &[256, 1024, 2048, 4096, 8192])?;
    }
    Ok(())
}

/// Bits of one block as large as real ones, of five mini-batches.
///
/// # Errors
/// The device is full or lost.
pub fn large(queue: &Queue, compared: &mut Compared) -> Outcome {
    let mut stream = Stream::new(9, Purpose::PlantedRows, 0);
    let shape = ((300, 400, 2), (16, Dummy::Learned, 1e-5), (1024, 1024), (0.1, false));
    let world = World::new(&mut stream, shape.0, shape.1, shape.2, shape.3);
    for (stepper, batch) in [(Stepper::Adagrad, 256), (Stepper::Adam, 512)] {
        let learning = Learning { learning_rate: 0.01, l2: 1e-5 };
        learn(queue, &world, (stepper, learning, batch, 1 << 30), "large", compared)?;
    }
    Ok(())
}

/// Products of so many rows, d = 1024, with so many panels of sixteen columns.
///
/// # Errors
/// The device is full or lost.
pub fn products(queue: &Queue, all_rows: &[usize], panels: usize) -> Result<Vec<Rate>, String> {
    let stream = &mut Stream::new(10, Purpose::PlantedRows, 0);
    let mut rates = Vec::new();
    let (d, columns) = (1024, panels * 16);
    let random = |stream: &mut Stream, count: usize| -> Vec<f32> {
        let some: Vec<f32> = (0..1 << 20).map(|_| stream.uniform() - 0.5).collect();
        (0..count).map(|at| some[(at ^ at >> 20) & ((1 << 20) - 1)]).collect()
    };
    let largest = all_rows.iter().copied().max().unwrap_or(0);
    let v = queue.upload(&random(stream, largest * d))?;
    let w = queue.upload(&random(stream, panels * d * 16))?;
    let z = queue.upload(&random(stream, largest * columns))?;
    let out = queue.make(4 * largest.max(d) * columns)?;
    let [v, w, z, out] = [&v, &w, &z, &out].map(|memory| memory.buffer());
    for rows in all_rows.iter().copied() {
        let weights = Panels { buffer: w, from: 0, row: 16, panel: d * 16 };
        let logits = Panels { buffer: out, from: 0, row: columns, panel: 16 };
        let slopes = Panels { buffer: z, from: 0, row: columns, panel: 16 };
        let gradient = Panels { buffer: out, from: 0, row: 16, panel: d * 16 };
        let dv = Panels { buffer: out, from: 0, row: d, panel: 16 };
        let at = |buffer, row| Rows { buffer, from: 0, row };
        let whole = Size { rows, depth: d, columns };
        for (form, size, left, right, out) in [
            (Form::turned(whole), whole, at(v, rows), weights, logits),
            (Form::Straight, whole, at(v, d), weights, logits),
            (Form::Gradient, Size { rows: d, depth: rows, columns }, at(v, d), slopes, gradient),
            (
                Form::turned(Size { rows, depth: columns, columns: d }),
                Size { rows, depth: columns, columns: d },
                at(z, rows),
                Panels { panel: columns * 16, ..weights },
                dv,
            ),
        ] {
            let launch = calls::product(form, size, left, right, out, Start::Zero);
            let time = seconds(queue, 2, &mut || queue.launch(&launch))?;
            let flops = 2.0 * size.rows as f64 * size.depth as f64 * size.columns as f64;
            let Size { rows: of_c, depth, columns } = size;
            let name = format!("gemm {of_c} x {depth} x {columns}, {form:?}");
            rates.push(Rate { name, rows, tflops: flops / time * 1e-12, seconds: time });
            rates.last().expect("one").tell("");
        }
    }
    Ok(rates)
}

impl Rate {
    pub fn tell(&self, parts: &str) {
        let Rate { name, rows, tflops, seconds } = self;
        println!("{name}, {rows} rows: {tflops:.1} TFLOP/s, {:.3} ms{parts}", seconds * 1e3);
    }
}

/// Stage 1 (product, sweep, gradient, AdaGrad) and stage 2 (the activations' gradient) of mixtures.
///
/// # Errors
/// The device is full or lost.
pub fn steps(
    queue: &Queue,
    by_kernel: &Seconds,
    (classes, experts): (usize, usize),
    all_rows: &[usize],
) -> Result<Vec<Rate>, String> {
    let stream = &mut Stream::new(11, Purpose::PlantedRows, 0);
    let (d, most) = (1024, all_rows.iter().copied().max().unwrap_or(0));
    let layout = Layout::new(0..classes, vec![experts; classes], Dummy::Learned, d);
    let mut parameters = vec![0.0f32; layout.parameters()];
    let biases = layout.biases();
    for (at, weight) in parameters[..biases].iter_mut().enumerate() {
        let hash = (at as u32).wrapping_mul(0x9E37_79B9);
        *weight = ((hash ^ hash >> 15) as i32) as f32 * (0.05 / 2147483648.0);
    }
    let mut activations = Matrix::zeros(most, d);
    activations.data.iter_mut().for_each(|x| *x = stream.uniform() * 0.06);
    let mut labels = Labels::new();
    (0..most).for_each(|_| labels.push(&[stream.below(classes as u64) as u32]));
    let window =
        window(queue, Passing { activations: &activations, labels: &labels, weights: &[] })?;
    let dv = queue.upload(&activations.data)?;
    let mut found = Vec::new();
    for rows in all_rows.iter().copied() {
        let mut held = Held::new(queue, vec![layout.clone()], 1e-5, 1, 8 << 30)?;
        held.write(held.parameters(), 0, &parameters)?;
        held.write(&held.vectors()[0], 0, &vec![0.1; parameters.len()])?;
        let rates = Rates { rate: 0.01, scale: 1.0 / rows as f32, l2: 1e-6 };
        let flops = 4.0 * d as f64 * (classes * (2 * experts + 1) * rows) as f64;
        let repeat = (8192 / rows).clamp(1, 8);
        let mut measure = |stage: usize, work: &mut dyn FnMut() -> Outcome| -> Outcome {
            let time = seconds(queue, repeat, work)?;
            by_kernel.replace(Some(BTreeMap::new()));
            work()?;
            let parts = by_kernel.replace(None).unwrap_or_default();
            let parts =
                parts.iter().map(|(kernel, seconds)| format!(", {kernel} {:.3}", seconds * 1e3));
            let name = format!("mixture stage {stage}, {classes} x {experts}");
            found.push(Rate { name, rows, tflops: flops / time * 1e-12, seconds: time });
            found.last().expect("one").tell(&parts.collect::<String>());
            Ok(())
        };
        measure(1, &mut || held.learn(&window, 0..rows, 0..1, (Stepper::Adagrad, rates)))?;
        let mut losses = BlockLosses::new(queue, vec![0, rows])?;
        measure(2, &mut || {
            losses.begin(queue, held.lanes())?;
            held.visit(&window, 0..rows, &losses, &dv)?;
            losses.end(queue, held.lanes())
        })?;
    }
    Ok(found)
}
