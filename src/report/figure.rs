//! Small multiples of some number, most often accuracy, against another, as SVG.

use anyhow::Result;
use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Canvas, Type, text_width};
use super::picture::{Picture, TextPlace, few};
use super::slim::slim;
use super::table::wrap;
use super::{legend, number};

/// A figure: panels that share series and x axis; each has its own y axis.
#[derive(Debug)]
pub(super) struct Figure {
    pub title: String,
    pub subtitle: String,
    pub x_label: String,
    pub y_label: String,
    pub axis: Axis,
    pub series: Vec<String>,
    pub panels: Vec<Panel>,
}

/// How x is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Axis {
    /// Evenly, with a tick at every value, the points of a series joined.
    Values,
    /// By its logarithm, the points apart; panels are large, and in two rows where there are several.
    Log,
    /// By its logarithm, the points of a series joined.
    LogLines,
}

impl Axis {
    /// What lies evenly along the axis.
    fn even(self, x: f64) -> f64 {
        if self.is_log() { x.log10() } else { x }
    }

    fn is_log(self) -> bool {
        self != Self::Values
    }

    /// Ticks for some values, ascending: the values themselves, or 1, 2 and 5 times powers of ten around them.
    fn ticks(self, values: &[f64]) -> Vec<f64> {
        let (true, Some(first), Some(last)) = (self.is_log(), values.first(), values.last()) else {
            return values.into();
        };
        let powers = first.log10().floor() as i32 - 1..=last.log10().ceil() as i32;
        let ticks: Vec<f64> = powers.flat_map(|p| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(p))).collect();
        let from = ticks.iter().rposition(|tick| tick <= first).unwrap_or(0);
        let to = ticks.iter().position(|tick| tick >= last).unwrap_or(ticks.len() - 1);
        ticks[from..=to].to_vec()
    }

    /// From and to, along the axis.
    fn range(self, ticks: &[f64]) -> (f64, f64) {
        match (self, ticks.first(), ticks.last()) {
            // At the left there is room for names.
            (Self::Log, Some(first), Some(last)) => (first.log10() - 0.45, last.log10() + 0.05),
            (Self::LogLines, Some(first), Some(last)) => (first.log10() - 0.05, last.log10() + 0.05),
            _ => x_range(ticks),
        }
    }
}

/// One set of axes.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub title: String,
    pub scale: Scale,
    /// Accuracy (per cent) of the unsplit model.
    pub baseline: Option<f64>,
    /// Accuracy (per cent) of guessing.
    pub chance: Option<f64>,
    /// Points of each series, by x; a series may have none.
    pub series: Vec<Vec<FigurePoint>>,
    /// Corners of the Pareto front, by x.
    pub front: Vec<ParetoCorner>,
}

/// A corner of a Pareto front, and what is written beside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ParetoCorner {
    pub x: f64,
    pub y: f64,
    pub label: String,
}

/// How far a y axis may reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    /// Smallest distance of grid lines; two of them are the least span.
    step: f64,
    /// By its logarithm, in whole ticks; values must be above 0.
    log: bool,
}

impl Scale {
    /// Never beyond 0 to 100, in whole points.
    pub const PERCENT: Self = Self { low: 0.0, high: 100.0, step: 1.0, log: false };
    /// Any numbers, to thousandths.
    pub const FREE: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY, step: 0.001, log: false };
    /// By the logarithm, from the tick below `low` to the one above `high`; both above 0.
    pub fn log(low: f64, high: f64) -> Self {
        Self { low, high, step: 0.0, log: true }
    }
}

/// A cell as it is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FigurePoint {
    pub x: f64,
    pub y: f64,
    pub stderr: f64,
}

pub(super) const INK: RGBColor = RGBColor(30, 30, 30);
const BASELINE: RGBColor = RGBColor(70, 70, 70);
const CHANCE: RGBColor = RGBColor(110, 110, 110);
const FRONT: RGBColor = RGBColor(200, 200, 200);
const LEADER: RGBColor = RGBColor(150, 150, 150);
pub(super) const GRID: RGBColor = RGBColor(228, 228, 228);
pub(super) const MARGIN: i32 = 18;
/// Left of the plot: numbers of the y axis.
const LEFT: i32 = 40;
/// Right of the plot: names of the two horizontal lines.
const RIGHT: i32 = 104;
/// The same where there are none.
const BARE_RIGHT: i32 = 32;
pub(super) const SMALL: Type = Type { size: 12.0, bold: false, color: INK };
const LABEL: Type = Type { size: 11.0, bold: false, color: INK };
pub(super) const AXIS: Type = Type { size: 13.0, bold: false, color: INK };
pub(super) const HEAD: Type = Type { size: 14.0, bold: true, color: INK };
pub(super) const TITLE: Type = Type { size: 18.0, bold: true, color: INK };

