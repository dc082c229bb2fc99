//! A table of text cells, as GitHub Markdown and for the terminal.

use super::number::{self, MISSING};
use super::view;
use crate::record::Row;
use crate::score::{holm, loss_interval};

/// McNemar p below which a cell is starred.
pub(super) const SIGNIFICANT: f64 = 0.05;

/// A table in sections (one a model), each row led by its label.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub title: String,
    pub caption: Vec<String>,
    /// Heading of the sections, of the labels, then of the cells.
    pub columns: Vec<String>,
    /// How many columns behind the labels tell rows apart with them, and come again wherever a table is folded.
    pub keys: usize,
    pub sections: Vec<TableSection>,
    pub notes: Notes,
}

/// Rows of one model; the first cell of a row is its label.
#[derive(Debug, Default)]
pub(super) struct TableSection {
    pub name: String,
    pub rows: Vec<Vec<String>>,
}

/// Numbered footnotes; the same text has one number.
#[derive(Debug, Default)]
pub(super) struct Notes {
    lines: Vec<String>,
    /// The largest McNemar p that is below [`SIGNIFICANT`] after Holm's correction for the cells of the table.
    holm: Option<f64>,
}

impl Notes {
    /// Of a table whose cells these are.
    pub fn with_cells(cells: &[&Row]) -> Self {
        let p: Vec<f64> = cells.iter().filter_map(|row| row.mcnemar_p).collect();
        let corrected = holm(&p);
        let kept = p.into_iter().zip(corrected).filter(|(_, corrected)| *corrected < SIGNIFICANT);
        Self { lines: Vec::new(), holm: kept.map(|(p, _)| p).max_by(f64::total_cmp) }
    }

    /// `[1]` for a footnote.
    pub fn mark(&mut self, text: &str) -> String {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let at = self.lines.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.lines.push(text);
            self.lines.len() - 1
        });
        format!("[{}]", at + 1)
    }

    /// All of them, in order.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// A missing cell with the reason.
    pub fn missing(&mut self, reason: Option<&str>) -> String {
        match reason {
            Some(reason) => format!("{MISSING} {}", self.mark(reason)),
            None => MISSING.to_string(),
        }
    }

    /// Accuracy of a cell, starred where it differs from the baseline, and under it the points lost with their interval; a failed
    /// cell points to its error.
    pub fn accuracy_cell(&mut self, row: Option<&Row>) -> String {
        let Some(row) = row else { return self.missing(None) };
        let Some(accuracy) = view::accuracy(row) else {
            return self.missing(Some(row.err.as_deref().unwrap_or("no finite accuracy")));
        };
        let star = match row.mcnemar_p {
            Some(p) if self.holm.is_some_and(|largest| p <= largest) => "**",
            Some(p) if p < SIGNIFICANT => "*",
            _ => "",
        };
        let points = |share: f64| number::tenths(100.0 * share);
        let loss = row.lost.zip(row.gained).map(|(lost, gained)| {
            let [low, high] = loss_interval(lost, gained, row.questions);
            let loss = (lost as f64 - gained as f64) / row.questions as f64;
            format!("\n{} [{}, {}]", points(loss), points(low), points(high))
        });
        format!("{}{star}{}", number::percent(accuracy), loss.unwrap_or_default())
    }
}

impl Table {
    /// GitHub Markdown: heading, caption, table, footnotes.
    pub fn markdown(&self) -> String {
        let mut out = format!("### {}\n\n{}\n\n", escape(&self.title), escape(&self.caption.join(" ")));
        let line = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        // Without names of sections the first column would be empty.
        let skip = usize::from(self.sections.iter().all(|section| section.name.is_empty()));
        out += &line(&mut self.columns.iter().skip(skip).map(|cell| escape(cell)));
        let rule = |at: usize| if at < 2 { ":--".to_string() } else { "--:".to_string() };
        out += &line(&mut (skip..self.columns.len()).map(rule));
        for section in &self.sections {
            for (at, row) in section.rows.iter().enumerate() {
                let name = if at == 0 { format!("**{}**", escape(&section.name)) } else { String::new() };
                out += &line(&mut std::iter::once(name).chain(row.iter().map(|text| cell(text))).skip(skip));
            }
        }
        if !self.notes.lines.is_empty() {
            out.push('\n');
        }
        for (at, note) in self.notes.lines.iter().enumerate() {
            out += &format!("- [{}] {}\n", at + 1, escape(note));
        }
        out
    }

