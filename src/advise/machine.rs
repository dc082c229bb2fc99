//! A machine as a user names it: a file of `splitbench profile`, the folder of a run, or a data sheet.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::from_run::from_run;
use super::profile::MachineProfile;
use super::sheet::modelled;
use crate::model::source::load_config;
use crate::replay::profile::{embedded, load};

/// The model that a machine's profile has to be of.
#[derive(Debug, Clone, Copy)]
pub struct WantedModel<'a> {
    /// As rows name it: what a run's times are found by, and whose shape a data sheet is taken for.
    pub name: &'a str,
    /// SHA-256 of its files; empty where it is not known, and then not compared.
    pub sha256: &'a str,
}

impl WantedModel<'_> {
    /// Fails where `sha256` is another model's. Names are no proof: each machine has its own path to the same files.
    pub(super) fn check(&self, sha256: &str, origin: &str) -> Result<()> {
        ensure!(
            self.sha256.is_empty() || sha256.is_empty() || self.sha256 == sha256,
            "{origin} is of another model than {}: the SHA-256 of its files begins with {}, expected {}; `splitbench profile --model` \
             measures that one",
            self.name,
            &sha256.get(..12).unwrap_or(sha256),
            &self.sha256.get(..12).unwrap_or(self.sha256)
        );
        Ok(())
    }
}

/// The profile of a machine that `text` names: a file of `splitbench profile`, the folder of a run that timed single requests, or the
/// name or file of a data sheet. Fails where it is none of the three, or of another model.
pub fn machine(text: &str, wanted: &WantedModel) -> Result<MachineProfile> {
    let path = Path::new(text);
    let config = || {
        load_config(wanted.name).with_context(|| {
            format!("the times of {text} are told by the model's shape, and {} cannot be read here", wanted.name)
        })
    };
    if path.is_dir() {
        return from_run(path, wanted, &config()?);
    }
    if embedded().contains(&text) {
        return Ok(modelled(&load(text)?, wanted.name, &config()?));
    }
    if !path.is_file() {
        bail!("machine {text:?}: no such file or folder; {}", forms());
    }
    match kind(path)? {
        MachineFile::Profile => {
            let profile = MachineProfile::read(path)?;
            wanted.check(&profile.model.sha256, &format!("profile {text}"))?;
            if let Ok(config) = load_config(wanted.name) {
                let (layers, hidden) = (profile.model.layers, profile.model.hidden);
                ensure!(
                    (layers, hidden) == (config.num_hidden_layers, config.hidden_size),
                    "profile {text} is of {}, {layers} layers of width {hidden}; {} has {} of width {}: `splitbench profile --model` \
                     measures that one",
                    profile.model.name,
                    wanted.name,
                    config.num_hidden_layers,
                    config.hidden_size
                );
            }
            Ok(profile)
        }
        MachineFile::Sheet => Ok(modelled(&load(text)?, wanted.name, &config()?)),
    }
}

/// What a machine may be, for messages.
fn forms() -> String {
    format!(
        "a machine is a file of `splitbench profile`, the folder of a run with service.csv (`splitbench run figure6`), or a data sheet: {} \
         or a TOML file like theirs",
        embedded().join(", ")
    )
}

enum MachineFile {
    Profile,
    Sheet,
}

/// Both kinds are TOML; a profile has a model, a data sheet has cores.
fn kind(path: &Path) -> Result<MachineFile> {
    let what = || format!("machine {}", path.display());
    let text = std::fs::read_to_string(path).with_context(what)?;
    let table: toml::Table = toml::from_str(&text).with_context(forms).with_context(what)?;
    match (table.contains_key("model"), table.contains_key("cuda_cores")) {
        (true, _) => Ok(MachineFile::Profile),
        // `replay::profile::load` takes a path that ends so.
        (false, true) if path.extension().is_some_and(|kind| kind == "toml") => Ok(MachineFile::Sheet),
        (false, true) => bail!("{}: the name of a data sheet's file must end in .toml", what()),
        (false, false) => bail!("{}: neither a [model] nor [cuda_cores] is in it; {}", what(), forms()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::profile::{Basis, tests::profile};
    use crate::model::source::POCKET;

    const WANTED: WantedModel = WantedModel { name: POCKET, sha256: "" };

    fn pocket_profile() -> MachineProfile {
        let mut profile = profile(1.0);
        (profile.model.layers, profile.model.hidden, profile.model.sha256) = (6, 192, "ab".repeat(32));
        profile
    }

    #[test]
    fn a_file_is_known_by_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("a.toml"), pocket_profile().to_toml().unwrap()).unwrap();
        assert_eq!(machine(&at("a.toml"), &WANTED).unwrap(), pocket_profile());
        let sheet = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/devices/jetson-orin-nx.toml");
        std::fs::copy(sheet, at("b.toml")).unwrap();
        let (by_file, by_name) =
            (machine(&at("b.toml"), &WANTED).unwrap(), machine("jetson-orin-nx", &WANTED).unwrap());
        assert!(by_file == by_name && by_name.basis == Basis::Modelled, "{by_file:?}");
        // As a file it comes back.
        std::fs::write(at("c.toml"), by_name.to_toml().unwrap()).unwrap();
        assert_eq!(machine(&at("c.toml"), &WANTED).unwrap(), by_name);
    }

    #[test]
    fn wrong_machines_are_told_the_three_forms() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("other.toml"), "a = 1\n").unwrap();
        std::fs::write(at("no.toml"), "not toml").unwrap();
        for text in [&at("other.toml"), &at("no.toml"), "jetson-orin-nona"] {
            let error = format!("{:#}", machine(text, &WANTED).unwrap_err());
            for part in ["splitbench profile", "service.csv", "jetson-orin-nano", text] {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
        let error = format!("{:#}", machine(&folder.path().display().to_string(), &WANTED).unwrap_err());
        assert!(error.contains("has no service.csv"), "{error}");
    }

    #[test]
    fn a_profile_of_another_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml").display().to_string();
        std::fs::write(&path, pocket_profile().to_toml().unwrap()).unwrap();
        let other = "cd".repeat(32);
        let error = format!("{:#}", machine(&path, &WantedModel { name: POCKET, sha256: &other }).unwrap_err());
        assert!(error.contains("abababababab") && error.contains("cdcdcdcdcdcd"), "{error}");
        std::fs::write(&path, profile(1.0).to_toml().unwrap()).unwrap();
        let error = format!("{:#}", machine(&path, &WANTED).unwrap_err());
        assert!(error.contains("10 layers of width 100") && error.contains("6 of width 192"), "{error}");
        // The same files by another path.
        std::fs::write(&path, pocket_profile().to_toml().unwrap()).unwrap();
        machine(&path, &WantedModel { name: "/no/such/model", sha256: &"ab".repeat(32) }).unwrap();
    }
}
