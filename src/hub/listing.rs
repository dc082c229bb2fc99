//! What is in a repository at one commit.

use serde::Deserialize;

/// Which of the hub's kinds a repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// A repository at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// Its kind.
    pub kind: RepositoryKind,
    /// `owner/name`.
    pub id: String,
    /// Branch or ref.
    pub revision: &'static str,
}

impl Repo {
    /// As messages call it.
    pub fn shown(&self) -> String {
        match self.revision {
            "main" => self.id.clone(),
            other => format!("{} ({other})", self.id),
        }
    }

    /// Its web page is the endpoint, a slash and this.
    pub(super) fn page(&self) -> String {
        match self.kind {
            RepositoryKind::Model => self.id.clone(),
            RepositoryKind::Dataset => format!("datasets/{}", self.id),
        }
    }

    /// Path of its list of files, after the endpoint.
    pub(super) fn api_path(&self) -> String {
        let kind = if self.kind == RepositoryKind::Model { "models" } else { "datasets" };
        format!("/api/{kind}/{}/revision/{}", self.id, self.revision.replace('/', "%2F"))
    }

    /// Path of a file at a commit, after the endpoint.
    pub(super) fn file_path(&self, commit: &str, file: &str) -> String {
        format!("/{}/resolve/{commit}/{}", self.page(), escape(file))
    }

    pub(super) fn cached(&self) -> hf_hub::Repo {
        let kind = if self.kind == RepositoryKind::Model { hf_hub::RepoType::Model } else { hf_hub::RepoType::Dataset };
        hf_hub::Repo::with_revision(self.id.clone(), kind, self.revision.to_string())
    }
}

/// Every byte but letters, digits and `-_.~/`, as `%XX`.
fn escape(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/".contains(&b);
    path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The files of a repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryListing {
    /// The commit the revision stood at.
    pub commit: String,
    /// Paths of its files, ascending.
    pub files: Vec<String>,
}

#[derive(Deserialize)]
struct RepositoryAnswer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl RepositoryListing {
    /// Reads the hub's answer; the error is what is wrong with it. Paths become paths in the cache, so none may leave it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let answer: RepositoryAnswer =
            serde_json::from_slice(bytes).map_err(|e| format!("its list of files is not JSON of a hub ({e})"))?;
        if !is_plain(&answer.sha) {
            return Err(format!("its commit is called {:?}", answer.sha));
        }
        let mut files: Vec<String> = answer.siblings.into_iter().map(|s| s.rfilename).collect();
        files.sort_unstable();
        match files.iter().find(|file| !is_inside(file)) {
            Some(file) => Err(format!("it lists a file {file:?}")),
            None => Ok(Self { commit: answer.sha, files }),
        }
    }

    /// Whether there is such a file.
    pub fn has(&self, file: &str) -> bool {
        self.files.iter().any(|f| f == file)
    }
}

/// Whether a name given by the hub can stand as one part of a path.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_inside(path: &str) -> bool {
    !path.contains(['\\', ':']) && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_hubs() {
        let set = Repo { kind: RepositoryKind::Dataset, id: "a/b".into(), revision: "refs/convert/parquet" };
        assert_eq!(set.api_path(), "/api/datasets/a/b/revision/refs%2Fconvert%2Fparquet");
        assert_eq!(set.file_path("c0", "d e/f.parquet"), "/datasets/a/b/resolve/c0/d%20e/f.parquet");
        let model = Repo { kind: RepositoryKind::Model, id: "a/b".into(), revision: "main" };
        assert_eq!(model.file_path("c0", "config.json"), "/a/b/resolve/c0/config.json");
    }

    #[test]
    fn a_listing_that_would_leave_the_cache_is_refused() {
        let answer = |sha: &str, file: &str| format!(r#"{{"sha": "{sha}", "siblings": [{{"rfilename": "{file}"}}]}}"#);
        assert!(RepositoryListing::parse(answer("c0", "a/b.json").as_bytes()).unwrap().has("a/b.json"));
        for (sha, file) in
            [("c0", "../b"), ("c0", "/etc/passwd"), ("c0", "a//b"), ("c0", "C:x"), ("..", "a"), ("", "a")]
        {
            assert!(RepositoryListing::parse(answer(sha, file).as_bytes()).is_err(), "{sha} {file}");
        }
    }
}
