//! Bytes of class blocks on a device, for the plan of its memory.

use std::ops::Range;

use super::device_sizes::{FLOAT, LANE_BYTES};
use crate::device::gpu::cut::{Cut, Extent};
use crate::kernel::mixture::layout::Layout;
use crate::kernel::text::sweeps::GROUP_WORDS;
use crate::kernel::vector::LANES;
use crate::tree::Summing;

/// Some class blocks, all of one width.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClassBytes {
    /// Bytes of one number for each parameter.
    pub(super) parameters: usize,
    panels: usize,
    pub(super) groups: usize,
    /// Panels of the largest group.
    group_panels: usize,
    pub(super) classes: usize,
}

impl ClassBytes {
    pub(super) fn of(layouts: &[Layout]) -> ClassBytes {
        let groups = || layouts.iter().flat_map(|layout| &layout.groups);
        ClassBytes {
            parameters: layouts.iter().map(Layout::parameters).sum::<usize>() * FLOAT,
            panels: layouts.iter().map(|layout| layout.panels).sum(),
            groups: groups().count(),
            group_panels: groups().map(|group| group.gates + group.experts).max().unwrap_or(0),
            classes: layouts.iter().map(|layout| layout.classes.len()).sum(),
        }
    }

    /// The most of each, of single blocks.
    pub(super) fn most(layouts: &[Layout]) -> ClassBytes {
        let each = layouts.iter().map(|layout| ClassBytes::of(std::slice::from_ref(layout)));
        each.fold(ClassBytes::default(), |one, other| ClassBytes {
            parameters: one.parameters.max(other.parameters),
            panels: one.panels.max(other.panels),
            groups: one.groups.max(other.groups),
            group_panels: one.group_panels.max(other.group_panels),
            classes: one.classes.max(other.classes),
        })
    }

    /// Shapes of groups, sums of their losses; of panels what they learn, and a gradient of biases.
    pub(super) fn tables(&self) -> usize {
        let group = GROUP_WORDS * size_of::<i32>() + LANES * size_of::<f64>();
        self.groups * group + self.panels * (size_of::<i32>() + LANE_BYTES)
    }

    /// Panels whose logits of so many rows are worked on at once.
    fn panels_at_once(&self, rows: usize, logits_bytes: usize) -> usize {
        let fits = logits_bytes / (rows * LANE_BYTES).max(1);
        fits.clamp(self.group_panels, self.panels.max(self.group_panels))
    }

    /// Logits, their slopes in the same place, and losses.
    pub(super) fn logits(&self, rows: usize, logits_bytes: usize) -> usize {
        let panels = self.panels_at_once(rows, logits_bytes);
        let losses = rows * panels.min(self.groups) * LANE_BYTES;
        rows.next_multiple_of(4) * panels * LANE_BYTES + losses
    }

    /// W' of the panels that are worked on at once.
    pub(super) fn turned(&self, rows: usize, width: usize, logits_bytes: usize) -> usize {
        self.panels_at_once(rows, logits_bytes) * LANE_BYTES * width.next_multiple_of(LANES)
    }
}

/// Own class blocks as they lie on the device.
pub(super) struct HeldBytes {
    /// Those that stay, and the slots of those that come and go.
    stay: ClassBytes,
    slot: ClassBytes,
    slots: usize,
    /// Each part of them.
    parts: Vec<ClassBytes>,
    /// Vectors that it takes to sum what each block of a part has of something.
    pub(super) sums: usize,
}

impl HeldBytes {
    /// Of blocks of these layouts, from block `first` on, cut so.
    pub(super) fn of(first: usize, layouts: &[Layout], cut: &Cut) -> HeldBytes {
        let of = |run: &Range<usize>| ClassBytes::of(&layouts[run.clone()]);
        let width = layouts.first().map_or(0, |layout| layout.width);
        let Extent { panels, groups } = cut.slot;
        let parameters = panels * (width + 1) * LANE_BYTES;
        let slot = ClassBytes { parameters, panels, groups, ..ClassBytes::default() };
        let runs = || std::iter::once(&cut.stay).chain(&cut.come);
        let sums = |run: &Range<usize>| vectors_of_run(first + run.start..first + run.end);
        HeldBytes {
            stay: of(&cut.stay),
            slot,
            slots: cut.slots,
            parts: runs().map(of).collect(),
            sums: runs().map(sums).max().unwrap_or(0),
        }
    }

    /// Bytes of one number for each parameter.
    pub(super) fn parameters(&self) -> usize {
        self.stay.parameters + self.slots * self.slot.parameters
    }

    /// Tables, and so many chains of losses of each class.
    pub(super) fn tables(&self, chains: usize) -> usize {
        let groups = self.stay.groups + self.slots * self.slot.groups;
        let further = (chains - 1) * groups * LANES * size_of::<f64>();
        self.stay.tables() + self.slots * self.slot.tables() + further
    }

    /// The most of any part.
    pub(super) fn most(&self, of: impl Fn(&ClassBytes) -> usize) -> usize {
        self.parts.iter().map(of).max().unwrap_or(0)
    }
}

/// Vectors that it takes to sum a run of leaves along the tree.
pub(super) fn vectors_of_run(leaves: Range<usize>) -> usize {
    Summing::nodes_of(leaves).vectors()
}
