//! Where rows come from: embedded in the program (mini sets) or a folder of the user's.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::definition::DatasetInfo;
use super::prompt::Question;
use super::registry::embedded;
use super::rows::read_rows;

/// Where the rows of the real data sets are. Mini sets are always taken from the program itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowSource {
    /// Only what is built into the program.
    Embedded,
    /// A folder with `<dataset>/eval.jsonl` and `<dataset>/train.jsonl` (or `validation.jsonl`).
    Folder(PathBuf),
}

impl RowSource {
    /// The files that these data sets may be read from.
    pub fn files<'a>(&self, infos: impl IntoIterator<Item = &'a DatasetInfo>) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for info in infos {
            files.extend(info.origin.clone());
            match (self, &info.file) {
                (_, Some(file)) => {
                    let train = info.train.as_ref().map(|train| &train.file);
                    files.extend([file].into_iter().chain(train).map(|file| info.sibling(file)));
                }
                (Self::Folder(folder), None) => {
                    files.extend([SCORED, TRAINING].concat().iter().map(|file| folder.join(&info.name).join(file)));
                }
                (Self::Embedded, None) => {}
            }
        }
        files
    }

    /// The folder given, else the one that `prepare` fills if it has, else only what is built in.
    pub fn new(data_dir: Option<&Path>) -> Self {
        let prepared = || crate::hub::datasets_folder().ok().filter(|folder| folder.is_dir());
        data_dir.map(Path::to_path_buf).or_else(prepared).map_or(Self::Embedded, Self::Folder)
    }
}

/// Where the rows that are scored are in a folder.
const SCORED: &[&str] = &["eval.jsonl"];

/// Where those are that codecs are calibrated on: the first that is there.
const TRAINING: &[&str] = &["train.jsonl", "validation.jsonl"];

/// Whether `prepare` has made the rows of a data set that are scored.
pub fn is_prepared(info: &DatasetInfo) -> bool {
    crate::hub::datasets_folder().is_ok_and(|folder| folder.join(&info.name).join("eval.jsonl").is_file())
}

/// Questions of a data set and where they came from.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Its definition.
    pub info: &'static DatasetInfo,
    /// The questions, in the file's order.
    pub questions: Vec<Question>,
    /// SHA-256 of the whole file, whatever the limit.
    pub sha256: String,
    /// Whether that is the one on record; embedded rows always are, and rows with none on record.
    pub verified: bool,
    /// `embedded`, the folder given, or the file that the user's definition names.
    pub source: String,
    /// Calibration rows left out because they are scored too.
    pub excluded: usize,
    /// Questions left out because a model does not take so many tokens.
    pub skipped: usize,
}

impl Dataset {
    /// A line for the terminal where the rows are not those of the registry.
    pub fn note(&self) -> Option<String> {
        (!self.verified).then(|| {
            format!(
                "{}: rows from {} have sha256 {}, not the one on record; they are used as they are",
                self.info.name, self.source, self.sha256
            )
        })
    }
}

impl DatasetInfo {
    /// The rows that are scored: the first `limit` of them, or all.
    pub fn load(&'static self, source: &RowSource, limit: Option<usize>) -> Result<Dataset> {
        let file = match &self.file {
            Some(file) => own_file(self, file, self.sha256.as_deref(), self.rows)?,
            None => stated(self, find_file(self, source, SCORED)?, self.sha256.as_ref(), "")?,
        };
        let questions = read_rows(self, &file.shown, &file.bytes, checked(limit)?)?;
        let verified = file.verified || self.sha256.as_ref() == Some(&file.sha256());
        Ok(dataset(self, file, questions, verified, 0))
    }

    /// The rows codecs are calibrated on, without those that are scored too: the first `limit` of what is left, or all.
    /// `train.jsonl` comes first, `validation.jsonl` where there is none.
    pub fn load_train(&'static self, source: &RowSource, limit: Option<usize>) -> Result<Dataset> {
        let limit = checked(limit)?.unwrap_or(usize::MAX);
        let file = match (&self.file, &self.train) {
            (Some(_), Some(train)) => own_file(self, &train.file, train.sha256.as_deref(), train.rows)?,
            (Some(_), None) => bail!(
                "data set {:?}: {} names no rows to calibrate a codec on; add a [train] table with file = \"...\", or leave codecs \
                 out that are calibrated",
                self.name,
                self.given()
            ),
            (None, train) => {
                let recorded = train.as_ref().and_then(|train| train.sha256.as_ref());
                stated(self, find_file(self, source, TRAINING)?, recorded, "a [train] table with ")?
            }
        };
        let mut questions = read_rows(self, &file.shown, &file.bytes, None)?;
        let scored: HashSet<String> = self.load(source, None)?.questions.iter().map(Question::prompt_sha256).collect();
        let before = questions.len();
        questions.retain(|q| !scored.contains(&q.prompt_sha256()));
        let excluded = before - questions.len();
        ensure!(!questions.is_empty(), "{}: every calibration row is scored too; expected other rows", file.shown);
        questions.truncate(limit);
        let recorded = self.train.as_ref().filter(|t| t.file == file.name).and_then(|t| t.sha256.as_ref());
        let verified = file.verified || recorded == Some(&file.sha256());
        Ok(dataset(self, file, questions, verified, excluded))
    }
}

