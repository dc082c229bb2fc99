//! Puts the git revision into the version, so that every row says which code made it.

use std::path::PathBuf;
use std::process::Command;

/// What git says. Its status would otherwise write the index anew, which is not this program's to change.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("--no-optional-locks").args(arguments).output();
    let output = output.ok().filter(|o| o.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

/// Files of git that change whenever another revision is checked out or made, in a linked worktree too. Not the index: reading
/// commands write it as well, and each time would compile the program again.
fn revision_files() -> Vec<PathBuf> {
    let path = |name: &str| git(&["rev-parse", "--git-path", name]).map(PathBuf::from).filter(|path| path.exists());
    let branch = || git(&["symbolic-ref", "--quiet", "HEAD"]);
    let log = path("logs/HEAD");
    // Where git keeps no log, the branch itself, which lies in a file of its own or with all others.
    let refs = if log.is_none() { [branch().and_then(|name| path(&name)), path("packed-refs")] } else { [None, None] };
    [path("HEAD"), log].into_iter().chain(refs).flatten().collect()
}

/// What the CUDA kernels are compiled by and for, for the message where a GPU or a driver is another.
fn cuda() -> String {
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let nvcc = Command::new("nvcc").arg("--version").output().ok();
    let text = nvcc.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let release = text.split("release ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("unknown");
    let capability = std::env::var("CUDA_COMPUTE_CAP").unwrap_or("that of the GPU it was built beside".into());
    format!("CUDA {release}, CUDA_COMPUTE_CAP {capability}")
}

fn main() {
    if std::env::var_os("CARGO_FEATURE_CUDA_MODEL").is_some() {
        println!("cargo::rustc-env=SPLITBENCH_CUDA={}", cuda());
    }
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // Results, figures, prose and the Python package do not change what the program computes.
    let code = [
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "src",
        "crates/codec",
        "crates/fpga",
        "experiments",
        "datasets",
        "models",
        "results/paper",
    ];
    let revision = git(&["rev-parse", "--short=9", "HEAD"]).map(|revision| {
        let changed = git(&[&["status", "--porcelain", "--"], &code[..]].concat()).is_some_and(|s| !s.is_empty());
        format!("+{revision}{}", if changed { "-dirty" } else { "" })
    });
    println!("cargo::rustc-env=SPLITBENCH_VERSION={version}{}", revision.unwrap_or_default());
    for path in code.iter().map(PathBuf::from).chain(revision_files()).filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}