/// Where a panel's plot lies, and its scales.
struct AxesFrame {
    left: i32,
    top: i32,
    width: i32,
    height: i32,
    axis: Axis,
    /// Along the axis.
    x: (f64, f64),
    /// From, to, and the step of the grid.
    y: (f64, f64, f64),
    log_y: bool,
}

impl AxesFrame {
    fn place(&self, x: f64, y: f64) -> (i32, i32) {
        let share_x = (self.axis.even(x) - self.x.0) / (self.x.1 - self.x.0);
        let x = f64::from(self.left) + share_x * f64::from(self.width);
        (x.round() as i32, self.height_of(y))
    }

    fn height_of(&self, y: f64) -> i32 {
        let even = |y: f64| if self.log_y { y.log10() } else { y };
        let (low, high) = (even(self.y.0), even(self.y.1));
        let share = (even(y.clamp(self.y.0, self.y.1)) - low) / (high - low);
        (f64::from(self.top + self.height) - share * f64::from(self.height)).round() as i32
    }
}

impl AxesFrame {
    /// Where grid lines are, and what stands beside them.
    fn y_ticks(&self) -> Vec<(f64, String)> {
        let (low, high, step) = self.y;
        if self.log_y {
            let all = Axis::Log.ticks(&[low, high]);
            let decades = (high / low).log10() > 2.0;
            let shown = all.into_iter().filter(|tick| !decades || (tick.log10() - tick.log10().round()).abs() < 1e-9);
            return shown.map(|tick| (tick, number::plain(tick))).collect();
        }
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let first = (low / step - 1e-9).ceil();
        let count = ((high + 1e-9 * step) / step - first).floor().max(-1.0) as i64;
        (0..=count).map(|nth| (first + nth as f64) * step).map(|value| (value, format!("{value:.digits$}"))).collect()
    }
}

impl Figure {
    /// The figure drawn, with its words inside or beside.
    pub fn picture(mut self, file: String, words: TextPlace) -> Result<Picture> {
        let titles: Vec<String> = self.panels.iter().map(|panel| panel.title.clone()).collect();
        let y = if self.y_label.is_empty() { "numbers" } else { &self.y_label };
        let alt = format!(
            "{}. {y} against {}; panels: {}; series: {}.",
            self.title,
            self.x_label,
            few(&titles),
            few(&self.series)
        );
        let (title, caption) = (self.title, self.subtitle);
        (self.title, self.subtitle) = (words.drawn(&title).into(), words.drawn(&caption).into());
        Ok(Picture { file, svg: self.svg()?, title, caption, alt })
    }

