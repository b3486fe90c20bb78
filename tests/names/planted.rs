//! Shards of planted rows, whose classes have names, and numbers that a test chooses.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use reelscale::internals::data::{Kind, ShardHeader, ShardWriter};
use reelscale::internals::names::Names;
use reelscale::internals::synthetic::Planted;

pub const FEATURES: usize = 16;

/// The names of planted classes.
pub fn planted(classes: usize) -> Vec<String> {
    (0..classes).map(|class| format!("class {class}")).collect()
}

pub fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// A shard in which the planted class k has the number `places[k]`. Every fifth row has the number
/// that none of them has, too, where there is one.
pub fn write(path: &Path, rows: Range<u64>, places: &[usize], names: Option<&[String]>) {
    write_rows(path, rows, (places, names), true);
}

/// The same, whose rows have no labels and whose classes no names.
pub fn write_unlabelled(path: &Path, rows: Range<u64>, places: &[usize]) {
    write_rows(path, rows, (places, None), false);
}

fn write_rows(
    path: &Path,
    rows: Range<u64>,
    (places, names): (&[usize], Option<&[String]>),
    labelled: bool,
) {
    let planted = Planted::new(1, FEATURES, places.len(), 2);
    let class_count = places.iter().max().unwrap() + 1;
    let class_count = class_count.max(names.map_or(0, <[String]>::len));
    let (parts, source) = (planted.parts(), "test".to_string());
    let header = ShardHeader { parts, class_count, kind: Kind::Video, source };
    let names = names.map(|names| Arc::new(Names::new(names.to_vec()).unwrap()));
    let mut writer = ShardWriter::create(path, &header).unwrap().named(names);
    let other = (0..class_count).find(|place| !places.contains(place));
    for row in rows {
        let mut example = planted.example(row);
        let place = |class: &u32| places[*class as usize] as u32;
        example.labels = example.labels.iter().map(place).collect();
        example.labels.extend(other.filter(|_| row % 5 == 0).map(|place| place as u32));
        example.labels.sort_unstable();
        example.labels.truncate(if labelled { usize::MAX } else { 0 });
        writer.push(&example).unwrap();
    }
    writer.finish().unwrap();
}
