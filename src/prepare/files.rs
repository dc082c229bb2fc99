//! Which files of a data set's repository hold a split.

/// Kinds of file that rows are read from, the first that there is.
const KINDS: [&str; 2] = [".parquet", ".jsonl"];

/// The files of a split, in the order of their rows; empty where there are none. The hub's own conversion calls them
/// `<config>/<split>/0000.parquet`, repositories `<config>/<split>-00000-of-00001.parquet`, `data/<split>.jsonl` and the
/// like. The configuration `default` is whatever the only one is called.
pub fn of_split<'a>(files: &'a [String], config: &str, split: &str) -> Vec<&'a str> {
    for kind in KINDS {
        let found: Vec<(&str, &str)> =
            files.iter().filter_map(|file| Some((folder_of(file, split, kind)?, file.as_str()))).collect();
        let in_folder =
            |folder: &str| -> Vec<&'a str> { found.iter().filter(|f| f.0 == folder).map(|f| f.1).collect() };
        let mut folders: Vec<&str> = found.iter().map(|f| f.0).collect();
        folders.dedup();
        let only = if let [only] = folders[..] { Some(only) } else { None };
        for folder in [Some(config), only.filter(|_| config == "default")].into_iter().flatten() {
            let of = in_folder(folder);
            if !of.is_empty() {
                return of;
            }
        }
    }
    Vec::new()
}

/// The folder before a file of the split, if it is one: `a` of `a/test/0000.parquet`, `a/test-0.parquet`, `a/test.parquet`.
fn folder_of<'a>(file: &'a str, split: &str, kind: &str) -> Option<&'a str> {
    let stem = file.strip_suffix(kind)?;
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let (parent, last) = folder.rsplit_once('/').unwrap_or(("", folder));
    if last == split {
        return Some(parent);
    }
    let rest = name.strip_prefix(split)?;
    (rest.is_empty() || rest.starts_with('-')).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[&str], config: &str, split: &str) -> Vec<String> {
        let files: Vec<String> = files.iter().map(|f| f.to_string()).collect();
        of_split(&files, config, split).into_iter().map(String::from).collect()
    }

    #[test]
    fn the_hubs_names_are_understood() {
        let converted = ["a/test/0000.parquet", "a/test/0001.parquet", "a/train/0000.parquet", "b/test/0000.parquet"];
        assert_eq!(of(&converted, "a", "test"), converted[..2]);
        assert_eq!(of(&converted, "b", "test"), converted[3..]);
        assert!(of(&converted, "c", "test").is_empty());
        assert!(of(&converted, "default", "test").is_empty(), "two could be meant");
        assert_eq!(of(&converted, "default", "train"), ["a/train/0000.parquet"]);
        let plain = ["README.md", "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"];
        assert_eq!(of(&plain, "default", "test"), [plain[1]]);
        assert_eq!(of(&["test.jsonl", "testing.jsonl", "x/train.jsonl"], "default", "test"), ["test.jsonl"]);
        assert_eq!(of(&["main/test.jsonl", "main/test.parquet"], "main", "test"), ["main/test.parquet"]);
    }
}
