//! How series are told apart, by marker and dash as well as by colour, and the legend that says so.

use anyhow::Result;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::svg::{Canvas, Type, path, text_width};

/// Shape of a point: a polygon around it, or a circle where there are no corners.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Marker {
    pub corners: &'static [(i32, i32)],
    pub open: bool,
}

/// Colour, point and line of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SeriesStyle {
    pub color: RGBColor,
    pub marker: Marker,
    /// Lengths of stroke and gap; none is a solid line.
    pub dash: Option<(i32, i32)>,
}

/// Okabe and Ito's colours for all kinds of colour vision, without the yellow, which is lost on white.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

const SQUARE: &[(i32, i32)] = &[(-4, -4), (4, -4), (4, 4), (-4, 4)];
const UP: &[(i32, i32)] = &[(0, -6), (6, 4), (-6, 4)];
const DOWN: &[(i32, i32)] = &[(0, 6), (6, -4), (-6, -4)];
const DIAMOND: &[(i32, i32)] = &[(0, -6), (6, 0), (0, 6), (-6, 0)];
const CROSS: &[(i32, i32)] =
    &[(-5, -4), (-4, -5), (0, -1), (4, -5), (5, -4), (1, 0), (5, 4), (4, 5), (0, 1), (-4, 5), (-5, 4), (-1, 0)];

pub(super) const MARKERS: [Marker; 9] = [
    Marker { corners: &[], open: false },
    Marker { corners: SQUARE, open: false },
    Marker { corners: UP, open: false },
    Marker { corners: DIAMOND, open: false },
    Marker { corners: DOWN, open: false },
    Marker { corners: &[], open: true },
    Marker { corners: SQUARE, open: true },
    Marker { corners: DIAMOND, open: true },
    Marker { corners: CROSS, open: false },
];

const DASHES: [Option<(i32, i32)>; 4] = [None, Some((9, 4)), Some((3, 3)), Some((6, 8))];

/// The look of the series at a place: 252 differ, since 7, 9 and 4 share no factor.
pub(super) fn look(at: usize) -> SeriesStyle {
    SeriesStyle {
        color: COLORS[at % COLORS.len()],
        marker: MARKERS[at % MARKERS.len()],
        dash: DASHES[at % DASHES.len()],
    }
}

const SIZE: f64 = 13.0;
const SAMPLE: i32 = 46;
const GAP: i32 = 18;
const LINE: i32 = 22;

/// Width of the widest entry.
pub(super) fn entry_width(names: &[String]) -> i32 {
    names.iter().map(|name| SAMPLE + 8 + text_width(name, SIZE)).max().unwrap_or(0)
}

fn columns(names: &[String], width: i32) -> usize {
    let fit = (width + GAP) / (entry_width(names) + GAP).max(1);
    (fit.max(1) as usize).min(names.len().max(1))
}

/// Height of the legend when it may be this wide.
pub(super) fn height(names: &[String], width: i32) -> i32 {
    names.len().div_ceil(columns(names, width)) as i32 * LINE
}

/// Draws the legend with its upper left corner at `(left, top)`; `joined` where points have a line through them.
pub(super) fn draw(canvas: &Canvas, names: &[String], (left, top): (i32, i32), width: i32, joined: bool) -> Result<()> {
    let columns = columns(names, width);
    let kind = Type { size: SIZE, bold: false, color: RGBColor(0, 0, 0) };
    for (at, name) in names.iter().enumerate() {
        let x = left + (at % columns) as i32 * (entry_width(names) + GAP);
        let y = top + (at / columns) as i32 * LINE + LINE / 2;
        let look = look(at);
        if joined {
            path(&canvas.area, vec![(x, y), (x + SAMPLE, y)], look.dash, look.color.stroke_width(2))?;
        }
        canvas.marker(&look, (x + SAMPLE / 2, y))?;
        canvas.text(name, (x + SAMPLE + 8, y), kind, (HPos::Left, VPos::Center))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_looks_differ_and_neighbours_in_shape_too() {
        let looks: Vec<SeriesStyle> = (0..40).map(look).collect();
        for (at, one) in looks.iter().enumerate() {
            assert!(looks[at + 1..].iter().all(|other| other != one));
            if at > 0 {
                assert_ne!(one.marker, looks[at - 1].marker);
                assert_ne!(one.dash, looks[at - 1].dash);
            }
        }
    }
}
