//! No call from safe code drives the kernels or the model into undefined behaviour: every public
//! function of `kernel/` and `model/` is called with arguments that don't fit, thousands of times.
//! It may answer or panic; the process stays.

#![forbid(unsafe_code)]

#[path = "hostile_calls/draws.rs"]
mod draws;
#[path = "hostile_calls/kernels.rs"]
mod kernels;
#[path = "hostile_calls/mixtures.rs"]
mod mixtures;
#[path = "hostile_calls/models.rs"]
mod models;
#[path = "hostile_calls/texts.rs"]
mod texts;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;

use draws::Draws;

thread_local! {
    /// What the last panic said.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Calls of each function: how many were answered, how many refused.
#[derive(Default)]
pub struct Calls(BTreeMap<&'static str, [Cell<u32>; 2]>);

impl Calls {
    /// Makes one call, whatever it comes to.
    pub fn make<R>(&mut self, name: &'static str, call: impl FnOnce() -> R) {
        let answered =
            catch_unwind(AssertUnwindSafe(|| drop(std::hint::black_box(call())))).is_ok();
        let count = &self.0.entry(name).or_default()[usize::from(!answered)];
        count.set(count.get() + 1);
    }
}

/// Names of public functions below `folder`, which is within `src/`, after their module.
fn public_functions(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            public_functions(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for line in text.split("#[cfg(test)]").next().unwrap().lines() {
            let Some(rest) = line.trim_start().strip_prefix("pub fn ") else { continue };
            let name = rest.split(['(', '<']).next().unwrap();
            let inner = path.to_str().unwrap().split("/src/").last().unwrap();
            let module = inner.trim_end_matches(".rs").trim_end_matches("/mod");
            found.push(format!("{module}::{name}").replace('/', "::"));
        }
    }
}

#[test]
fn no_call_crashes_the_process() {
    let usual = take_hook();
    set_hook(Box::new(|panic| LAST.set(panic.to_string())));
    let mut calls = Calls::default();
    let cases = catch_unwind(AssertUnwindSafe(|| {
        for case in 0..600 {
            let mut draws = Draws::new(case);
            kernels::call_all(&mut draws, &mut calls);
            mixtures::call_all(&mut draws, &mut calls);
            models::call_all(&mut draws, &mut calls);
            texts::call_all(&mut draws, &mut calls);
        }
    }));
    set_hook(usual);
    assert!(cases.is_ok(), "arguments can't be made: {}", LAST.take());
    let mut all = Vec::new();
    for folder in ["kernel", "model"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
        public_functions(&folder, &mut all);
    }
    let left: Vec<_> = all.iter().filter(|name| !calls.0.contains_key(name.as_str())).collect();
    assert!(left.is_empty(), "never called: {left:#?}");
    let gone: Vec<_> = calls.0.keys().filter(|name| !all.iter().any(|one| one == *name)).collect();
    assert!(gone.is_empty(), "no such functions: {gone:?}");
    let sums = calls.0.values().map(|[answered, refused]| (answered.get(), refused.get()));
    let (answered, refused) = sums.fold((0, 0), |sums, one| (sums.0 + one.0, sums.1 + one.1));
    println!("{} functions: {answered} calls answered, {refused} refused", calls.0.len());
    assert!(answered > 10_000 && refused > 10_000, "{answered} answered, {refused} refused");
}
