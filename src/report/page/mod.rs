//! One page of one run or several, as HTML that needs nothing else and as Markdown: what was run, the paper's claims, tables and
//! figures, and how to make each again.

mod claims;
mod html;
mod markdown;
mod own_tables;
mod source;
mod verdict;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

pub use source::{rows, wanted};

use self::source::{RunKind, RunSource};
use self::verdict::ClaimState;
use super::paper::{self, NumberPlace};
use super::picture::{Picture, TextPlace};
use super::table::{Table, TableSection};
use super::{names, rendered, simulation, sweeps, table4, view};
use crate::repeats::real_path;

/// What a page is made of, whatever it is written as.
enum PageBlock {
    /// A paragraph.
    Text(String),
    /// A table of numbers, or of words.
    Table { table: Table, words: bool },
    /// A figure, and its file where there is one.
    Picture { picture: Picture, file: Option<PathBuf> },
    /// What is folded away at first.
    More { summary: String, blocks: Vec<PageBlock> },
}

/// A part under a heading.
struct PagePart {
    title: String,
    blocks: Vec<PageBlock>,
}

/// A page.
struct Page {
    title: String,
    /// What stands before all parts.
    lead: Vec<String>,
    parts: Vec<PagePart>,
}

/// Experiments in the order a page has them, with what the paper calls what they make.
const ORDER: [(&str, &str); 10] = [
    ("table2", "Table II: accuracy by compression ratio"),
    ("table3", "Table III: methods side by side"),
    ("table4", "Table IV: seconds to compress and decompress"),
    ("figure2", "Figure 2: activations, their similarity and their spectra"),
    ("layer-sweep", "Figure 4: accuracy against the split layer"),
    ("ratio-sweep", "Figure 5: accuracy against the compression ratio"),
    ("figure6", "Figure 6: where a request's time goes"),
    ("figure7", "Figure 7: many clients, simulated"),
    ("codecs", "Accuracy against bytes: every codec"),
    ("layers", "Split layers and what may tell them apart"),
];

/// Writes `index.html` and `README.md` of some runs into a folder; figures of a single run lie in `plots` as files.
pub fn write(runs: &[PathBuf], out: &Path, plots: Option<&Path>) -> Result<Vec<PathBuf>> {
    ensure!(!runs.is_empty(), "a page of which runs? Name their folders: results/<experiment>/<run>");
    // The same run again shows nothing more.
    let folders = view::distinct(runs.iter().map(|run| real_path(run)));
    let mut sources = folders.iter().map(|run| RunSource::read(run, plots)).collect::<Result<Vec<_>>>()?;
    // Runs of one name, such as those of two machines, are told apart by where they lie.
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    for (source, folder) in sources.iter_mut().zip(&folders) {
        if names.iter().filter(|name| **name == source.name).count() > 1 {
            source.name = folder.display().to_string();
        }
    }
    let models = view::distinct(sources.iter().flat_map(models));
    sources.iter_mut().for_each(|source| source.models.clone_from(&models));
    let place =
        |source: &RunSource| ORDER.iter().position(|(name, _)| *name == source.experiment).unwrap_or(ORDER.len());
    sources.sort_by_key(place);
    super::create(out)?;
    let whole = std::fs::canonicalize(out).with_context(|| format!("no folder {}", out.display()))?;
    let page = page(&sources)?;
    let files = [out.join("index.html"), out.join("README.md")];
    for file in &files {
        ensure!(
            is_ours(file),
            "{}: there is a file that splitbench did not write; move it away, or give another folder",
            file.display()
        );
    }
    crate::save::replace(&files[0], html::page(&page).as_bytes())?;
    crate::save::replace(&files[1], markdown::page(&page, &whole).as_bytes())?;
    Ok(files.to_vec())
}

/// Whether a file of a folder is one that a page takes.
pub fn is_page(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "index.html" || name == "README.md")
}

/// Whether a file is not there, or is a page of splitbench.
fn is_ours(file: &Path) -> bool {
    let begins = |text: &[u8]| {
        let start = String::from_utf8_lossy(&text[..text.len().min(1000)]);
        start.contains("Written by `splitbench report`") || start.contains("<title>splitbench report")
    };
    !file.exists() || std::fs::read(file).is_ok_and(|text| begins(&text))
}

