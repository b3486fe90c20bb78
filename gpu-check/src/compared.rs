//! What was compared, and what differed.

use std::collections::BTreeMap;

use crate::device::gpu::check::Pair;

/// Numbers compared and differing, by the name of what they are.
#[derive(Default)]
pub struct Compared {
    found: BTreeMap<String, [usize; 3]>,
}

impl Compared {
    /// Compares the processor's numbers with the device's, bit by bit; shows the first odd ones.
    pub fn floats(&mut self, name: &str, case: &str, host: &[f32], device: &[f32]) {
        let bits = |numbers: &[f32]| numbers.iter().map(|x| u64::from(x.to_bits())).collect();
        self.bits(name, case, bits(host), bits(device), |bits| {
            f64::from(f32::from_bits(bits as u32))
        });
    }

    /// The same of what was made of one thing.
    pub fn pair(&mut self, pair: &Pair, case: &str) {
        self.floats(&pair.name, case, &pair.host, &pair.device);
    }

    /// The same in float64.
    pub fn doubles(&mut self, name: &str, case: &str, host: &[f64], device: &[f64]) {
        let bits = |numbers: &[f64]| numbers.iter().map(|x| x.to_bits()).collect();
        self.bits(name, case, bits(host), bits(device), f64::from_bits);
    }

    fn bits(
        &mut self,
        name: &str,
        case: &str,
        host: Vec<u64>,
        device: Vec<u64>,
        value: fn(u64) -> f64,
    ) {
        assert_eq!(host.len(), device.len(), "{name}: {case}");
        let odd: Vec<usize> = (0..host.len()).filter(|at| host[*at] != device[*at]).collect();
        let counts = self.found.entry(name.into()).or_default();
        counts[0] += 1;
        counts[1] += host.len();
        if let (Some(first), 0) = (odd.first(), counts[2]) {
            let [ours, theirs] = [host[*first], device[*first]];
            println!(
                "DIFFERS {name}, {case}: {} of {}, first at {first}: host {} ({ours:x}), device {} \
                 ({theirs:x})",
                odd.len(),
                host.len(),
                value(ours),
                value(theirs)
            );
        }
        counts[2] += odd.len();
    }

    /// Whether something was compared and nothing differed.
    pub fn equal(&self) -> bool {
        !self.found.is_empty() && self.found.values().all(|counts| counts[1] > 0 && counts[2] == 0)
    }

    pub fn print(&self) {
        println!("{:<28} {:>7} {:>12} {:>10}", "result", "cases", "numbers", "differ");
        for (name, [cases, numbers, odd]) in &self.found {
            println!("{name:<28} {cases:>7} {numbers:>12} {odd:>10}");
        }
        let sum = |place: usize| self.found.values().map(|counts| counts[place]).sum::<usize>();
        println!("{:<28} {:>7} {:>12} {:>10}", "all", sum(0), sum(1), sum(2));
    }
}
