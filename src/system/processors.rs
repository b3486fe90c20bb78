//! Processors as the system lists them. Where there are no such lists, each is a core of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{allowed, cores};

/// Cores of this machine, whoever may run on them.
pub(crate) fn cores_online() -> usize {
    text("online").map_or_else(cores, |list| count(&list).max(1))
}

/// Cores with all of their threads, of which some processors are, that this process may run on.
pub(crate) fn whole_cores() -> usize {
    let siblings = |at: usize| {
        let list = text(&format!("cpu{at}/topology/thread_siblings_list"));
        list.unwrap_or_else(|| at.to_string())
    };
    allowed().into_iter().map(siblings).collect::<BTreeSet<String>>().len().max(1)
}

/// What the system says of its processors under this name.
fn text(name: &str) -> Option<String> {
    fs::read_to_string(Path::new("/sys/devices/system/cpu").join(name)).ok()
}

/// How many numbers a list such as `0-3,8,10-11` has.
fn count(list: &str) -> usize {
    let of_range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let [first, last] = [first, last].map(|number| number.parse::<usize>().ok());
        Some((last? + 1).saturating_sub(first?))
    };
    list.trim().split(',').filter_map(of_range).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_lists_are_counted() {
        for (list, expected) in [("0", 1), ("0-63\n", 64), ("0,48", 2), ("0-3,8,10-11", 7), ("", 0)]
        {
            assert_eq!(count(list), expected, "{list:?}");
        }
        assert!((1..=cores()).contains(&whole_cores()));
    }
}
