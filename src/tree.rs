//! One fixed binary tree along which leaves 0..n are added, whoever has them.
//!
//! Node (level l, index i) is the sum of the leaves i 2^l .. (i + 1) 2^l that exist: its left child
//! plus its right child, or its left child alone. Aligned runs are added as leaves come, like the
//! carries of a binary counter, so that whoever adds them holds at most two partial sums per level.

use std::ops::Range;

/// Where a partial sum stands in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    level: u32,
    index: usize,
}

impl Node {
    pub fn leaf(index: usize) -> Node {
        Node { level: 0, index }
    }

    /// Number of its leaves, where all exist.
    pub(crate) fn leaves(self) -> usize {
        1 << self.level
    }

    /// The node of which `self` (left) and `right` are the children, if they are.
    fn joined(self, right: Node) -> Option<Node> {
        let siblings = self.level == right.level
            && self.index.is_multiple_of(2)
            && right.index == self.index + 1;
        siblings.then_some(Node { level: self.level + 1, index: self.index / 2 })
    }
}

/// Partial sums that aren't siblings of each other, left to right.
pub struct Partials<V> {
    nodes: Vec<(Node, V)>,
}

impl<V> Default for Partials<V> {
    fn default() -> Partials<V> {
        Partials { nodes: Vec::new() }
    }
}

impl<V> Partials<V> {
    /// Appends the next node to the right and joins siblings as long as there are any: `plus` is
    /// given the left one and the right one.
    pub fn push(&mut self, mut node: Node, mut value: V, mut plus: impl FnMut(V, V) -> V) {
        while let Some((parent, left)) = self.pop_sibling(node) {
            (node, value) = (parent, plus(left, value));
        }
        self.nodes.push((node, value));
    }

    fn pop_sibling(&mut self, right: Node) -> Option<(Node, V)> {
        let parent = self.nodes.last()?.0.joined(right)?;
        Some((parent, self.nodes.pop()?.1))
    }

    /// The partial sums so far: where leaves of a run were pushed, those of `nodes_of` the run.
    pub fn sums(&self) -> impl Iterator<Item = &V> {
        self.nodes.iter().map(|node| &node.1)
    }

    pub fn into_sums(self) -> impl Iterator<Item = V> {
        self.nodes.into_iter().map(|node| node.1)
    }

    /// The sum of all nodes: where a right subtree is incomplete it is joined as it is.
    pub fn total(self, mut plus: impl FnMut(V, V) -> V) -> Option<V> {
        self.nodes.into_iter().rev().map(|node| node.1).reduce(|right, left| plus(left, right))
    }
}

/// The nodes that are left of a run of leaves once siblings have been joined: the fewest aligned
/// powers of two that make it up (docs/method.md, section 8.4).
pub fn nodes_of(run: Range<usize>) -> Vec<Node> {
    let (mut at, mut nodes) = (run.start, Vec::new());
    while at < run.end {
        // The highest subtree that begins here and ends within the run.
        let level = (run.end - at).ilog2().min(at.trailing_zeros());
        nodes.push(Node { level, index: at >> level });
        at += 1 << level;
    }
    nodes
}

/// How a run of leaves is summed with vectors that are used again, of which there are few: a leaf
/// after the other is made in a vector that is free, and siblings are added at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summing {
    leaves: Vec<Leaf>,
    nodes: Vec<usize>,
    vectors: usize,
}

/// What is done for a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaf {
    vector: usize,
    adds: Vec<(usize, usize)>,
}

impl Summing {
    /// Of the leaves of `run`, whose nodes are left (`nodes_of`).
    pub fn nodes_of(run: Range<usize>) -> Summing {
        let (mut free, mut vectors) = (Vec::new(), 0);
        let (mut partials, mut leaves) = (Partials::default(), Vec::with_capacity(run.len()));
        for index in run {
            let vector = free.pop().unwrap_or_else(|| {
                vectors += 1;
                vectors - 1
            });
            let mut adds = Vec::new();
            partials.push(Node::leaf(index), vector, |left, right| {
                adds.push((left, right));
                free.push(right);
                left
            });
            leaves.push(Leaf { vector, adds });
        }
        Summing { leaves, nodes: partials.into_sums().collect(), vectors }
    }

    /// Of leaves 0 to `count`, at least one, whose sum is left.
    pub fn of_all(count: usize) -> Summing {
        let mut all = Summing::nodes_of(0..count);
        let mut right = all.nodes.pop().expect("a leaf");
        let adds = &mut all.leaves.last_mut().expect("a leaf").adds;
        for left in all.nodes.drain(..).rev() {
            adds.push((left, right));
            right = left;
        }
        all.nodes.push(right);
        all
    }

