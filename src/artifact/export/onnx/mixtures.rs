//! From activations to scores (docs/method.md, section 3.1), as nodes.

use super::graph::{Graph, Holds, Number, Side};
use super::network::BATCH;
use super::pieces::Piece;
use crate::artifact::export::source::Source;
use crate::kernel::mixture::layout::ABSENT;
use crate::model::spec::Dummy;

/// Adds what makes scores of `activations`: of all classes, or of the `top` best ones.
pub(super) fn scores(
    graph: &mut Graph,
    source: &Source,
    pieces: &[Piece],
    activations: &str,
    top: Option<usize>,
) {
    let classes = source.shape.class_count;
    let of_pieces: Vec<String> = (0..pieces.len())
        .map(|index| piece(graph, source, (index, &pieces[index]), activations))
        .collect();
    let all = match &of_pieces[..] {
        [one] => one.clone(),
        several => {
            let names: Vec<&str> = several.iter().map(String::as_str).collect();
            graph.node_with("Concat", &names, &[("axis", &[1])])
        }
    };
    let mut places = vec![0; classes];
    let order = pieces.iter().flat_map(|piece| &piece.classes);
    order.enumerate().for_each(|(place, class)| places[*class] = place as i64);
    let in_order = match places.is_sorted() {
        true => all,
        false => {
            let places = graph.whole_numbers(&places);
            graph.node_with("Gather", &[&all, &places], &[("axis", &[1])])
        }
    };
    match top {
        None => {
            graph.node_giving("Identity", &[&in_order], &[], &["scores"]);
            graph.output("scores", Number::Float, &[BATCH, Side::Fixed(classes)]);
        }
        Some(top) => {
            let count = graph.whole_numbers(&[top as i64]);
            let outputs = ["scores", "classes"];
            graph.node_giving("TopK", &[&in_order, &count], &[("axis", &[1])], &outputs);
            graph.output("classes", Number::Whole, &[BATCH, Side::Fixed(top)]);
            graph.output("scores", Number::Float, &[BATCH, Side::Fixed(top)]);
        }
    }
}

/// The scores [batch, classes] of one piece.
fn piece(
    graph: &mut Graph,
    source: &Source,
    (index, piece): (usize, &Piece),
    activations: &str,
) -> String {
    let (classes, width) = (piece.classes.len(), source.shape.outputs());
    let Piece { experts, gates, .. } = *piece;
    let sides = [classes * experts, width];
    let weights = graph.weights(&format!("experts.{index}.weights"), &sides, Holds::Experts(index));
    let biases =
        graph.weights(&format!("experts.{index}.biases"), &sides[..1], Holds::Biases(index));
    let z = graph.node_with("Gemm", &[activations, &weights, &biases], &[("transB", &[1])]);
    let p = graph.node("Sigmoid", &[&z]);
    if gates == 0 {
        return p;
    }
    let cube = graph.whole_numbers(&[0, classes as i64, experts as i64]);
    let p = graph.node("Reshape", &[&p, &cube]);

    let sides = [classes * gates, width];
    let weights = graph.weights(&format!("gates.{index}.weights"), &sides, Holds::Gates(index));
    let mut inputs = vec![activations.to_string(), weights];
    let absent = absent(source, piece);
    if absent.iter().any(|bias| *bias != 0.0) {
        let name = format!("gates.{index}.biases");
        inputs.push(graph.weights(&name, &sides[..1], Holds::Numbers(absent)));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let a = graph.node_with("Gemm", &inputs, &[("transB", &[1])]);
    let cube = graph.whole_numbers(&[0, classes as i64, gates as i64]);
    let mut a = graph.node("Reshape", &[&a, &cube]);
    let dummy = source.shape.dummy;
    if dummy == Dummy::Zero {
        let before = graph.whole_numbers(&[0, 0, 1, 0, 0, 0]);
        let zero = graph.number(0.0);
        a = graph.node("Pad", &[&a, &before, &zero]);
    }
    let mut shares = graph.node_with("Softmax", &[&a], &[("axis", &[2])]);
    let axis = graph.whole_numbers(&[2]);
    if dummy != Dummy::None {
        let (first, end) = (graph.whole_numbers(&[1]), graph.whole_numbers(&[experts as i64 + 1]));
        shares = graph.node("Slice", &[&shares, &first, &end, &axis]);
    }
    let terms = graph.node("Mul", &[&shares, &p]);
    graph.node_with("ReduceSum", &[&terms, &axis], &[("keepdims", &[0])])
}

/// What is added to each gate logit of a piece.
fn absent(source: &Source, piece: &Piece) -> Vec<f32> {
    let mut biases = vec![0.0; piece.classes.len() * piece.gates];
    for (index, class) in piece.classes.iter().enumerate() {
        for gate in piece.absent(source.shape.dummy, source.counts[*class]) {
            biases[index * piece.gates + gate] = ABSENT;
        }
    }
    biases
}
