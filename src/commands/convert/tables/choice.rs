//! What picked fields are: the pieces and parts of features, the form of labels.

use std::path::PathBuf;

use super::at;
use super::labels::{Form, LabelFile, Spelling};
use super::options::{LabelsAs, TableOptions};
use super::rows::Piece;
use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::fields::{Elements, Field};
use crate::formats::class_names::ClassNames;
use crate::formats::table::Pick;
use crate::limits::check_parts;

/// What each picked field gives, and whether all are bytes.
pub(super) fn pieces(
    picks: &[Pick],
    fields: &[Field],
) -> std::result::Result<(Vec<Piece>, bool), String> {
    let mut pieces: Vec<Piece> = Vec::new();
    for field in picks.iter().flat_map(|pick| &pick.fields).map(|field| &fields[*field]) {
        let name = &field.name;
        if matches!(field.elements, Elements::Bytes | Elements::Wide) {
            return Err(format!("{name:?}: found texts, expected numbers"));
        }
        let bytes = field.elements == (Elements::Whole { signed: false, bytes: 1 });
        let piece = match field.shape[..] {
            [] => Piece { width: 1, frames: None, bytes },
            [width] => Piece { width, frames: None, bytes },
            [frames, width] => Piece { width, frames: Some(frames), bytes },
            _ => {
                return Err(format!(
                    "{name:?}: found rows of {:?}, expected [D] or [T, D]",
                    field.shape
                ));
            }
        };
        if piece.width == 0 {
            return Err(format!("{name:?}: found rows without numbers"));
        }
        if let Some(first) = pieces.first()
            && first.frames != piece.frames
        {
            return Err(format!("{name:?}: found other frames than the features before it"));
        }
        if matches!(field.elements, Elements::Real { bytes: 8 }) {
            log::info!("{name:?}: float64 is rounded to float32");
        }
        pieces.push(piece);
    }
    let bytes = pieces.iter().all(|piece| piece.bytes);
    if pieces.iter().any(|piece| piece.bytes) && !bytes {
        return Err("found bytes (uint8) beside other numbers among the features".into());
    }
    Ok((pieces, bytes))
}

/// Fields of labels that are 0 and 1 for each class: of these it matters how long lists are.
pub(super) fn vectors(options: &TableOptions, labels: &[usize], fields: &[Field]) -> Vec<usize> {
    let asked = options.labels_as == Some(LabelsAs::MultiHot);
    let flags = |field: &&usize| asked || fields[**field].elements == Elements::Bool;
    labels.iter().filter(flags).copied().collect()
}

/// The parts of features: as they are named, or one for each pick.
pub(super) fn parts(
    given: &[FeaturePart],
    picks: &[Pick],
    fields: &[Field],
) -> std::result::Result<Vec<FeaturePart>, String> {
    let width = |field: &usize| fields[*field].shape.last().copied().unwrap_or(1);
    let size = |pick: &Pick| pick.fields.iter().map(width).sum::<usize>();
    let found: Vec<(&str, usize)> =
        picks.iter().map(|pick| (pick.name.as_str(), size(pick))).collect();
    let all: usize = found.iter().map(|(_, size)| size).sum();
    let parts = match given {
        [] => {
            let scalars = picks.iter().all(|pick| {
                pick.many || pick.fields.iter().all(|field| fields[*field].shape.is_empty())
            });
            match scalars {
                true => vec![FeaturePart { name: "features".into(), size: all }],
                false => found
                    .iter()
                    .map(|(name, size)| FeaturePart { name: name.to_string(), size: *size })
                    .collect(),
            }
        }
        given => given.to_vec(),
    };
    check_parts(&parts).map_err(|text| format!("--parts: {text}"))?;
    let sum: usize = parts.iter().map(|part| part.size).sum();
    if sum != all {
        return Err(format!("--parts: found {sum} features, the fields have {all}"));
    }
    // A part that is called as an array is that array.
    let mut at = 0;
    let places: Vec<(&str, usize, usize)> = found
        .iter()
        .map(|(name, size)| {
            at += size;
            (*name, at - size, *size)
        })
        .collect();
    let mut at = 0;
    for part in &parts {
        if let Some(place) = places.iter().find(|place| place.0 == part.name)
            && (place.1, place.2) != (at, part.size)
        {
            return Err(format!(
                "--parts: found {}:{} at feature {at}, the field has {} from {} on",
                part.name, part.size, place.2, place.1
            ));
        }
        at += part.size;
    }
    Ok(parts)
}

/// What cells of labels are, how labels are written and how many classes there are.
pub(super) fn forms(
    options: &TableOptions,
    (one_based, classes): (bool, Option<u32>),
    (picks, fields): (&[Pick], &[Field]),
    file: Option<PathBuf>,
) -> Result<(Form, Spelling)> {
    let names = match &options.names {
        Some(path) => Some(ClassNames::read(path).map_err(|text| at(path, text))?),
        None => None,
    };
    let own: Vec<&Field> =
        picks.iter().flat_map(|pick| &pick.fields).map(|at| &fields[*at]).collect();
    let text = own.iter().any(|field| field.elements.is_text());
    let several = own.len() > 1 || picks.iter().any(|pick| pick.many);
    // Lists of a length of their own are no vectors.
    let vector = |field: &&Field| field.elements == Elements::Bool || field.size() > 1;
    let flags = own.iter().any(vector);
    let width: usize = own.iter().map(|field| field.size()).sum();
    let form = match options.labels_as {
        _ if own.is_empty() => Form::None,
        Some(LabelsAs::MultiHot) => Form::MultiHot,
        None if several || flags => Form::MultiHot,
        _ if text => Form::Text,
        _ => Form::List,
    };
    let multi_hot = matches!(form, Form::MultiHot).then_some(width);
    let counts = [
        ("--classes", classes.map(|classes| classes as usize)),
        ("--names", names.as_ref().map(ClassNames::count)),
        ("labels", multi_hot),
    ];
    let known: Vec<(&str, usize)> =
        counts.iter().filter_map(|(name, count)| count.map(|count| (*name, count))).collect();
    let Some((first, classes)) = known.first().copied() else {
        let error = Error::usage("--classes: expected the number of classes, or --names FILE");
        return Err(error.hint("what one file's labels show may differ from another's"));
    };
    if let Some((name, count)) = known.iter().find(|(_, count)| *count != classes) {
        let text = format!("found {classes} classes by {first}, {count} by {name}");
        return Err(Error::usage(text).hint("arrays of lists of classes want --labels-as list"));
    }
    if multi_hot.is_some() && one_based {
        return Err(Error::usage("--one-based: labels of 0 and 1 for each class have no numbers"));
    }
    let spelling = Spelling { names, one_based, classes };
    let form = match file {
        Some(path) => {
            let file = LabelFile::read(&path, &spelling, options.unlabelled);
            Form::File(file.map_err(|text| at(&path, text))?)
        }
        None => form,
    };
    Ok((form, spelling))
}
