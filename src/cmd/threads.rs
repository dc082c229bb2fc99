//! `--threads` of commands that compute on rayon's pool.

use anyhow::{Context, Result, bail};

/// Fails on more threads than the machine runs at a time: starting them alone would take long.
pub fn check(option: &str, threads: Option<usize>) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let Some(threads) = threads.filter(|threads| *threads > cores) else { return Ok(()) };
    bail!("{option} {threads}: this machine runs {cores} at a time; give 1 to {cores}")
}

/// Limits this process to so many threads; to all where none are given.
pub fn limit(threads: Option<usize>) -> Result<()> {
    check("--threads", threads)?;
    let Some(threads) = threads else { return Ok(()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.with_context(|| format!("--threads {threads}"))
}
