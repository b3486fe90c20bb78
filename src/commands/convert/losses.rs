//! What numbers lose that are stored as bytes or 16-bit floats.

use crate::comm::Comm;
use crate::encoding::Encoding;
use crate::example::{FeaturePart, by_part};

/// The greatest number that 16-bit floats hold, and half a step more: what is below becomes it.
const HALVES_END: f32 = 65_520.0;

/// How far the numbers of a part are from what comes back of them.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Loss {
    numbers: u64,
    /// Those beyond the range of bytes.
    clipped: u64,
    most: f64,
    squares: f64,
}

/// The place of the first number that can't be stored like this, and what it is.
pub(super) fn too_large(encoding: &Encoding, numbers: &[f32]) -> Option<(usize, f32)> {
    let beyond = |number: &f32| *encoding == Encoding::Halves && number.abs() >= HALVES_END;
    numbers.iter().position(beyond).map(|at| (at, numbers[at]))
}

impl Loss {
    /// Adds the numbers of rows or frames, each of these parts.
    pub(super) fn add(
        losses: &mut [Loss],
        parts: &[FeaturePart],
        encoding: &Encoding,
        numbers: &[f32],
    ) {
        if *encoding == Encoding::Floats {
            return;
        }
        for (part, numbers) in by_part(parts, numbers) {
            losses[part].add_part(encoding, encoding.scaling_of(part), numbers);
        }
    }

    fn add_part(&mut self, encoding: &Encoding, scaling: [f32; 2], numbers: &[f32]) {
        let [scale, offset] = scaling;
        let bytes = encoding.size() == 1;
        for number in numbers {
            let lost = f64::from(*number) - f64::from(encoding.nearest(*number, scaling));
            self.squares += lost * lost;
            self.most = self.most.max(lost.abs());
            // The ends are as exact as float32 has them.
            let within = (-0.001..=255.001).contains(&((number - offset) / scale));
            self.clipped += u64::from(bytes && !within);
        }
        self.numbers += numbers.len() as u64;
    }

    /// Those of all ranks. Collective.
    pub(super) fn of_all(comm: &Comm, own: &[Loss]) -> Vec<Loss> {
        let mut all = vec![Loss::default(); own.len()];
        comm.all_gather_any(own).iter().for_each(|losses| Loss::sum(&mut all, losses));
        all
    }

    /// Adds those of other rows to those of some.
    pub(super) fn sum(all: &mut [Loss], losses: &[Loss]) {
        for (sum, loss) in all.iter_mut().zip(losses) {
            sum.numbers += loss.numbers;
            sum.clipped += loss.clipped;
            sum.most = sum.most.max(loss.most);
            sum.squares += loss.squares;
        }
    }
}

/// What was lost, a line a part; warns of numbers beyond what bytes stand for.
pub(super) fn told_of_losses(
    losses: &[Loss],
    parts: &[FeaturePart],
    encoding: &Encoding,
) -> String {
    let sum = |number: fn(&Loss) -> u64| losses.iter().map(number).sum::<u64>();
    let (clipped, numbers) = (sum(|loss| loss.clipped), sum(|loss| loss.numbers));
    if clipped > 0 {
        let share = 100.0 * clipped as f64 / numbers as f64;
        log::warn!("{clipped} numbers ({share:.3} %) are beyond --range, and became its ends");
    }
    let mut text = String::new();
    for (index, (part, loss)) in parts.iter().zip(losses).enumerate() {
        if loss.numbers == 0 {
            continue;
        }
        let [scale, offset] = encoding.scaling_of(index);
        let (what, clipped) = match encoding.size() {
            1 => {
                let share = 100.0 * loss.clipped as f64 / loss.numbers as f64;
                let range = format!("bytes of {offset} to {}", 255.0 * scale + offset);
                (range, format!("; {share:.3} % clipped"))
            }
            _ => ("16-bit floats".into(), String::new()),
        };
        let (name, most) = (&part.name, loss.most);
        let rms = (loss.squares / loss.numbers as f64).sqrt();
        text += &format!("{name}: {what}: error at most {most:.2e}, RMS {rms:.2e}{clipped}\n");
    }
    text
}
