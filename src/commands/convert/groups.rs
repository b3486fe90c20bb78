//! How input is cut into groups, each of which becomes shards of its own: by the files' sizes and
//! numbers of rows, never by ranks, so the shards are the same on any number of them.

use std::ops::Range;

/// Bytes of input that go into one group.
pub(super) const GROUP_BYTES: u64 = 8 << 20;
/// A run of rows of a large table makes whole shards, unless those are of more bytes than this.
const RUN_BYTES_MAX: u64 = 64 << 20;

/// Files that are converted one after the other, or a run of rows of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) files: Range<usize>,
    pub(super) rows: Option<Range<u64>>,
}

/// A file to be cut: its bytes, and its rows where it can be read from any of them on, else 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

impl Group {
    /// Bytes of input that it is about.
    pub(super) fn bytes(&self, sizes: &[Size]) -> u64 {
        let whole = sizes[self.files.clone()].iter().map(|size| size.bytes).sum::<u64>();
        let Some(run) = &self.rows else { return whole };
        sizes[self.files.start].of_rows(run.end - run.start)
    }
}

impl Size {
    /// Bytes of so many of its rows.
    pub(super) fn of_rows(&self, rows: u64) -> u64 {
        (u128::from(self.bytes) * u128::from(rows) / u128::from(self.rows.max(1))) as u64
    }
}

/// Runs of files of about `GROUP_BYTES` each, and runs of rows of larger ones.
pub(super) fn groups(sizes: &[Size], rows_per_shard: u64) -> Vec<Group> {
    let (mut groups, mut from, mut bytes) = (Vec::new(), 0, 0);
    let close = |files: Range<usize>, groups: &mut Vec<Group>| {
        if !files.is_empty() {
            groups.push(Group { files, rows: None });
        }
    };
    for (index, size) in sizes.iter().enumerate() {
        let run = run(*size, rows_per_shard);
        if size.rows > run {
            close(from..index, &mut groups);
            let starts = (0..size.rows).step_by(run as usize);
            groups.extend(starts.map(|start| Group {
                files: index..index + 1,
                rows: Some(start..(start + run).min(size.rows)),
            }));
            (from, bytes) = (index + 1, 0);
            continue;
        }
        if bytes > 0 && bytes + size.bytes > GROUP_BYTES {
            close(from..index, &mut groups);
            (from, bytes) = (index, 0);
        }
        bytes += size.bytes;
    }
    close(from..sizes.len(), &mut groups);
    groups
}

/// Rows of a run: whole shards of at least `GROUP_BYTES`.
fn run(size: Size, rows_per_shard: u64) -> u64 {
    let of = |bytes: u64| {
        (u128::from(size.rows) * u128::from(bytes) / u128::from(size.bytes.max(1))) as u64
    };
    let (least, most) = (of(GROUP_BYTES).max(1), of(RUN_BYTES_MAX).max(1));
    match rows_per_shard <= most {
        true => least.div_ceil(rows_per_shard) * rows_per_shard,
        false => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sizes: &[(u64, u64)], rows_per_shard: u64) -> Vec<(Range<usize>, Option<Range<u64>>)> {
        let sizes: Vec<Size> =
            sizes.iter().map(|(mib, rows)| Size { bytes: mib << 20, rows: *rows }).collect();
        let groups = groups(&sizes, rows_per_shard);
        groups.into_iter().map(|group| (group.files, group.rows)).collect()
    }

    #[test]
    fn small_files_come_together_and_large_ones_are_cut_at_shards() {
        assert_eq!(
            told(&[(3, 0), (5, 0), (1, 0), (20, 0), (1, 0)], 10),
            [(0..2, None), (2..3, None), (3..4, None), (4..5, None)]
        );
        // 100 rows a MiB: whole shards of at least 800 rows.
        let cut = told(&[(1, 0), (30, 3000), (1, 0)], 300);
        let runs = [0..900, 900..1800, 1800..2700, 2700..3000].map(|rows| (1..2, Some(rows)));
        assert_eq!(cut, [&[(0..1, None)][..], &runs, &[(2..3, None)]].concat());
        // Shards of more than 64 MiB aren't waited for.
        let cut = told(&[(200, 100)], 1000);
        let runs = [0..32, 32..64, 64..96, 96..100].map(|rows| (0..1, Some(rows)));
        assert_eq!(cut, runs);
        // What fits a run stays whole.
        assert_eq!(told(&[(9, 900)], 900), [(0..1, None)]);
        assert_eq!(told(&[(0, 0)], 900), [(0..1, None)]);
    }
}