    /// Number of leaves.
    pub fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Number of vectors.
    pub fn vectors(&self) -> usize {
        self.vectors
    }

    /// The vector that a leaf, counted from the first, is made in.
    pub fn vector(&self, leaf: usize) -> usize {
        self.leaves[leaf].vector
    }

    /// What is added once that leaf is there, in order: to a vector another one.
    pub fn adds(&self, leaf: usize) -> &[(usize, usize)] {
        &self.leaves[leaf].adds
    }

    /// The vectors that hold what is left.
    pub fn sums(&self) -> &[usize] {
        &self.nodes
    }
}

/// The sum of leaves 0, 1, ..., if there is one.
pub fn sum<V>(leaves: impl IntoIterator<Item = V>, mut plus: impl FnMut(V, V) -> V) -> Option<V> {
    let mut partials = Partials::default();
    for (index, leaf) in leaves.into_iter().enumerate() {
        partials.push(Node::leaf(index), leaf, &mut plus);
    }
    partials.total(plus)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sum as one reads it.
    fn shown(leaves: Range<usize>) -> Partials<String> {
        let mut partials = Partials::default();
        for leaf in leaves {
            partials.push(Node::leaf(leaf), leaf.to_string(), plus);
        }
        partials
    }

    fn plus(left: String, right: String) -> String {
        format!("({left}+{right})")
    }

    #[test]
    fn leaves_are_added_along_the_tree() {
        let sums = ["0", "(0+1)", "((0+1)+2)", "((0+1)+(2+3))", "(((0+1)+(2+3))+4)"];
        for (last, expected) in sums.into_iter().enumerate() {
            assert_eq!(shown(0..last + 1).total(plus).unwrap(), expected);
        }
        let twelve = sum((0..12).map(|leaf| leaf.to_string()), plus).unwrap();
        assert_eq!(twelve, "((((0+1)+(2+3))+((4+5)+(6+7)))+((8+9)+(10+11)))");
        assert_eq!(sum(Vec::<String>::new(), plus), None);
    }

    /// Summing in vectors that are used again gives what summing by values does, with as few
    /// vectors as are planned.
    #[test]
    fn vectors_are_used_again() {
        let run_of = |order: &Summing, first: usize| {
            let mut vectors = vec![String::new(); order.vectors()];
            for leaf in 0..order.leaves() {
                vectors[order.vector(leaf)] = (first + leaf).to_string();
                for (left, right) in order.adds(leaf) {
                    let right = std::mem::take(&mut vectors[*right]);
                    vectors[*left] = plus(std::mem::take(&mut vectors[*left]), right);
                }
            }
            order.sums().iter().map(|vector| vectors[*vector].clone()).collect::<Vec<_>>()
        };
        for end in 1..40 {
            let all = Summing::of_all(end);
            assert_eq!(run_of(&all, 0), [shown(0..end).total(plus).unwrap()]);
            assert_eq!(all.vectors(), end.ilog2() as usize + 1, "{end} leaves");
            for start in 0..end {
                let own = Summing::nodes_of(start..end);
                let sums: Vec<String> = shown(start..end).sums().cloned().collect();
                assert_eq!(run_of(&own, start), sums, "{start}..{end}");
            }
        }
    }

    /// Whoever has which run, the sums of runs are those of the whole.
    #[test]
    fn nodes_of_a_run_are_what_its_leaves_come_to() {
        for end in 0..40 {
            for start in 0..=end {
                let pushed: Vec<Node> =
                    shown(start..end).nodes.into_iter().map(|node| node.0).collect();
                assert_eq!(nodes_of(start..end), pushed, "{start}..{end}");
                let mut partials = Partials::default();
                for run in [0..start, start..end] {
                    let sums: Vec<String> = shown(run.clone()).sums().cloned().collect();
                    for (node, sum) in nodes_of(run).into_iter().zip(sums) {
                        partials.push(node, sum, plus);
                    }
                }
                assert_eq!(partials.total(plus), shown(0..end).total(plus), "{start}..{end}");
            }
        }
        for (run, count) in [(0..0, 0), (5..5, 0), (0..8, 1), (0..7, 3), (3..8, 2), (3..9, 3)] {
            assert_eq!(nodes_of(run.clone()).len(), count, "{run:?}");
        }
        assert_eq!(nodes_of(1 << 40..(1 << 40) + 3).len(), 2, "no loop over leaves");
    }
}
