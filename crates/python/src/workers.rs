//! Requests of a list side by side.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The pool and the process it belongs to.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// The pool of this process. To be called with the interpreter attached: a fork happens with it too, so no other thread can
/// hold the lock at that moment.
pub(crate) fn pool() -> Result<Arc<ThreadPool>> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let own = std::process::id();
    if let Some((process, pool)) = &*pool
        && *process == own
    {
        return Ok(pool.clone());
    }
    // A forked process has its parent's pool without the threads: it is left alone, as its end would wait for them.
    mem::forget(pool.take());
    let started = ThreadPoolBuilder::new().thread_name(|nth| format!("splitbench-{nth}")).build();
    let started = Arc::new(started.context("starting threads")?);
    *pool = Some((own, started.clone()));
    Ok(started)
}

/// Results of a call for each item, in their order: here where there is one, else on the pool.
pub(crate) fn map<T: Sync, R: Send>(
    pool: Option<&ThreadPool>,
    items: &[T],
    call: impl Fn(&T) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    let Some(pool) = pool else { return items.iter().map(call).collect() };
    let results: Vec<Result<R>> = pool.install(|| items.par_iter().map(call).collect());
    // The first error of the list, whichever thread came first.
    let located = |(nth, result): (usize, Result<R>)| result.with_context(|| format!("array {nth} of the list"));
    results.into_iter().enumerate().map(located).collect()
}
