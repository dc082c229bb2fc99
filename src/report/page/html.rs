//! A page as one HTML file: styles, script and pictures inside, nothing loaded from anywhere.

use std::collections::HashSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::picture::Picture;
use super::super::svg::FONT;
use super::super::table::Table;
use super::{Page, PageBlock};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Bytes of pictures that a page holds at most: of what is folded away the last are named instead, so that a page opens quickly whatever was run.
const PICTURES: usize = 4_000_000;

/// A text in which what stands between backticks is code.
fn inline(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (at, part) in parts.iter().enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// What is being written.
struct Writer {
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
    let mut writer = Writer { ids: HashSet::new(), pictures: left, folded: false };
    let ids: Vec<String> = page.parts.iter().map(|part| writer.id(&part.title)).collect();
    let parts: Vec<_> = page.parts.iter().zip(&ids).collect();
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "splitbench " (crate::VERSION) };
                link rel="icon" href="data:,";
                title { (page.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (page.title) }
                    @for text in &page.lead { (paragraph(text)) }
                    nav aria-label="Contents" {
                        ol { @for (part, id) in &parts { li { a href={ "#" (id) } { (part.title) } } } }
                    }
                }
                main {
                    @for (part, id) in &parts {
                        section aria-labelledby=(id) {
                            h2 id=(id) { (part.title) }
                            @for block in &part.blocks { (writer.block(block)) }
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    // A line for each row and block, so that two pages can be compared.
    markup.into_string().replace("</tr>", "</tr>\n").replace("</p>", "</p>\n").replace("</figure>", "</figure>\n")
        + "\n"
}

fn paragraph(text: &str) -> Markup {
    html! { p class=[text.starts_with("PARTIAL").then_some("partial")] { (inline(text)) } }
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

    fn block(&mut self, block: &PageBlock) -> Markup {
        match block {
            PageBlock::Text(text) => paragraph(text),
            PageBlock::Table { table, words } => self.table(table, *words),
            PageBlock::Picture { picture, .. } => self.picture(picture),
            PageBlock::More { summary, blocks } => {
                self.folded = true;
                let inside: Vec<Markup> = blocks.iter().map(|block| self.block(block)).collect();
                self.folded = false;
                html! { details { summary { (summary) } @for block in inside { (block) } } }
            }
        }
    }

    fn table(&mut self, table: &Table, words: bool) -> Markup {
        let id = self.id(&table.title);
        // The first heading is that of the sections, which have a row of their own here.
        let columns = table.columns.get(1..).unwrap_or_default();
        html! {
            figure class="table" aria-labelledby=(id) {
                figcaption id=(id) { (table.title) }
                div class="scroll" tabindex="0" role="region" aria-labelledby=(id) {
                    table class=[words.then_some("words")] {
                        thead { tr { @for column in columns { th scope="col" { (column) } } } }
                        @for section in &table.sections {
                            tbody {
                                @if !section.name.is_empty() {
                                    tr class="section" {
                                        th colspan=(columns.len()) scope="rowgroup" { (section.name) }
                                    }
                                }
                                @for row in &section.rows {
                                    tr {
                                        @for (at, text) in row.iter().enumerate() {
                                            (cell(at, text, columns.get(at).filter(|_| words)))
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                @if !table.caption.is_empty() { p class="note" { (inline(&table.caption.join(" "))) } }
                @for (at, note) in table.notes.lines().iter().enumerate() {
                    p class="note" { "[" (at + 1) "] " (inline(note)) }
                }
            }
        }
    }

    fn picture(&mut self, picture: &Picture) -> Markup {
        let id = self.id(&picture.file);
        let svg = within_html(&picture.svg);
        let is_left_out = self.folded && svg.len() > self.pictures;
        if self.folded && !is_left_out {
            self.pictures -= svg.len();
        }
        html! {
            figure id=(id) {
                @if is_left_out {
                    p { "Not in this page, for its size: " code { (picture.file) ".svg" } " beside the run." }
                } @else {
                    div class="plot" tabindex="0" role="group" aria-labelledby={ (id) "-title" } {
                        (PreEscaped(described(&svg, &picture.alt)))
                    }
                }
                figcaption {
                    b id={ (id) "-title" } { (picture.title) } " "
                    span class="note" { (inline(&picture.caption)) }
                }
            }
        }
    }
}

/// The first line of a cell is ours, what is under it the paper's.
fn cell(at: usize, text: &str, heading: Option<&String>) -> Markup {
    let mut lines = text.lines();
    let first = inline(lines.next().unwrap_or_default());
    let inside = html! { (first) @for line in lines { small { (inline(line)) } } };
    let class = match text.chars().next() {
        Some('✓') => Some("holds"),
        Some('✗') => Some("fails"),
        Some('?') => Some("open"),
        _ => None,
    };
    // On a phone a table of words is a list, where each cell names its column.
    html! {
        @if at == 0 { th scope="row" { (inside) } } @else { td class=[class] data-label=[heading] { (inside) } }
    }
}

/// An SVG with what it says to those who cannot see it, and the width below which it is scrolled.
fn described(svg: &str, alt: &str) -> String {
    let least = width(svg).map(|width| format!("min-width:{:.0}px", 0.8 * width));
    // The element's beginning, from maud so that it is escaped.
    let begin = html! { svg role="img" aria-label=(alt) style=[least] {} }.into_string();
    svg.replacen("<svg", begin.trim_end_matches("></svg>"), 1)
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
        assert_eq!(inline("<b onclick=\"x\">&").into_string(), "&lt;b onclick=&quot;x&quot;&gt;&amp;");
        assert_eq!(inline("run `a <b>` now").into_string(), "run <code>a &lt;b&gt;</code> now");
        assert_eq!(inline("one ` alone <").into_string(), "one ` alone &lt;");
        assert_eq!(
            described("<svg width=\"10\">", "a \"b\""),
            "<svg role=\"img\" aria-label=\"a &quot;b&quot;\" style=\"min-width:8px\" width=\"10\">"
        );
    }

    #[test]
    fn a_picture_is_of_the_page() {
        let svg = "<svg font-family=\"sans-serif\" width=\"764\" xmlns=\"http://www.w3.org/2000/svg\">\n</svg>\n";
        assert_eq!(within_html(svg), "<svg width=\"764\">\n</svg>\n");
        assert_eq!(width(svg), Some(764.0));
    }
}
