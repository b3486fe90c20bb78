//! A graph of ONNX that takes features, or frames, to scores, of operators of opset 17 alone.
//! Weights stand in the file itself, or in `PATH.data` where they are more than protocol buffers
//! should hold. The numbers of fields are those of `onnx.proto`, version 8 of its format.

mod graph;
mod mixtures;
mod network;
mod pieces;

use std::ops::Range;
use std::path::Path;

use super::file::{NewFile, Region};
use super::source::Source;
use crate::artifact::files::Rows;
use crate::disk::{Disk, with_ending};
use crate::error::{Error, Result};
use crate::formats::protobuf::Message;
use graph::{Graph, Holds, Number, Weights, tensor};
use pieces::{Piece, pieces};

/// Of ONNX's own format, and of its operators.
const FORMAT: u64 = 8;
const OPERATORS: u64 = 17;
/// Where a tensor of `PATH.data` begins.
const ALIGNMENT: u64 = 4096;

/// Bounds of what stands where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnnxCut {
    /// So many bytes of weights stand in the file itself at most.
    pub(crate) inside_max: u64,
    /// The largest tensor of mixtures.
    pub(crate) piece_max: u64,
}

/// Writes the model to the file `path`; returns its length, that of `PATH.data` included.
///
/// # Errors
/// Exit 2: `path` isn't UTF-8, or no nodes pool as the model does; exit 5: the file system refuses;
/// what the source gives.
pub(super) fn write(
    disk: &Disk,
    source: &Source,
    path: &Path,
    (top, cut): (Option<usize>, OnnxCut),
) -> Result<u64> {
    let (mut graph, shape) = (Graph::default(), &source.shape);
    let activations = network::activations(&mut graph, source)?;
    let pieces = pieces(&source.counts, shape.dummy, shape.outputs(), cut.piece_max);
    let top = top.map(|top| top.min(shape.class_count));
    mixtures::scores(&mut graph, source, &pieces, &activations, top);
    let outside = graph.weights.iter().map(Weights::bytes).sum::<u64>() > cut.inside_max;
    let data_path = outside.then(|| with_ending(path, ".data".into()));
    let Plan { model, places, data } = plan(source, &graph, data_path.as_deref())?;

    let whole = model.iter().map(|part| part.0.0.len() as u64 + part.1).sum::<u64>();
    let file = NewFile::create(disk, path, whole)?;
    let data_file = data_path.as_deref().map(|path| NewFile::create(disk, path, data));
    let data_file = data_file.transpose()?;
    let mut at = 0;
    for (message, weights) in &model {
        file.put(&message.0, at)?;
        at += message.0.len() as u64 + weights;
    }
    let regions = places.iter().map(|place| Region::new(place.start, place.end - place.start));
    fill(
        source,
        data_file.as_ref().unwrap_or(&file),
        (&graph.weights, &pieces),
        regions.collect(),
    )?;
    data_file.map(NewFile::put_in_place).transpose()?;
    if let (Err(error), Some(path)) = (file.put_in_place(), &data_path) {
        // Without its graph nobody knows what it is.
        let _ = disk.remove_file(path);
        return Err(error);
    }
    Ok(whole + data)
}

/// What stands where.
struct Plan {
    /// Messages of the file, each with the bytes of weights behind it.
    model: Vec<(Message, u64)>,
    /// Where the weights of each tensor stand, in this file or in the other one.
    places: Vec<Range<u64>>,
    /// Bytes of the other one.
    data: u64,
}

