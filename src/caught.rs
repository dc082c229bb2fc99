//! Panics of libraries that read files which are damaged or made to harm, as errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use anyhow::{Result, bail};

thread_local! {
    /// Whether a panic of this thread is told as an error, and so not by the hook.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What `read` gives; where it panics, an error with the reason. What it was at work on must not be used after that.
pub fn caught<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let done = catch_unwind(AssertUnwindSafe(read));
    QUIET.set(before);
    done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        bail!("it is damaged, or of a kind that cannot be read here ({why})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_errors_and_nothing_else_does() {
        assert_eq!(caught(|| Ok(3)).unwrap(), 3);
        assert_eq!(caught::<()>(|| bail!("no")).unwrap_err().to_string(), "no");
        let lists: [&[u8]; 1] = [&[]];
        let error = caught(|| Ok(lists.iter().map(|list| list[list.len()]).max())).unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("index out of bounds"), "{error}");
        assert!(!QUIET.get());
    }
}
