//! docs/api.txt lists what the library offers: every item that the crate root has outside
//! `internals`, with its fields, variants and methods, less what is `#[doc(hidden)]`. A change of
//! it is seen in review and is in the list of the same commit.
//!
//! Sources are read, not compiled. What a macro makes can't be seen so: of such an item the list
//! has the entries that the macro is given (of `Job` every key with type, default and range), and
//! methods that the macro adds are hidden in it.

mod sources;
mod written;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use syn::{Item, Macro, Type};

use sources::{Crate, Place, leaves, name_of};
use written::{derived, entries, is_hidden, is_of_tests, is_public, written};

/// Renews the list where it is set.
const RENEW: &str = "REELSCALE_RENEW_API";

const HEAD: &str = "\
# What the library offers (tests/facade): a line for each item of the crate root, field, variant
# and method. Of what macros make it has the entries that they are given.";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Crate {
    /// The lines of the item that the crate root calls `name`.
    fn lines(&self, name: &str, (source, own): &Place, lines: &mut Vec<String>) {
        let item =
            self.sources[*source].items.iter().find(|item| name_of(item).as_ref() == Some(own));
        let Some(item) = item else {
            let made = self.made(*source, own).expect("an item, or what a macro makes");
            lines.push(format!("{name}: of {}!", written(&made.path)));
            self.methods(name, &(*source, own.clone()), lines);
            return;
        };
        match item {
            Item::Struct(item) => {
                let kind = format!("struct {name}{}", written(&item.generics));
                lines.push(format!("{kind}{}", derived(&item.attrs)));
                let mut closed = false;
                for (index, field) in item.fields.iter().enumerate() {
                    let called = field.ident.as_ref().map_or(index.to_string(), |i| i.to_string());
                    if is_public(&field.vis) && !is_hidden(&field.attrs) {
                        lines.push(format!("{name}.{called}: {}", written(&field.ty)));
                    } else {
                        closed = true;
                    }
                }
                if closed {
                    lines.push(format!("{name}: other fields"));
                }
            }
            Item::Enum(item) => {
                let kind = format!("enum {name}{}", written(&item.generics));
                lines.push(format!("{kind}{}", derived(&item.attrs)));
                for variant in item.variants.iter().filter(|one| !is_hidden(&one.attrs)) {
                    let mut variant = variant.clone();
                    variant.attrs.clear();
                    variant.fields.iter_mut().for_each(|field| field.attrs.clear());
                    lines.push(format!("{name}::{}", written(&variant)));
                }
            }
            Item::Fn(item) => lines.push(written(&item.sig)),
            Item::Const(item) => lines.push(format!("const {name}: {}", written(&item.ty))),
            Item::Type(item) => {
                let (generics, of) = (written(&item.generics), written(&item.ty));
                lines.push(format!("type {name}{generics} = {of}"));
            }
            Item::Trait(item) => {
                lines.push(format!("trait {name}{}", written(&item.generics)));
                for one in &item.items {
                    if let syn::TraitItem::Fn(method) = one {
                        lines.push(format!("{name}::{}", written(&method.sig)));
                    }
                }
            }
            _ => unreachable!("`name_of` names no others"),
        }
        self.methods(name, &(*source, own.clone()), lines);
    }

    /// Methods and traits of the type at `place`, wherever they are written.
    fn methods(&self, name: &str, place: &Place, lines: &mut Vec<String>) {
        let mut found = BTreeSet::new();
        for (number, source) in self.sources.iter().enumerate() {
            for item in &source.items {
                let Item::Impl(item) = item else { continue };
                let Type::Path(of) = &*item.self_ty else { continue };
                let Some(called) = of.path.segments.last() else { continue };
                let here = self.resolve(number, &called.ident.to_string());
                if here.as_ref() != Some(place)
                    || is_hidden(&item.attrs)
                    || is_of_tests(&item.attrs)
                {
                    continue;
                }
                if let Some((_, of, _)) = &item.trait_ {
                    let internal = of.segments.len() == 1
                        && self.resolve(number, &of.segments[0].ident.to_string()).is_some();
                    if !internal {
                        found.insert(format!("{name}: {}", written(of)));
                    }
                    continue;
                }
                for one in &item.items {
                    match one {
                        syn::ImplItem::Fn(method)
                            if is_public(&method.vis) && !is_hidden(&method.attrs) =>
                        {
                            found.insert(format!("{name}::{}", written(&method.sig)));
                        }
                        syn::ImplItem::Const(constant)
                            if is_public(&constant.vis) && !is_hidden(&constant.attrs) =>
                        {
                            let of = written(&constant.ty);
                            found.insert(format!("{name}::const {}: {of}", constant.ident));
                        }
                        _ => {}
                    }
                }
            }
        }
        lines.extend(found);
    }
}

/// The whole list.
fn listed() -> String {
    let all = Crate::read();
    let lib = all.at(&root().join("src/lib.rs")).unwrap();
    let mut names: Vec<(String, Place)> = Vec::new();
    for item in &all.sources[lib].items {
        match item {
            Item::Use(item) if is_public(&item.vis) && !is_hidden(&item.attrs) => {
                let mut found = Vec::new();
                leaves(&item.tree, &[], &mut found);
                for (name, path) in found {
                    let place = all.follow(lib, &path);
                    names.push((
                        name.clone(),
                        place.unwrap_or_else(|| panic!("{name} isn't found")),
                    ));
                }
            }
            Item::Fn(item) if is_public(&item.vis) && !is_hidden(&item.attrs) => {
                let name = item.sig.ident.to_string();
                names.push((name.clone(), (lib, name)));
            }
            Item::Mod(item) if is_public(&item.vis) => {
                assert!(is_hidden(&item.attrs), "{}: not yet listed", item.ident);
            }
            Item::Use(_) | Item::Fn(_) | Item::Mod(_) => {}
            other => panic!("not yet listed: {}", written(other)),
        }
    }
    names.sort();
    let (mut lines, mut made) = (vec![HEAD.to_string()], Vec::new());
    for (name, place) in &names {
        lines.push(String::new());
        all.lines(name, place, &mut lines);
        let is_made =
            !all.sources[place.0].items.iter().any(|i| name_of(i).as_ref() == Some(&place.1));
        if is_made {
            let call = all.made(place.0, &place.1).unwrap();
            if !made.iter().any(|other: &&Macro| std::ptr::eq(*other, call)) {
                made.push(call);
            }
        }
    }
    for call in made {
        lines.push(String::new());
        entries(call, &mut lines);
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_list_of_what_the_library_offers_is_true() {
    let (path, now) = (root().join("docs/api.txt"), listed());
    if std::env::var_os(RENEW).is_some() {
        fs::write(&path, &now).unwrap();
    }
    let then = fs::read_to_string(&path).unwrap_or_default();
    let missing = |of: &str, from: &str, sign| {
        let from: Vec<&str> = from.lines().collect();
        let lines = of.lines().filter(|line| !from.contains(line));
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    let differ = missing(&then, &now, '-') + &missing(&now, &then, '+');
    assert!(
        then == now,
        "docs/api.txt (-) isn't what the sources offer (+):\n{differ}Where that is meant:\n  \
         {RENEW}=1 cargo test --test facade"
    );
}
