//! The page: one file with its style and its pictures, without scripts and without anything from
//! elsewhere.

use crate::human::{in_a_line, in_lines};

/// How a page begins, by which it is known again.
pub(super) const BEGINS: &str = "<!DOCTYPE html>\n<!-- reelscale report -->\n";
const STYLE: &str = include_str!("style.css");

/// A text of others, which may be anything, as a page can have it.
pub(crate) fn escape(text: &str) -> String {
    marked(&in_a_line(text))
}

/// Words as a sentence, of ASCII at its beginning, not yet as a page can have it.
pub(super) fn sentence(words: &str) -> String {
    let (first, rest) = words.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}

/// The same of several lines.
pub(super) fn escape_lines(text: &str) -> String {
    marked(&in_lines(text))
}

fn marked(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A page with this title and body, which is safe already.
pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "{BEGINS}<html lang='en'>\n<head>\n<meta charset='utf-8'>\n\
         <meta name='viewport' content='width=device-width, initial-scale=1'>\n\
         <meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(title)
    )
}

/// What a cell of a table holds.
pub(super) enum Cell {
    Text(String),
    Number(String),
    /// A bar of so many percent of its column's width.
    Bar(f64),
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    /// A number of three decimals; a dash where it isn't known.
    pub(super) fn share(value: Option<f64>) -> Cell {
        Cell::Number(value.map_or("–".into(), |value| format!("{value:.3}")))
    }
}

/// A table, which scrolls by itself where the page is too narrow for it.
pub(super) fn table(head: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut text = String::from("<div class='wide'><table>\n<tr>");
    for (at, name) in head.iter().enumerate() {
        let number = rows.first().is_some_and(|row| matches!(row.get(at), Some(Cell::Number(_))));
        let class = if number { " class='number'" } else { "" };
        text += &format!("<th{class}>{}</th>", escape(name));
    }
    text += "</tr>\n";
    for row in rows {
        text += "<tr>";
        for cell in row {
            text += &match cell {
                Cell::Text(text) => format!("<td class='text'>{}</td>", escape(text)),
                Cell::Number(text) => format!("<td class='number'>{}</td>", escape(text)),
                Cell::Bar(percent) => {
                    let width = 9.0 * percent.clamp(0.0, 100.0) / 100.0;
                    format!("<td><span class='bar' style='width:{width:.2}rem'></span></td>")
                }
            };
        }
        text += "</tr>\n";
    }
    text + "</table></div>\n"
}

/// A picture with what it shows in words, which are safe already.
pub(super) fn figure(svg: &str, caption: &str) -> String {
    format!("<figure>{svg}<figcaption>{caption}</figcaption></figure>\n")
}

/// Pictures beside each other where there is room.
pub(super) fn beside(figures: &[String]) -> String {
    format!("<div class='pair'>\n{}</div>\n", figures.concat())
}

/// Names and what they are.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let fact = |(name, value): &(&str, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value))
    };
    format!("<dl class='facts'>\n{}</dl>\n", facts.iter().map(fact).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_is_taken_for_the_page() {
        let odd = "</title><script>alert('1')</script>&\u{1b}[2J\u{202e}";
        let rows = [vec![Cell::text(odd)]];
        let body = table(&[odd], &rows) + &facts(&[("it's", odd.into())]);
        let page = page(odd, &body);
        assert!(!page.contains("<script") && !page.contains('\u{1b}') && page.contains("&amp;"));
        assert!(!page.contains('\u{202e}') && page.starts_with(BEGINS));
    }
}