    /// The picture; fonts are whatever sans-serif the viewer has.
    pub fn svg(&self) -> Result<String> {
        let apart = self.axis == Axis::Log;
        let columns = match self.panels.len() {
            0 | 1 => 1,
            panels if apart => panels.div_ceil(2) as i32,
            2 | 4 => 2,
            3 | 5..=9 => 3,
            _ => 4,
        };
        let (plot_width, plot_height) = match self.panels.len() {
            1 if apart => (640, 420),
            1 => (560, 330),
            _ if apart => (420, 300),
            _ => (244, 180),
        };
        let named = self.panels.iter().any(|panel| panel.baseline.is_some() || panel.chance.is_some());
        let right_room = if named || self.panels.len() == 1 { RIGHT } else { BARE_RIGHT };
        let cell_width = LEFT + plot_width + right_room;
        let lines = columns * cell_width + 24;
        let inner = lines.max(legend::entry_width(&self.series));
        let width = inner + 2 * MARGIN;
        let title = fit(&self.title, TITLE, inner);
        let subtitle = fit(&self.subtitle, SMALL, inner);
        let heads: Vec<Vec<String>> =
            self.panels.iter().map(|panel| fit(&panel.title, HEAD, plot_width + right_room - 8)).collect();
        let head_height = 20 * heads.iter().map(Vec::len).max().unwrap_or(1) as i32;
        let cell_height = head_height + plot_height + 34;
        let rows = self.panels.len().div_ceil(columns as usize) as i32;
        let panels_top = MARGIN + 24 * title.len() as i32 + 17 * subtitle.len() as i32 + 12;
        let x_label_top = panels_top + rows * cell_height;
        let legend_top = x_label_top + 30;
        let height = legend_top + legend::height(&self.series, inner) + MARGIN;

        let mut svg = String::new();
        let canvas = Canvas::new(&mut svg, width, height)?;
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
        let ticks = self.axis.ticks(&self.x_values());
        for (at, panel) in self.panels.iter().enumerate() {
            let (row, column) = (at as i32 / columns, at as i32 % columns);
            let left = MARGIN + 24 + column * cell_width + LEFT;
            let top = panels_top + row * cell_height;
            for (line, text) in heads[at].iter().enumerate() {
                canvas.text(text, (left, top + 20 * line as i32), HEAD, top_left)?;
            }
            let frame = AxesFrame {
                left,
                top: top + head_height,
                width: plot_width,
                height: plot_height,
                axis: self.axis,
                x: self.axis.range(&ticks),
                y: panel.y_range(),
                log_y: panel.scale.log,
            };
            if column == 0 && !self.y_label.is_empty() {
                canvas.text_up(&self.y_label, (MARGIN + 8, frame.top + plot_height / 2), AXIS)?;
            }
            panel.draw(&canvas, &frame, &ticks)?;
            panel.draw_labels(&canvas, &frame)?;
        }
        let middle = MARGIN + 24 + LEFT + (columns * cell_width - LEFT - right_room) / 2;
        canvas.text(&self.x_label, (middle, x_label_top), AXIS, (HPos::Center, VPos::Top))?;
        legend::draw(&canvas, &self.series, (MARGIN, legend_top), inner, !apart)?;
        canvas.finish()?;
        Ok(slim(&svg))
    }

    fn x_values(&self) -> Vec<f64> {
        let mut values: Vec<f64> =
            self.panels.iter().flat_map(|panel| &panel.series).flatten().map(|point| point.x).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    }
}

