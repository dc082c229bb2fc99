//! A page as one HTML file: styles, script and pictures inside, nothing loaded from anywhere.

use std::collections::HashSet;
use std::fmt::Write;

use super::super::picture::Picture;
use super::super::slim::FONT;
use super::super::table::Table;
use super::{Page, PageBlock};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Bytes of pictures that a page holds at most: of what is folded away the last are named instead, so that a page opens quickly whatever was run.
const PICTURES: usize = 4_000_000;

/// Text that is no markup, in elements and attributes alike.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            _ => out.push(letter),
        }
    }
    out
}

/// The same, with what stands between backticks as code.
fn inline(text: &str) -> String {
    let parts: Vec<String> = text.split('`').map(escape).collect();
    if parts.len().is_multiple_of(2) {
        return parts.join("`");
    }
    let part = |(at, part): (usize, String)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part };
    parts.into_iter().enumerate().map(part).collect()
}

/// What is being written.
struct Writer {
    out: String,
    /// Identifiers that are taken.
    ids: HashSet<String>,
    /// Bytes of pictures that may still come; those that are not folded away have theirs reserved.
    pictures: usize,
    /// Whether what is written is folded away.
    folded: bool,
}

/// The page.
pub(super) fn page(page: &Page) -> String {
    let open = page.parts.iter().flat_map(|part| &part.blocks);
    let reserved: usize = open
        .map(|block| if let PageBlock::Picture { picture, .. } = block { within_html(&picture.svg).len() } else { 0 })
        .sum();
    let left = PICTURES.saturating_sub(reserved);
    let mut writer = Writer { out: String::new(), ids: HashSet::new(), pictures: left, folded: false };
    let ids: Vec<String> = page.parts.iter().map(|part| writer.id(&part.title)).collect();
    let title = escape(&page.title);
    let _ = write!(
        writer.out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"splitbench {}\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n",
        escape(crate::VERSION)
    );
    for text in &page.lead {
        writer.text(text);
    }
    writer.out += "<nav aria-label=\"Contents\"><ol>\n";
    for (part, id) in page.parts.iter().zip(&ids) {
        let _ = writeln!(writer.out, "<li><a href=\"#{id}\">{}</a></li>", escape(&part.title));
    }
    writer.out += "</ol></nav>\n</header>\n<main>\n";
    for (part, id) in page.parts.iter().zip(&ids) {
        let _ =
            writeln!(writer.out, "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>", escape(&part.title));
        part.blocks.iter().for_each(|block| writer.block(block));
        writer.out += "</section>\n";
    }
    let _ = write!(writer.out, "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    writer.out
}

/// The words of a heading: letters, digits and dots, the rest as single dashes.
fn slug(heading: &str) -> String {
    let mut out = String::new();
    for letter in heading.chars() {
        if letter.is_ascii_alphanumeric() || letter == '.' {
            out.push(letter.to_ascii_lowercase());
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches(['-', '.']).to_string()
}

impl Writer {
    /// An identifier that no other element has.
    fn id(&mut self, name: &str) -> String {
        let slug = slug(name);
        let slug = if slug.is_empty() { "part".into() } else { slug };
        let mut id = slug.clone();
        let mut count = 1;
        while !self.ids.insert(id.clone()) {
            count += 1;
            id = format!("{slug}-{count}");
        }
        id
    }

    fn text(&mut self, text: &str) {
        let class = if text.starts_with("PARTIAL") { " class=\"partial\"" } else { "" };
        let _ = writeln!(self.out, "<p{class}>{}</p>", inline(text));
    }

    fn block(&mut self, block: &PageBlock) {
        match block {
            PageBlock::Text(text) => self.text(text),
            PageBlock::Table { table, words } => self.table(table, *words),
            PageBlock::Picture { picture, .. } => self.picture(picture),
            PageBlock::More { summary, blocks } => {
                let _ = writeln!(self.out, "<details>\n<summary>{}</summary>", escape(summary));
                self.folded = true;
                blocks.iter().for_each(|block| self.block(block));
                self.folded = false;
                self.out += "</details>\n";
            }
        }
    }

    fn table(&mut self, table: &Table, words: bool) {
        let id = self.id(&table.title);
        let kind = if words { " class=\"words\"" } else { "" };
        let _ = write!(
            self.out,
            "<figure class=\"table\" aria-labelledby=\"{id}\">\n<figcaption id=\"{id}\">{}</figcaption>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"{id}\">\n<table{kind}>\n<thead><tr>",
            escape(&table.title)
        );
        // The first heading is that of the sections, which have a row of their own here.
        for column in table.columns.iter().skip(1) {
            let _ = write!(self.out, "<th scope=\"col\">{}</th>", escape(column));
        }
        self.out += "</tr></thead>\n";
        for section in &table.sections {
            self.out += "<tbody>\n";
            if !section.name.is_empty() {
                let columns = table.columns.len().saturating_sub(1);
                let name = escape(&section.name);
                let _ = writeln!(
                    self.out,
                    "<tr class=\"section\"><th colspan=\"{columns}\" scope=\"rowgroup\">{name}</th></tr>"
                );
            }
            for row in &section.rows {
                self.out += "<tr>";
                let heading = |at: usize| table.columns.get(at + 1).filter(|_| words);
                row.iter().enumerate().for_each(|(at, text)| self.cell(at, text, heading(at)));
                self.out += "</tr>\n";
            }
            self.out += "</tbody>\n";
        }
        self.out += "</table>\n</div>\n";
        if !table.caption.is_empty() {
            let _ = writeln!(self.out, "<p class=\"note\">{}</p>", inline(&table.caption.join(" ")));
        }
        for (at, note) in table.notes.lines().iter().enumerate() {
            let _ = writeln!(self.out, "<p class=\"note\">[{}] {}</p>", at + 1, inline(note));
        }
        self.out += "</figure>\n";
    }

    /// The first line of a cell is ours, what is under it the paper's.
    fn cell(&mut self, at: usize, text: &str, heading: Option<&String>) {
        let mut lines = text.lines();
        let first = inline(lines.next().unwrap_or_default());
        let under: String = lines.map(|line| format!("<small>{}</small>", inline(line))).collect();
        let class = match text.chars().next() {
            Some('✓') => " class=\"holds\"",
            Some('✗') => " class=\"fails\"",
            Some('?') => " class=\"open\"",
            _ => "",
        };
        // On a phone a table of words is a list, where each cell names its column.
        let label = heading.map_or(String::new(), |heading| format!(" data-label=\"{}\"", escape(heading)));
        let _ = match at {
            0 => write!(self.out, "<th scope=\"row\">{first}{under}</th>"),
            _ => write!(self.out, "<td{class}{label}>{first}{under}</td>"),
        };
    }

    fn picture(&mut self, picture: &Picture) {
        let id = self.id(&picture.file);
        let svg = within_html(&picture.svg);
        let _ = writeln!(self.out, "<figure id=\"{id}\">");
        if self.folded && svg.len() > self.pictures {
            let file = escape(&picture.file);
            let _ =
                writeln!(self.out, "<p>Not in this page, for its size: <code>{file}.svg</code> beside the run.</p>");
        } else {
            self.pictures -= if self.folded { svg.len() } else { 0 };
            let about = format!("<svg role=\"img\" aria-label=\"{}\"", escape(&picture.alt));
            let least = width(&svg).map_or(String::new(), |width| format!(" style=\"min-width:{:.0}px\"", 0.8 * width));
            let svg = svg.replacen("<svg", &(about + &least), 1);
            let _ = writeln!(
                self.out,
                "<div class=\"plot\" tabindex=\"0\" role=\"group\" aria-labelledby=\"{id}-title\">\n{svg}</div>"
            );
        }
        let _ = writeln!(
            self.out,
            "<figcaption><b id=\"{id}-title\">{}</b> <span class=\"note\">{}</span></figcaption>\n</figure>",
            escape(&picture.title),
            inline(&picture.caption)
        );
    }
}

/// An SVG without what its place on the page says already: the name of its kind, and the font.
fn within_html(svg: &str) -> String {
    svg.replace(FONT, "").replace(" xmlns=\"http://www.w3.org/2000/svg\"", "")
}

/// Pixels.
fn width(svg: &str) -> Option<f64> {
    let (_, rest) = svg.split_once("width=\"")?;
    rest.split('"').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(escape("<b onclick=\"x\">'&"), "&lt;b onclick=&quot;x&quot;&gt;&#39;&amp;");
        assert_eq!(inline("run `a <b>` now"), "run <code>a &lt;b&gt;</code> now");
        assert_eq!(inline("one ` alone <"), "one ` alone &lt;");
    }

    #[test]
    fn a_picture_is_of_the_page() {
        let svg = "<svg font-family=\"sans-serif\" width=\"764\" xmlns=\"http://www.w3.org/2000/svg\">\n</svg>\n";
        assert_eq!(within_html(svg), "<svg width=\"764\">\n</svg>\n");
        assert_eq!(width(svg), Some(764.0));
    }
}
