//! What was compared, and what differed.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::device::gpu::check::Pair;

/// Numbers compared and differing, by the name of what they are.
#[derive(Default)]
pub struct Compared {
    found: BTreeMap<String, Found>,
}

/// Of one name.
#[derive(Default)]
struct Found {
    cases: usize,
    numbers: usize,
    odd: usize,
    /// Of all numbers in their order.
    host: Sha256,
    device: Sha256,
}

/// What two sides have come to.
#[derive(Clone, Debug, Serialize)]
pub struct Hashes {
    pub host: String,
    pub device: String,
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
        let found = self.found.entry(name.into()).or_default();
        found.cases += 1;
        found.numbers += host.len();
        found.host.update(bytemuck::cast_slice(&host));
        found.device.update(bytemuck::cast_slice(&device));
        if let (Some(first), 0) = (odd.first(), found.odd) {
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
        found.odd += odd.len();
    }

    /// Whether something was compared and nothing differed.
    pub fn equal(&self) -> bool {
        let equal = |found: &Found| found.numbers > 0 && found.odd == 0;
        !self.found.is_empty() && self.found.values().all(equal)
    }

    /// SHA-256 of all numbers of each name.
    pub fn hashes(&self) -> impl Iterator<Item = (String, Hashes)> {
        let hex =
            |hash: &Sha256| hash.clone().finalize().iter().map(|b| format!("{b:02x}")).collect();
        self.found.iter().map(move |(name, found)| {
            let hashes = Hashes { host: hex(&found.host), device: hex(&found.device) };
            (name.clone(), hashes)
        })
    }

    pub fn print(&self) {
        println!("{:<28} {:>7} {:>12} {:>10}", "result", "cases", "numbers", "differ");
        let line = |name: &str, cases, numbers, odd| {
            println!("{name:<28} {cases:>7} {numbers:>12} {odd:>10}");
        };
        for (name, Found { cases, numbers, odd, .. }) in &self.found {
            line(name, *cases, *numbers, *odd);
        }
        let sum = |of: fn(&Found) -> usize| self.found.values().map(of).sum::<usize>();
        let all = [sum(|found| found.cases), sum(|found| found.numbers), sum(|found| found.odd)];
        line("all", all[0], all[1], all[2]);
    }
}
