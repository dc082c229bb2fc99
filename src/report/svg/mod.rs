//! The one way to an SVG: plotters draws, pictures go beneath, and `slim` shortens what came of it.

use std::cell::RefCell;
use std::ops::Range;

use anyhow::Result;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::coord::{CoordTranslate, Shift};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::legend::{Marker, SeriesStyle};
use super::table::wrap;

mod pixels;
mod slim;

pub(super) use slim::FONT;

/// Where a text stands relative to its position.
pub(super) type Anchor = (HPos, VPos);

pub(super) const TOP_LEFT: Anchor = (HPos::Left, VPos::Top);
pub(super) const CENTER: Anchor = (HPos::Center, VPos::Center);

/// Text size in pixels and its weight and colour.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub size: f64,
    pub bold: bool,
    pub color: RGBColor,
}

pub(super) const INK: RGBColor = RGBColor(30, 30, 30);
const GRID: RGBColor = RGBColor(228, 228, 228);
pub(super) const SMALL: Type = Type { size: 12.0, bold: false, color: INK };
pub(super) const AXIS: Type = Type { size: 13.0, bold: false, color: INK };
pub(super) const HEAD: Type = Type { size: 14.0, bold: true, color: INK };
const TITLE: Type = Type { size: 18.0, bold: true, color: INK };
pub(super) const MARGIN: i32 = 18;

impl Type {
    /// The same for plotters.
    pub fn style(self, (across, down): Anchor) -> TextStyle<'static> {
        let weight = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        // The SVG back end divides by 1.24 to get its font-size.
        let font = FontDesc::new(FontFamily::SansSerif, self.size * 1.24, weight);
        TextStyle { pos: Pos::new(across, down), ..font.color(&self.color) }
    }
}

/// Width that a text takes in any usual sans-serif font, on the large side.
pub(super) fn text_width(text: &str, size: f64) -> i32 {
    (0.6 * size * text.chars().count() as f64).ceil() as i32
}

/// Lines of a text that fit in a width; a word that is longer by itself is broken.
pub(super) fn fit(text: &str, kind: Type, width: i32) -> Vec<String> {
    let letter = if kind.bold { 0.64 } else { 0.56 } * kind.size;
    let most = ((f64::from(width) / letter) as usize).max(1);
    let broken = |line: String| {
        let letters: Vec<char> = line.chars().collect();
        letters.chunks(most).map(|part| part.iter().collect::<String>()).collect::<Vec<_>>()
    };
    wrap(text, most).into_iter().flat_map(broken).collect()
}

/// A picture to draw on: plotters' area in pixels, and images.
pub(super) struct Canvas<'a> {
    pub area: DrawingArea<SVGBackend<'a>, Shift>,
    images: RefCell<String>,
}

