//! Numbers as people read them, and texts of others as lines can show them.

/// Whether a terminal takes it for a command, or shows what stands beside it in another order.
fn is_unseen(letter: char) -> bool {
    let order = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || order || matches!(letter, '\u{2028}' | '\u{2029}')
}

/// A line of JSON, in whose strings what is unseen is escaped as JSON has it.
pub(crate) fn json_line(value: &serde_json::Value) -> String {
    let mut line = String::new();
    for letter in value.to_string().chars() {
        match is_unseen(letter) {
            true => line += &format!("\\u{:04x}", letter as u32),
            false => line.push(letter),
        }
    }
    line + "\n"
}

fn with_escapes(text: &str, stays: fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_unseen(letter) && !stays(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

/// A text that may hold what anybody has named, as one line: control characters as escapes.
pub(crate) fn in_a_line(text: &str) -> String {
    with_escapes(text, |_| false)
}

/// Lines of such a text.
pub(crate) fn in_lines(text: &str) -> String {
    with_escapes(text, |letter| letter == '\n')
}

/// A count with at most three figures: 41.2k.
pub(crate) fn count(number: f64) -> String {
    let units = ["", "k", "M", "G", "T"];
    let mut scaled = number;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    match scaled {
        _ if unit == 0 && scaled.fract() == 0.0 => format!("{scaled:.0}"),
        scaled if scaled < 9.995 => format!("{scaled:.2}{}", units[unit]),
        scaled if scaled < 99.95 => format!("{scaled:.1}{}", units[unit]),
        scaled => format!("{scaled:.0}{}", units[unit]),
    }
}

/// How many there are: `1 shard`, `2 shards`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Bytes in binary units: 1.27 GiB.
pub(crate) fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = number as f64;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{scaled:.2} {}", units[unit]) }
}

/// Hours, minutes and seconds: 0:12:40.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

/// Bytes as hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_cursor_is_shown() {
        let text = "a\u{1b}[31m\r\nb\t\u{7f}\u{9b}\u{202e}é";
        let value = serde_json::json!({ text: text });
        let line = json_line(&value);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        assert!(in_lines(&line) == line && line.contains("\\u202eé"), "{line}");
        assert_eq!(in_a_line(text), "a\\u{1b}[31m\\r\\nb\\t\\u{7f}\\u{9b}\\u{202e}é");
        assert_eq!(in_lines("a\nb\r"), "a\nb\\r");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0.0, 7.0, 41_234.0, 999_900.0, 1.5e9].map(count),
            ["0", "7", "41.2k", "1.00M", "1.50G"]
        );
        assert_eq!([0, 1, 2].map(|number| counted(number, "row")), ["0 rows", "1 row", "2 rows"]);
        assert_eq!([12, 1536, 1_363_148_800].map(bytes), ["12 B", "1.50 KiB", "1.27 GiB"]);
        assert_eq!([0.4, 760.0, 36_000.0].map(duration), ["0:00:00", "0:12:40", "10:00:00"]);
    }
}
