//! A model's files: what is read of them, and no more.

use anyhow::Result;

use crate::hub::{Hub, Repo, RepositoryKind};
use crate::model::gguf;
use crate::model::place::HubModel;
use crate::model::weights::shards;

/// One file of weights.
const SINGLE: &str = "model.safetensors";
/// Names the files of weights, where there are several.
const INDEX: &str = "model.safetensors.index.json";

/// What generation reads beside a model, where its repository has it.
const GENERATION: [&str; 3] = ["generation_config.json", "tokenizer_config.json", "chat_template.jinja"];

/// Fetches a model into the hub's cache and checks it.
pub fn prepare(info: &HubModel, hub: &Hub, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let repo = Repo { kind: RepositoryKind::Model, id: info.hub.clone(), revision: "main" };
    let before = hub.kept(&repo);
    let listing = hub.list(&repo)?;
    let commit = listing.commit.as_str();
    let (mut files, mut size, mut received) = (0u32, 0, 0);
    let mut fetch = |name: &str| -> Result<_> {
        if !listing.has(name) {
            return Err(hub.absent(format!("{name} of {}", repo.shown())).into());
        }
        let fetched = hub.file(&repo, commit, name)?;
        files += 1;
        size += fetched.size;
        received += fetched.received;
        Ok(fetched.path)
    };
    if info.chooses_gguf(&listing.files) {
        for file in gguf::choose(&listing.files, info.pattern.as_deref(), &info.hub)? {
            fetch(&file)?;
        }
    } else {
        fetch("config.json")?;
        fetch("tokenizer.json")?;
        for file in GENERATION.into_iter().filter(|file| listing.has(file)) {
            fetch(file)?;
        }
        if listing.has(SINGLE) {
            fetch(SINGLE)?;
        } else {
            let index = fetch(INDEX)?;
            for shard in shards(&index)? {
                fetch(&shard)?;
            }
        }
    }
    hub.keep(&repo, commit)?;
    if let Some(before) = before.filter(|before| before != commit) {
        tell(&format!("{}: changed upstream since it was prepared, from commit {before} to {commit}", info.name));
    }
    tell(&format!(
        "{}: {files} files, {}, {} received, in {}",
        info.name,
        megabytes(size),
        megabytes(received),
        hub.snapshot(&repo, commit).display()
    ));
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
