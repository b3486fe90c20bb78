//! A study as a picture: speedup and efficiency against ranks, beside what is ideal and what was
//! planned. One SVG without anything outside it.

use super::Kind;
use super::sizes::Size;
use super::written::heading;
use crate::commands::report::page::escape;

/// Of a panel's frame, in pixels, and where the first one lies.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 70.0;
/// From one panel to the next.
const APART: f64 = 460.0;
/// Characters of the heading that fit.
const HEADING_MAX: usize = 120;

/// A panel: ranks from left to right, by their logarithm, and values from bottom to top.
struct Panel {
    left: f64,
    /// Logarithms to base 2 at both ends.
    ranks: (f64, f64),
    values: (f64, f64),
    /// Whether values are drawn by their logarithms.
    by_logarithm: bool,
}

impl Panel {
    fn x(&self, ranks: usize) -> f64 {
        let (from, to) = self.ranks;
        self.left + WIDTH * ((ranks as f64).log2() - from) / (to - from)
    }

    fn y(&self, value: f64) -> f64 {
        let (from, to) = self.values;
        let value = if self.by_logarithm { value.log2() } else { value };
        TOP + HEIGHT * (1.0 - ((value - from) / (to - from)).clamp(0.0, 1.0))
    }

    /// A curve through these points.
    fn curve(&self, points: &[(usize, f64)], style: &str) -> String {
        let point =
            |(ranks, value): &(usize, f64)| format!("{:.1},{:.1}", self.x(*ranks), self.y(*value));
        let points: Vec<String> = points.iter().map(point).collect();
        format!("<polyline points=\"{}\" fill=\"none\" {style}/>\n", points.join(" "))
    }

    fn frame(&self, title: &str, sizes: &[Size], ticks: &[(f64, String)]) -> String {
        let (left, bottom) = (self.left, TOP + HEIGHT);
        let mut text = format!(
            "<rect x=\"{left}\" y=\"{TOP}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" \
             stroke=\"#888\"/>\n<text x=\"{left}\" y=\"{}\">{title}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">ranks</text>\n",
            TOP - 10.0,
            left + WIDTH / 2.0,
            bottom + 38.0
        );
        for size in sizes {
            let x = self.x(size.ranks);
            text += &format!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                bottom + 18.0,
                size.ranks
            );
        }
        for (value, label) in ticks {
            let y = self.y(*value);
            text += &format!(
                "<line x1=\"{left}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
                left + WIDTH,
                left - 6.0,
                y + 4.0
            );
        }
        text
    }

    /// What was measured, with the spread.
    fn measured(&self, sizes: &[Size], of: impl Fn(&Size, f64) -> f64) -> String {
        let middle = |size: &Size| (size.ranks, of(size, size.whole.efficiency));
        let points: Vec<(usize, f64)> = sizes.iter().map(middle).collect();
        let mut text = self.curve(&points, "stroke=\"#0a58a6\" stroke-width=\"2\"");
        for size in sizes {
            let x = self.x(size.ranks);
            let [low, high] = [size.whole.efficiency_min, size.whole.efficiency_max]
                .map(|efficiency| self.y(of(size, efficiency)));
            let y = self.y(of(size, size.whole.efficiency));
            text += &format!(
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{low:.1}\" y2=\"{high:.1}\" \
                 stroke=\"#0a58a6\"/>\n<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" \
                 fill=\"#0a58a6\"/>\n"
            );
        }
        text
    }
}

const IDEAL: &str = "stroke=\"#888\" stroke-dasharray=\"6 4\"";
const PLANNED: &str = "stroke=\"#b35900\" stroke-dasharray=\"2 3\" stroke-width=\"2\"";

/// The picture; without a size only its heading.
pub(super) fn svg(kind: Kind, sizes: &[Size], reasons: &[String]) -> String {
    let heading: String = heading(kind, reasons).chars().take(HEADING_MAX).collect();
    let (width, height) = (LEFT + APART + WIDTH + 20.0, TOP + HEIGHT + 80.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"30\" font-size=\"14\">{}</text>\n",
        escape(&heading)
    );
    if !sizes.is_empty() {
        text += &panels(sizes);
        text += &legend(height);
    }
    text + "</svg>\n"
}

