//! Lines, markers and text on an SVG, in pixels.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::legend::{Marker, SeriesStyle};

/// Where a text stands relative to its position.
pub(super) type Anchor = (HPos, VPos);

/// Text size in pixels and its weight and colour.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub size: f64,
    pub bold: bool,
    pub color: RGBColor,
}

/// Width that a text takes in any usual sans-serif font, on the large side.
pub(super) fn text_width(text: &str, size: f64) -> i32 {
    (0.6 * size * text.chars().count() as f64).ceil() as i32
}

/// A white picture to draw on.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

impl<'a> Canvas<'a> {
    pub fn new(svg: &'a mut String, width: i32, height: i32) -> Result<Self> {
        let area = SVGBackend::with_string(svg, (width.max(1) as u32, height.max(1) as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(|err| anyhow!("drawing: {err}"))?;
        Ok(Self { area })
    }

    pub fn finish(self) -> Result<()> {
        self.area.present().map_err(|err| anyhow!("drawing: {err}"))
    }

    pub fn path(&self, points: &[(i32, i32)], color: RGBColor, width: u32) -> Result<()> {
        let element = PathElement::new(points.to_vec(), color.stroke_width(width));
        self.area.draw(&element).map_err(|err| anyhow!("drawing: {err}"))
    }

    /// A filled rectangle between two corners.
    pub fn rectangle(&self, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Result<()> {
        self.area.draw(&Rectangle::new([from, to], color.filled())).map_err(|err| anyhow!("drawing: {err}"))
    }

    /// A path in dashes: lengths of stroke and gap in turn; none is a solid line.
    pub fn dashed(&self, points: &[(i32, i32)], dash: &[f64], color: RGBColor, width: u32) -> Result<()> {
        if dash.is_empty() {
            return self.path(points, color, width);
        }
        for piece in pieces(points, dash) {
            self.path(&piece, color, width)?;
        }
        Ok(())
    }

    pub fn text(&self, text: &str, at: (i32, i32), kind: Type, anchor: Anchor) -> Result<()> {
        self.write(text, at, kind, anchor, FontTransform::None)
    }

    /// Text that reads upwards.
    pub fn text_up(&self, text: &str, at: (i32, i32), kind: Type) -> Result<()> {
        self.write(text, at, kind, (HPos::Center, VPos::Center), FontTransform::Rotate270)
    }

    fn write(&self, text: &str, at: (i32, i32), kind: Type, anchor: Anchor, turn: FontTransform) -> Result<()> {
        let weight = if kind.bold { FontStyle::Bold } else { FontStyle::Normal };
        // The SVG back end divides by 1.24 to get its font-size.
        let font = FontDesc::new(FontFamily::SansSerif, kind.size * 1.24, weight).transform(turn);
        let style = TextStyle::from(font).color(&kind.color).pos(Pos::new(anchor.0, anchor.1));
        self.area.draw(&Text::new(text.to_string(), at, style)).map_err(|err| anyhow!("drawing: {err}"))
    }

    pub fn marker(&self, look: &SeriesStyle, (x, y): (i32, i32)) -> Result<()> {
        let around = |corners: &[(i32, i32)]| corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>();
        let filled = |corners: &[(i32, i32)]| {
            self.area.draw(&Polygon::new(around(corners), look.color.filled())).map_err(|err| anyhow!("drawing: {err}"))
        };
        // White inside, so that an open marker differs from a filled one over a line.
        let open = |corners: &[(i32, i32)]| {
            let corners = around(corners);
            let inside = Polygon::new(corners.clone(), WHITE.filled());
            self.area.draw(&inside).map_err(|err| anyhow!("drawing: {err}"))?;
            self.path(&corners.iter().chain(&corners[..2]).copied().collect::<Vec<_>>(), look.color, 2)
        };
        let circle =
            |style: ShapeStyle| self.area.draw(&Circle::new((x, y), 4, style)).map_err(|err| anyhow!("drawing: {err}"));
        const SQUARE: [(i32, i32); 4] = [(-4, -4), (4, -4), (4, 4), (-4, 4)];
        const UP: [(i32, i32); 3] = [(0, -6), (6, 4), (-6, 4)];
        const DOWN: [(i32, i32); 3] = [(0, 6), (6, -4), (-6, -4)];
        const DIAMOND: [(i32, i32); 4] = [(0, -6), (6, 0), (0, 6), (-6, 0)];
        match look.marker {
            Marker::Circle => circle(look.color.filled()),
            Marker::Square => filled(&SQUARE),
            Marker::Up => filled(&UP),
            Marker::Diamond => filled(&DIAMOND),
            Marker::Down => filled(&DOWN),
            Marker::OpenCircle => {
                circle(WHITE.filled())?;
                circle(look.color.stroke_width(2))
            }
            Marker::OpenSquare => open(&SQUARE),
            Marker::OpenDiamond => open(&DIAMOND),
            Marker::Cross => {
                self.path(&around(&[(-4, -4), (4, 4)]), look.color, 2)?;
                self.path(&around(&[(-4, 4), (4, -4)]), look.color, 2)
            }
        }
    }
}

/// Cuts a path into the strokes of a dash pattern, which runs on over corners.
fn pieces(points: &[(i32, i32)], dash: &[f64]) -> Vec<Vec<(i32, i32)>> {
    let mut out: Vec<Vec<(i32, i32)>> = Vec::new();
    let (mut at, mut left) = (0usize, dash[0]);
    let mut fresh = true;
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let (dx, dy) = (f64::from(x1 - x0), f64::from(y1 - y0));
        let length = dx.hypot(dy);
        let place = |t: f64| {
            ((f64::from(x0) + dx * t / length).round() as i32, (f64::from(y0) + dy * t / length).round() as i32)
        };
        let mut done = 0.0;
        while done < length {
            let step = left.min(length - done);
            if at % 2 == 0 {
                match out.last_mut() {
                    Some(piece) if !fresh => piece.push(place(done + step)),
                    _ => out.push(vec![place(done), place(done + step)]),
                }
                fresh = false;
            }
            done += step;
            left -= step;
            if left <= 1e-9 {
                at = (at + 1) % dash.len();
                left = dash[at];
                fresh = true;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_run_over_corners() {
        let found = pieces(&[(0, 0), (6, 0), (6, 10)], &[8.0, 4.0]);
        assert_eq!(found, vec![vec![(0, 0), (6, 0), (6, 2)], vec![(6, 6), (6, 10)]]);
        assert!(pieces(&[(3, 3), (3, 3)], &[8.0, 4.0]).is_empty());
    }
}
