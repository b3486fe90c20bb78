//! How the mixtures of one class block lie in memory.
//!
//! Sixteen classes make a group; a group has one panel of sixteen columns for every gate state and
//! every expert of its largest class: `[dummy] [gate 1..E] [expert 1..E]`, lane = class. So sums
//! over a class's experts never cross lanes. A class with fewer experts has gates of bias -1e30 for
//! the missing ones (its softmax gives them exactly nothing), and classes that fill up the last
//! group are masked. All weights of a block are one vector: panels `[panel][d][16]`, then biases
//! `[panel][16]`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::kernel::vector::{LANES, Lanes};

/// The gate state in which the label is absent (docs/method.md, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dummy {
    /// It has a gate vector of its own.
    Learned,
    /// Its gate logit is 0.
    Zero,
    /// There is none: gates sum to one over the experts. A single expert then has no gate at all.
    None,
}

impl Dummy {
    /// Number of gates of a class, or of a group whose largest class it is, of so many experts.
    #[doc(hidden)]
    pub fn gates(self, experts: usize) -> usize {
        match self {
            Dummy::None if experts == 1 => 0,
            Dummy::Learned => experts + 1,
            Dummy::None | Dummy::Zero => experts,
        }
    }
}

/// The gate bias of an expert that a class doesn't have.
pub(crate) const ABSENT: f32 = -1e30;

/// Beyond what any class has; sizes of a block stay far from what can be counted.
const EXPERTS_END: usize = 1 << 24;

/// Sixteen consecutive classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// First panel of the group.
    pub first_panel: usize,
    /// Experts of its largest class.
    pub experts: usize,
    /// Gate panels, the dummy's among them: none where no class of the group has a choice.
    pub gates: usize,
    /// 1 for the lanes that hold a class, 0 for filling.
    pub(crate) mask: Lanes,
}

impl Group {
    /// The panel after the group's last.
    pub fn end(&self) -> usize {
        self.first_panel + self.gates + self.experts
    }
}

/// The classes of one block, their experts and where their weights lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The classes of the block, of all classes 0..K.
    pub classes: Range<usize>,
    /// Experts of each of these classes, at least 1.
    pub experts: Vec<usize>,
    pub dummy: Dummy,
    /// Width d of the activations.
    pub width: usize,
    pub groups: Vec<Group>,
    /// Number of panels of all groups.
    pub panels: usize,
}

/// Which part of a class a panel's column belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Gate of the dummy state.
    Dummy,
    /// Gate of expert h.
    Gate(usize),
    /// Expert h.
    Expert(usize),
}

impl Layout {
    /// The layout of `classes` with `experts[i]` experts for the i-th of them, on `width`
    /// activations.
    pub fn new(classes: Range<usize>, experts: Vec<usize>, dummy: Dummy, width: usize) -> Layout {
        assert_eq!(classes.len(), experts.len());
        let fine = experts.iter().all(|count| (1..=EXPERTS_END).contains(count));
        assert!(fine, "every class has an expert, and not beyond counting");
        let mut panels = 0;
        let groups = experts
            .chunks(LANES)
            .map(|group| {
                let experts = *group.iter().max().expect("no group is empty");
                let gates = dummy.gates(experts);
                let mask = std::array::from_fn(|lane| f32::from(lane < group.len()));
                let first_panel = panels;
                panels += gates + experts;
                Group { first_panel, experts, gates, mask }
            })
            .collect();
        Layout { classes, experts, dummy, width, groups, panels }
    }

    /// Whether groups, panels and `parameters` are those of these classes: fields are open, and
    /// arithmetic relies on it.
    pub fn fits(&self, parameters: &[f32]) -> bool {
        let panels = self.groups.iter().try_fold(0usize, |panels, group| {
            let next = panels.checked_add(group.gates)?.checked_add(group.experts)?;
            (group.first_panel == panels).then_some(next)
        });
        let numbers = || self.panels.checked_mul(LANES)?.checked_mul(self.width.checked_add(1)?);
        panels == Some(self.panels)
            && numbers() == Some(parameters.len())
            && self.experts.len() == self.classes.len()
            && self.groups.len() == self.experts.len().div_ceil(LANES)
    }

