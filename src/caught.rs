//! Panics of crates over the bytes of others' files, as errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread's panics are caught, so that they end nothing.
pub fn is_catching() -> bool {
    CATCHING.get()
}

/// What `work` gives.
///
/// # Errors
/// Its panic. What it changed is in no known state then, and isn't to be used any more.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CATCHING.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        text.replace('\n', " ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_next_one_is_not_caught() {
        let bytes: Vec<u8> = Vec::new();
        let text = caught(|| bytes[3]).unwrap_err();
        assert!(text.contains("index out of bounds"), "{text}");
        assert!(!is_catching());
        assert_eq!(caught(|| caught(is_catching)), Ok(Ok(true)));
    }
}
