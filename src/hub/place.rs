//! Where the cache is and how the hub is reached, as huggingface_hub's environment variables say.

use std::env::{self, VarError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hf_hub::Cache;

/// The hub's address where HF_ENDPOINT gives no other.
const ENDPOINT: &str = "https://huggingface.co";

/// Folder of the cache, the token and the prepared data sets: HF_HOME, else `.cache/huggingface` in the user's home.
pub fn home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("HF_HOME").filter(|home| !home.is_empty()) {
        return Ok(home.into());
    }
    let user = env::home_dir().filter(|user| !user.as_os_str().is_empty());
    Ok(user
        .context("this user has no home folder; set HF_HOME to a folder for models and data sets")?
        .join(".cache/huggingface"))
}

/// The hub's standard cache.
pub fn cache() -> Result<Cache> {
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

/// HF_TOKEN, else the token that a login left in the home folder.
pub(super) fn token() -> Result<Option<String>> {
    let saved = || Some(std::fs::read_to_string(home().ok()?.join("token")).ok()?.trim().to_string());
    let token = text("HF_TOKEN")?.or_else(saved).filter(|token| !token.is_empty());
    if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
        bail!(
            "the hub's token (HF_TOKEN, or the file `token` in HF_HOME) holds a blank or a sign that no token has; set it again"
        );
    }
    Ok(token)
}

/// Whether HF_HUB_OFFLINE forbids requests.
pub(super) fn offline() -> Result<bool> {
    let yes = ["1", "on", "yes", "true"];
    Ok(text("HF_HUB_OFFLINE")?.is_some_and(|value| yes.contains(&value.to_lowercase().as_str())))
}

fn text(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value.trim().to_string()).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => bail!("{name} is not UTF-8; set it again"),
    }
}