    /// Number of lanes of classes, filling included.
    pub(crate) fn lanes(&self) -> usize {
        self.groups.len() * LANES
    }

    /// Number of columns of logits, filling included.
    pub fn columns(&self) -> usize {
        self.panels * LANES
    }

    /// Number of weights and biases, filling included.
    pub fn parameters(&self) -> usize {
        self.panels * LANES * (self.width + 1)
    }

    /// Where the biases begin in a block's parameters.
    pub fn biases(&self) -> usize {
        self.panels * LANES * self.width
    }

    /// The roles of a group's panels, in order.
    pub fn roles(&self, group: &Group) -> Vec<Role> {
        let dummy = usize::from(self.dummy == Dummy::Learned && group.gates > 0);
        (0..dummy)
            .map(|_| Role::Dummy)
            .chain((0..group.gates - dummy).map(Role::Gate))
            .chain((0..group.experts).map(Role::Expert))
            .collect()
    }

    /// Every column that a class really has: (class of the block, role, panel, lane), by class,
    /// with the gates first.
    pub fn real_columns(&self) -> Vec<(usize, Role, usize, usize)> {
        let mut columns = Vec::new();
        for class in 0..self.experts.len() {
            let (group, lane) = (&self.groups[class / LANES], class % LANES);
            for (offset, role) in self.roles(group).into_iter().enumerate() {
                if self.is_real(class, role) {
                    columns.push((class, role, group.first_panel + offset, lane));
                }
            }
        }
        columns
    }

    /// Where one class's numbers lie in the block's parameters: its weights (how many is returned
    /// too), then its experts' biases.
    pub fn places_of(&self, class: usize) -> (Vec<usize>, usize) {
        let group = &self.groups[class / LANES];
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        let lane = class % LANES;
        for (offset, role) in self.roles(group).into_iter().enumerate() {
            if !self.is_real(class, role) {
                continue;
            }
            let panel = group.first_panel + offset;
            weights.extend((0..self.width).map(|k| self.weight_at(panel, lane, k)));
            if matches!(role, Role::Expert(_)) {
                biases.push(self.bias_at(panel, lane));
            }
        }
        let count = weights.len();
        weights.append(&mut biases);
        (weights, count)
    }

    /// Whether a class, counted from the block's first, really has a column of this role.
    pub fn is_real(&self, class: usize, role: Role) -> bool {
        let experts = self.experts[class];
        match role {
            Role::Dummy => true,
            Role::Gate(h) => h < experts && (self.dummy != Dummy::None || experts > 1),
            Role::Expert(h) => h < experts,
        }
    }

    /// Parameters all zero but for the biases that switch off gates of experts that don't exist.
    pub fn empty_parameters(&self) -> Vec<f32> {
        let mut parameters = vec![0.0; self.parameters()];
        for (class, experts) in self.experts.iter().enumerate() {
            let (group, lane) = (&self.groups[class / LANES], class % LANES);
            for (offset, role) in self.roles(group).into_iter().enumerate() {
                if matches!(role, Role::Gate(h) if h >= *experts) {
                    let panel = group.first_panel + offset;
                    parameters[self.biases() + panel * LANES + lane] = ABSENT;
                }
            }
        }
        parameters
    }

    /// The place of weight `k` of a column within the block's parameters.
    pub fn weight_at(&self, panel: usize, lane: usize, k: usize) -> usize {
        (panel * self.width + k) * LANES + lane
    }

    /// The place of a column's bias within the block's parameters.
    pub fn bias_at(&self, panel: usize, lane: usize) -> usize {
        self.biases() + panel * LANES + lane
    }
}
