//! A data set's rows: which of the hub's they are, and whether they are those on record.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{PrepareOptions, files, json, parquet};
use crate::caught::caught;
use crate::data::{DatasetInfo, read_rows};
use crate::hub::{Failure, Hub, Repo, RepositoryKind, RepositoryListing};
use crate::output::{self, Output};
use crate::save;

/// Where the hub keeps a data set: its own conversion, which has one layout for all, then what the repository holds itself.
const REVISIONS: [&str; 2] = ["refs/convert/parquet", "main"];

/// One file of rows to make.
struct RowsPart<'a> {
    file: &'a str,
    config: &'a str,
    split: &'a str,
    /// First rows of the split; all where `None`.
    first: Option<usize>,
    /// Rows expected; `None` where a definition of the user's own does not say.
    rows: Option<usize>,
    /// SHA-256 on record; `None` where none is, or the rows on record cannot be had from the hub.
    sha256: Option<&'a str>,
}

fn parts(info: &DatasetInfo) -> Vec<RowsPart<'_>> {
    let (config, split, rows) = (info.hub_config.as_str(), info.split.as_str(), info.rows);
    let mut parts =
        vec![RowsPart { file: "eval.jsonl", config, split, first: None, rows, sha256: info.sha256.as_deref() }];
    parts.extend(info.train.as_ref().map(|train| {
        let rows = train.hub_rows.or(train.rows);
        RowsPart {
            file: &train.file,
            config: train.hub_config.as_deref().unwrap_or(config),
            split: &train.split,
            first: rows,
            rows,
            sha256: train.sha256.as_deref().filter(|_| train.hub_rows.is_none() || info.origin.is_some()),
        }
    }));
    parts
}

/// Makes the files of a data set in `folder/<name>`, and leaves those that are there and right.
pub fn prepare(
    info: &DatasetInfo,
    hub: &Hub,
    folder: &Path,
    options: &PrepareOptions,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    let folder = folder.join(&info.name);
    let mut found: Option<(Repo, RepositoryListing)> = None;
    for part in parts(info) {
        let path = folder.join(part.file);
        if let Ok(bytes) = fs::read(&path)
            // With nothing to compare they could be the rows of what a definition named before.
            && (info.origin.is_none() || part.sha256.is_some())
            && is_right(&part, &bytes)
        {
            tell(&format!("{}: {} is there, {} rows", info.name, path.display(), count(&bytes)));
            continue;
        }
        let is_written = |path: &Path| path.extension().is_some_and(|kind| kind == "jsonl");
        let read_too: Vec<PathBuf> = options.experiment.iter().cloned().collect();
        output::check(&read_too, &[Output::files_in("data sets go to", &folder, is_written)])?;
        if found.is_none() {
            found = Some(locate(info, hub, &part)?);
        }
        let Some((repo, listing)) = &found else { continue };
        let rows = read(hub, repo, listing, &part)?;
        let bytes = json::lines(&rows)?;
        // What no run can read is of no use, on record or not.
        read_rows(info, part.file, &bytes, None).with_context(|| {
            format!(
                "no run can read the rows that {} has at commit {}; nothing was written",
                repo.shown(),
                listing.commit
            )
        })?;
        let sha256 = sha256(&bytes);
        let state = match part.sha256 {
            None => {
                let expected = part.rows.unwrap_or(rows.len());
                ensure!(
                    rows.len() == expected,
                    "the {} split of {} has {} rows, expected at least {expected}: it changed upstream",
                    part.split,
                    repo.id,
                    rows.len()
                );
                if info.origin.is_some() {
                    format!("which {} has to state: sha256 = {sha256:?}", info.given())
                } else {
                    format!("the first of the hub's {} split; those on record are another selection of it", part.split)
                }
            }
            Some(expected) if expected == sha256 => "as on record".to_string(),
            Some(expected) if !options.accept_changed => bail!(
                "{}: the hub's rows changed upstream: {} at commit {} gives {} rows with sha256 {sha256}, on record are {} with \
                 {expected}; nothing was written: --accept-changed takes the hub's as they are, and a folder with the rows on \
                 record can be given to run as --data-dir",
                part.file,
                repo.shown(),
                listing.commit,
                rows.len(),
                part.rows.map_or("others".to_string(), |rows| rows.to_string())
            ),
            Some(_) => "not those on record, which every run with them will note".to_string(),
        };
        set_aside(&path, &bytes, tell)?;
        write(&path, &bytes)?;
        tell(&format!("{}: {}, {} rows, {state}", info.name, path.display(), rows.len()));
    }
    if let Some((repo, listing)) = &found {
        hub.keep(repo, &listing.commit)?;
    }
    Ok(())
}

