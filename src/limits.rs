//! What a shard may hold. Whoever makes shards refuses what their readers would refuse.

use crate::example::FeaturePart;

/// Classes of a shard.
pub(crate) const CLASSES_MAX: usize = 16_777_216;
/// Features of a row or frame.
pub(crate) const FEATURES_MAX: usize = (1 << 24) - 1;
/// Parts of a row's features.
pub(crate) const PARTS_MAX: usize = 1024;
/// Bytes of a part's name.
pub(crate) const PART_NAME_MAX: usize = 256;
/// Bytes of an id.
pub(crate) const ID_MAX: usize = 65_536;
/// Bytes of a text such as where the rows come from.
pub(crate) const TEXT_MAX: usize = 1 << 20;

/// Whether `parts` can be those of a shard: how many they are, how large, and their names.
///
/// # Errors
/// What was found and what was expected.
pub(crate) fn check_parts(parts: &[FeaturePart]) -> Result<(), String> {
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return Err(format!("found {} parts, expected 1 to {PARTS_MAX}", parts.len()));
    }
    let mut features = 0usize;
    for (index, part) in parts.iter().enumerate() {
        let length = part.name.len();
        if !(1..=PART_NAME_MAX).contains(&length) || part.name.chars().any(char::is_control) {
            let expected = format!("1 to {PART_NAME_MAX} that can be printed");
            return Err(format!(
                "part {index}: found a name of {length} bytes, expected {expected}"
            ));
        }
        if parts[..index].iter().any(|other| other.name == part.name) {
            return Err(format!("found the part {:?} twice", part.name));
        }
        features = features.saturating_add(part.size);
        if part.size == 0 || features > FEATURES_MAX {
            let (name, size) = (&part.name, part.size);
            let expected = format!("at least 1, and at most {FEATURES_MAX} of all parts");
            return Err(format!("part {name:?}: found {size} features, expected {expected}"));
        }
    }
    Ok(())
}

/// Whether a shard can have so many classes.
///
/// # Errors
/// What was found and what was expected.
pub(crate) fn check_class_count(count: i128) -> Result<usize, String> {
    let fits = usize::try_from(count).ok().filter(|count| (1..=CLASSES_MAX).contains(count));
    fits.ok_or_else(|| format!("found {count}, expected 1 to {CLASSES_MAX}"))
}

/// Whether shards can keep this id as it is.
///
/// # Errors
/// What was found and what was expected.
pub(crate) fn check_id(id: &[u8]) -> Result<(), String> {
    if id.len() > ID_MAX {
        return Err(format!("id: found {} bytes, expected at most {ID_MAX}", id.len()));
    }
    match id.last() {
        // Shards pad ids with NUL, so two ids might become one.
        Some(0) => Err("id: found NUL at its end, which shards can't keep".into()),
        _ => Ok(()),
    }
}
