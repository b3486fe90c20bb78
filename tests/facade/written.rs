//! Pieces of syntax on a line each, as Rust is written.

use quote::ToTokens;
use syn::{Attribute, Macro, Visibility};

pub fn is_hidden(attributes: &[Attribute]) -> bool {
    let hides = |attribute: &Attribute| {
        attribute.path().is_ident("doc")
            && attribute.to_token_stream().to_string().contains("hidden")
    };
    attributes.iter().any(hides)
}

pub fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.to_token_stream().to_string() == "# [cfg (test)]"
    })
}

pub fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Tokens as Rust is written, on one line.
pub fn written(tokens: impl ToTokens) -> String {
    tidied(&tokens.to_token_stream().to_string())
}

fn tidied(text: &str) -> String {
    let mut text = text.replace('\n', " ");
    let tight = [
        (" :: ", "::"),
        (":: ", "::"),
        (" ::", "::"),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        (" ,", ","),
        (" ;", ";"),
        (" :", ":"),
        ("& ", "&"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        ("# [", "#["),
        ("[ ", "["),
        (" ]", "]"),
        (" ! {", "! {"),
        (",)", ")"),
        (",>", ">"),
        (" .. ", ".."),
        (",(", ", ("),
        ("->(", "-> ("),
        ("+(", "+ ("),
        (":(", ": ("),
        ("=[", "= ["),
        ("  ", " "),
    ];
    for (loose, close) in tight {
        text = text.replace(loose, close);
    }
    text
}

/// ` (Clone, Debug)`
pub fn derived(attributes: &[Attribute]) -> String {
    let derives = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let lists: Vec<String> =
        derives.map(|one| written(&one.meta.require_list().unwrap().tokens)).collect();
    if lists.is_empty() { String::new() } else { format!(" ({})", lists.join(", ")) }
}

/// The entries of a macro, a line each, without their documentation.
pub fn entries(call: &Macro, lines: &mut Vec<String>) {
    let called = written(&call.path);
    let text = tidied(&without_documentation(&call.tokens.to_string()));
    let mut entry = String::new();
    for (depth, word) in deep(&text) {
        entry.push(word);
        let ends = depth == 0 && (word == ',' || word == '}') || depth == 1 && word == ';';
        if ends || depth == 1 && word == '{' {
            lines.push(format!("{called}! {}", entry.trim()));
            entry.clear();
        }
    }
    assert!(entry.trim().is_empty(), "{called}!: {entry}");
}

/// Each character, and within how many braces the text is after it.
fn deep(text: &str) -> impl Iterator<Item = (usize, char)> {
    text.chars().scan(0, |depth, word| {
        match word {
            '{' | '(' | '[' => *depth += 1,
            '}' | ')' | ']' => *depth -= 1,
            _ => {}
        }
        Some((*depth, word))
    })
}

fn without_documentation(text: &str) -> String {
    let (mut kept, mut rest) = (String::new(), text);
    // Comments reach a macro as attributes.
    while let Some((before, after)) = rest.split_once("# [doc = \"") {
        let ends = |(at, _): &(usize, &str)| !after[..*at].ends_with('\\');
        let end = after.match_indices("\"]").find(ends).expect("documentation ends").0;
        kept.push_str(before);
        rest = &after[end + 2..];
    }
    kept + rest
}
