//! Lists of rows' best classes, block after block, beside the definition.

use crate::cases::size;
use crate::compared::Compared;
use crate::device::gpu::best::Lists;
use crate::device::gpu::queue::{Memory, Queue};
use crate::kernel::best::definition::best;
use crate::mixtures::{World, kernels};
use crate::rates::{Rate, seconds};
use crate::rng::{Purpose, Stream};

type Outcome = Result<(), String>;

/// Scores of a class block that visits, [rows][classes], and its first class.
struct Visit {
    first: usize,
    classes: usize,
    scores: Vec<f32>,
}

/// A block that visits the rows from one to before another.
type Pass<'a> = &'a mut dyn FnMut(&Lists, usize, std::ops::Range<usize>) -> Outcome;

/// Lists to which blocks have been offered by `pass`, in drawn runs of rows.
fn lists(
    queue: &Queue,
    stream: &mut Stream,
    (visits, rows): (&[Visit], usize),
    pass: Pass,
) -> Result<Lists, String> {
    let limit = size(stream, &[1, 2, 7, 20, 31, 32, 33, 64, 127, 128]);
    let mut lists = Lists::new(queue, rows, limit)?;
    for (index, visit) in visits.iter().enumerate() {
        lists.begin(visit.first..visit.first + visit.classes);
        let run = size(stream, &[1, 7, 64]);
        for from in (0..rows).step_by(run) {
            pass(&lists, index, from..(from + run).min(rows))?;
        }
    }
    Ok(lists)
}

/// What lies in them beside what the definition gives of the scores.
fn compare(
    lists: &Lists,
    (visits, rows): (&[Visit], usize),
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let (mut found, mut classes) = (Vec::new(), Vec::new());
    let odd = lists.give(|pairs| {
        pairs.for_each(|(score, class)| {
            found.push(score);
            classes.push(class as f32);
        });
    })?;
    let (mut host, mut host_classes) = (Vec::new(), Vec::new());
    let none = |visit: &&Visit| visit.scores.iter().any(|score| score.is_nan());
    let host_odd = visits.iter().find(none).map(|visit| visit.first);
    if host_odd.is_none() {
        for row in 0..rows {
            let pairs = visits.iter().flat_map(|Visit { first, classes, scores }| {
                let scores = scores[row * classes..][..*classes].iter().copied();
                scores.zip(*first as u32..)
            });
            for (score, class) in best(lists.limit(), pairs.collect()) {
                host.push(score);
                host_classes.push(class as f32);
            }
        }
        if odd.is_some() {
            // Nothing was given.
            [found, classes] = [&host, &host_classes].map(|host| vec![f32::NAN; host.len()]);
        }
        compared.floats("best classes", name, &host_classes, &classes);
        compared.floats("best scores", name, &host, &found);
    }
    let first = |odd: Option<usize>| [odd.map_or(-1.0, |class| class as f32)];
    compared.floats("best, of no numbers", name, &first(host_odd), &first(odd));
    Ok(())
}

/// Scores of which many are equal, all are, or that rise or fall, now and then one that is none;
/// blocks come in any order.
pub fn drawn(queue: &Queue, stream: &mut Stream, compared: &mut Compared) -> Outcome {
    let rows = size(stream, &[0, 1, 2, 7, 31, 65]);
    let sizes = [1, 2, 5, 31, 32, 33, 64, 97, 128, 257, 521];
    let (mut visits, mut first) = (Vec::new(), stream.below(3) as usize);
    let (kind, odd) = (stream.below(6), stream.below(4) == 0);
    for _ in 0..1 + stream.below(4) {
        let classes = size(stream, &sizes);
        let score = |at: usize| match kind {
            0 => stream.uniform(),
            1 => stream.below(7) as f32 / 7.0,
            2 => 0.25,
            3 => (at % classes) as f32 / 1000.0,
            4 => (classes - at % classes) as f32 / 1000.0,
            _ => [0.0, -0.0, 1e-42, 1.0, 1e-30, f32::INFINITY][stream.below(6) as usize],
        };
        let scores = (0..rows * classes).map(score).collect();
        visits.push(Visit { first, classes, scores });
        first += classes + stream.below(2) as usize;
    }
    stream.shuffle(&mut visits);
    for visit in visits.iter_mut().filter(|_| odd && rows > 0) {
        let at = stream.below(2 * visit.scores.len() as u64) as usize;
        if let Some(score) = visit.scores.get_mut(at) {
            *score = f32::NAN;
        }
    }
    let all = (&visits[..], rows);
    let found = lists(queue, stream, all, &mut |lists, index, run| {
        let Visit { classes, scores, .. } = &visits[index];
        let scores = queue.upload(&scores[run.start * classes..run.end * classes])?;
        lists.offer(queue, run, &scores)
    })?;
    let name = format!("{rows} rows, {} blocks, kind {kind}, odd {odd}", visits.len());
    compare(&found, all, &name, compared)
}

/// How fast the 20 best of 3862 classes are found in so many rows, in one block and in 32.
///
/// # Errors
/// The device is full or lost.
pub fn rates(queue: &Queue, rows: usize) -> Result<Vec<Rate>, String> {
    let mut stream = Stream::new(12, Purpose::PlantedRows, 0);
    let (limit, mut rates) = (20, Vec::new());
    for (classes, blocks) in [(3862, 1), (121, 32)] {
        let visits = (0..blocks).map(|_| {
            let scores: Vec<f32> = (0..rows * classes).map(|_| stream.uniform()).collect();
            queue.upload(&scores)
        });
        let visits: Vec<Memory> = visits.collect::<Result<_, _>>()?;
        let time = seconds(queue, 2, &mut || {
            let mut lists = Lists::new(queue, rows, limit)?;
            for (block, scores) in visits.iter().enumerate() {
                lists.begin(block * classes..(block + 1) * classes);
                lists.offer(queue, 0..rows, scores)?;
            }
            Ok(())
        })?;
        let name = format!("best {limit} of {} classes in {blocks} blocks", classes * blocks);
        // A score is one operation.
        let tflops = (rows * classes * blocks) as f64 / time * 1e-12;
        rates.push(Rate { name, rows, tflops, seconds: time });
        rates.last().expect("one").tell("");
    }
    Ok(rates)
}

/// What blocks of a world make of its rows.
pub fn of_world(
    queue: &Queue,
    stream: &mut Stream,
    world: &World,
    bytes: usize,
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let rows = world.activations.rows();
    let kernel = &mut kernels(world.epsilon)[0];
    let visits = (0..world.layouts.len()).map(|index| {
        let classes = &world.layouts[index].classes;
        let (mut scores, mut losses) = (vec![0.0; rows * classes.len()], vec![0.0; rows]);
        kernel.scores(world.block(index), world.passing(), 0..rows, &mut scores, &mut losses);
        Visit { first: classes.start, classes: classes.len(), scores }
    });
    let visits: Vec<Visit> = visits.collect();
    let (all, window) = ((&visits[..], rows), world.window(queue)?);
    let found = lists(queue, stream, all, &mut |lists, index, run| {
        let mut held = world.visitor(queue, index, bytes)?;
        let scores = queue.make(run.len() * visits[index].classes * size_of::<f32>())?;
        held.scores(&window, run.clone(), &scores, None)?;
        lists.offer(queue, run, &scores)
    })?;
    compare(&found, all, name, compared)
}