fn count(bytes: &[u8]) -> usize {
    bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count()
}

/// Whether a file has the rows on record, or as many rows as expected where none can be.
fn is_right(part: &RowsPart, bytes: &[u8]) -> bool {
    match part.sha256 {
        Some(expected) => sha256(bytes) == expected,
        None => part.rows.is_none_or(|rows| rows == count(bytes)),
    }
}

/// The first of the revisions that has the split.
fn locate(info: &DatasetInfo, hub: &Hub, part: &RowsPart) -> Result<(Repo, RepositoryListing)> {
    let mut seen = Vec::new();
    let mut last = None;
    for revision in REVISIONS {
        let repo = Repo { kind: RepositoryKind::Dataset, id: info.hub_id.clone(), revision };
        match hub.list(&repo) {
            Ok(listing) if !files::of_split(&listing.files, part.config, part.split).is_empty() => {
                return Ok((repo, listing));
            }
            Ok(listing) => seen.extend(listing.files),
            // A repository that the hub has not converted.
            Err(failure @ (Failure::NotFound { .. } | Failure::Offline { .. })) => last = Some(failure),
            Err(failure) => return Err(failure.into()),
        }
    }
    match last {
        Some(failure) if seen.is_empty() => Err(failure.into()),
        _ => Err(no_split(hub, &info.hub_id, part, &seen)),
    }
}

fn no_split(hub: &Hub, repo: &str, part: &RowsPart, seen: &[String]) -> anyhow::Error {
    let what = format!("Parquet or JSONL file of {repo}, configuration {:?}, split {:?}", part.config, part.split);
    anyhow::Error::from(hub.absent(what)).context(format!("found {}", seen.join(", ")))
}

fn read(hub: &Hub, repo: &Repo, listing: &RepositoryListing, part: &RowsPart) -> Result<Vec<Value>> {
    let files = files::of_split(&listing.files, part.config, part.split);
    if files.is_empty() {
        return Err(no_split(hub, &repo.id, part, &listing.files));
    }
    let mut rows = Vec::new();
    for file in files {
        if part.first.is_some_and(|first| rows.len() >= first) {
            break;
        }
        let path = hub.file(repo, &listing.commit, file)?.path;
        let bytes = fs::read(&path).map_err(|e| Failure::disk("read", &path, e))?;
        let read = if file.ends_with(".parquet") { caught(|| parquet::rows(bytes)) } else { json_lines(&bytes) };
        rows.extend(read.with_context(|| format!("{file} of {} ({})", repo.shown(), path.display()))?);
    }
    rows.truncate(part.first.unwrap_or(usize::MAX));
    Ok(rows)
}

fn json_lines(bytes: &[u8]) -> Result<Vec<Value>> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let lines = bytes.split(|b| *b == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(at, line)| serde_json::from_slice(line).with_context(|| format!("line {} is not JSON", at + 1)))
        .collect()
}

/// Renames a file with other rows than those that are to take its place: they may be the user's own.
fn set_aside(path: &Path, bytes: &[u8], tell: &mut dyn FnMut(&str)) -> Result<()> {
    let Ok(before) = fs::read(path) else { return Ok(()) };
    if before == bytes || before.is_empty() {
        return Ok(());
    }
    let aside = path.with_extension("jsonl.old");
    ensure!(
        !aside.exists(),
        "{} has other rows, and so has {}, where they would go: move one of them away",
        path.display(),
        aside.display()
    );
    fs::rename(path, &aside).map_err(|e| Failure::disk("rename", path, e))?;
    tell(&format!("{} had other rows: they are in {} now", path.display(), aside.display()));
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|e| Failure::disk("make the folder", folder, e))?;
    save::replace(path, bytes)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
