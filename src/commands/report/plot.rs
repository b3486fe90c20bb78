//! Plots as SVG: lines that bear their names at their ends, dots, and stretches that are shaded.

use std::fmt::Write;

use super::page::escape;

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 44.0;
/// Where lines have names, and where they have none.
const RIGHT: [f64; 2] = [92.0, 14.0];
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Between the names of two lines.
const LINE_HEIGHT: f64 = 14.0;
/// Colours and dashes of lines: they can be told apart in print without colours, too.
const STYLES: [(&str, &str); 8] = [
    ("#1f4e79", ""),
    ("#b3541e", "6 3"),
    ("#2f6b3a", "2 3"),
    ("#6b3d7a", "8 3 2 3"),
    ("#8a6d1b", ""),
    ("#177a82", "6 3"),
    ("#8c2f39", "2 3"),
    ("#555555", "8 3 2 3"),
];
/// Lines of so few points have each of them marked.
const MARKED_MAX: usize = 40;

/// A line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A stretch of the horizontal axis that is shaded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Band {
    pub(super) from: f64,
    pub(super) to: f64,
    /// What it is, which is the class of its style.
    pub(super) what: &'static str,
}

/// One axis.
#[derive(Clone, Default)]
pub(super) struct Axis {
    pub(super) label: String,
    /// What it spans, where that isn't what the data have.
    pub(super) range: Option<(f64, f64)>,
    /// By powers of ten.
    pub(super) logarithmic: bool,
}

/// A plot.
#[derive(Default)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) bands: Vec<Band>,
    pub(super) lines: Vec<Line>,
    pub(super) dots: Vec<(f64, f64)>,
    /// Whether a line shows where both are equal.
    pub(super) diagonal: bool,
}

/// An axis with what it spans, on the picture from one place to another.
struct Scale {
    from: f64,
    to: f64,
    places: (f64, f64),
    logarithmic: bool,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, places: (f64, f64)) -> Scale {
        let usable = |value: &f64| value.is_finite() && (!axis.logarithmic || *value > 0.0);
        let data = values
            .filter(usable)
            .fold(None, |range: Option<(f64, f64)>, value| {
                Some(range.map_or((value, value), |(a, b)| (a.min(value), b.max(value))))
            })
            .unwrap_or((0.0, 1.0));
        let (mut from, mut to) = axis.range.unwrap_or(data);
        if axis.logarithmic {
            (from, to) = (from.log10(), to.log10());
        }
        if to - from < 1e-9 * from.abs().max(1e-9) {
            let room = (0.1 * from.abs()).max(1e-3);
            (from, to) = (from - room, to + room);
        } else if axis.range.is_none() && !axis.logarithmic {
            let room = 0.04 * (to - from);
            to += room;
            from = if from >= 0.0 && from <= room { 0.0 } else { from - room };
        }
        Scale { from, to, places, logarithmic: axis.logarithmic }
    }

    fn at(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(1e-300).log10() } else { value };
        let share = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.places.0 + share * (self.places.1 - self.places.0)
    }

    /// Round values along the axis, and as they are written.
    fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            let powers = self.from.ceil() as i32..=self.to.floor() as i32;
            let powers = powers.map(|power| 10f64.powi(power));
            return powers.map(|value| (value, short(value))).collect();
        }
        let step = step(self.to - self.from);
        let first = (self.from / step - 1e-6).ceil() as i64;
        let last = (self.to / step + 1e-6).floor() as i64;
        let figures = (-step.log10() - 1e-9).ceil().max(0.0) as usize;
        let tick = |at: i64| (at as f64 * step, format!("{:.figures$}", at as f64 * step));
        (first..=last).map(tick).collect()
    }
}

/// A round step that cuts a span into about five.
fn step(span: f64) -> f64 {
    let power = 10f64.powf((span / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| span / step <= 6.0).unwrap_or(10.0 * power)
}

/// Powers of ten in few letters.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => format!("{value}"),
    }
}

/// A text at a place, whose style has this class.
fn text(to: &mut String, (x, y): (f64, f64), class: &str, text: &str) {
    let _ = write!(to, "<text x='{x:.1}' y='{y:.1}' class='{class}'>{}</text>", escape(text));
}

impl Plot {
    /// Where the axes end.
    fn right(&self) -> f64 {
        let named = self.lines.iter().any(|line| !line.name.is_empty());
        WIDTH - if named { RIGHT[0] } else { RIGHT[1] }
    }