fn checked(limit: Option<usize>) -> Result<Option<usize>> {
    ensure!(limit != Some(0), "a limit of 0 questions leaves nothing to score; give 1 or more");
    Ok(limit)
}

struct RowsFile {
    name: String,
    shown: String,
    source: String,
    bytes: Vec<u8>,
    /// Whether its SHA-256 need not be compared with any.
    verified: bool,
}

impl RowsFile {
    fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.bytes))
    }
}

fn dataset(
    info: &'static DatasetInfo,
    file: RowsFile,
    questions: Vec<Question>,
    verified: bool,
    excluded: usize,
) -> Dataset {
    Dataset { info, questions, sha256: file.sha256(), verified, source: file.source, excluded, skipped: 0 }
}

/// Rows of the hub, whose sha256 a definition of the user's own has to state: they lie under its name alone, and could be those of
/// another repository or split that it named before.
fn stated(info: &DatasetInfo, file: RowsFile, recorded: Option<&String>, table: &str) -> Result<RowsFile> {
    ensure!(
        info.origin.is_none() || recorded.is_some(),
        "{}: {} does not state the sha256 of these rows; add {table}sha256 = {:?} to it if they are the ones it means, or fetch them \
         again with `splitbench prepare --dataset {1}`",
        file.shown,
        info.given(),
        file.sha256()
    );
    Ok(file)
}

/// A file that the definition names. Fails where it is not the one that the definition means.
fn own_file(info: &DatasetInfo, file: &str, recorded: Option<&str>, rows: Option<usize>) -> Result<RowsFile> {
    let path = info.sibling(file);
    let shown = path.display().to_string();
    let bytes =
        std::fs::read(&path).with_context(|| format!("reading {shown}, the rows that {} names", info.given()))?;
    let file = RowsFile { name: file.to_string(), source: shown.clone(), shown, bytes, verified: true };
    let (recorded, found) = (recorded.unwrap_or_default(), file.sha256());
    ensure!(
        recorded.is_empty() || recorded == found,
        "{}: its sha256 is {found}, and {} states {recorded}: these are other rows; correct the definition, or bring the rows back",
        file.shown,
        info.given()
    );
    let count = file.bytes.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
    ensure!(
        rows.is_none_or(|rows| rows == count),
        "{} has {count} rows, and {} states {}",
        file.shown,
        info.given(),
        rows.unwrap_or_default()
    );
    Ok(file)
}

fn find_file(info: &DatasetInfo, source: &RowSource, names: &[&str]) -> Result<RowsFile> {
    if info.mini {
        return embedded_file(info, names);
    }
    let (name, given) = (&info.name, info.given());
    let RowSource::Folder(folder) = source else {
        let mini = match info.origin {
            None => format!(", or use {:?}, our own small questions of the same shape", format!("{name}-mini")),
            Some(_) => String::new(),
        };
        bail!(
            "the rows of {name:?} are not part of this program: fetch them with `splitbench prepare --dataset {given}`, or pass \
             --data-dir DIR, where DIR/{name}/eval.jsonl and DIR/{name}/train.jsonl are its rows in the schema of {} on the hub{mini}",
            info.hub_id
        )
    };
    let set = folder.join(name);
    for &file in names {
        let path = set.join(file);
        if path.is_file() {
            let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let (shown, source) = (path.display().to_string(), folder.display().to_string());
            return Ok(RowsFile { name: file.into(), shown, source, bytes, verified: false });
        }
    }
    bail!(
        "data set {name:?}: no {} in {}; pass as --data-dir the folder that holds {name}/{}, or fetch it with `splitbench prepare \
         --dataset {given}`",
        names.join(" or "),
        set.display(),
        names[0]
    )
}

