//! Puts the git revision into the version, so that every row says which code made it.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

fn main() {
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // Results, figures and prose do not change what the program computes.
    let code = ["Cargo.toml", "Cargo.lock", "build.rs", "src", "experiments", "datasets", "models"];
    let revision = git(&["rev-parse", "--short=9", "HEAD"]).map(|revision| {
        let changed = git(&[&["status", "--porcelain", "--"], &code[..]].concat()).is_some_and(|s| !s.is_empty());
        format!("+{revision}{}", if changed { "-dirty" } else { "" })
    });
    println!("cargo::rustc-env=SPLITBENCH_VERSION={version}{}", revision.unwrap_or_default());
    for path in code.iter().chain(&[".git/HEAD", ".git/refs/heads", ".git/index"]) {
        if std::path::Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}
