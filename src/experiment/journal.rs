//! The journal of one model and data set: what was computed, a line a question and cell, on disk as soon as a batch is done.
//!
//! A line is a checksum and a JSON object. The first holds the plan: what is computed, of which inputs. Wherever the plan
//! changed, by more cells or questions, there is a line with the new one, and the checksums that follow hold for it alone.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cell::CellKey;
use super::flush::Flusher;
use super::outcome::{CellAnswer, UnsplitAnswer};
use crate::record::Row;

/// Version of the lines.
const FORMAT: u32 = 3;

/// A line is safe from a power cut this long after it was written, and what the disk takes; from the end of the program at once.
const SYNC_AFTER: Duration = Duration::from_secs(3);

/// What is computed, and of what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    format: u32,
    /// What tells apart programs that have the same version.
    build: Option<String>,
    /// All that a row says but for its cell and its numbers.
    pub row: Row,
    /// The cells, in the order of their rows.
    pub cells: Vec<CellKey>,
    /// Numbers of the questions in their file.
    pub questions: Vec<usize>,
}

impl Plan {
    /// A plan of this program.
    pub fn new(row: Row, cells: Vec<CellKey>, questions: Vec<usize>) -> Self {
        Self { format: FORMAT, build: super::calibration_cache::unnamed_build(), row, cells, questions }
    }

    /// Everything that a score depends on beside its question and cell, by name.
    fn inputs(&self) -> [(&'static str, String); 10] {
        let row = &self.row;
        [
            ("version of the program", format!("{}{}", row.version, self.build.as_deref().unwrap_or_default())),
            ("model", row.model.clone()),
            ("weights (SHA-256)", row.model_sha256.clone()),
            ("tokenizer (SHA-256)", row.tokenizer_sha256.clone()),
            ("data set", row.dataset.clone()),
            ("rows (SHA-256)", row.data_sha256.clone()),
            ("prompt version", row.prompt_version.to_string()),
            ("definition of the data set (SHA-256)", row.definition_sha256.clone().unwrap_or_default()),
            ("weight type", row.dtype.clone()),
            ("device", row.device.clone()),
        ]
    }

    /// Fails, naming it, where an input of another plan is not this one's.
    pub fn check_same_inputs(&self, other: &Self) -> Result<()> {
        for ((name, ours), (_, theirs)) in self.inputs().into_iter().zip(other.inputs()) {
            ensure!(ours == theirs, "{name}: {theirs} there, {ours} now");
        }
        Ok(())
    }

    /// Fails where a journal's plan is of other inputs than this.
    fn follows(&self, before: &Self, path: &Path) -> Result<()> {
        self.check_same_inputs(before).with_context(|| {
            format!(
                "{} was computed of other inputs; begin another run with --run NAME, or remove that file to compute all \
                 of it again",
                path.display()
            )
        })
    }
}

/// What a line holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What the lines after it belong to.
    Plan(Box<Plan>),
    /// A question, and the unsplit model's answer.
    Baseline(UnsplitAnswer),
    /// A question in a cell, by its place in the plan.
    Cell(usize, CellAnswer),
    /// Why a cell came to an end.
    Failed(usize, String),
}

/// A file, or memory where nothing is to be kept.
trait Backing: Read + Write + Seek + Send {
    fn sync(&self) -> io::Result<()>;
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Backing for File {
    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

impl Backing for Cursor<Vec<u8>> {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.get_mut().truncate(length as usize);
        Ok(())
    }
}

/// See the module.
pub struct Journal {
    path: PathBuf,
    backing: Box<dyn Backing>,
    /// None where nothing is kept or written.
    flusher: Option<Flusher>,
    end: u64,
    plan: Option<Plan>,
    /// Checksum of the plan's line.
    plan_sum: String,
    answers: HashMap<usize, u64>,
    measured: HashMap<CellKey, HashMap<usize, u64>>,
    failed: HashMap<CellKey, String>,
}

impl Journal {
    /// One that is not kept.
    pub fn in_memory() -> Self {
        Self::over(PathBuf::from("the journal in memory"), Box::new(Cursor::new(Vec::new())))
    }

