//! Looks through PTX for what would change bits: the proof on paper beside the comparison of bits,
//! which cannot find what a compiler only was allowed to do.

/// Words that no instruction may hold: flushed denormals, approximations, unfused or otherwise
/// rounded multiply-adds.
const FORBIDDEN: [&str; 8] =
    [".ftz", ".approx", ".full", "mad.f32", "mad.rn.f32", ".rz.f32", ".rm.f32", ".rp.f32"];

/// Operations on numbers that round.
const ROUNDING: [&str; 7] = ["add", "sub", "mul", "div", "sqrt", "rcp", "fma"];

/// Fewer than these operations are no device text.
const OPERATIONS_MIN: usize = 1000;

/// What in a PTX text isn't a single operation rounded to nearest, a line each. An `add`, `sub` or
/// `mul` without `.rn` may be contracted with its neighbour; `fma.rn` is what the text says.
pub fn faults(ptx: &str) -> Vec<String> {
    let (mut faults, mut counted) = (Vec::new(), 0);
    for (index, line) in ptx.lines().enumerate() {
        // An instruction may stand behind its predicate.
        let line = line.trim_start();
        let name = line.split_whitespace().find(|word| !word.starts_with('@')).unwrap_or_default();
        let mut parts = name.trim_end_matches(';').split('.');
        let operation = parts.next().unwrap_or_default();
        let parts: Vec<&str> = parts.collect();
        let of_numbers = parts.iter().any(|part| ["f32", "f64"].contains(part));
        let rounds = ROUNDING.contains(&operation) && of_numbers;
        counted += usize::from(rounds);
        let odd = FORBIDDEN.iter().any(|word| name.contains(word));
        if odd || (rounds && !parts.contains(&"rn")) {
            faults.push(format!("line {}: {line}", index + 1));
        }
    }
    if counted < OPERATIONS_MIN {
        faults.push(format!("found {counted} operations on numbers, expected a device text"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::faults;
    use crate::kernel::text::PTX;

    #[test]
    fn the_ptx_rounds_to_nearest_flushes_nothing_and_may_not_be_contracted() {
        assert_eq!(faults(PTX), Vec::<String>::new());
    }

    /// What the compiler writes where it may contract, flush or approximate.
    #[test]
    fn other_options_are_found() {
        for (from, to) in [
            ("mul.rn.f32", "mul.f32"),
            ("add.rn.f64", "add.f64"),
            ("fma.rn.f32", "fma.rn.ftz.f32"),
            ("div.rn.f32", "div.full.f32"),
            ("sqrt.rn.f32", "sqrt.approx.f32"),
        ] {
            assert!(PTX.contains(from), "{from}");
            assert!(!faults(&PTX.replacen(from, to, 1)).is_empty(), "{to} passes");
        }
        assert!(!faults("").is_empty(), "an empty text passes");
    }
}
