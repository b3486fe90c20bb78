//! What the last validation has found of classes: precision and recall, calibration, the best and
//! the worst classes, and those of the head, the middle and the tail of the frequencies.

use super::page::{Cell, beside, escape, figure, table};
use super::plot::{Axis, Band, Line, Plot};
use crate::human::{count, counted};
use crate::report::{LastValidation, ValidatedClass, name_of_step};

/// Classes that are shown from each end.
const SHOWN: usize = 20;
/// Videos a class should have to be among the best and the worst: of fewer, chance decides.
const VIDEOS_MIN: u64 = 10;
/// Classes of the picture of frequencies.
const DOTS_MAX: usize = 2000;

/// A class with its number.
type Numbered<'a> = (usize, &'a ValidatedClass);

/// All of it.
pub(super) fn of(found: &LastValidation) -> String {
    let event = &found.event;
    let step = event["step"].as_str().unwrap_or_default();
    let name = name_of_step(step).unwrap_or(step);
    let mut when = if step == "pretrain" { name.to_string() } else { format!("the {name}") };
    if let Some(round) = event["round"].as_u64() {
        when += &format!(" of round {round}");
    }
    if let Some(epoch) = event["epoch"].as_u64() {
        when += &format!(", epoch {epoch}");
    }
    format!(
        "<h3>Scores of the last validation</h3>\n<p class='soft'>After {}, on {} and {}: not \
         always the model that is kept.</p>\n{}{}{}",
        escape(&when),
        counted(found.videos, "video"),
        match found.classes.len() {
            1 => "1 class".to_string(),
            count => format!("{count} classes"),
        },
        beside(&[precision_and_recall(found), calibration(found)]),
        frequencies(found),
        best_and_worst(found),
    )
}

fn precision_and_recall(found: &LastValidation) -> String {
    let all: u64 = found.classes.iter().map(ValidatedClass::positives).sum();
    let curve = &found.curve;
    let point = |(hits, predicted): (&u64, &u64)| {
        (*hits as f64 / all.max(1) as f64, *hits as f64 / (*predicted).max(1) as f64)
    };
    let points: Vec<_> = curve.hits.iter().zip(&curve.predicted).map(point).collect();
    let plot = Plot {
        title: "precision against recall".into(),
        x: Axis { label: "recall".into(), range: Some((0.0, 1.0)), ..Axis::default() },
        y: Axis { label: "precision".into(), range: Some((0.0, 1.0)), ..Axis::default() },
        lines: vec![Line { name: String::new(), points }],
        ..Plot::default()
    };
    figure(
        &plot.svg(),
        "Precision against recall over all pairs of a video and a class, as the threshold falls.",
    )
}

fn calibration(found: &LastValidation) -> String {
    let bins = found.calibration.iter().filter(|bin| bin.pairs > 0);
    let points =
        bins.filter_map(|bin| Some((bin.mean_score?, bin.positives as f64 / bin.pairs as f64)));
    let plot = Plot {
        title: "share of true labels against score".into(),
        x: Axis { label: "mean score".into(), range: Some((0.0, 1.0)), ..Axis::default() },
        y: Axis { label: "share that is true".into(), range: Some((0.0, 1.0)), ..Axis::default() },
        lines: vec![Line { name: String::new(), points: points.collect() }],
        diagonal: true,
        ..Plot::default()
    };
    figure(
        &plot.svg(),
        "Calibration: of scores in ten bins, the share that is true. On the dotted line scores are \
         probabilities.",
    )
}

/// Classes that some video has, the most frequent first.
fn by_frequency(found: &LastValidation) -> Vec<Numbered<'_>> {
    let classes = found.classes.iter().enumerate();
    let mut classes: Vec<Numbered> = classes.filter(|class| class.1.positives() > 0).collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.1.positives()));
    classes
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

