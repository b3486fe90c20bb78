//! A graph of ONNX under way: nodes, small constants, and the weights that are filled in later.

use crate::formats::protobuf::Message;

/// Kinds of numbers, as ONNX counts them.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Float = 1,
    Whole = 7,
}

/// A side of an input or output.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Fixed(usize),
    /// Any number that is the same wherever this name stands.
    Any(&'static str),
}

/// Numbers of 32 bits that may be many.
pub(super) struct Weights {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) holds: Holds,
}

pub(super) enum Holds {
    Numbers(Vec<f32>),
    /// Of the piece of that index.
    Gates(usize),
    Experts(usize),
    Biases(usize),
}

impl Weights {
    pub(super) fn bytes(&self) -> u64 {
        let numbers = self.shape.iter().map(|side| *side as u64).product::<u64>();
        numbers * size_of::<f32>() as u64
    }
}

/// The parts of a graph, in the order of ONNX's fields.
#[derive(Default)]
pub(super) struct Graph {
    nodes: Message,
    constants: Message,
    inputs: Message,
    outputs: Message,
    pub(super) weights: Vec<Weights>,
    /// Values named so far.
    count: usize,
}

/// What a node is told beside its inputs.
pub(super) type Attribute<'a> = (&'a str, &'a [i64]);

/// Attributes that are one number; all others are lists.
const SINGLE: [&str; 6] = ["axis", "end", "keepdims", "start", "to", "transB"];

fn attribute((name, numbers): Attribute) -> Message {
    let message = Message::default().text(1, name);
    match SINGLE.contains(&name) {
        true => message.number(3, numbers[0] as u64).number(20, 2),
        false => message.each(numbers, |to, number| to.number(8, *number as u64)).number(20, 7),
    }
}

impl Graph {
    fn new_name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}_{}", self.count)
    }

    /// Adds a node and returns the name of what it gives.
    pub(super) fn node(&mut self, operator: &str, inputs: &[&str]) -> String {
        self.node_with(operator, inputs, &[])
    }

    pub(super) fn node_with(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[Attribute],
    ) -> String {
        let name = self.new_name(operator);
        self.node_giving(operator, inputs, attributes, &[&name]);
        name
    }

    /// Adds a node that gives values of these names.
    pub(super) fn node_giving(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[Attribute],
        outputs: &[&str],
    ) {
        let node = Message::default()
            .each(inputs, |to, name| to.text(1, name))
            .each(outputs, |to, name| to.text(2, name))
            .text(3, outputs[0])
            .text(4, operator)
            .each(attributes, |to, one| to.message(5, &attribute(*one)));
        self.nodes = std::mem::take(&mut self.nodes).message(1, &node);
    }

    fn constant(&mut self, shape: &[usize], kind: Number, bytes: &[u8]) -> String {
        let name = self.new_name("constant");
        let tensor = tensor(&name, shape, kind).bytes(9, bytes);
        self.constants = std::mem::take(&mut self.constants).message(5, &tensor);
        name
    }

    pub(super) fn whole_numbers(&mut self, numbers: &[i64]) -> String {
        self.constant(&[numbers.len()], Number::Whole, bytemuck::cast_slice(numbers))
    }

    pub(super) fn whole_number(&mut self, number: i64) -> String {
        self.constant(&[], Number::Whole, &number.to_le_bytes())
    }

    pub(super) fn number(&mut self, number: f32) -> String {
        self.constant(&[], Number::Float, &number.to_le_bytes())
    }

    pub(super) fn weights(&mut self, name: &str, shape: &[usize], holds: Holds) -> String {
        self.weights.push(Weights { name: name.into(), shape: shape.to_vec(), holds });
        name.into()
    }

    pub(super) fn input(&mut self, name: &str, kind: Number, sides: &[Side]) {
        self.inputs = std::mem::take(&mut self.inputs).message(11, &value(name, kind, sides));
    }

    pub(super) fn output(&mut self, name: &str, kind: Number, sides: &[Side]) {
        self.outputs = std::mem::take(&mut self.outputs).message(12, &value(name, kind, sides));
    }

    /// All of it but its weights.
    pub(super) fn message(&self) -> Message {
        let message = Message(self.nodes.0.clone()).text(2, "reelscale");
        Message(
            [&message, &self.constants, &self.inputs, &self.outputs].map(|of| &of.0[..]).concat(),
        )
    }
}

/// A tensor without its numbers.
pub(super) fn tensor(name: &str, shape: &[usize], kind: Number) -> Message {
    let message = Message::default().each(shape, |to, side| to.number(1, *side as u64));
    message.number(2, kind as u64).text(8, name)
}

fn value(name: &str, kind: Number, sides: &[Side]) -> Message {
    let side = |side: &Side| match side {
        Side::Fixed(length) => Message::default().number(1, *length as u64),
        Side::Any(name) => Message::default().text(2, name),
    };
    let shape = Message::default().each(sides, |to, one| to.message(1, &side(one)));
    let tensor = Message::default().number(1, kind as u64).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}