fn plan(source: &Source, graph: &Graph, data_path: Option<&Path>) -> Result<Plan> {
    let (mut places, mut data) = (Vec::new(), 0u64);
    let mut parts = vec![(graph.message(), 0)];
    for weights in &graph.weights {
        let (head, bytes) = (tensor(&weights.name, &weights.shape, Number::Float), weights.bytes());
        let (head, inside) = match data_path {
            None => (head.length(9, bytes), bytes),
            Some(path) => {
                let start = data.next_multiple_of(ALIGNMENT);
                data = start + bytes;
                places.push(start..data);
                (elsewhere(head, path, start, bytes)?, 0)
            }
        };
        let field = Message::default().length(5, head.0.len() as u64 + inside);
        parts.push((Message([field.0, head.0].concat()), inside));
    }
    let graph = parts.iter().map(|part| part.0.0.len() as u64 + part.1).sum();
    let about = Message::default().number(1, FORMAT).text(2, "reelscale");
    let operators = Message::default().text(1, "").number(2, OPERATORS);
    let about = about.text(3, env!("CARGO_PKG_VERSION")).message(8, &operators);
    let about = about.each(source.described(), |to, (key, value)| {
        to.message(14, &Message::default().text(1, key).text(2, &value))
    });
    parts.insert(0, (about.length(7, graph), 0));
    if data_path.is_none() {
        let mut at = 0;
        for (message, weights) in &parts {
            at += message.0.len() as u64;
            places.extend((*weights > 0).then_some(at..at + weights));
            at += weights;
        }
    }
    Ok(Plan { model: parts, places, data })
}

/// A tensor whose numbers stand in the file `path` beside this one.
fn elsewhere(tensor: Message, path: &Path, start: u64, bytes: u64) -> Result<Message> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Error::usage(format!("{}: expected UTF-8 in the name that ONNX holds", path.display()))
    })?;
    let (start, bytes) = (start.to_string(), bytes.to_string());
    let entries = [("location", name), ("offset", &start), ("length", &bytes)];
    let tensor = tensor.each(entries, |to, (key, value)| {
        to.message(13, &Message::default().text(1, key).text(2, value))
    });
    Ok(tensor.number(14, 1))
}

/// Where the mixtures of a piece go, by the index of their tensors.
#[derive(Clone, Copy, Default)]
struct Targets {
    gates: usize,
    experts: usize,
    biases: usize,
}

/// Fills the region of each tensor, reading the mixtures once.
fn fill(
    source: &Source,
    file: &NewFile,
    (weights, pieces): (&[Weights], &[Piece]),
    mut regions: Vec<Region>,
) -> Result<()> {
    let mut targets = vec![Targets::default(); pieces.len()];
    for (index, (tensor, region)) in weights.iter().zip(&mut regions).enumerate() {
        match &tensor.holds {
            Holds::Numbers(numbers) => region.push(file, bytemuck::cast_slice(numbers))?,
            Holds::Gates(piece) => targets[*piece].gates = index,
            Holds::Experts(piece) => targets[*piece].experts = index,
            Holds::Biases(piece) => targets[*piece].biases = index,
        }
    }
    let mut piece_of = vec![0; source.counts.len()];
    for (index, piece) in pieces.iter().enumerate() {
        piece.classes.iter().for_each(|class| piece_of[*class] = index);
    }
    let (width, dummy) = (source.shape.outputs(), source.shape.dummy);
    (source.mixtures)(&mut |classes, rows| {
        let Rows { gates, experts, biases } = rows;
        let (mut gate, mut expert) = (0, 0);
        for class in classes {
            let (own, index) = (source.counts[class], piece_of[class]);
            let (piece, to) = (&pieces[index], targets[index]);
            let (own_gates, missing) = (dummy.gates(own), piece.experts - own);
            let parts = [
                (to.gates, &gates[gate * width..][..own_gates * width], width),
                (to.experts, &experts[expert * width..][..own * width], width),
                (to.biases, &biases[expert..][..own], 1),
            ];
            // Without gates the first of them goes nowhere.
            for (region, numbers, width) in &parts[usize::from(piece.gates == 0)..] {
                regions[*region].push(file, bytemuck::cast_slice(numbers))?;
                regions[*region].skip((missing * width * size_of::<f32>()) as u64);
            }
            (gate, expert) = (gate + own_gates, expert + own);
        }
        Ok(())
    })?;
    regions.iter().for_each(Region::assert_filled);
    Ok(())
}
