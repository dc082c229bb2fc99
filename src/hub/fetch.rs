//! From the hub to the cache: one file at a time, on from where the last attempt stopped, and checked.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use hf_hub::Cache;
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::client::{Client, Meta, Patience, named};
use super::failure::Failure;
use super::listing::{Repo, RepositoryListing};
use super::place;
use super::store::{Store, check, check_cached};
use crate::progress::{self, Activity};

/// The hub, and the cache its files go to.
pub struct Hub {
    cache: Cache,
    /// None where the environment forbids requests.
    client: Option<Client>,
}

/// A file of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchSummary {
    /// Where it is.
    pub path: PathBuf,
    /// Its size, bytes.
    pub size: u64,
    /// Bytes that came over the network for it now.
    pub received: u64,
}

impl Hub {
    /// The hub as the environment describes it; files go to the cache in `home`, or in the user's where that is `None`.
    pub fn from_env(home: Option<&Path>) -> Result<Self> {
        let cache = home.map_or_else(place::cache, |home| Ok(place::cache_in(home)))?;
        let client = match place::offline()? {
            true => None,
            false => Some(Client::from_env()?),
        };
        Ok(Self { cache, client })
    }

    /// The files of a repository: the hub's list, or offline what the cache holds.
    pub fn list(&self, repo: &Repo) -> Result<RepositoryListing, Failure> {
        match &self.client {
            Some(client) => client.list(repo),
            None => Store::new(&self.cache, repo).list().ok_or_else(|| self.absent(repo.shown())),
        }
    }

    /// The commit the cache holds, if it holds one.
    pub fn kept(&self, repo: &Repo) -> Option<String> {
        Store::new(&self.cache, repo).kept()
    }

    /// Folder of the files of a commit.
    pub fn snapshot(&self, repo: &Repo, commit: &str) -> PathBuf {
        Store::new(&self.cache, repo).snapshot(commit)
    }

    /// Makes the commit the one that readers of the cache see; for when all that is wanted of it is there.
    pub fn keep(&self, repo: &Repo, commit: &str) -> Result<(), Failure> {
        match self.client {
            Some(_) => Store::new(&self.cache, repo).keep(commit),
            None => Ok(()),
        }
    }

    /// A file of a commit, checked; fetched unless its content is in the cache and right.
    pub fn file(&self, repo: &Repo, commit: &str, file: &str) -> Result<FetchSummary, Failure> {
        let (store, what) = (Store::new(&self.cache, repo), named(repo, file));
        let Some(client) = &self.client else { return self.cached(&store, what, commit, file) };
        let meta = client.meta(repo, commit, file)?;
        let _lock = store.lock(&what, &meta)?;
        let blob = store.blob(&meta);
        let mut received = 0;
        let is_cached = blob.is_file()
            && match check(&blob, &meta)? {
                Ok(()) => true,
                Err(found) => {
                    tell!("{what}: the cache's copy is damaged ({found}) and is fetched again");
                    false
                }
            };
        if !is_cached {
            let partial = store.partial(&meta);
            received = download(client, repo, commit, file, &meta, &partial)?;
            if let Err(found) = check(&partial, &meta)? {
                delete(&partial)?;
                let expected =
                    meta.sha256().map_or_else(|| format!("{} bytes", meta.size), |sha| format!("sha256 {sha}"));
                return Err(Failure::Changed { what, expected, found });
            }
            fs::rename(&partial, &blob).map_err(|e| Failure::disk("name", &blob, e))?;
        }
        Ok(FetchSummary { path: store.link(commit, file, &meta)?, size: meta.size, received })
    }

    fn cached(&self, store: &Store, what: String, commit: &str, file: &str) -> Result<FetchSummary, Failure> {
        let path = store.snapshot(commit).join(file);
        let Ok(found) = fs::metadata(&path) else { return Err(self.absent(what)) };
        match check_cached(&path)? {
            Ok(()) => Ok(FetchSummary { path, size: found.len(), received: 0 }),
            Err(_) => Err(self.absent(format!("an undamaged {what}"))),
        }
    }