    /// Aligned plain text; columns that do not fit in `width` follow below, with the labels again.
    /// Sentences of the caption that are among those `said` are left out, the others are added there.
    pub fn text(&self, width: usize, said: &mut Vec<String>) -> String {
        let mut out = format!("{}\n", self.title);
        let new: Vec<String> = self.caption.iter().filter(|sentence| !said.contains(sentence)).cloned().collect();
        said.extend_from_slice(&new);
        for line in wrap(&new.join(" "), width) {
            out += &format!("{line}\n");
        }
        for block in self.blocks(width) {
            out.push('\n');
            let label = self.width_of(0);
            let widths: Vec<usize> = block.iter().map(|&at| self.width_of(at)).collect();
            let line = |cells: &mut dyn Iterator<Item = &str>, lead: &str| {
                let mut text = format!("{lead}{}", " ".repeat(label.saturating_sub(columns_of(lead))));
                for (cell, width) in cells.zip(&widths) {
                    text += &format!("  {}{cell}", " ".repeat(width.saturating_sub(columns_of(cell))));
                }
                format!("{}\n", text.trim_end())
            };
            out += &line(&mut block.iter().map(|&at| self.columns[at + 1].as_str()), &self.columns[1]);
            for section in &self.sections {
                out += &format!("{}\n", section.name);
                for row in &section.rows {
                    let height = block.iter().map(|&at| row[at].lines().count()).max().unwrap_or(1).max(1);
                    for nth in 0..height {
                        let lead = if nth == 0 { format!("  {}", row[0]) } else { String::new() };
                        out += &line(&mut block.iter().map(|&at| row[at].lines().nth(nth).unwrap_or("")), &lead);
                    }
                }
            }
        }
        for (at, note) in self.notes.lines.iter().enumerate() {
            for (row, line) in wrap(note, width.saturating_sub(4)).iter().enumerate() {
                out += &if row == 0 { format!("[{}] {line}\n", at + 1) } else { format!("    {line}\n") };
            }
        }
        out
    }

    /// Width of a cell column (0: the labels, indented by two).
    fn width_of(&self, at: usize) -> usize {
        let rows = self.sections.iter().flat_map(|section| &section.rows);
        let cells = rows.flat_map(|row| row[at].lines()).map(columns_of);
        let indent = if at == 0 { 2 } else { 0 };
        cells.map(|width| width + indent).chain([columns_of(&self.columns[at + 1])]).max().unwrap_or(0)
    }

    fn blocks(&self, width: usize) -> Vec<Vec<usize>> {
        let keys: Vec<usize> = (1..=self.keys).collect();
        let mut blocks: Vec<Vec<usize>> = Vec::new();
        let mut used = usize::MAX;
        for at in 1 + self.keys..self.columns.len() - 1 {
            let needs = self.width_of(at) + 2;
            if used.saturating_add(needs) > width {
                blocks.push(keys.clone());
                used = (0..=self.keys).map(|at| self.width_of(at) + 2 * usize::from(at > 0)).sum();
            }
            used += needs;
            if let Some(block) = blocks.last_mut() {
                block.push(at);
            }
        }
        blocks
    }
}

/// Characters as terminal columns; our cells hold no wide ones.
fn columns_of(text: &str) -> usize {
    text.chars().count()
}

/// Breaks text at spaces into lines of at most `width` characters; a longer word stands alone.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if columns_of(line) + 1 + columns_of(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// Cells with others under them, beginning with `lead`; the label and empty ones have nothing under them.
pub(super) fn stacked(above: Vec<String>, under: Vec<String>, lead: &str) -> Vec<String> {
    let both = |(at, (above, under)): (usize, (String, String))| match at == 0 || under.is_empty() || under == MISSING {
        true => above,
        false => format!("{above}\n{lead}{under}"),
    };
    above.into_iter().zip(under).enumerate().map(both).collect()
}

/// The lines of a cell, escaped.
fn cell(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("<br>")
}

/// Text that Markdown could read as markup: a bar ends a cell, `<` opens a tag, `*` emphasis.
pub(super) fn escape(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |cells: &[&str]| cells.iter().map(|cell| cell.to_string()).collect::<Vec<_>>();
        let mut notes = Notes::default();
        let lost = notes.missing(Some("a | b\n<c>"));
        assert_eq!(notes.mark("a | b <c>"), "[1]");
        Table {
            keys: 0,
            title: "T".into(),
            caption: vec!["One.".into(), "Two.".into()],
            columns: row(&["model", "ratio", "A", "B"]),
            sections: vec![TableSection {
                name: "m".into(),
                rows: vec![row(&["10", "1.0 ± 0.1*", &lost]), row(&["baseline", "2", "< 6"])],
            }],
            notes,
        }
    }

    #[test]
    fn markdown() {
        let expected = "### T\n\nOne. Two.\n\n| model | ratio | A | B |\n| :-- | :-- | --: | --: |\n\
            | **m** | 10 | 1.0 ± 0.1\\* | – [1] |\n|  | baseline | 2 | &lt; 6 |\n\n- [1] a \\| b &lt;c>\n";
        assert_eq!(table().markdown(), expected);
    }

    #[test]
    fn text_is_aligned_and_folds() {
        let wide = "T\nOne. Two.\n\nratio                A      B\nm\n  10        1.0 ± 0.1*  – [1]\n  \
            baseline           2    < 6\n[1] a | b <c>\n";
        assert_eq!(table().text(80, &mut vec![]), wide);
        let again = wide.replace("One. Two.", "Two.");
        assert_eq!(table().text(80, &mut vec!["One.".into()]), again);
        let narrow = table().text(24, &mut vec![]);
        assert!(narrow.lines().all(|line| line.chars().count() <= 24), "{narrow}");
        assert_eq!(narrow.matches("baseline").count(), 2, "labels come again in the second block: {narrow}");
    }

    #[test]
    fn columns_that_tell_rows_apart_come_again_in_every_block() {
        let mut keyed = Table { keys: 1, ..table() };
        keyed.columns.push("C".into());
        keyed.sections[0].rows.iter_mut().for_each(|row| row.push("3".into()));
        let text = keyed.text(30, &mut vec![]);
        assert_eq!((text.matches("1.0 ± 0.1*").count(), text.matches("< 6").count()), (2, 1), "{text}");
    }
}