fn page(sources: &[RunSource]) -> Result<Page> {
    let lines = claims::lines(sources);
    let subjects = view::distinct(sources.iter().flat_map(models));
    let name = match (sources, subjects.as_slice()) {
        ([one], _) => one.name.clone(),
        (_, []) => "several runs".into(),
        (_, subjects) => shown(subjects, subjects),
    };
    let mut parts = vec![
        PagePart { title: "What was run".into(), blocks: vec![words(summary(sources))] },
        PagePart { title: "The paper's claims".into(), blocks: vec![words(claims::table(&lines))] },
        PagePart { title: "The paper against itself".into(), blocks: vec![words(own_tables::table())] },
    ];
    for source in sources {
        parts.push(PagePart { title: heading(source, sources), blocks: part(source)? });
    }
    parts.push(PagePart { title: "How to make it again".into(), blocks: vec![words(again(sources))] });
    Ok(Page { title: format!("splitbench report: {name}"), lead: lead(sources, &subjects, &lines), parts })
}

fn words(table: Table) -> PageBlock {
    PageBlock::Table { table, words: true }
}

/// Models of a run's rows.
fn models(source: &RunSource) -> Vec<String> {
    match &source.kind {
        RunKind::Rows { rows, .. } => view::distinct(rows.iter().map(|row| row.model.clone())),
        _ => Vec::new(),
    }
}

/// What some of the models of a page are called on it.
fn shown(models: &[String], all: &[String]) -> String {
    let names: Vec<String> =
        models.iter().map(|model| crate::model::short_name(model, all.iter().map(String::as_str))).collect();
    names.join(", ")
}

fn heading(source: &RunSource, all: &[RunSource]) -> String {
    let known = ORDER.iter().find(|(name, _)| *name == source.experiment).map(|(_, title)| *title);
    let several = all.iter().filter(|other| other.experiment == source.experiment).count() > 1;
    match known {
        Some(title) if several => format!("{title} ({})", source.name),
        Some(title) => title.to_string(),
        None => source.name.clone(),
    }
}

fn lead(sources: &[RunSource], models: &[String], lines: &[claims::ClaimLine]) -> Vec<String> {
    let mut out = Vec::new();
    let partial: Vec<&str> = sources.iter().filter(|one| one.partial).map(|one| one.name.as_str()).collect();
    if !partial.is_empty() {
        out.push(format!("PARTIAL: {} has not finished; this page shows what is there.", partial.join(", ")));
    }
    let count = |verdict| lines.iter().filter(|line| line.judged.verdict == verdict).count();
    out.push(format!(
        "What the FourierCompress paper (arXiv 2510.16418) shows, from rows of splitbench. Of {} verdicts on its claims here, {} hold, {} do not, and {} cannot be judged.",
        lines.len(),
        count(ClaimState::Holds),
        count(ClaimState::Fails),
        count(ClaimState::Open)
    ));
    let others: Vec<String> = models.iter().filter(|model| paper::model(model).is_none()).cloned().collect();
    if !others.is_empty() {
        out.push(format!(
            "{} is none of the paper's four models: the paper's numbers stand beside these as what it claims for others. Losses are compared, accuracies are not.",
            shown(&others, models)
        ));
    }
    let rows =
        || sources.iter().filter_map(|one| if let RunKind::Rows { rows, .. } = &one.kind { Some(rows) } else { None });
    if rows().flatten().any(|row| names::is_mini(&row.dataset)) {
        out.push("Data sets whose name ends in mini are small sets of this project, named after the paper's and made in their format; they are not the paper's.".into());
    }
    out
}

/// Table of one section.
fn plain(title: &str, caption: &[&str], columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table {
        title: title.into(),
        caption: caption.iter().map(|sentence| sentence.to_string()).collect(),
        columns: std::iter::once(&"").chain(columns).map(|column| column.to_string()).collect(),
        sections: vec![TableSection { name: String::new(), rows }],
        ..Table::default()
    }
}

