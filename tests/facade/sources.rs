//! The sources as syntax, and where in them that stands which has a name somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use syn::{Item, Macro, UseTree};

use super::root;

/// A module's file, as syntax.
pub struct Source {
    pub path: PathBuf,
    pub items: Vec<Item>,
}

fn parse(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap();
    let items = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())).items;
    Source { path, items }
}

fn all_sources(folder: &Path, found: &mut Vec<Source>) {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        match path.extension() {
            _ if path.is_dir() => all_sources(&path, found),
            Some(extension) if extension == "rs" => found.push(parse(path)),
            _ => {}
        }
    }
}

/// The leaves of a `use`: what each is called there, and its whole path.
pub fn leaves(tree: &UseTree, before: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let with = |name: &dyn ToString| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), found),
        UseTree::Name(name) => found.push((name.ident.to_string(), with(&name.ident))),
        UseTree::Rename(rename) => found.push((rename.rename.to_string(), with(&rename.ident))),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
        UseTree::Glob(_) => {}
    }
}

/// What a file has `use`d: names and paths.
fn used(source: &Source) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for item in &source.items {
        if let Item::Use(item) = item {
            leaves(&item.tree, &[], &mut found);
        }
    }
    found
}

pub fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Struct(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Const(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        _ => return None,
    };
    Some(name.to_string())
}

pub struct Crate {
    pub sources: Vec<Source>,
}

/// Where an item is: number of the source, and its name there.
pub type Place = (usize, String);

impl Crate {
    pub fn read() -> Crate {
        let mut sources = Vec::new();
        all_sources(&root().join("src"), &mut sources);
        Crate { sources }
    }

    pub fn at(&self, path: &Path) -> Option<usize> {
        self.sources.iter().position(|source| source.path == path)
    }

    /// The file of the module `name` in `folder`.
    fn module(&self, folder: &Path, name: &str) -> Option<usize> {
        let file = self.at(&folder.join(format!("{name}.rs")));
        file.or_else(|| self.at(&folder.join(name).join("mod.rs")))
    }

    /// The folder of the modules within that of this source.
    fn inner(&self, source: usize) -> PathBuf {
        let path = &self.sources[source].path;
        match path.file_name().unwrap().to_str().unwrap() {
            "mod.rs" | "lib.rs" => path.parent().unwrap().to_path_buf(),
            _ => path.with_extension(""),
        }
    }

    /// Where that which is called `name` in this source is defined.
    pub fn resolve(&self, source: usize, name: &str) -> Option<Place> {
        let items = &self.sources[source].items;
        if items.iter().any(|item| name_of(item).as_deref() == Some(name)) {
            return Some((source, name.into()));
        }
        let used = used(&self.sources[source]);
        if let Some((_, path)) = used.iter().find(|(called, _)| called == name) {
            return self.follow(source, path);
        }
        self.made(source, name).map(|_| (source, name.into()))
    }

    pub fn follow(&self, from: usize, path: &[String]) -> Option<Place> {
        let (name, modules) = path.split_last()?;
        let mut source = from;
        for (index, module) in modules.iter().enumerate() {
            let folder = match module.as_str() {
                "self" => continue,
                "crate" => {
                    source = self.at(&root().join("src/lib.rs"))?;
                    continue;
                }
                "super" => {
                    let above = self.inner(source).parent()?.to_path_buf();
                    let is_crate = above == root().join("src");
                    let file = if is_crate { "lib.rs" } else { "mod.rs" };
                    source = self
                        .at(&above.join(file))
                        .or_else(|| self.at(&above.with_extension("rs")))?;
                    continue;
                }
                _ if index > 0 || self.module(&self.inner(source), module).is_some() => {
                    self.inner(source)
                }
                _ => return None,
            };
            source = self.module(&folder, module)?;
        }
        self.resolve(source, name)
    }

    /// The macro that makes `name` in this source, if one does: it is given the name, or the
    /// macro's own text has it.
    pub fn made(&self, source: usize, name: &str) -> Option<&Macro> {
        let calls = self.sources[source].items.iter().filter_map(|item| match item {
            Item::Macro(item) if item.ident.is_none() => Some(&item.mac),
            _ => None,
        });
        let has = |text: &str, word: &str| {
            text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|other| other == word)
        };
        let mut calls: Vec<&Macro> = calls.collect();
        let given = calls.iter().position(|call| has(&call.tokens.to_string(), name));
        let by_text = || {
            calls.iter().position(|call| {
                let called = &call.path.segments.last().unwrap().ident;
                self.sources.iter().flat_map(|source| &source.items).any(|item| match item {
                    Item::Macro(item) if item.ident.as_ref() == Some(called) => {
                        let text = item.mac.tokens.to_string();
                        ["struct", "enum"]
                            .iter()
                            .any(|kind| text.contains(&format!("pub {kind} {name} ")))
                    }
                    _ => false,
                })
            })
        };
        let at = given.or_else(by_text)?;
        Some(calls.swap_remove(at))
    }
}