fn panels(sizes: &[Size]) -> String {
    let counts: Vec<usize> = sizes.iter().map(|size| size.ranks).collect();
    let (first, last) = (counts[0], counts[counts.len() - 1]);
    let ends = ((first as f64).log2() - 0.25, (last as f64).log2() + 0.25);
    let planned = |of: &dyn Fn(&Size, f64) -> f64| {
        let point = |size: &Size| Some((size.ranks, of(size, size.planned_speedup?)));
        sizes.iter().filter_map(point).collect::<Vec<_>>()
    };
    let speedup = Panel { left: LEFT, ranks: ends, values: ends, by_logarithm: true };
    let ticks: Vec<(f64, String)> =
        counts.iter().map(|ranks| (*ranks as f64, ranks.to_string())).collect();
    let ideal: Vec<(usize, f64)> = counts.iter().map(|ranks| (*ranks, *ranks as f64)).collect();
    let mut text = speedup.frame("speedup", sizes, &ticks);
    text += &speedup.curve(&ideal, IDEAL);
    text += &speedup.curve(&planned(&|_, speedup| speedup), PLANNED);
    text += &speedup.measured(sizes, |size, efficiency| efficiency * size.ranks as f64);

    let highest = sizes.iter().map(|size| size.whole.efficiency_max).fold(1.0, f64::max);
    let values = (0.0, (highest * 1.05).min(2.0));
    let efficiency = Panel { left: LEFT + APART, ranks: ends, values, by_logarithm: false };
    let ticks = [0.0, 0.25, 0.5, 0.75, 1.0];
    let ticks = ticks.map(|share| (share, format!("{:.0} %", 100.0 * share)));
    text += &efficiency.frame("efficiency", sizes, &ticks);
    text += &efficiency.curve(&[(first, 1.0), (last, 1.0)], IDEAL);
    text += &efficiency.curve(&planned(&|size, speedup| speedup / size.ranks as f64), PLANNED);
    text + &efficiency.measured(sizes, |_, efficiency| efficiency)
}

fn legend(height: f64) -> String {
    let all = [
        ("measured: median, and the spread of the runs", "stroke=\"#0a58a6\" stroke-width=\"2\""),
        ("ideal", IDEAL),
        ("planned", PLANNED),
    ];
    let mut left = LEFT;
    let mut text = String::new();
    for (name, style) in all {
        let y = height - 16.0;
        text += &format!(
            "<line x1=\"{left}\" x2=\"{:.1}\" y1=\"{y}\" y2=\"{y}\" {style}/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{name}</text>\n",
            left + 30.0,
            left + 36.0,
            y + 4.0
        );
        left += 60.0 + 7.0 * name.len() as f64;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::row::Row;
    use super::super::sizes::sizes;
    use super::*;

    #[test]
    fn twice_as_fast_lies_on_the_ideal_line() {
        let row = |ranks: usize| Row {
            ranks,
            repeat: 1,
            seconds: Some(80.0 / ranks as f64),
            ..Row::default()
        };
        let found = sizes(Kind::Strong, &[row(1), row(2), row(4)], &[(1, 8.0), (2, 5.0), (4, 3.0)]);
        let text = svg(Kind::Strong, &found, &["a < b".into()]);
        let curves: Vec<&str> = text.lines().filter(|line| line.starts_with("<polyline")).collect();
        assert_eq!(curves.len(), 6, "{text}");
        let points = |line: &str| line.split('"').nth(1).unwrap().to_string();
        assert_eq!(points(curves[0]), points(curves[2]), "ideal and measured speedup");
        assert_ne!(points(curves[1]), points(curves[2]), "planned");
        assert!(text.contains("strong scaling, INVALID: a &lt; b"), "{text}");
        assert!(svg(Kind::Weak, &[], &[]).contains("weak scaling, VALID"));
    }
}