    /// Opens a journal to go on with it, or begins one. Repairs a last line that was not written to its end, and says so.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| {
            format!("cannot write the journal {}; choose another place with --out DIR", path.display())
        })?;
        let same = file.try_clone().with_context(|| format!("opening {}", path.display()))?;
        let mut journal = Self::over(path.to_path_buf(), Box::new(file));
        journal.flusher = Some(Flusher::new(SYNC_AFTER, move || same.sync_data()));
        journal.read_all(true)?;
        Ok(journal)
    }

    /// Opens a journal to read it.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read the journal {}", path.display()))?;
        let mut journal = Self::over(path.to_path_buf(), Box::new(file));
        journal.read_all(false)?;
        Ok(journal)
    }

    fn over(path: PathBuf, backing: Box<dyn Backing>) -> Self {
        Self {
            path,
            backing,
            flusher: None,
            end: 0,
            plan: None,
            plan_sum: String::new(),
            answers: HashMap::new(),
            measured: HashMap::new(),
            failed: HashMap::new(),
        }
    }

    fn read_all(&mut self, repair: bool) -> Result<()> {
        let mut backing = std::mem::replace(&mut self.backing, Box::new(Cursor::new(Vec::new())));
        let (mut reader, mut text, mut number) = (BufReader::new(&mut backing), Vec::new(), 0);
        let torn = loop {
            text.clear();
            let length =
                reader.read_until(b'\n', &mut text).with_context(|| format!("reading {}", self.path.display()))?;
            if text.last() != Some(&b'\n') {
                break length > 0;
            }
            number += 1;
            self.read_line(&text).with_context(|| format!("{}, line {number}", self.path.display()))?;
            self.end += length as u64;
        };
        self.backing = backing;
        if torn && repair {
            self.backing.cut(self.end)?;
            tell!(
                "note: the last line of {} was not written to its end; what it held is computed again",
                self.path.display()
            );
        }
        Ok(())
    }

    fn read_line(&mut self, text: &[u8]) -> Result<()> {
        let (plan_sum, line) = parse(text, &self.plan_sum)?;
        if let Some(sum) = plan_sum {
            self.plan_sum = sum;
        }
        self.note(self.end, line)
    }

    /// Where a line stands.
    fn note(&mut self, at: u64, line: Line) -> Result<()> {
        match line {
            Line::Plan(plan) => self.plan = Some(*plan),
            Line::Baseline(answer) => {
                self.answers.insert(answer.asked.index, at);
            }
            Line::Cell(cell, measured) => {
                let cell = self.cell(cell)?.clone();
                self.measured.entry(cell).or_default().insert(measured.index, at);
            }
            Line::Failed(cell, error) => {
                let cell = self.cell(cell)?.clone();
                self.failed.insert(cell, error);
            }
        }
        Ok(())
    }

    fn cell(&self, number: usize) -> Result<&CellKey> {
        let plan = self.plan.as_ref().context("it stands before any plan")?;
        plan.cells.get(number).with_context(|| format!("it is of cell {number}, the plan has {}", plan.cells.len()))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was asked for last; none in a new journal.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// Reads the beginning of a journal, if there is one. Fails where it was computed of other inputs than the plan's.
    pub fn check(path: &Path, plan: &Plan) -> Result<()> {
        let Ok(file) = File::open(path) else { return Ok(()) };
        let mut text = Vec::new();
        BufReader::new(file).read_until(b'\n', &mut text).with_context(|| format!("reading {}", path.display()))?;
        if text.last() != Some(&b'\n') {
            return Ok(());
        }
        let (_, line) = parse(&text, "").with_context(|| format!("{}, line 1", path.display()))?;
        match line {
            Line::Plan(before) => plan.follows(&before, path),
            _ => Ok(()),
        }
    }

    /// Goes on under a plan. Fails where what is there was computed of other inputs.
    pub fn begin(&mut self, plan: Plan) -> Result<()> {
        if let Some(before) = &self.plan {
            plan.follows(before, &self.path)?;
            if *before == plan {
                return Ok(());
            }
        }
        self.append(vec![Line::Plan(Box::new(plan))])
    }

    /// Whether the unsplit model's answer to a question is there.
    pub fn has_answer(&self, question: usize) -> bool {
        self.answers.contains_key(&question)
    }

    /// Whether a question is there in a cell.
    pub fn has(&self, cell: &CellKey, question: usize) -> bool {
        self.measured.get(cell).is_some_and(|questions| questions.contains_key(&question))
    }

    /// Why a cell came to an end.
    pub fn failure(&self, cell: &CellKey) -> Option<&str> {
        self.failed.get(cell).map(String::as_str)
    }

    /// The unsplit model's answer to a question.
    pub fn answer(&mut self, question: usize) -> Result<Option<UnsplitAnswer>> {
        let Some(&at) = self.answers.get(&question) else { return Ok(None) };
        match self.line_at(at)? {
            Line::Baseline(answer) => Ok(Some(answer)),
            _ => bail!("{} changed while it was read", self.path.display()),
        }
    }

    /// What was measured on a question in a cell.
    pub fn measured(&mut self, cell: &CellKey, question: usize) -> Result<Option<CellAnswer>> {
        let Some(&at) = self.measured.get(cell).and_then(|questions| questions.get(&question)) else {
            return Ok(None);
        };
        match self.line_at(at)? {
            Line::Cell(_, measured) => Ok(Some(measured)),
            _ => bail!("{} changed while it was read", self.path.display()),
        }
    }

    fn line_at(&mut self, at: u64) -> Result<Line> {
        let read = || -> Result<Line> {
            self.backing.seek(SeekFrom::Start(at))?;
            let mut text = Vec::new();
            BufReader::with_capacity(1 << 12, &mut self.backing).read_until(b'\n', &mut text)?;
            // Its checksum was looked at when the journal was opened, or made here.
            let json = text.get(SUM_DIGITS + 1..).context("the line is cut off")?;
            Ok(serde_json::from_slice(json)?)
        };
        let mut read = read;
        read().with_context(|| format!("reading {} at byte {at}", self.path.display()))
    }

    /// Appends lines, all or, where the program ends meanwhile, the first of them.
    pub fn append(&mut self, lines: Vec<Line>) -> Result<()> {
        let (mut text, mut starts) = (String::new(), Vec::with_capacity(lines.len()));
        for line in &lines {
            starts.push(self.end + text.len() as u64);
            let json = serde_json::to_string(line)?;
            if matches!(line, Line::Plan(_)) {
                self.plan_sum = checksum("", &json);
                let _ = writeln!(text, "{} {json}", self.plan_sum);
            } else {
                let _ = writeln!(text, "{} {json}", checksum(&self.plan_sum, &json));
            }
        }
        let mut write = || -> io::Result<()> {
            self.backing.seek(SeekFrom::Start(self.end))?;
            self.backing.write_all(text.as_bytes())?;
            self.flusher.as_ref().map_or(Ok(()), Flusher::wrote)
        };
        write().with_context(|| {
            format!(
                "writing {}; what was computed before stays: make room and give the same command again",
                self.path.display()
            )
        })?;
        self.end += text.len() as u64;
        starts.into_iter().zip(lines).try_for_each(|(at, line)| self.note(at, line))
    }

    /// Makes what is there safe from a power cut.
    pub fn sync(&mut self) -> Result<()> {
        let sync = || {
            self.backing.sync()?;
            self.flusher.as_ref().map_or(Ok(()), Flusher::settle)
        };
        sync().with_context(|| format!("writing {}", self.path.display()))
    }
}

