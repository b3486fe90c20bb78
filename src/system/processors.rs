//! Processors as the system lists them. Where there are no such lists, each is a core of its own.

use std::fs;
use std::path::Path;

use super::cores;

/// Cores of this machine, whoever may run on them.
pub(crate) fn cores_online() -> usize {
    listed("online").unwrap_or_else(cores)
}

/// Processors that are threads of one core, the first one, and share what it does.
pub(crate) fn threads_of_core() -> usize {
    listed("cpu0/topology/thread_siblings_list").unwrap_or(1)
}

/// How many are in one of the system's lists.
fn listed(name: &str) -> Option<usize> {
    let path = Path::new("/sys/devices/system/cpu").join(name);
    Some(count(&fs::read_to_string(path).ok()?).max(1))
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
        assert!((1..=cores_online()).contains(&threads_of_core()));
    }
}