    /// The failure of something that is not there: on the hub, or offline in the cache.
    pub fn absent(&self, what: String) -> Failure {
        match self.client {
            Some(_) => Failure::NotFound { what },
            None => Failure::Offline { what, cache: self.cache.path().clone() },
        }
    }
}

/// Fetches what is missing of `partial`; bytes received.
fn download(
    client: &Client,
    repo: &Repo,
    commit: &str,
    file: &str,
    meta: &Meta,
    partial: &Path,
) -> Result<u64, Failure> {
    let what = named(repo, file);
    let progress = progress::bytes(what.clone(), meta.size);
    let (mut patience, mut received) = (Patience::default(), 0);
    // Only what brings the file further is progress: a proxy may cut every answer, and give each from the beginning.
    let mut furthest = fs::metadata(partial).map_or(0, |found| found.len()).min(meta.size);
    loop {
        let have = fs::metadata(partial).map_or(0, |found| found.len());
        if have == meta.size && partial.exists() {
            return Ok(received);
        }
        let from = if have < meta.size { have } else { 0 };
        let reply = client.content(repo, commit, file, from)?;
        let Some(start) = start_of(&reply, from, meta) else {
            // What is here is no beginning of the file as it is now.
            delete(partial)?;
            if patience.wait(None) {
                continue;
            }
            let found = format!("an answer for another range than bytes {from} on");
            return Err(Failure::Changed { what, expected: format!("{} bytes", meta.size), found });
        };
        let mut out = PartialFile::open(&what, partial, start, meta.size)?;
        let reason = copy(&mut reply.into_body().into_reader(), &mut out, &progress)?;
        let came = out.at - start;
        received += came;
        match reason {
            None if out.at == meta.size => return Ok(received),
            None if out.at > meta.size => {
                drop(out);
                delete(partial)?;
                let found = format!("more than {} bytes", meta.size);
                return Err(Failure::Changed { what, expected: format!("{} bytes", meta.size), found });
            }
            _ => {}
        }
        if out.at > furthest {
            (patience, furthest) = (Patience::default(), out.at);
        }
        if !patience.wait(None) {
            let reason = reason.unwrap_or_else(|| "the answer ended".to_string());
            return Err(Failure::CutOff { got: out.at, what, size: meta.size, times: patience.times(), reason });
        }
    }
}

fn delete(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::disk("delete", path, e)),
        _ => Ok(()),
    }
}

/// The byte of the file that an answer's first byte is; `None` where it is not the one asked for.
fn start_of(reply: &Response<Body>, from: u64, meta: &Meta) -> Option<u64> {
    match reply.status() {
        StatusCode::OK => Some(0),
        StatusCode::PARTIAL_CONTENT => {
            // `bytes FIRST-LAST/SIZE`
            let range = reply.headers().get("content-range")?.to_str().ok()?.strip_prefix("bytes ")?;
            let (part, size) = range.split_once('/')?;
            let first = part.split('-').next()?.parse::<u64>().ok()?;
            (first == from && size.parse() == Ok(meta.size)).then_some(from)
        }
        _ => None,
    }
}

/// The partial file, open at its end.
struct PartialFile<'a> {
    what: &'a str,
    path: &'a Path,
    file: fs::File,
    at: u64,
    size: u64,
}

impl<'a> PartialFile<'a> {
    fn open(what: &'a str, path: &'a Path, start: u64, size: u64) -> Result<Self, Failure> {
        let failed = |e| Failure::write(what, path, size, e);
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() != start {
            file.set_len(start).map_err(failed)?;
        }
        Ok(Self { what, path, file, at: start, size })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let missing = self.size.saturating_sub(self.at);
        self.file.write_all(bytes).map_err(|e| Failure::write(self.what, self.path, missing, e))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Copies until the answer ends, breaks off (why is returned) or is longer than the file.
fn copy(from: &mut impl Read, to: &mut PartialFile, progress: &Activity) -> Result<Option<String>, Failure> {
    let mut buffer = vec![0; 1 << 16];
    while to.at <= to.size {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(read) => to.write(&buffer[..read])?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Ok(Some(e.to_string())),
        }
        progress.set_position(to.at);
    }
    Ok(None)
}