/// `1 cell`, `3 cells`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn summary(sources: &[RunSource]) -> Table {
    let row = |source: &RunSource| {
        let (subject, data, done, failed) = match &source.kind {
            RunKind::Rows { rows, .. } => {
                let cells: Vec<_> = rows.iter().filter(|row| !row.is_baseline()).collect();
                let failed = cells.iter().filter(|row| view::accuracy(row).is_none()).count();
                let unsplit = rows.iter().filter(|row| row.is_baseline() && view::accuracy(row).is_none()).count();
                let sets = view::distinct(rows.iter().map(names::row_title));
                let questions = view::distinct(rows.iter().map(|row| row.questions).filter(|count| *count > 0));
                let questions: Vec<String> = questions.iter().map(u64::to_string).collect();
                let named = if sets.len() > 4 { counted(sets.len(), "set") } else { sets.join(", ") };
                let lacks = if unsplit > 0 {
                    format!("; {} without the unsplit model", counted(unsplit, "set"))
                } else {
                    String::new()
                };
                let data = format!("{named}; {} questions each{lacks}", questions.join(" or "));
                (shown(&models(source), &source.models), data, counted(cells.len(), "cell"), failed)
            }
            RunKind::Replay { rows, .. } => {
                let sizes: Vec<String> =
                    view::distinct(rows.iter().map(|row| row.hidden)).iter().map(usize::to_string).collect();
                let data: Vec<String> =
                    view::distinct(rows.iter().map(|row| format!("{} sequences of {}", row.sequences, row.trace)));
                let failed = rows.iter().filter(|row| row.both.is_none()).count();
                (format!("D {}", sizes.join(", ")), data.join(", "), counted(rows.len(), "row"), failed)
            }
            RunKind::Simulated(swept) => {
                let profiles = view::distinct(swept.points.iter().map(|point| point.profile.clone()));
                let failed =
                    swept.points.iter().filter(|point| point.mean_s.is_none_or(|mean| !mean.is_finite())).count();
                (profiles.join(", "), "simulated".into(), counted(swept.points.len(), "point"), failed)
            }
        };
        let state = if source.partial { "PARTIAL: not finished" } else { "finished" };
        let notes = source.manifest.notes.iter().map(|note| format!(" {note}.")).collect::<String>();
        vec![
            source.name.clone(),
            subject,
            data,
            format!(
                "{done}, {}",
                if failed == 0 { "none failed".into() } else { format!("{failed} without a number") }
            ),
            format!("{state}{notes}"),
            source.manifest.version.clone(),
        ]
    };
    let caption = [
        "Cells without a number failed, had not settled, or are of one question, of which there is no standard error; they are left out of every mean and figure and counted in its caption.",
    ];
    let columns = ["run", "of", "data", "cells", "state", "splitbench"];
    plain("Runs", &caption, &columns, sources.iter().map(row).collect())
}

fn part(source: &RunSource) -> Result<Vec<PageBlock>> {
    let mut blocks = Vec::new();
    if source.partial {
        blocks.push(PageBlock::Text("PARTIAL: this run has not finished.".into()));
    }
    let analysis = source.manifest.spec["analysis"].as_str().unwrap_or_default();
    if !analysis.is_empty() {
        let paragraphs = analysis.split("\n\n").map(|text| PageBlock::Text(text.to_string())).collect();
        let summary = "What the experiment asks, and what would be agreement".into();
        blocks.push(PageBlock::More { summary, blocks: paragraphs });
    }
    let (tables, pictures) = match &source.kind {
        RunKind::Rows { report, rows, context } => {
            let view = super::checked(report, rows)?.among(&source.models);
            let sweeps = sweeps(report, rows, context)?;
            blocks.extend(super::missing(report, &view, context).into_iter().map(PageBlock::Text));
            let tables =
                rendered(report, &view, context, &sweeps, NumberPlace::Inside).into_iter().map(|(_, made)| made.tables);
            (tables.collect(), super::figures(report, &view, &sweeps, context, TextPlace::Beside)?)
        }
        RunKind::Replay { rows, table4: true } => {
            let claims = super::speed::markdown(rows);
            let lines = claims.lines().filter_map(|line| line.strip_prefix("- "));
            let summary = "Claims of speed, one by one".into();
            blocks.push(PageBlock::More { summary, blocks: lines.map(|line| PageBlock::Text(line.into())).collect() });
            (vec![vec![table4::table4(rows, NumberPlace::Inside)], vec![table4::list(rows)]], Vec::new())
        }
        RunKind::Replay { rows, .. } => (vec![vec![table4::list(rows)]], Vec::new()),
        RunKind::Simulated(swept) => {
            let draw = |(file, figure): (String, super::figure::Figure)| figure.picture(file, TextPlace::Beside);
            let pictures = simulation::figures(swept).into_iter().map(draw).collect::<Result<_>>()?;
            (vec![simulation::rendered(swept).tables], pictures)
        }
    };
    blocks.extend(arranged(source, tables, pictures));
    if matches!(blocks.as_slice(), [] | [PageBlock::More { .. }]) {
        blocks.push(PageBlock::Text("There is nothing finished to show.".into()));
    }
    Ok(blocks)
}

