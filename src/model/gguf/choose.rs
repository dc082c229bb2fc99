//! Which of several GGUF files is meant.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

/// More than one model is meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AmbiguousModel(String);

/// The files of one model among `files`, parts of a split one in their order. `pattern` is a file's name or what names contain, with
/// `*` for anything between; without it there must be one model only.
pub fn choose(files: &[String], pattern: Option<&str>, place: &str) -> Result<Vec<String>> {
    let mut models: BTreeMap<String, Vec<(usize, usize, String)>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_gguf(file)) {
        match part(file) {
            Some((stem, number, count)) => models.entry(stem).or_default().push((number, count, file.clone())),
            None => models.entry(file.clone()).or_default().push((1, 1, file.clone())),
        }
    }
    let exact = |model: &[(usize, usize, String)]| {
        model.iter().any(|(_, _, file)| Some(file.as_str()) == pattern || file.rsplit('/').next() == pattern)
    };
    let mut chosen: Vec<_> = models.values().filter(|model| exact(model)).collect();
    if chosen.is_empty() {
        let fits = |name: &str| pattern.is_none_or(|pattern| matches(pattern, name));
        chosen = models.iter().filter(|(name, _)| fits(name)).map(|(_, model)| model).collect();
    }
    let names = || {
        let first: Vec<_> = models.values().map(|parts| parts[0].2.as_str()).take(20).collect();
        first.join(", ") + if models.len() > 20 { ", ..." } else { "" }
    };
    match (chosen.as_slice(), pattern) {
        ([model], _) => whole(model),
        ([], _) if models.is_empty() => bail!("{place}: no .gguf file"),
        ([], pattern) => bail!("{place}: no .gguf file fits {:?}; there are {}", pattern.unwrap_or_default(), names()),
        (several, _) => Err(AmbiguousModel(format!(
            "{place}: {} GGUF models fit; choose one as {place}:NAME, a file's name or a part of it; there are {}",
            several.len(),
            names()
        ))
        .into()),
    }
}

/// Whether a file's name is that of a GGUF file.
pub fn is_gguf(name: &str) -> bool {
    name.len() > 5 && name.to_ascii_lowercase().ends_with(".gguf")
}

/// Name, number and count of a part `NAME-00001-of-00003.gguf`.
pub(crate) fn part(file: &str) -> Option<(String, usize, usize)> {
    let stem = file.get(..file.len() - 5)?;
    let (stem, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let digits = |text: &str| (text.len() == 5).then(|| text.parse::<usize>().ok()).flatten();
    Some((format!("{stem}.gguf"), digits(number)?, digits(count)?))
}

/// The parts of a model, of which none may be missing.
fn whole(parts: &[(usize, usize, String)]) -> Result<Vec<String>> {
    let mut parts = parts.to_vec();
    parts.sort();
    let (_, count, name) = &parts[0];
    ensure!(
        parts.iter().all(|(_, other, _)| other == count),
        "{name}: there are parts of different splits of this model"
    );
    for number in 1..=*count {
        ensure!(
            parts.get(number - 1).is_some_and(|part| part.0 == number),
            "{name}: part {number} of {count} is missing; fetch all of them into one folder"
        );
    }
    ensure!(parts.len() == *count, "{name}: more parts than the {count} of its name");
    Ok(parts.into_iter().map(|(_, _, file)| file).collect())
}

/// Whether the pieces of a pattern between its stars stand in the name one behind the other; case does not count.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    let mut rest = name.as_str();
    pattern.split('*').all(|piece| match rest.split_once(piece) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_model_is_chosen() {
        let files: Vec<String> = [
            "README.md",
            "m-Q4_K_M.gguf",
            "m-Q4_K_S.gguf",
            "q8/m-Q8_0-00002-of-00002.gguf",
            "q8/m-Q8_0-00001-of-00002.gguf",
            ".gguf",
        ]
        .map(String::from)
        .to_vec();
        let chosen = |pattern| choose(&files, Some(pattern), "place").map_err(|e| e.to_string());
        let parts = vec![files[4].clone(), files[3].clone()];
        for (pattern, expected) in [
            ("m-Q4_K_M.gguf", vec![files[1].clone()]),
            ("q4_k_m", vec![files[1].clone()]),
            ("m-*k_s*", vec![files[2].clone()]),
            ("Q8_0", parts.clone()),
            ("m-Q8_0-00002-of-00002.gguf", parts),
        ] {
            assert_eq!(chosen(pattern).unwrap(), expected, "{pattern}");
        }
        assert!(chosen("Q4_K").unwrap_err().contains("2 GGUF models fit"), "{:?}", chosen("Q4_K"));
        assert!(chosen("Q5").unwrap_err().contains("no .gguf file fits \"Q5\""));
        assert!(choose(&files, None, "place").unwrap_err().to_string().contains("place:NAME"));
        assert_eq!(choose(&files[..2], None, "place").unwrap(), [files[1].clone()]);
        assert!(choose(&files[..1], None, "place").unwrap_err().to_string().contains("no .gguf file"));
    }

    #[test]
    fn parts_are_all_needed() {
        let parts = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| format!("m-{n}.gguf")).collect();
            choose(&names, None, "place").map_err(|e| e.to_string())
        };
        assert_eq!(parts(&["00002-of-00002", "00001-of-00002"]).unwrap().len(), 2);
        assert!(parts(&["00001-of-00003", "00003-of-00003"]).unwrap_err().contains("part 2 of 3 is missing"));
        assert!(parts(&["00001-of-00002", "00001-of-00003"]).unwrap_err().contains("different splits"));
        assert!(parts(&["00001-of-00001", "00002-of-00001"]).unwrap_err().contains("more parts"));
        assert!(parts(&["00000-of-00000"]).is_err());
    }
}
