//! Where the cache is and how the hub is reached, as huggingface_hub's environment variables say.

use std::env::{self, VarError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hf_hub::Cache;

/// The hub's address where HF_ENDPOINT gives no other.
const ENDPOINT: &str = "https://huggingface.co";

/// Folder of the token and the prepared data sets, and of the cache where no variable names another: HF_HOME, else
/// `huggingface` in XDG_CACHE_HOME, else in `.cache` of the user's home.
pub fn home() -> Result<PathBuf> {
    if let Some(home) = path("HF_HOME")? {
        return Ok(home);
    }
    let caches = match path("XDG_CACHE_HOME")? {
        Some(caches) => caches,
        None => user()
            .context("this user has no home folder; set HF_HOME to a folder for models and data sets")?
            .join(".cache"),
    };
    Ok(caches.join("huggingface"))
}

/// The hub's standard cache: HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, its old name, else `hub` in the home folder.
pub fn cache() -> Result<Cache> {
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
        if let Some(cache) = path(name)? {
            return Ok(Cache::new(cache));
        }
    }
    Ok(cache_in(&home()?))
}

/// The cache of a home folder.
pub(super) fn cache_in(home: &Path) -> Cache {
    Cache::new(home.join("hub"))
}

/// Where `prepare` puts data sets, and `run` looks where it is given no --data-dir.
pub fn datasets_folder() -> Result<PathBuf> {
    Ok(home()?.join("splitbench"))
}

/// HF_ENDPOINT, or the hub itself; no slash at the end.
pub(super) fn endpoint() -> Result<String> {
    let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.to_string());
    let endpoint = endpoint.trim_end_matches('/').to_string();
    let schemes = ["https://", "http://"];
    ensure!(
        schemes.iter().any(|s| endpoint.strip_prefix(s).is_some_and(|host| !host.is_empty())),
        "HF_ENDPOINT is {endpoint:?}; expected an address such as {ENDPOINT}"
    );
    Ok(endpoint)
}

/// HF_TOKEN (HUGGING_FACE_HUB_TOKEN is its old name), else the token that a login left in HF_TOKEN_PATH or the home folder;
/// none where HF_HUB_DISABLE_IMPLICIT_TOKEN forbids to send one that no call names.
pub(super) fn token() -> Result<Option<String>> {
    if is_true(text("HF_HUB_DISABLE_IMPLICIT_TOKEN")?) {
        return Ok(None);
    }
    let mut token = text("HF_TOKEN")?.or(text("HUGGING_FACE_HUB_TOKEN")?);
    if token.is_none() {
        let file = path("HF_TOKEN_PATH")?.or_else(|| Some(home().ok()?.join("token")));
        let saved = file.and_then(|file| std::fs::read_to_string(file).ok());
        token = saved.map(|text| text.trim().to_string()).filter(|token| !token.is_empty());
    }
    if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
        bail!(
            "the hub's token (HF_TOKEN, or the file HF_TOKEN_PATH or `token` in HF_HOME) holds a blank or a sign that no token \
             has; set it again"
        );
    }
    Ok(token)
}

/// Whether HF_HUB_OFFLINE, or TRANSFORMERS_OFFLINE where that is not set, forbids requests.
pub(super) fn offline() -> Result<bool> {
    Ok(is_true(text("HF_HUB_OFFLINE")?.or(text("TRANSFORMERS_OFFLINE")?)))
}

fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()))
}

fn user() -> Option<PathBuf> {
    env::home_dir().filter(|user| !user.as_os_str().is_empty())
}

/// A variable's path, with `~` and `$NAME` as Python's `expanduser` and `expandvars` read them.
fn path(name: &str) -> Result<Option<PathBuf>> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    // What is not Unicode is no less a path.
    let Some(path) = value.to_str() else { return Ok(Some(value.into())) };
    let tail = path.strip_prefix('~').filter(|tail| tail.is_empty() || tail.starts_with(std::path::is_separator));
    let path = match tail {
        Some(tail) => {
            let user = user().with_context(|| format!("{name} is {path:?}, and this user has no home folder"))?;
            format!("{}{tail}", user.display())
        }
        None if path.starts_with('~') => {
            bail!("{name} is {path:?}; of home folders only one's own is known: write the path in full")
        }
        None => path.to_string(),
    };
    Ok(Some(with_variables(&path, |name| env::var(name).ok()).into()))
}

/// `$NAME` and `${NAME}` replaced where there is such a variable.
fn with_variables(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out += &rest[..at];
        rest = &rest[at..];
        let braced = rest.strip_prefix("${").and_then(|inside| Some(&inside[..inside.find('}')?]));
        let end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        let (name, length) = match braced {
            Some(name) => (name, name.len() + 3),
            None => {
                let name = rest[1..].split(end).next().unwrap_or_default();
                (name, name.len() + 1)
            }
        };
        match value(name).filter(|_| !name.is_empty()) {
            Some(value) => out += &value,
            None => out += &rest[..length],
        }
        rest = &rest[length..];
    }
    out + rest
}

/// A variable without blanks around it; `None` where it is not set or empty.
pub(super) fn text(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value.trim().to_string()).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => bail!("{name} is not UTF-8; set it again"),
    }
}

#[cfg(test)]
mod tests {
    use super::with_variables;

    #[test]
    fn variables_are_read_as_python_reads_them() {
        let value = |name: &str| match name {
            "A" => Some("/a".to_string()),
            "A_1" => Some("b$A".to_string()),
            _ => None,
        };
        // The right side is what Python's os.path.expandvars gives.
        for (text, python) in [
            ("$A/x", "/a/x"),
            ("${A}x", "/ax"),
            ("/s/$A_1/", "/s/b$A/"),
            ("$B/${B}", "$B/${B}"),
            ("a$", "a$"),
            ("$$A", "$/a"),
            ("${A", "${A"),
            ("${}", "${}"),
            ("é$A-é", "é/a-é"),
        ] {
            assert_eq!(with_variables(text, value), python, "{text}");
        }
    }
}