fn embedded_file(info: &DatasetInfo, names: &[&str]) -> Result<RowsFile> {
    for &name in names {
        if let Some(bytes) = embedded(info, name) {
            let shown = format!("datasets/mini/{}/{name} (embedded)", info.parent());
            let (name, source) = (name.into(), "embedded".into());
            return Ok(RowsFile { name, shown, source, bytes: bytes.to_vec(), verified: true });
        }
    }
    bail!("data set {:?}: this build has no {} of it embedded", info.name, names.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::find;

    const A: &str = r#"{"goal": "Boil an egg", "sol1": "in water", "sol2": "in sand", "label": 0}"#;
    const B: &str = r#"{"goal": "Dry a cup", "sol1": "with rain", "sol2": "with a cloth", "label": 1}"#;
    const C: &str = r#"{"goal": "Cut paper", "sol1": "with scissors", "sol2": "with soup", "label": 0}"#;

    fn folder(files: &[(&str, &[&str])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, rows) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, rows.join("\n") + "\n").unwrap();
        }
        dir
    }

    fn at(dir: &tempfile::TempDir) -> RowSource {
        RowSource::Folder(dir.path().to_owned())
    }

    #[test]
    fn a_folder_is_read_and_a_limit_takes_the_first_rows() {
        let dir = folder(&[("piqa/eval.jsonl", &[A, B])]);
        let all = find("piqa").unwrap().load(&at(&dir), None).unwrap();
        assert_eq!(all.questions.iter().map(|q| q.gold).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(all.source, dir.path().display().to_string());
        let one = find("piqa").unwrap().load(&at(&dir), Some(1)).unwrap();
        assert_eq!(one.questions, all.questions[..1]);
        assert_eq!(one.sha256, all.sha256, "the hash is of the whole file");
        assert!(find("piqa").unwrap().load(&at(&dir), Some(0)).is_err());
    }

    #[test]
    fn rows_off_the_record_are_used_and_noted() {
        let dir = folder(&[("piqa/eval.jsonl", &[A])]);
        let set = find("piqa").unwrap().load(&at(&dir), None).unwrap();
        assert!(!set.verified);
        assert!(set.note().unwrap().contains(&set.sha256));
    }

    #[test]
    fn training_rows_that_are_scored_are_left_out() {
        let dir = folder(&[("piqa/eval.jsonl", &[A, B]), ("piqa/train.jsonl", &[B, C])]);
        let train = find("piqa").unwrap().load_train(&at(&dir), None).unwrap();
        assert_eq!(train.excluded, 1);
        assert_eq!(train.questions.len(), 1);
        assert!(train.questions[0].choices[0].context.contains("Cut paper"));
        let same = folder(&[("piqa/eval.jsonl", &[A]), ("piqa/train.jsonl", &[A])]);
        assert!(find("piqa").unwrap().load_train(&at(&same), None).is_err(), "nothing is left");
    }

    #[test]
    fn validation_rows_stand_in_for_training_rows() {
        let dir = folder(&[("piqa/eval.jsonl", &[A]), ("piqa/validation.jsonl", &[B])]);
        assert_eq!(find("piqa").unwrap().load_train(&at(&dir), None).unwrap().questions.len(), 1);
        let both = folder(&[("piqa/eval.jsonl", &[A]), ("piqa/train.jsonl", &[C]), ("piqa/validation.jsonl", &[B])]);
        let train = find("piqa").unwrap().load_train(&at(&both), None).unwrap();
        assert!(train.questions[0].choices[0].context.contains("Cut paper"));
    }

    #[test]
    fn errors_say_what_was_looked_for_and_what_to_pass() {
        let text = find("qasc").unwrap().load(&RowSource::Embedded, None).unwrap_err().to_string();
        assert!(text.contains("--data-dir DIR") && text.contains("\"qasc-mini\""), "{text}");
        let dir = folder(&[("piqa/eval.jsonl", &[A])]);
        let text = find("qasc").unwrap().load(&at(&dir), None).unwrap_err().to_string();
        assert!(text.contains("no eval.jsonl in") && text.contains("qasc/eval.jsonl"), "{text}");
        let text = find("piqa").unwrap().load_train(&at(&dir), None).unwrap_err().to_string();
        assert!(text.contains("no train.jsonl or validation.jsonl in"), "{text}");
        let text = format!("{:#}", find("piqqa").err().unwrap());
        assert!(text.contains("did you mean \"piqa\"?"), "{text}");
    }

    #[test]
    fn every_embedded_mini_set_can_be_read_and_scored_rows_are_not_for_calibration() {
        for info in crate::data::registry().iter().filter(|i| i.mini) {
            let eval = find(&info.name).unwrap().load(&RowSource::Folder("nowhere".into()), None).unwrap();
            assert!(eval.verified && eval.source == "embedded" && eval.questions.len() >= 100, "{}", info.name);
            let train = find(&info.name).unwrap().load_train(&RowSource::Embedded, None).unwrap();
            assert_eq!(train.excluded, 0, "{}: a question's text occurs in training", info.name);
        }
    }
}
