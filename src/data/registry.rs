//! The data sets there are: `datasets/<name>.toml`, built into the program, a `-mini` twin of each, and files of the user's own.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::definition::DatasetInfo;

static FILES: Dir = include_dir!("$CARGO_MANIFEST_DIR/datasets");

/// Ending of the names of our own small sets.
pub(super) const MINI: &str = "-mini";

static REGISTRY: LazyLock<Vec<DatasetInfo>> =
    LazyLock::new(|| parse_all().expect("the registry files are checked by this crate's tests"));

fn parse_all() -> Result<Vec<DatasetInfo>> {
    let mut sets = Vec::new();
    for file in FILES.files().filter(|f| f.path().extension().is_some_and(|e| e == "toml")) {
        let name = file.path().file_stem().and_then(|s| s.to_str()).context("file name is not UTF-8")?;
        let text = file.contents_utf8().context("not UTF-8")?;
        let info = DatasetInfo::parse(text, &format!("datasets/{name}.toml"))?;
        sets.push(DatasetInfo { name: name.into(), ..info });
    }
    sets.sort_by_key(|s| s.column);
    let minis: Vec<_> = sets.iter().map(mini).collect();
    sets.extend(minis);
    Ok(sets)
}

fn mini(info: &DatasetInfo) -> DatasetInfo {
    DatasetInfo {
        name: format!("{}{MINI}", info.name),
        title: format!("{}{MINI}", info.title),
        rows: None,
        sha256: None,
        licence: "MIT OR Apache-2.0".into(),
        train: None,
        mini: true,
        ..info.clone()
    }
}

/// All data sets of the program: the ten real ones in the order of the paper's tables, then their mini twins.
pub fn registry() -> &'static [DatasetInfo] {
    &REGISTRY
}

/// The data set of that name, or the one that a file defines whose path ends in `.toml`; else an error with the nearest name.
pub fn find(name: &str) -> Result<&'static DatasetInfo> {
    if is_path(name) {
        return DatasetInfo::read(Path::new(name)).map(keep);
    }
    registry().iter().find(|info| info.name == name).ok_or_else(|| {
        splitbench_codec::suggest::unknown("data set", name, registry().iter().map(|i| i.name.as_str()))
            .context("a data set is a known name or a path that ends in .toml")
    })
}

fn is_path(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "toml")
}

/// A definition that stays to the end of the program, as the built-in ones do.
fn keep(info: DatasetInfo) -> &'static DatasetInfo {
    Box::leak(Box::new(info))
}

/// A data set as an experiment names it.
#[derive(Debug, Clone, PartialEq)]
pub enum DatasetRef {
    /// By name, or by a path that was not followed yet.
    Name(String),
    /// By what the file at a path said when it was read: nothing that is done to the file later changes the experiment.
    Own(&'static DatasetInfo),
}

impl DatasetRef {
    /// Reads the definition where this is the path of one, which begins in `folder`.
    pub fn resolve(&mut self, folder: &Path) -> Result<()> {
        match self {
            Self::Name(name) if is_path(name) => *self = Self::Own(DatasetInfo::read(&folder.join(name)).map(keep)?),
            Self::Name(_) => {}
            Self::Own(_) => bail!("datasets: expected names and paths; a definition goes into a file of its own"),
        }
        Ok(())
    }

    /// The data set.
    pub fn info(&self) -> Result<&'static DatasetInfo> {
        match self {
            Self::Name(name) => find(name),
            Self::Own(info) => Ok(info),
        }
    }
}

impl Serialize for DatasetRef {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => name.serialize(to),
            Self::Own(info) => info.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for DatasetRef {
    /// A name, or of a manifest a whole definition.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected the name of a data set, or the path of its definition")]
        enum Written {
            Name(String),
            Own(Box<DatasetInfo>),
        }
        Ok(match Written::deserialize(from)? {
            Written::Name(name) => Self::Name(name),
            Written::Own(info) => Self::Own(keep(*info)),
        })
    }
}

/// An embedded file of a mini set, such as `eval.jsonl`.
pub(super) fn embedded(info: &DatasetInfo, file: &str) -> Option<&'static [u8]> {
    FILES.get_file(format!("mini/{}/{file}", info.parent())).map(|f| f.contents())
}

/// Fails where two data sets of a list cannot be told apart by their names.
pub fn refuse_namesakes(infos: &[&DatasetInfo]) -> Result<()> {
    for (at, info) in infos.iter().enumerate() {
        let namesake = infos[..at].iter().find(|other| other.name == info.name || other.title == info.title);
        let Some(first) = namesake.map(|other| other.given()) else { continue };
        let again = info.given();
        ensure!(first != again, "data set {again} is listed twice");
        bail!(
            "data sets {first} and {again} have the same name or title, {:?} and {:?} of the second; give one of them another: name = \
             \"...\" and title = \"...\" in its file",
            info.name,
            info.title
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_real_sets_in_table_order_and_ten_minis() {
        let names: Vec<&str> = registry().iter().map(|i| i.name.as_str()).collect();
        let real = [
            "openbookqa",
            "arc_easy",
            "arc_challenge",
            "piqa",
            "siqa",
            "winogrande",
            "commonsense_qa",
            "qasc",
            "logiqa",
            "cosmos_qa",
        ];
        assert_eq!(names[..10], real);
        for (i, name) in real.iter().enumerate() {
            let (parent, mini) = (&registry()[i], &registry()[i + 10]);
            assert_eq!(parent.column, Some(i as u32 + 1));
            parent.check().unwrap();
            assert!(parent.sha256.as_ref().is_some_and(|s| s.len() == 64), "{name}");
            assert_eq!(mini.name, format!("{name}-mini"));
            assert_eq!(mini.parent(), *name);
            assert_eq!((&mini.prompt, mini.prompt_version), (&parent.prompt, parent.prompt_version));
            assert!(mini.mini && mini.sha256.is_none() && !parent.mini);
        }
        let ratios: Vec<Option<u32>> = registry()[..10].iter().map(|i| i.paper_ratio).collect();
        assert_eq!(ratios, [9, 8, 8, 10, 6, 6, 7, 7, 8, 7].map(Some));
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_nearest() {
        assert_eq!(find("arc_easy").unwrap().title, "ARC-Easy");
        let text = format!("{:#}", find("arc-easy").unwrap_err());
        assert!(text.contains("did you mean \"arc_easy\"?"), "{text}");
    }

    #[test]
    fn an_unknown_key_in_a_registry_file_is_an_error() {
        let text = FILES.get_file("piqa.toml").and_then(|f| f.contents_utf8()).unwrap();
        assert!(DatasetInfo::parse(text, "x").is_ok());
        let error = format!("{:#}", DatasetInfo::parse(&format!("colum = 1\n{text}"), "x").unwrap_err());
        assert!(error.contains("unknown key \"colum\" (did you mean \"column\"?)"), "{error}");
    }
}