/// An SVG `inner` pixels wide between its margins: title and caption, and from their lower end, which `fill` is told, `below` pixels more.
pub(super) fn draw(
    [title, caption]: [&str; 2],
    inner: i32,
    below: i32,
    fill: impl FnOnce(&Canvas, i32) -> Result<()>,
) -> Result<String> {
    let lines =
        |text: &str, kind: Type, high: i32| fit(text, kind, inner).into_iter().map(move |line| (line, kind, high));
    let lines: Vec<(String, Type, i32)> = lines(title, TITLE, 24).chain(lines(caption, SMALL, 17)).collect();
    let top = MARGIN + lines.iter().map(|line| line.2).sum::<i32>();
    let mut svg = String::new();
    let area =
        SVGBackend::with_string(&mut svg, ((inner + 2 * MARGIN) as u32, (top + below) as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let canvas = Canvas { area, images: RefCell::default() };
    let mut y = MARGIN;
    for (line, kind, high) in lines {
        canvas.text(&line, (MARGIN, y), kind, TOP_LEFT)?;
        y += high;
    }
    fill(&canvas, top)?;
    canvas.area.present()?;
    let images = canvas.images.take();
    drop(canvas);
    // Images come right above the white ground, so that lines and texts lie over them. plotters' own `blit_bitmap` has no palette and no
    // scale: its files would be several times as large.
    Ok(slim::slim(&svg.replacen("/>\n", &format!("/>\n{}", images), 1)))
}

impl Canvas<'_> {
    pub fn text(&self, text: &str, at: (i32, i32), kind: Type, anchor: Anchor) -> Result<()> {
        Ok(self.area.draw_text(text, &kind.style(anchor), at)?)
    }

    /// Text that reads upwards.
    pub fn text_up(&self, text: &str, at: (i32, i32), kind: Type) -> Result<()> {
        Ok(self.area.draw_text(text, &kind.style(CENTER).transform(FontTransform::Rotate270), at)?)
    }

    /// A matrix of shares, 0 to 1, row by row, in colours, beneath all that is drawn.
    pub fn image(&self, shares: &[f64], columns: usize, at: (i32, i32), size: (i32, i32)) {
        *self.images.borrow_mut() += &pixels::image(shares, columns, at, size);
    }

    pub fn marker(&self, look: &SeriesStyle, (x, y): (i32, i32)) -> Result<()> {
        let Marker { corners, open } = look.marker;
        // White inside, so that an open marker differs from a filled one over a line.
        let inside = if open { WHITE } else { look.color }.filled();
        let around = look.color.stroke_width(2);
        if corners.is_empty() {
            self.area.draw(&Circle::new((x, y), 4, inside))?;
            return if open { Ok(self.area.draw(&Circle::new((x, y), 4, around))?) } else { Ok(()) };
        }
        let corners: Vec<_> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        self.area.draw(&Polygon::new(corners.clone(), inside))?;
        if open { path(&self.area, [&corners[..], &corners[..2]].concat(), None, around) } else { Ok(()) }
    }
}

/// A path, in dashes if lengths of stroke and gap are given, on a canvas's area or in a chart's coordinates.
pub(super) fn path<C: CoordTranslate>(
    area: &DrawingArea<SVGBackend, C>,
    points: Vec<C::From>,
    dash: Option<(i32, i32)>,
    style: impl Into<ShapeStyle>,
) -> Result<()>
where
    C::From: Clone,
{
    match dash {
        None => area.draw(&PathElement::new(points, style))?,
        Some((stroke, gap)) => area.draw(&DashedPathElement::new(points, stroke, gap, style))?,
    }
    Ok(())
}

/// The ends of an axis, and what stands where along it. A logarithmic axis is one of logarithms: that of plotters has no ticks at 2 and 5
/// times a power of ten, and would be another type of chart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TickedAxis {
    pub ends: (f64, f64),
    pub ticks: Vec<(f64, String)>,
}

impl Ranged for TickedAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        first + ((value - self.ends.0) / (self.ends.1 - self.ends.0) * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // The light ones are those of a second, finer grid.
        let shown = self.ticks.iter().filter(|_| !hint.weight().allow_light_points());
        shown.map(|tick| tick.0).collect()
    }

    fn range(&self) -> Range<f64> {
        self.ends.0..self.ends.1
    }
}

impl ValueFormatter<f64> for TickedAxis {
    fn format_ext(&self, value: &f64) -> String {
        self.ticks.iter().find(|tick| tick.0 == *value).map(|tick| tick.1.clone()).unwrap_or_default()
    }
}

/// Which ticks have a line across the plot.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum GridLines {
    Across,
    Up,
}

/// plotters' chart on our axes.
pub(super) type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<TickedAxis, TickedAxis>>;

impl<'a> Canvas<'a> {
    /// Axes, ticks and grid of a plot whose upper left corner and size these are.
    pub fn chart(
        &self,
        (left, top): (i32, i32),
        (width, height): (i32, i32),
        [x, y]: [&TickedAxis; 2],
        lines: GridLines,
    ) -> Result<Chart<'a>> {
        const BELOW: i32 = 30;
        // The last pixel is that of the far end.
        let area = self.area.clone().shrink((0, top), (left + width + 1, height + 1 + BELOW));
        let mut chart = ChartBuilder::on(&area)
            .x_label_area_size(BELOW)
            .y_label_area_size(left)
            .build_cartesian_2d(x.clone(), y.clone())?;
        let mut mesh = chart.configure_mesh();
        match lines {
            GridLines::Across => mesh.disable_x_mesh(),
            GridLines::Up => mesh.disable_y_mesh(),
        };
        mesh.axis_style(INK).bold_line_style(GRID).label_style(SMALL.style(CENTER)).set_all_tick_mark_size(4).draw()?;
        Ok(chart)
    }
}
