//! The cache of one repository, in huggingface_hub's layout: `blobs/<etag>`, `snapshots/<commit>/<file>`, `refs/<revision>`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo};
use sha2::{Digest, Sha256};

use super::client::Meta;
use super::failure::Failure;
use super::listing::{Kind, Listing, Repo};
use super::place;

/// Folder of a repository in the cache.
pub struct Store {
    cached: CacheRepo,
    folder: PathBuf,
    locks: PathBuf,
    revision: &'static str,
}

impl Store {
    /// The folder of `repo`, which need not exist yet.
    pub fn new(cache: &Cache, repo: &Repo) -> Self {
        let cached = repo.cached();
        let name = cached.folder_name();
        let (folder, locks) = (cache.path().join(&name), cache.path().join(".locks").join(name));
        Self { cached: cache.repo(cached), folder, locks, revision: repo.revision }
    }

    /// A file of the commit the cache holds.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.cached.pointer_path(commit)
    }

    /// Where the content of that name is.
    pub fn blob(&self, meta: &Meta) -> PathBuf {
        self.folder.join("blobs").join(&meta.etag)
    }

    /// Where a part of it is, until it is whole.
    pub fn partial(&self, meta: &Meta) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", meta.etag))
    }

    /// Keeps other processes from fetching the same content until the file is dropped; says so where it has to wait.
    pub fn lock(&self, what: &str, meta: &Meta) -> Result<File, Failure> {
        make_folder(&self.locks)?;
        make_folder(&self.folder.join("blobs"))?;
        let path = self.locks.join(format!("{}.lock", meta.etag));
        let failed = |e| Failure::disk("lock", &path, e);
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tell!("{what}: waiting for another process that fetches it"),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        file.lock().map_err(failed)?;
        Ok(file)
    }

    /// Names the content as a file of the commit and gives its place.
    pub fn link(&self, commit: &str, file: &str, meta: &Meta) -> Result<PathBuf, Failure> {
        let (blob, place) = (self.blob(meta), self.snapshot(commit).join(file));
        make_folder(place.parent().unwrap_or(&self.folder))?;
        let failed = |e| Failure::disk("name", &place, e);
        match fs::remove_file(&place) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        point(&blob, &place, file.split('/').count() + 1).map_err(failed)?;
        Ok(place)
    }

    /// The commit that the revision stood at when it was last kept.
    pub fn kept(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("refs").join(self.revision)).ok()?;
        Some(text.trim().to_string()).filter(|commit| !commit.is_empty())
    }

    /// Makes the commit the one that readers of the cache see.
    pub fn keep(&self, commit: &str) -> Result<(), Failure> {
        let path = self.folder.join("refs").join(self.revision);
        make_folder(path.parent().unwrap_or(&self.folder))?;
        self.cached.create_ref(commit).map_err(|e| Failure::write("the cache's ref", &path, commit.len() as u64, e))
    }

    /// The files of the kept commit that are here.
    pub fn list(&self) -> Option<Listing> {
        let commit = self.kept()?;
        let mut files = Vec::new();
        walk(&self.snapshot(&commit), "", &mut files);
        files.sort_unstable();
        Some(Listing { commit, files })
    }
}

/// The files of a model that the user's cache holds, and their folder.
pub fn kept_files(model: &str) -> anyhow::Result<Option<(PathBuf, Vec<String>)>> {
    let repo = Repo { kind: Kind::Model, id: model.to_string(), revision: "main" };
    let store = Store::new(&place::cache()?, &repo);
    Ok(store.list().map(|listing| (store.snapshot(&listing.commit), listing.files)))
}

/// Whether a file has the size and, where the hub gives one, the SHA-256 of `meta`; else what it has instead.
pub fn check(path: &Path, meta: &Meta) -> Result<Result<(), String>, Failure> {
    let failed = |e| Failure::disk("read", path, e);
    let size = fs::metadata(path).map_err(failed)?.len();
    if size != meta.size {
        return Ok(Err(format!("{size} bytes")));
    }
    let Some(expected) = meta.sha256() else { return Ok(Ok(())) };
    let found = sha256(path).map_err(failed)?;
    Ok(if found.eq_ignore_ascii_case(expected) { Ok(()) } else { Err(format!("sha256 {found}")) })
}

/// Checks a file of the cache against the SHA-256 that its content is named by, if it is.
pub fn check_cached(path: &Path) -> Result<Result<(), String>, Failure> {
    let failed = |e| Failure::disk("read", path, e);
    let blob = fs::canonicalize(path).map_err(failed)?;
    let etag = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let size = fs::metadata(&blob).map_err(failed)?.len();
    check(&blob, &Meta { etag, size })
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}

pub(super) fn make_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|e| match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::write("a folder", &folder.join("."), 1, e)
        }
        _ => Failure::disk("make the folder", folder, e),
    })
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else { continue };
        let path = entry.path();
        if path.is_dir() {
            walk(&path, &format!("{name}/"), files);
        } else if path.is_file() {
            files.push(name);
        }
    }
}

/// A relative link, so that the cache can be moved; `up` folders lie between the place and the folder of the repository.
#[cfg(unix)]
fn point(blob: &Path, place: &Path, up: usize) -> io::Result<()> {
    let name = blob.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(Path::new(&"../".repeat(up)).join("blobs").join(name), place)
}

/// Links need rights elsewhere: a second name of the same content, else a copy.
#[cfg(not(unix))]
fn point(blob: &Path, place: &Path, _up: usize) -> io::Result<()> {
    fs::hard_link(blob, place).or_else(|_| fs::copy(blob, place).map(|_| ()))
}
