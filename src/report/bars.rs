//! Stacked bars, one under another, as SVG.

use anyhow::Result;
use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Canvas, text_width};
use super::figure::{AXIS, GRID, HEAD, INK, MARGIN, SMALL, TITLE, fit, grid};
use super::picture::{Picture, TextPlace, few};
use super::slim::slim;

/// A figure of bars: panels that share the meaning of the parts; each has its own scale from zero.
#[derive(Debug)]
pub(super) struct Bars {
    pub title: String,
    pub subtitle: String,
    pub x_label: String,
    /// Names of a bar's parts, in order.
    pub parts: Vec<String>,
    pub panels: Vec<BarPanel>,
}

/// Bars on one scale.
#[derive(Debug)]
pub(super) struct BarPanel {
    pub title: String,
    pub bars: Vec<Bar>,
}

/// One bar: what it is of, its parts from the left, and what stands at its end.
#[derive(Debug)]
pub(super) struct Bar {
    pub name: String,
    pub parts: Vec<f64>,
    pub note: String,
}

/// Dark to light and back, so that neighbours differ in grey too; blue to yellow, which all kinds of colour vision tell apart.
const FILLS: [RGBColor; 6] = [
    RGBColor(0, 44, 105),
    RGBColor(255, 190, 0),
    RGBColor(140, 150, 165),
    RGBColor(205, 205, 200),
    RGBColor(160, 70, 0),
    RGBColor(222, 232, 246),
];

const WIDTH: i32 = 520;
const BAR: i32 = 15;
const STEP: i32 = 21;

impl Bars {
    /// The bars drawn, with their words inside or beside.
    pub fn picture(mut self, file: String, words: TextPlace) -> Result<Picture> {
        let of = |bar: &Bar| format!("{}: {}", bar.name, bar.note);
        let panel = |panel: &BarPanel| {
            let title = if panel.title.is_empty() { String::new() } else { format!("{}: ", panel.title) };
            format!("{title}{}", few(&panel.bars.iter().map(of).collect::<Vec<_>>()))
        };
        let panels: Vec<String> = self.panels.iter().map(panel).collect();
        let alt = format!("{}. Bars of {}. {}.", self.title, self.x_label, panels.join("; "));
        let (title, caption) = (self.title, self.subtitle);
        (self.title, self.subtitle) = (words.drawn(&title).into(), words.drawn(&caption).into());
        Ok(Picture { file, svg: self.svg()?, title, caption, alt })
    }

    pub fn svg(&self) -> Result<String> {
        let bars = || self.panels.iter().flat_map(|panel| &panel.bars);
        let widest = |of: &dyn Fn(&Bar) -> &str| bars().map(|bar| text_width(of(bar), SMALL.size)).max().unwrap_or(0);
        let (names, notes) = (widest(&|bar| &bar.name) + 10, widest(&|bar| &bar.note) + 10);
        let inner = names + WIDTH + notes;
        let (title, subtitle) = (fit(&self.title, TITLE, inner), fit(&self.subtitle, SMALL, inner));
        let entries: Vec<i32> = self.parts.iter().map(|part| 20 + text_width(part, AXIS.size) + 18).collect();
        let legend = if self.parts.len() > 1 { 28 } else { 0 };
        let top = MARGIN + 24 * title.len() as i32 + 17 * subtitle.len() as i32 + 12 + legend;
        let tall = |panel: &BarPanel| 24 + panel.bars.len().max(1) as i32 * STEP + 34;
        let height = top + self.panels.iter().map(tall).sum::<i32>() + 26 + MARGIN;
        let mut svg = String::new();
        let canvas = Canvas::new(&mut svg, inner + 2 * MARGIN, height)?;
        let top_left = (HPos::Left, VPos::Top);
        let mut y = MARGIN;
        for line in &title {
            canvas.text(line, (MARGIN, y), TITLE, top_left)?;
            y += 24;
        }
        for line in &subtitle {
            canvas.text(line, (MARGIN, y), SMALL, top_left)?;
            y += 17;
        }
        if legend > 0 {
            let (mut x, middle) = (MARGIN, y + 20);
            for ((at, part), width) in self.parts.iter().enumerate().zip(&entries) {
                canvas.rectangle((x, middle - 7), (x + 14, middle + 7), FILLS[at % FILLS.len()])?;
                canvas.text(part, (x + 20, middle), AXIS, (HPos::Left, VPos::Center))?;
                x += width;
            }
        }
        let left = MARGIN + names;
        y = top;
        for panel in &self.panels {
            canvas.text(&panel.title, (MARGIN, y), HEAD, top_left)?;
            panel.draw(&canvas, (left, y + 24))?;
            y += tall(panel);
        }
        canvas.text(&self.x_label, (left + WIDTH / 2, y), AXIS, (HPos::Center, VPos::Top))?;
        canvas.finish()?;
        Ok(slim(&svg))
    }
}

impl BarPanel {
    fn draw(&self, canvas: &Canvas, (left, top): (i32, i32)) -> Result<()> {
        let total = |bar: &Bar| bar.parts.iter().sum::<f64>();
        let most = self.bars.iter().map(total).fold(0.0, f64::max);
        let bottom = top + self.bars.len().max(1) as i32 * STEP;
        if most <= 0.0 {
            let middle = (left + WIDTH / 2, (top + bottom) / 2);
            return canvas.text("nothing measured", middle, SMALL, (HPos::Center, VPos::Center));
        }
        let place = |value: f64| left + (value / most * f64::from(WIDTH)).round() as i32;
        let (step, digits) = grid(most);
        for nth in 0..=(most / step).floor() as i32 {
            let value = f64::from(nth) * step;
            canvas.path(&[(place(value), top - 2), (place(value), bottom)], GRID, 1)?;
            canvas.text(&format!("{value:.digits$}"), (place(value), bottom + 5), SMALL, (HPos::Center, VPos::Top))?;
        }
        for (nth, bar) in self.bars.iter().enumerate() {
            let y = top + nth as i32 * STEP + (STEP - BAR) / 2;
            let middle = y + BAR / 2;
            canvas.text(&bar.name, (left - 8, middle), SMALL, (HPos::Right, VPos::Center))?;
            let mut from = 0.0;
            for (at, part) in bar.parts.iter().enumerate() {
                canvas.rectangle((place(from), y), (place(from + part), y + BAR), FILLS[at % FILLS.len()])?;
                from += part;
            }
            let corners = [(left, y), (place(from), y), (place(from), y + BAR), (left, y + BAR), (left, y)];
            canvas.path(&corners, INK, 1)?;
            canvas.text(&bar.note, (place(from) + 6, middle), SMALL, (HPos::Left, VPos::Center))?;
        }
        canvas.path(&[(left, top - 2), (left, bottom)], INK, 1)
    }
}