/// The first table of a kind and the figures that say most, then the others folded away.
fn arranged(source: &RunSource, kinds: Vec<Vec<Table>>, pictures: Vec<Picture>) -> Vec<PageBlock> {
    let files: Vec<String> = pictures.iter().map(|picture| picture.file.clone()).collect();
    let is_detail = |file: &str| {
        let shows = file.split("--").next().unwrap_or_default();
        shows.ends_with("-percentiles") || files.contains(&file.replacen(shows, &names::average(shows), 1))
    };
    let (details, main): (Vec<Picture>, Vec<Picture>) = pictures.into_iter().partition(|one| is_detail(&one.file));
    let block = |picture: Picture| {
        let file = source.plots.as_ref().map(|folder| folder.join(format!("{}.svg", picture.file)));
        PageBlock::Picture { file: file.filter(|file| file.is_file()), picture }
    };
    let mut blocks: Vec<PageBlock> = main.into_iter().map(block).collect();
    let mut others: Vec<PageBlock> = Vec::new();
    for tables in kinds {
        let mut tables = tables.into_iter().map(|table| PageBlock::Table { table, words: false });
        blocks.extend(tables.next());
        others.extend(tables);
    }
    let tables = others.len();
    let pictures = details.len();
    others.extend(details.into_iter().map(block));
    if !others.is_empty() {
        let summary = [(tables, "more table"), (pictures, "more figure")].into_iter().filter(|(count, _)| *count > 0);
        let summary = summary.map(|(count, what)| counted(count, what)).collect::<Vec<_>>().join(", ");
        blocks.push(PageBlock::More { summary, blocks: others });
    }
    blocks
}

fn again(sources: &[RunSource]) -> Table {
    let row = |source: &RunSource| {
        let manifest = &source.manifest;
        let command = match manifest.command.split_first() {
            // The program's own place says nothing.
            Some((_, rest)) => shlex::try_join(std::iter::once("splitbench").chain(rest.iter().map(String::as_str))),
            None => Ok(format!("splitbench run {}", source.experiment)),
        };
        let revision = manifest.version.split('+').nth(1).unwrap_or(&manifest.version);
        let (revision, changed) = match revision.strip_suffix("-dirty") {
            Some(clean) => (clean, ", with changes that were not committed"),
            None => (revision, ""),
        };
        let machine = &source.machine;
        let mut about = Vec::new();
        if !machine.cpu.is_empty() {
            about.push(format!("{}, {}", machine.cpu, counted(machine.cores, "processor")));
        }
        if machine.memory_bytes > 0 {
            about.push(format!("{:.0} GB", machine.memory_bytes as f64 / 1e9));
        }
        about.extend((!machine.os.is_empty()).then(|| machine.os.clone()));
        let date = manifest.started.split('T').next().filter(|date| !date.is_empty()).unwrap_or("–");
        let before: f64 = manifest.earlier.iter().map(|process| process.cost.wall_seconds).sum();
        let seconds = manifest.cost.as_ref().map(|cost| cost.wall_seconds).filter(|seconds| *seconds > 0.0);
        let took = seconds.map_or(String::new(), |seconds| match manifest.earlier.len() {
            0 => format!(", {seconds:.0} s"),
            more => format!(", {:.0} s in {} processes", before + seconds, more + 1),
        });
        vec![
            source.name.clone(),
            format!("`{}`", command.unwrap_or_else(|_| manifest.command.join(" "))),
            format!("{}{changed}", if revision.is_empty() { "–" } else { revision }),
            format!("{date}{took}"),
            if about.is_empty() { "any: nothing is timed, or none is noted".into() } else { about.join(", ") },
        ]
    };
    let mut rows: Vec<Vec<String>> = sources.iter().map(row).collect();
    // A whole path stays as it is.
    let folder = |source: &RunSource| Path::new("results").join(&source.name).display().to_string();
    let names: Vec<String> = sources.iter().map(folder).collect();
    let whole = format!("`splitbench report {} --page DIR`", names.join(" "));
    rows.push(vec!["this page".into(), whole, crate::VERSION.into(), "–".into(), "any: it only reads rows".into()]);
    let caption = [
        "Tables and figures of a run alone, from its rows: `splitbench report results/EXPERIMENT/RUN`.",
        "`splitbench` is `cargo run --release --` in a checkout of the revision.",
    ];
    plain("Commands", &caption, &["run", "command", "revision", "when", "machine"], rows)
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