impl Panel {
    /// From the data, error bars, baseline and chance, out to whole ticks; never beyond its scale.
    fn y_range(&self) -> (f64, f64, f64) {
        if self.scale.log {
            let ends = Axis::Log.ticks(&[self.scale.low, self.scale.high]);
            let (low, high) = (ends[0], ends[ends.len() - 1]);
            return if low < high { (low, high, 0.0) } else { (low / 2.0, high * 2.0, 0.0) };
        }
        let points = self.series.iter().flatten();
        let ends = points.flat_map(|point| [point.y - point.stderr, point.y + point.stderr]);
        let values: Vec<f64> = ends.chain(self.baseline).chain(self.chance).collect();
        let (Some(low), Some(high)) =
            (values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max))
        else {
            return (0.0, 100.0, 20.0);
        };
        let span = (high - low).max(2.0 * self.scale.step);
        let step = y_step(span).max(self.scale.step);
        let pad = 0.04 * span;
        let (low, high) = (((low - pad) / step).floor() * step, ((high + pad) / step).ceil() * step);
        (low.max(self.scale.low), high.min(self.scale.high), step)
    }

    fn draw(&self, canvas: &Canvas, frame: &AxesFrame, ticks: &[f64]) -> Result<()> {
        let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
        for (value, text) in frame.y_ticks() {
            let y = frame.height_of(value);
            canvas.path(&[(frame.left, y), (right, y)], GRID, 1)?;
            canvas.text(&text, (frame.left - 6, y), SMALL, (HPos::Right, VPos::Center))?;
        }
        // A number that would touch another is left out, its tick stays; last to go are the ends and powers of ten.
        let mut order = ticks.to_vec();
        if frame.axis.is_log() {
            let end = |tick: &f64| [ticks.first(), ticks.last()].contains(&Some(tick));
            order.sort_by_key(|tick| (!end(tick), tick.log10().fract() != 0.0));
        }
        let mut taken: Vec<(i32, i32)> = Vec::new();
        for tick in order {
            let (x, _) = frame.place(tick, frame.y.0);
            canvas.path(&[(x, bottom), (x, bottom + 4)], INK, 1)?;
            let text = number::ratio(tick);
            let half = text_width(&text, SMALL.size) / 2;
            let (from, to) = (x - half, x + half + 2);
            if taken.iter().all(|(left, right)| from > *right || to < *left) {
                canvas.text(&text, (x, bottom + 7), SMALL, (HPos::Center, VPos::Top))?;
                taken.push((from, to));
            }
        }
        canvas.path(&[(frame.left, frame.top), (frame.left, bottom), (right, bottom)], INK, 1)?;
        self.draw_lines(canvas, frame)?;
        if self.series.iter().all(Vec::is_empty) {
            let middle = (frame.left + frame.width / 2, frame.top + frame.height / 2);
            canvas.text("no finished cell", middle, SMALL, (HPos::Center, VPos::Center))?;
        }
        let front = self.front_path(frame);
        if !front.is_empty() {
            canvas.path(&front, FRONT, 5)?;
        }
        let dodge = if frame.axis.is_log() { 0.0 } else { self.dodge(frame, ticks) };
        for (at, points) in self.series.iter().enumerate() {
            let look = legend::look(at);
            let shift = ((at as f64 - (self.series.len() as f64 - 1.0) / 2.0) * dodge).round() as i32;
            let place = |point: &FigurePoint, y: f64| {
                let (x, y) = frame.place(point.x, y);
                (x + shift, y)
            };
            let line: Vec<(i32, i32)> = points.iter().map(|point| place(point, point.y)).collect();
            if frame.axis != Axis::Log {
                canvas.dashed(&line, look.dash, look.color, 2)?;
            }
            for point in points {
                let (low, high) = (place(point, point.y - point.stderr), place(point, point.y + point.stderr));
                // One that is no higher than its own line would only lie under the marker.
                if low.1 > high.1 + 1 {
                    canvas.path(&[low, high], look.color, 1)?;
                    for (x, y) in [low, high] {
                        canvas.path(&[(x - 3, y), (x + 3, y)], look.color, 1)?;
                    }
                }
            }
            for point in points {
                canvas.marker(&look, place(point, point.y))?;
            }
        }
        Ok(())
    }

    /// What the corners of the front are, each beside its own; a thin line leads to one that found no room nearer.
    fn draw_labels(&self, canvas: &Canvas, frame: &AxesFrame) -> Result<()> {
        let apart = |a: &[i32; 4], b: &[i32; 4]| a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
        let spread = |(x, y): (i32, i32), high: i32, low: i32| [x - 5, y - high, x + 5, y + low];
        let points = || self.series.iter().flatten();
        let mut taken: Vec<[i32; 4]> = points().map(|p| spread(frame.place(p.x, p.y), 5, 5)).collect();
        // Lines and error bars, which a name may cross only where there is no other room.
        let bar = |p: &FigurePoint| {
            let y = frame.height_of(p.y);
            spread(
                (frame.place(p.x, p.y).0, y),
                y - frame.height_of(p.y + p.stderr),
                frame.height_of(p.y - p.stderr) - y,
            )
        };
        let path = self.front_path(frame);
        let sections = path.windows(2).map(|ends| {
            let [(x, y), (other_x, other_y)] = [ends[0], ends[1]];
            [x.min(other_x) - 3, y.min(other_y) - 3, x.max(other_x) + 3, y.max(other_y) + 3]
        });
        let across = self.baseline.iter().chain(&self.chance).map(|value| {
            let y = frame.height_of(*value);
            [frame.left, y - 2, frame.left + frame.width, y + 2]
        });
        let crossed: Vec<[i32; 4]> = points().map(bar).chain(sections).chain(across).collect();
        for corner in &self.front {
            let (x, y) = frame.place(corner.x, corner.y);
            let (wide, high) = (text_width(&corner.label, LABEL.size) / 2, 6);
            let places = (0..14).flat_map(|ring| (0..16).map(move |turn| (9.0 + 9.0 * f64::from(ring), turn)));
            let places = places.map(|(away, turn)| {
                let (sin, cos) = (f64::from(turn) * std::f64::consts::PI / 8.0).sin_cos();
                // Its nearest side is that far away.
                let along = |cos: f64, half: i32| (cos * (away + f64::from(half))).round() as i32;
                let (x, y) = (x + along(cos, wide), y - along(sin, high));
                (away, (x, y), [x - wide, y - high, x + wide, y + high])
            });
            let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
            let within =
                |spot: &[i32; 4]| spot[0] > frame.left && spot[2] < right && spot[1] > frame.top && spot[3] < bottom;
            let free = places.filter(|(_, _, spot)| within(spot) && taken.iter().all(|other| apart(spot, other)));
            let clear = |spot: &[i32; 4]| crossed.iter().all(|other| apart(spot, other));
            let near = |away: f64| away < 40.0;
            let place = free.clone().find(|(away, _, spot)| near(*away) && clear(spot)).or_else(|| free.clone().next());
            let Some((away, center, spot)) = place else { continue };
            if away > 9.0 {
                let near = (x.clamp(spot[0], spot[2]), y.clamp(spot[1], spot[3]));
                canvas.path(&[(x, y), near], LEADER, 1)?;
            }
            canvas.text(&corner.label, center, LABEL, (HPos::Center, VPos::Center))?;
            taken.push(spot);
        }
        Ok(())
    }

    /// Steps: what the bytes at hand buy, up to the next corner.
    fn front_path(&self, frame: &AxesFrame) -> Vec<(i32, i32)> {
        let mut path: Vec<(i32, i32)> = Vec::new();
        for corner in &self.front {
            let corner = frame.place(corner.x, corner.y);
            path.extend(path.last().map(|&(_, before)| (corner.0, before)));
            path.push(corner);
        }
        let end = path.last().map(|&(_, y)| (frame.left + frame.width, y));
        path.extend(end);
        path
    }

    /// Baseline and chance, named at the right edge; names move apart where the lines are close.
    fn draw_lines(&self, canvas: &Canvas, frame: &AxesFrame) -> Result<()> {
        let right = frame.left + frame.width;
        let lines = [(self.baseline, "baseline", BASELINE, &[][..]), (self.chance, "chance", CHANCE, &[2.0, 4.0][..])];
        let mut labels: Vec<(i32, String, RGBColor)> = Vec::new();
        for (value, name, color, dash) in lines {
            let Some(value) = value else { continue };
            let y = frame.height_of(value);
            canvas.dashed(&[(frame.left, y), (right, y)], dash, color, 2)?;
            labels.push((y, format!("{name} {}", number::tenths(value)), color));
        }
        labels.sort_by_key(|(y, ..)| *y);
        if let [first, second] = labels.as_mut_slice() {
            let overlap = 14 - (second.0 - first.0);
            if overlap > 0 {
                first.0 -= overlap / 2;
                second.0 += overlap - overlap / 2;
            }
        }
        for (y, text, color) in labels {
            canvas.text(&text, (right + 6, y), Type { color, ..SMALL }, (HPos::Left, VPos::Center))?;
        }
        Ok(())
    }

    /// Pixels between two series at one x, so that error bars stand side by side but x values stay apart.
    fn dodge(&self, frame: &AxesFrame, ticks: &[f64]) -> f64 {
        let gaps = ticks.windows(2).map(|pair| frame.place(pair[1], 0.0).0 - frame.place(pair[0], 0.0).0);
        if self.series.iter().flatten().all(|point| point.stderr == 0.0) {
            return 0.0;
        }
        let room = 0.6 * f64::from(gaps.min().unwrap_or(frame.width / 2));
        (room / self.series.len().max(1) as f64).min(7.0)
    }
}

/// Distance of grid lines that gives at most seven: 1, 2 or 5 times a power of ten.
fn y_step(span: f64) -> f64 {
    let power = 10f64.powi((span / 6.0).log10().floor() as i32);
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| span / step <= 6.0);
    step.unwrap_or(10.0 * power)
}

/// Distance of grid lines from 0 to `most`, and the decimals that tell them apart.
pub(super) fn grid(most: f64) -> (f64, usize) {
    let step = y_step(most);
    (step, (-step.log10().floor()).max(0.0) as usize)
}

/// Half a step of room at both ends.
fn x_range(ticks: &[f64]) -> (f64, f64) {
    let (Some(first), Some(last)) = (ticks.first(), ticks.last()) else { return (0.0, 1.0) };
    let room = if ticks.len() < 2 { 1.0 } else { 0.5 * (last - first) / (ticks.len() - 1) as f64 };
    (first - room, last + room)
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

#[cfg(test)]
#[path = "figure_tests.rs"]
mod tests;