    /// The plot, which scales to the width that it is given.
    pub(super) fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points).chain(&self.dots);
        let ends = self.bands.iter().flat_map(|band| [band.from, band.to]);
        let x = Scale::new(&self.x, all().map(|point| point.0).chain(ends), (LEFT, self.right()));
        let y = Scale::new(&self.y, all().map(|point| point.1), (HEIGHT - BOTTOM, TOP));
        let mut svg = format!(
            "<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{0}'><title>{0}</title>",
            escape(&self.title)
        );
        for band in &self.bands {
            let (from, to) = (x.at(band.from), x.at(band.to));
            let (width, height) = (to - from, HEIGHT - BOTTOM - TOP);
            let _ = write!(
                svg,
                "<rect x='{from:.1}' y='{TOP}' width='{width:.1}' height='{height}' \
                 class='band {}'/>",
                band.what
            );
        }
        self.put_axes(&mut svg, &x, &y);
        if self.diagonal {
            let (from, to) = (x.from.max(y.from), x.to.min(y.to));
            let ends = [x.at(from), y.at(from), x.at(to), y.at(to)].map(|at| format!("{at:.1}"));
            let [x1, y1, x2, y2] = ends;
            let _ = write!(svg, "<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' class='diagonal'/>");
        }
        for (across, up) in &self.dots {
            let (x, y) = (x.at(*across), y.at(*up));
            let _ = write!(svg, "<circle cx='{x:.1}' cy='{y:.1}' r='1.7' class='dot'/>");
        }
        self.put_lines(&mut svg, &x, &y);
        svg + "</svg>"
    }

    fn put_axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let (right, bottom) = (self.right(), HEIGHT - BOTTOM);
        for (value, label) in y.ticks() {
            let at = y.at(value);
            let _ = write!(
                svg,
                "<line x1='{LEFT}' y1='{at:.1}' x2='{right}' y2='{at:.1}' class='grid'/>"
            );
            text(svg, (LEFT - 6.0, at + 4.0), "tick end", &label);
        }
        for (value, label) in x.ticks() {
            let at = x.at(value);
            let to = bottom + 4.0;
            let _ = write!(
                svg,
                "<line x1='{at:.1}' y1='{bottom}' x2='{at:.1}' y2='{to}' class='axis'/>"
            );
            text(svg, (at, bottom + 17.0), "tick middle", &label);
        }
        let _ = write!(
            svg,
            "<line x1='{LEFT}' y1='{bottom}' x2='{right}' y2='{bottom}' class='axis'/>"
        );
        text(svg, ((LEFT + right) / 2.0, HEIGHT - 5.0), "label middle", &self.x.label);
        if !self.y.label.is_empty() {
            let at = format!("transform='rotate(-90)' x='{:.1}' y='9'", -(TOP + bottom) / 2.0);
            let label = escape(&self.y.label);
            let _ = write!(svg, "<text {at} class='label middle'>{label}</text>");
        }
    }

    /// Lines, and at their right ends their names, of which none lies on another.
    fn put_lines(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let mut names = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let (colour, dashes) = STYLES[index % STYLES.len()];
            let usable = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
            let points = line.points.iter().filter(usable);
            let points: Vec<(f64, f64)> = points.map(|(a, b)| (x.at(*a), y.at(*b))).collect();
            let Some(last) = points.last() else { continue };
            let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = write!(
                svg,
                "<polyline points='{}' stroke='{colour}' stroke-dasharray='{dashes}' \
                 class='line'/>",
                path.join(" ")
            );
            for (x, y) in points.iter().filter(|_| points.len() <= MARKED_MAX) {
                let _ = write!(svg, "<circle cx='{x:.1}' cy='{y:.1}' r='2' fill='{colour}'/>");
            }
            names.push((last.1, colour, line.name.as_str()));
        }
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut lowest = HEIGHT - BOTTOM + 4.0;
        let mut places: Vec<f64> = Vec::new();
        // From below up, and what then lies too high comes down from above.
        for (at, ..) in names.iter().rev() {
            let place = (at + 4.0).min(lowest);
            places.push(place);
            lowest = place - LINE_HEIGHT;
        }
        places.reverse();
        let mut highest = TOP + 4.0;
        for (place, (_, colour, name)) in places.iter().zip(&names) {
            let place = place.max(highest);
            highest = place + LINE_HEIGHT;
            let x = self.right() + 6.0;
            let name = escape(&shortened(name));
            let _ = write!(
                svg,
                "<text x='{x}' y='{place:.1}' class='name' fill='{colour}'>{name}</text>"
            );
        }
    }
}

/// A name that fits beside a plot.
fn shortened(name: &str) -> String {
    match name.chars().count() > 14 {
        true => name.chars().take(13).chain(['…']).collect(),
        false => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_few_round_ticks_within_what_they_span() {
        for span in [1e-4, 0.013, 0.9, 1.0, 7.0, 123.0, 5e6] {
            for from in [0.0, 0.3 * span, -span] {
                let axis = Axis { range: Some((from, from + span)), ..Axis::default() };
                let scale = Scale::new(&axis, std::iter::empty(), (0.0, 100.0));
                let ticks = scale.ticks();
                assert!((2..=8).contains(&ticks.len()), "{from} {span} {ticks:?}");
                assert!(ticks.iter().all(|tick| (0.0..=100.0).contains(&scale.at(tick.0))));
                let mut labels: Vec<&String> = ticks.iter().map(|tick| &tick.1).collect();
                labels.dedup();
                assert_eq!(labels.len(), ticks.len(), "{ticks:?}");
            }
        }
    }

    #[test]
    fn a_plot_of_nothing_one_point_or_no_numbers_is_a_plot() {
        for points in [vec![], vec![(1.0, 2.0)], vec![(f64::NAN, 1.0), (2.0, f64::INFINITY)]] {
            let lines = vec![Line { name: "<b>".into(), points }];
            let svg = Plot { lines, ..Plot::default() }.svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<b>"), "{svg}");
        }
    }
}
