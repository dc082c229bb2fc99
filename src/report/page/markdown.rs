//! A page as Markdown for GitHub, its figures as links to their files.

use std::fmt::Write;
use std::path::{Component, Path};

use super::super::table::escape;
use super::{Page, PageBlock};

/// The page, to lie in a folder.
pub(super) fn page(page: &Page, folder: &Path) -> String {
    let mut out = String::from(
        "<!-- Written by `splitbench report` from rows: run it again rather than change this file. -->\n\n",
    );
    let _ = writeln!(out, "# {}\n", escape(&page.title));
    for text in &page.lead {
        let _ = writeln!(out, "{}\n", escape(text));
    }
    out += "The same as one page to open in a browser: [index.html](index.html).\n\n";
    for part in &page.parts {
        let _ = writeln!(out, "## {}\n", escape(&part.title));
        part.blocks.iter().for_each(|one| block(&mut out, one, folder));
    }
    out
}

fn block(out: &mut String, one: &PageBlock, folder: &Path) {
    match one {
        PageBlock::Text(text) => {
            let _ = writeln!(out, "{}\n", escape(text));
        }
        PageBlock::Table { table, words } => {
            let text = table.markdown();
            // Words are read from the left.
            *out += &if *words { text.replace("| --: ", "| :-- ") } else { text };
            out.push('\n');
        }
        PageBlock::Picture { picture, file } => {
            let link = file.as_deref().and_then(|file| relative(folder, file));
            match link {
                Some(link) => {
                    let alt = escape(&picture.alt).replace(['[', ']'], "");
                    let _ = writeln!(out, "![{alt}](<{link}>)\n");
                }
                None => *out += "(The figure is in [index.html](index.html).)\n\n",
            }
            let _ = writeln!(out, "**{}** {}\n", escape(&picture.title), escape(&picture.caption));
        }
        PageBlock::More { summary, blocks } => {
            let _ = writeln!(out, "<details><summary>{}</summary>\n", escape(summary));
            blocks.iter().for_each(|one| block(out, one, folder));
            *out += "</details>\n\n";
        }
    }
}

/// The way from a folder to a file, both absolute; none where they share nothing but the root.
fn relative(folder: &Path, file: &Path) -> Option<String> {
    let (from, to): (Vec<Component>, Vec<Component>) = (folder.components().collect(), file.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_string(), from.len() - shared);
    let down = to[shared..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
    (shared > 1).then(|| up.chain(down).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways() {
        let way = |from: &str, to: &str| relative(Path::new(from), Path::new(to));
        assert_eq!(way("/a/results/report/x", "/a/plots/t/r/p.svg").unwrap(), "../../../plots/t/r/p.svg");
        assert_eq!(way("/a/run", "/a/run/plots/p.svg").unwrap(), "plots/p.svg");
    }
}
