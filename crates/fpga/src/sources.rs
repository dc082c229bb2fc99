//! The simulator's programs, built from `rtl/` where they are not there yet.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// How to get the tools.
const INSTALL: &str = "`apt-get install verilator make g++` installs it on Debian and Ubuntu";

/// The oldest major version of Verilator that reads these sources.
const OLDEST: u32 = 5;

/// The folder of the built programs; they are built first where the sources have changed. `Err` says why they cannot be had.
pub(super) fn built() -> Result<PathBuf> {
    // One build at a time; another process builds the same in a folder of its own.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rtl = root.join("rtl");
    let digest = digest(&rtl)?;
    verilator()?;
    let all = root.join("../../target/rtl");
    let folder = all.join(&digest[..16]);
    if folder.is_dir() {
        return Ok(folder);
    }
    let making = all.join(format!(".{}.{}", &digest[..16], std::process::id()));
    // A word on the way is no reason to end, such as where nobody reads it any more.
    let _ = writeln!(io::stderr(), "building the simulator of the FPGA cores: a minute or two, once for these sources");
    let output = Command::new("make")
        .arg(format!("-sj{}", thread::available_parallelism().map_or(1, usize::from)))
        .arg("-C")
        .arg(&rtl)
        .arg("simulator")
        .arg(format!("BUILD={}", making.display()))
        // What a surrounding make or cargo has set is not meant for this one.
        .env_remove("MAKEFLAGS")
        .output()
        .with_context(|| format!("cannot start make; {INSTALL}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let end: Vec<&str> = text.lines().rev().take(8).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        // Nothing of it is of use.
        let _ = fs::remove_dir_all(&making);
        bail!("building the simulator failed ({}): {}", output.status, end.join(" | "));
    }
    for objects in ["obj_encoder", "obj_decoder"] {
        // Only room is lost where this fails.
        let _ = fs::remove_dir_all(making.join(objects));
    }
    if let Err(error) = fs::rename(&making, &folder) {
        let _ = fs::remove_dir_all(&making);
        // Another process was first with the same.
        ensure!(folder.is_dir(), "cannot put the simulator into {}: {error}", folder.display());
    }
    Ok(folder)
}

/// SHA-256 over all that the programs are made from.
fn digest(rtl: &Path) -> Result<String> {
    let mut files = vec![rtl.join("Makefile")];
    for (folder, extension) in [(rtl.to_path_buf(), "v"), (rtl.join("tables"), "hex"), (rtl.join("sim"), "cpp")] {
        let entries = fs::read_dir(&folder).with_context(|| {
            format!("the sources of the FPGA cores are not at {}: run it where it was built", folder.display())
        })?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut hash = Sha256::new();
    for path in files {
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    Ok(hex::encode(hash.finalize()))
}

/// What Verilator says of itself: name and version. Fails where there is none, or one too old, and where the cores' sources
/// are not.
pub fn tool() -> Result<String> {
    digest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rtl"))?;
    verilator()
}

fn verilator() -> Result<String> {
    let output = Command::new("verilator").arg("--version").output();
    let output =
        output.with_context(|| format!("Verilator, which simulates the FPGA cores, cannot be started; {INSTALL}"))?;
    let line = String::from_utf8_lossy(&output.stdout).trim().to_string();
    check_version(&line)?;
    Ok(line)
}

fn check_version(line: &str) -> Result<()> {
    let major = line.strip_prefix("Verilator ").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    ensure!(
        major.is_some_and(|major| major >= OLDEST),
        "`verilator --version` says {line:?}, but the FPGA cores need version {OLDEST} or later; Debian 12 has 5.006"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_unknown_versions_are_refused() {
        assert!(check_version("Verilator 5.006 2023-01-22 rev (Debian 5.006-3)").is_ok());
        for line in ["Verilator 4.038 2020-07-11 rev v4.036", "", "something else 5.0"] {
            assert!(check_version(line).unwrap_err().to_string().contains("version 5 or later"), "{line}");
        }
    }

    #[test]
    fn the_digest_is_of_names_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        let of = |files: &[(&str, &str)]| {
            let rtl = folder.path().join("rtl");
            let _ = fs::remove_dir_all(&rtl);
            fs::create_dir_all(rtl.join("tables")).unwrap();
            fs::create_dir_all(rtl.join("sim")).unwrap();
            files.iter().for_each(|(name, text)| fs::write(rtl.join(name), text).unwrap());
            digest(&rtl).unwrap()
        };
        let plain = of(&[("Makefile", "x"), ("a.v", "1"), ("tables/a.hex", "2")]);
        assert_eq!(plain, of(&[("Makefile", "x"), ("a.v", "1"), ("tables/a.hex", "2"), ("README.md", "3")]));
        assert_ne!(plain, of(&[("Makefile", "x"), ("a.v", "12"), ("tables/a.hex", "2")]));
        assert_ne!(plain, of(&[("Makefile", "x"), ("b.v", "1"), ("tables/a.hex", "2")]));
        assert!(format!("{:#}", digest(&folder.path().join("none")).unwrap_err()).contains("are not at"));
    }
}