/// The thirds of classes by frequency, as a table and as a picture.
fn frequencies(found: &LastValidation) -> String {
    let classes = by_frequency(found);
    if classes.len() < 3 {
        return String::new();
    }
    let all: u64 = classes.iter().map(|class| class.1.positives()).sum();
    let third = |part: usize| &classes[part * classes.len() / 3..(part + 1) * classes.len() / 3];
    let row = |(part, name): (usize, &str)| {
        let own = third(part);
        let labels: u64 = own.iter().map(|class| class.1.positives()).sum();
        let (most, least) = (own[0].1.positives(), own[own.len() - 1].1.positives());
        let of = |figure: fn(&ValidatedClass) -> Option<f64>| {
            Cell::share(mean(own.iter().filter_map(|class| figure(class.1))))
        };
        vec![
            Cell::text(name),
            Cell::Number(own.len().to_string()),
            Cell::Number(format!("{least} to {most}")),
            Cell::Number(format!("{:.0} %", 100.0 * labels as f64 / all as f64)),
            of(ValidatedClass::average_precision),
            of(ValidatedClass::precision),
            of(ValidatedClass::recall),
        ]
    };
    let rows: Vec<Vec<Cell>> =
        ["head", "middle", "tail"].into_iter().enumerate().map(row).collect();
    let threshold = found.threshold;
    let precision = format!("precision at {threshold}");
    let recall = format!("recall at {threshold}");
    let head =
        ["", "classes", "videos each", "of labels", "mean AP", precision.as_str(), recall.as_str()];
    let without = found.classes.len() - classes.len();
    let without = match without {
        0 => String::new(),
        count => format!(" {count} more have none here."),
    };
    format!(
        "<h3>Frequent and rare classes</h3>\n<p class='soft'>Thirds of the {} classes that the \
         validation videos have, by how many have them.{without}</p>\n{}{}",
        classes.len(),
        table(&head, &rows),
        beside(&[picture(&classes)])
    )
}

/// Average precision of classes against their videos.
fn picture(classes: &[Numbered]) -> String {
    let every = classes.len().div_ceil(DOTS_MAX);
    let shown = classes.iter().step_by(every);
    let dots =
        shown.filter_map(|(_, class)| Some((class.positives() as f64, class.average_precision()?)));
    let end = |at: usize| classes[at.min(classes.len() - 1)].1.positives() as f64;
    let (first, second) = (classes.len() / 3, 2 * classes.len() / 3);
    let ends = [end(classes.len() - 1), end(second), end(first), end(0)];
    let names = ["tail", "middle", "head"];
    let band = |(at, what): (usize, &'static str)| Band { from: ends[at], to: ends[at + 1], what };
    let plot = Plot {
        title: "average precision of classes against their videos".into(),
        x: Axis { label: "videos that have the class".into(), logarithmic: true, range: None },
        y: Axis { label: "average precision".into(), range: Some((0.0, 1.0)), ..Axis::default() },
        bands: names.into_iter().enumerate().map(band).collect(),
        dots: dots.collect(),
        ..Plot::default()
    };
    let which = match every {
        1 => "A dot for each class".to_string(),
        every => format!("A dot for one of {every} classes"),
    };
    figure(&plot.svg(), &format!("{which}; shaded are tail, middle and head."))
}

fn best_and_worst(found: &LastValidation) -> String {
    let some = by_frequency(found);
    let measured = |class: &&Numbered| class.1.average_precision().is_some();
    let often = some.iter().filter(|class| class.1.positives() >= VIDEOS_MIN);
    let enough = often.clone().filter(measured).count() >= 2 * SHOWN;
    let mut classes: Vec<Numbered> = match enough {
        true => often.filter(measured).copied().collect(),
        false => some.iter().filter(measured).copied().collect(),
    };
    if classes.is_empty() {
        return String::new();
    }
    // The more frequent one first where two are as good.
    let precision = |class: &Numbered| class.1.average_precision().unwrap_or(0.0);
    classes.sort_by(|a, b| precision(b).total_cmp(&precision(a)));
    // Few are one list, in which none stands twice.
    if classes.len() <= SHOWN {
        let all = listed(&classes);
        let of = "Those that some validation video has.";
        let head = format!("<h3>The classes, the best first</h3>\n<p class='soft'>{of}</p>\n");
        return head + &all;
    }
    let shown = SHOWN.min(classes.len() / 2);
    let best = listed(&classes[..shown]);
    let worst: Vec<Numbered> = classes.iter().rev().take(shown).copied().collect();
    let of = match enough {
        true => format!("Of classes that at least {VIDEOS_MIN} validation videos have."),
        false => "Of classes that some validation video has.".to_string(),
    };
    format!(
        "<div class='pair'>\n<div><h3>The {shown} best classes</h3>\n<p class='soft'>{of}</p>\n\
         {best}</div>\n<div><h3>The {shown} worst classes</h3>\n<p class='soft'>{of}</p>\n{}\
         </div>\n</div>\n",
        listed(&worst)
    )
}

fn listed(classes: &[Numbered]) -> String {
    let row = |(number, class): &Numbered| {
        let name = match class.0.is_empty() {
            true => format!("class {number}"),
            false => class.0.clone(),
        };
        vec![
            Cell::text(name),
            Cell::Number(count(class.positives() as f64)),
            Cell::share(class.average_precision()),
            Cell::share(class.precision()),
            Cell::share(class.recall()),
        ]
    };
    let rows: Vec<Vec<Cell>> = classes.iter().map(row).collect();
    table(&["class", "videos", "AP", "precision", "recall"], &rows)
}
