//! Stacked bars, one under another, as SVG.

use anyhow::Result;
use plotters::element::{EmptyElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::figure::{BOUND, even_axis, y_step};
use super::picture::{Picture, TextPlace, few};
use super::svg::{self, AXIS, CENTER, Canvas, GridLines, HEAD, INK, MARGIN, SMALL, TOP_LEFT, TickedAxis, text_width};

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
const STEP: i32 = 21;

impl Bars {
    /// The bars drawn, with their words inside or beside.
    pub fn picture(self, file: String, words: TextPlace) -> Result<Picture> {
        let of = |bar: &Bar| format!("{}: {}", bar.name, bar.note);
        let panel = |panel: &BarPanel| {
            let title = if panel.title.is_empty() { String::new() } else { format!("{}: ", panel.title) };
            format!("{title}{}", few(&panel.bars.iter().map(of).collect::<Vec<_>>()))
        };
        let panels: Vec<String> = self.panels.iter().map(panel).collect();
        let alt = format!("{}. Bars of {}. {}.", self.title, self.x_label, panels.join("; "));
        Ok(Picture { file, svg: self.svg(words)?, title: self.title, caption: self.subtitle, alt })
    }

    pub fn svg(&self, words: TextPlace) -> Result<String> {
        let bars = || self.panels.iter().flat_map(|panel| &panel.bars);
        let widest = |of: &dyn Fn(&Bar) -> &str| bars().map(|bar| text_width(of(bar), SMALL.size)).max().unwrap_or(0);
        let (names, notes) = (widest(&|bar| &bar.name) + 10, widest(&|bar| &bar.note) + 10);
        let legend = if self.parts.len() > 1 { 28 } else { 0 };
        let tall = |panel: &BarPanel| 24 + panel.bars.len().max(1) as i32 * STEP + 34;
        let below = 12 + legend + self.panels.iter().map(tall).sum::<i32>() + 26 + MARGIN;
        let words = [&self.title, &self.subtitle].map(|text| words.drawn(text));
        svg::draw(words, names + WIDTH + notes, below, |canvas, top| {
            let (mut x, middle) = (MARGIN, top + 20);
            for (at, part) in self.parts.iter().enumerate().filter(|_| legend > 0) {
                let corners = [(x, middle - 7), (x + 14, middle + 7)];
                canvas.area.draw(&Rectangle::new(corners, FILLS[at % FILLS.len()].filled()))?;
                canvas.text(part, (x + 20, middle), AXIS, (HPos::Left, VPos::Center))?;
                x += 20 + text_width(part, AXIS.size) + 18;
            }
            let left = MARGIN + names;
            let mut y = top + 12 + legend;
            for panel in &self.panels {
                canvas.text(&panel.title, (MARGIN, y), HEAD, TOP_LEFT)?;
                panel.draw(canvas, (left, y + 24))?;
                y += tall(panel);
            }
            canvas.text(&self.x_label, (left + WIDTH / 2, y), AXIS, (HPos::Center, VPos::Top))
        })
    }
}

impl BarPanel {
    fn draw(&self, canvas: &Canvas, place: (i32, i32)) -> Result<()> {
        let total = |bar: &Bar| bar.parts.iter().sum::<f64>();
        let totals: Vec<f64> = self.bars.iter().map(total).collect();
        let most = totals.iter().copied().fold(0.0, f64::max);
        let height = self.bars.len().max(1) as i32 * STEP;
        if !(1.0 / BOUND..=BOUND).contains(&most) || totals.iter().any(|total| !total.is_finite()) {
            let why = if most <= 0.0 { "nothing measured" } else { "no numbers that can be drawn" };
            return canvas.text(why, (place.0 + WIDTH / 2, place.1 + height / 2), SMALL, CENTER);
        }
        // Bars stand one below the other, each in the middle of its step.
        let names = self.bars.iter().enumerate().map(|(nth, bar)| (nth as f64 + 0.5, bar.name.clone())).collect();
        let y = TickedAxis { ends: (self.bars.len() as f64, 0.0), ticks: names };
        let mut chart =
            canvas.chart(place, (WIDTH, height), [&even_axis((0.0, most), y_step(most)), &y], GridLines::Up)?;
        for (bar, (middle, _)) in self.bars.iter().zip(&y.ticks) {
            let corners = |from: f64, to: f64| [(from, middle - 0.36), (to, middle + 0.36)];
            let mut end = 0.0;
            for (at, part) in bar.parts.iter().enumerate() {
                let (from, fill) = (end, FILLS[at % FILLS.len()]);
                end += part;
                chart.draw_series([Rectangle::new(corners(from, end), fill.filled())])?;
            }
            let note = Text::new(bar.note.clone(), (6, 0), SMALL.style((HPos::Left, VPos::Center)));
            chart.draw_series([Rectangle::new(corners(0.0, end), INK)])?;
            chart.draw_series([EmptyElement::at((end, *middle)) + note])?;
        }
        Ok(())
    }
}