impl Drop for Journal {
    /// A run that ends by an error leaves what it has as safe as one that ends well.
    fn drop(&mut self) {
        if self.flusher.is_some() {
            let _ = self.backing.sync();
        }
    }
}

/// Hexadecimal digits of a checksum.
const SUM_DIGITS: usize = 16;

/// Of a line under a plan.
fn checksum(plan_sum: &str, json: &str) -> String {
    let digest = Sha256::new().chain_update(plan_sum).chain_update(json).finalize();
    hex::encode(&digest[..SUM_DIGITS / 2])
}

/// Where a line holds a plan.
const PLAN: &[u8] = b"{\"plan\":";

/// A line, and of a plan its checksum.
fn parse(text: &[u8], plan_sum: &str) -> Result<(Option<String>, Line)> {
    // What follows a plan hangs on it.
    let damaged = match text.windows(PLAN.len()).any(|part| part == PLAN) || plan_sum.is_empty() {
        true => {
            "it was changed or damaged, and the lines after it hang on it; remove the file to have all of it computed again"
        }
        false => "it was changed or damaged; remove the line to have it computed again",
    };
    let text = std::str::from_utf8(text).context(damaged)?;
    let (sum, json) = text.trim_end_matches('\n').split_once(' ').context(damaged)?;
    let (of_plan, of_line) = (checksum("", json), checksum(plan_sum, json));
    ensure!(sum == of_plan || sum == of_line, "{damaged} (its checksum is {of_line}, it says {sum})");
    // The version first: another one may have other fields.
    let value: serde_json::Value = serde_json::from_str(json).context(damaged)?;
    if let Some(format) = value.get("plan").and_then(|plan| plan.get("format")) {
        ensure!(
            format.as_u64() == Some(u64::from(FORMAT)),
            "the journal has format {format}, this program writes and reads {FORMAT}; begin another run with --run NAME"
        );
        return Ok((Some(of_plan), serde_json::from_value(value)?));
    }
    ensure!(sum == of_line, "{damaged} (a plan before it is missing)");
    Ok((None, serde_json::from_value(value).context(damaged)?))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
