//! Small multiples of some number, most often accuracy, against another, as SVG.

use anyhow::Result;
use plotters::element::Rectangle;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::picture::{Picture, TextPlace, few};
use super::svg::{
    self, AXIS, CENTER, Canvas, Chart, GridLines, HEAD, INK, MARGIN, SMALL, TOP_LEFT, TickedAxis, Type, fit, path,
    text_width,
};
use super::{legend, number};

/// A figure: panels that share series and x axis; each has its own y axis.
#[derive(Debug, Clone)]
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

/// Size of the largest number that is drawn, and of the smallest on an axis of logarithms one over it. Nothing that is measured is
/// beyond; rows that were damaged or edited may be.
pub(super) const BOUND: f64 = 1e30;

impl Axis {
    /// Whether a point has a place.
    fn has(self, x: f64) -> bool {
        if self.is_log() { (1.0 / BOUND..=BOUND).contains(&x) } else { x.abs() <= BOUND }
    }

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
    /// Other points that have a name beside them.
    pub named: Vec<ParetoCorner>,
    /// Ranges of x that belong to a series.
    pub bands: Vec<PanelBand>,
}

/// A range of x in the colour of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PanelBand {
    pub from: f64,
    pub to: f64,
    /// By its place.
    pub series: usize,
}

/// A corner of a Pareto front, or another point, and what is written beside it.
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
    /// By the logarithm, from the tick below `low` to the one above `high`; of what is no number above 0, the nearest that is drawn.
    pub fn log(low: f64, high: f64) -> Self {
        // The larger of a number and what is none is the number.
        let low = low.max(1.0 / BOUND).clamp(1.0 / BOUND, BOUND);
        Self { low, high: high.max(low).clamp(low, BOUND), step: 0.0, log: true }
    }
}

/// A cell as it is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FigurePoint {
    pub x: f64,
    pub y: f64,
    pub stderr: f64,
}

const BASELINE: RGBColor = RGBColor(70, 70, 70);
const CHANCE: RGBColor = RGBColor(110, 110, 110);
const FRONT: RGBColor = RGBColor(200, 200, 200);
const LEADER: RGBColor = RGBColor(150, 150, 150);
/// Left of the plot: numbers of the y axis.
const LEFT: i32 = 40;
/// Right of the plot: names of the two horizontal lines.
const RIGHT: i32 = 104;
/// The same where there are none.
const BARE_RIGHT: i32 = 32;
/// Markers of a series in a panel of lines.
const MOST_MARKERS: usize = 40;
const LABEL: Type = Type { size: 11.0, bold: false, color: INK };

/// A panel's chart, its axes drawn.
struct PanelChart<'a> {
    chart: Chart<'a>,
    axis: Axis,
    log_y: bool,
}

impl PanelChart<'_> {
    /// Along the two axes; what is beyond the upper or lower end is there.
    fn along(&self, x: f64, y: f64) -> (f64, f64) {
        let ends = self.chart.plotting_area().get_y_range();
        let y = if self.log_y { y.max(f64::MIN_POSITIVE).log10() } else { y };
        (self.axis.even(x), y.max(ends.start).min(ends.end))
    }

    fn place(&self, x: f64, y: f64) -> (i32, i32) {
        self.chart.plotting_area().map_coordinate(&self.along(x, y))
    }

    fn height_of(&self, y: f64) -> i32 {
        self.chart.plotting_area().map_coordinate(&(0.0, self.along(1.0, y).1)).1
    }

    /// Left, top, right and bottom of the plot.
    fn edges(&self) -> [i32; 4] {
        let (x, y) =
            (self.chart.plotting_area().get_x_axis_pixel_range(), self.chart.plotting_area().get_y_axis_pixel_range());
        [x.start, y.start, x.end, y.end]
    }
}

impl Figure {
    /// The figure drawn, with its words inside or beside.
    pub fn picture(self, file: String, words: TextPlace) -> Result<Picture> {
        let titles: Vec<String> = self.panels.iter().map(|panel| panel.title.clone()).collect();
        let y = if self.y_label.is_empty() { "numbers" } else { &self.y_label };
        let alt = format!(
            "{}. {y} against {}; panels: {}; series: {}.",
            self.title,
            self.x_label,
            few(&titles),
            few(&self.series)
        );
        let bounded = self.bounded();
        Ok(Picture { file, svg: bounded.draw(words)?, title: self.title, caption: bounded.subtitle, alt })
    }

    /// The picture; fonts are whatever sans-serif the viewer has.
    pub fn svg(&self, words: TextPlace) -> Result<String> {
        self.bounded().draw(words)
    }

    /// Without what has no place, which the subtitle then says.
    fn bounded(&self) -> Self {
        let (axis, mut figure, mut lost) = (self.axis, self.clone(), 0);
        for panel in &mut figure.panels {
            let drawn = |point: &FigurePoint| {
                axis.has(point.x) && point.y.abs() <= BOUND && (0.0..=BOUND).contains(&point.stderr)
            };
            for points in &mut panel.series {
                let all = points.len();
                points.retain(drawn);
                lost += all - points.len();
            }
            for line in [&mut panel.baseline, &mut panel.chance] {
                *line = line.filter(|value| value.abs() <= BOUND);
            }
            for corners in [&mut panel.front, &mut panel.named] {
                corners.retain(|corner| axis.has(corner.x) && corner.y.abs() <= BOUND);
            }
        }
        if lost > 0 {
            figure.subtitle += &format!(" Left out, as they are no numbers that can be drawn: {lost} points.");
        }
        figure
    }

    fn draw(&self, words: TextPlace) -> Result<String> {
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
        let heads: Vec<Vec<String>> =
            self.panels.iter().map(|panel| fit(&panel.title, HEAD, plot_width + right_room - 8)).collect();
        let head_height = 20 * heads.iter().map(Vec::len).max().unwrap_or(1) as i32;
        let cell_height = head_height + plot_height + 34;
        let rows = self.panels.len().div_ceil(columns as usize) as i32;
        let x_label_top = 12 + rows * cell_height;
        let legend_top = x_label_top + 30;
        let below = legend_top + legend::height(&self.series, inner) + MARGIN;
        let x = self.x_axis(plot_width);
        svg::draw([&self.title, &self.subtitle].map(|text| words.drawn(text)), inner, below, |canvas, figure_top| {
            for (at, panel) in self.panels.iter().enumerate() {
                let (row, column) = (at as i32 / columns, at as i32 % columns);
                let left = MARGIN + 24 + column * cell_width + LEFT;
                let top = figure_top + 12 + row * cell_height;
                for (line, text) in heads[at].iter().enumerate() {
                    canvas.text(text, (left, top + 20 * line as i32), HEAD, TOP_LEFT)?;
                }
                let top = top + head_height;
                if column == 0 && !self.y_label.is_empty() {
                    canvas.text_up(&self.y_label, (MARGIN + 8, top + plot_height / 2), AXIS)?;
                }
                let axes = [&x, &panel.y_axis()];
                let chart = canvas.chart((left, top), (plot_width, plot_height), axes, GridLines::Across)?;
                let chart = PanelChart { chart, axis: self.axis, log_y: panel.scale.log };
                panel.draw(canvas, &chart, panel.dodge(&x, self.axis, plot_width))?;
                panel.draw_labels(canvas, &chart)?;
            }
            let middle = MARGIN + 24 + LEFT + (columns * cell_width - LEFT - right_room) / 2;
            canvas.text(&self.x_label, (middle, figure_top + x_label_top), AXIS, (HPos::Center, VPos::Top))?;
            // By hand, as plotters' own legend lies inside the plot of one chart, in one column.
            legend::draw(canvas, &self.series, (MARGIN, figure_top + legend_top), inner, !apart)
        })
    }

    /// Shared by all panels, which are this wide. A number that would touch another is left out, its tick stays; last to go are the ends
    /// and powers of ten.
    fn x_axis(&self, width: i32) -> TickedAxis {
        let values = self.axis.ticks(&self.x_values());
        let ends = self.axis.range(&values);
        let mut ticks: Vec<(f64, String)> = values.iter().map(|tick| (*tick, String::new())).collect();
        if self.axis.is_log() {
            let end = |tick: f64| [values.first(), values.last()].contains(&Some(&tick));
            ticks.sort_by_key(|(tick, _)| (!end(*tick), tick.log10().fract() != 0.0));
        }
        let mut taken: Vec<(f64, f64)> = Vec::new();
        for (tick, shown) in &mut ticks {
            let text = number::ratio(*tick);
            *tick = self.axis.even(*tick);
            let middle = (*tick - ends.0) / (ends.1 - ends.0) * f64::from(width);
            let half = f64::from(text_width(&text, SMALL.size)) / 2.0 + 1.0;
            let (from, to) = (middle - half, middle + half);
            if taken.iter().all(|(left, right)| from > *right || to < *left) {
                taken.push((from, to));
                *shown = text;
            }
        }
        TickedAxis { ends, ticks }
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
    fn y_axis(&self) -> TickedAxis {
        if self.scale.log {
            return log_axis(self.scale.low, self.scale.high);
        }
        let points = self.series.iter().flatten();
        let ends = points.flat_map(|point| [point.y - point.stderr, point.y + point.stderr]);
        let values: Vec<f64> = ends.chain(self.baseline).chain(self.chance).collect();
        let (Some(low), Some(high)) =
            (values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max))
        else {
            return even_axis((0.0, 100.0), 20.0);
        };
        // An axis whose ends look alike in f64 has no steps.
        let span = (high - low).max(2.0 * self.scale.step).max(1e-9 * low.abs().max(high.abs()));
        let step = y_step(span).max(self.scale.step);
        let pad = 0.04 * span;
        let (low, high) = (((low - pad) / step).floor() * step, ((high + pad) / step).ceil() * step);
        let (low, high) = (low.max(self.scale.low), high.min(self.scale.high));
        // All values lie beyond the scale.
        if low < high { even_axis((low, high), step) } else { even_axis((self.scale.low, self.scale.high), 20.0) }
    }

    fn draw(&self, canvas: &Canvas, chart: &PanelChart, dodge: f64) -> Result<()> {
        let area = chart.chart.plotting_area();
        let [left, top, right, bottom] = chart.edges();
        for band in &self.bands {
            let [from, to] = [band.from, band.to].map(|x| chart.place(x, 1.0).0.clamp(left, right));
            let fill = legend::look(band.series).color.mix(0.13).filled();
            canvas.area.draw(&Rectangle::new([(from, top), (to, bottom)], fill))?;
        }
        self.draw_lines(canvas, chart)?;
        if self.series.iter().all(Vec::is_empty) {
            canvas.text("no finished cell", ((left + right) / 2, (top + bottom) / 2), SMALL, CENTER)?;
        }
        let front = self.front_path(chart);
        if !front.is_empty() {
            path(&canvas.area, front, None, FRONT.stroke_width(5))?;
        }
        for (at, points) in self.series.iter().enumerate() {
            let look = legend::look(at);
            let shift = (at as f64 - (self.series.len() as f64 - 1.0) / 2.0) * dodge;
            let along = |point: &FigurePoint, y: f64| {
                let (x, y) = chart.along(point.x, y);
                (x + shift, y)
            };
            if chart.axis != Axis::Log {
                let line = points.iter().map(|point| along(point, point.y)).collect();
                path(area, line, look.dash, look.color.stroke_width(2))?;
            }
            for point in points {
                let bar = [point.y - point.stderr, point.y + point.stderr].map(|y| along(point, y));
                let [low, high] = bar.map(|end| area.map_coordinate(&end));
                // One that is no higher than its own line would only lie under the marker. plotters' `ErrorBar` has a circle in its
                // middle, which would show beside a marker.
                if low.1 > high.1 + 1 {
                    path(area, bar.into(), None, look.color)?;
                    for (x, y) in [low, high] {
                        path(&canvas.area, vec![(x - 3, y), (x + 3, y)], None, look.color)?;
                    }
                }
            }
            // A curve of many points has markers on some, or they would hide its dashes.
            for point in points.iter().step_by(points.len().div_ceil(MOST_MARKERS).max(1)) {
                canvas.marker(&look, area.map_coordinate(&along(point, point.y)))?;
            }
        }
        Ok(())
    }

    /// What the named points and the corners of the front are, each beside its own; a thin line leads to one that found no room nearer.
    fn draw_labels(&self, canvas: &Canvas, chart: &PanelChart) -> Result<()> {
        let [left, top, right, bottom] = chart.edges();
        let apart = |a: &[i32; 4], b: &[i32; 4]| a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
        let spread = |(x, y): (i32, i32), high: i32, low: i32| [x - 5, y - high, x + 5, y + low];
        let points = || self.series.iter().flatten();
        let mut taken: Vec<[i32; 4]> = points().map(|p| spread(chart.place(p.x, p.y), 5, 5)).collect();
        // Lines and error bars, which a name may cross only where there is no other room.
        let bar = |p: &FigurePoint| {
            let y = chart.height_of(p.y);
            spread(
                (chart.place(p.x, p.y).0, y),
                y - chart.height_of(p.y + p.stderr),
                chart.height_of(p.y - p.stderr) - y,
            )
        };
        let front = self.front_path(chart);
        let sections = front.windows(2).map(|ends| {
            let [(x, y), (other_x, other_y)] = [ends[0], ends[1]];
            [x.min(other_x) - 3, y.min(other_y) - 3, x.max(other_x) + 3, y.max(other_y) + 3]
        });
        let across = self.baseline.iter().chain(&self.chance).map(|value| {
            let y = chart.height_of(*value);
            [left, y - 2, right, y + 2]
        });
        let crossed: Vec<[i32; 4]> = points().map(bar).chain(sections).chain(across).collect();
        for corner in self.named.iter().chain(&self.front) {
            let (x, y) = chart.place(corner.x, corner.y);
            let (wide, high) = (text_width(&corner.label, LABEL.size) / 2, 6);
            let places = (0..14).flat_map(|ring| (0..16).map(move |turn| (9.0 + 9.0 * f64::from(ring), turn)));
            let places = places.map(|(away, turn)| {
                let (sin, cos) = (f64::from(turn) * std::f64::consts::PI / 8.0).sin_cos();
                // Its nearest side is that far away.
                let along = |cos: f64, half: i32| (cos * (away + f64::from(half))).round() as i32;
                let (x, y) = (x + along(cos, wide), y - along(sin, high));
                (away, (x, y), [x - wide, y - high, x + wide, y + high])
            });
            let within = |spot: &[i32; 4]| spot[0] > left && spot[2] < right && spot[1] > top && spot[3] < bottom;
            let free = places.filter(|(_, _, spot)| within(spot) && taken.iter().all(|other| apart(spot, other)));
            let clear = |spot: &[i32; 4]| crossed.iter().all(|other| apart(spot, other));
            let near = |away: f64| away < 40.0;
            let place = free.clone().find(|(away, _, spot)| near(*away) && clear(spot)).or_else(|| free.clone().next());
            let Some((away, center, spot)) = place else { continue };
            if away > 9.0 {
                let near = (x.clamp(spot[0], spot[2]), y.clamp(spot[1], spot[3]));
                path(&canvas.area, vec![(x, y), near], None, LEADER)?;
            }
            canvas.text(&corner.label, center, LABEL, CENTER)?;
            taken.push(spot);
        }
        Ok(())
    }

    /// Steps: what the bytes at hand buy, up to the next corner.
    fn front_path(&self, chart: &PanelChart) -> Vec<(i32, i32)> {
        let mut path: Vec<(i32, i32)> = Vec::new();
        for corner in &self.front {
            let corner = chart.place(corner.x, corner.y);
            path.extend(path.last().map(|&(_, before)| (corner.0, before)));
            path.push(corner);
        }
        let end = path.last().map(|&(_, y)| (chart.edges()[2], y));
        path.extend(end);
        path
    }

    /// Baseline and chance, named at the right edge; names move apart where the lines are close.
    fn draw_lines(&self, canvas: &Canvas, chart: &PanelChart) -> Result<()> {
        let [left, _, right, _] = chart.edges();
        let lines = [(self.baseline, "baseline", BASELINE, None), (self.chance, "chance", CHANCE, Some((2, 4)))];
        let mut labels: Vec<(i32, String, RGBColor)> = Vec::new();
        for (value, name, color, dash) in lines {
            let Some(value) = value else { continue };
            let y = chart.height_of(value);
            path(&canvas.area, vec![(left, y), (right, y)], dash, color.stroke_width(2))?;
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

    /// What lies along the x axis between two series at one x, at most 7 pixels, so that error bars stand side by side but x values
    /// stay apart.
    fn dodge(&self, x: &TickedAxis, axis: Axis, width: i32) -> f64 {
        if axis.is_log() || self.series.iter().flatten().all(|point| point.stderr == 0.0) {
            return 0.0;
        }
        let span = x.ends.1 - x.ends.0;
        let gap = x.ticks.windows(2).map(|pair| pair[1].0 - pair[0].0).reduce(f64::min).unwrap_or(span / 2.0);
        (0.6 * gap / self.series.len().max(1) as f64).min(7.0 * span / f64::from(width))
    }
}

/// An axis with a tick at each step.
pub(super) fn even_axis((low, high): (f64, f64), step: f64) -> TickedAxis {
    let digits = (-step.log10().floor()).max(0.0) as usize;
    let steps = (low / step).round() as i64..=(high / step + 1e-9).floor() as i64;
    let ticks = steps.map(|nth| nth as f64 * step).map(|value| (value, format!("{value:.digits$}"))).collect();
    TickedAxis { ends: (low, high), ticks }
}

/// An axis of logarithms between the ticks around two numbers; with powers of ten alone where there are more than two.
fn log_axis(low: f64, high: f64) -> TickedAxis {
    let mut all = Axis::Log.ticks(&[low, high]);
    if all.len() == 1 {
        all = Axis::Log.ticks(&[low / 2.0, high * 2.0]);
    }
    let ends = (all[0].log10(), all[all.len() - 1].log10());
    let mut ticks: Vec<(f64, String)> = all.iter().map(|tick| (tick.log10(), number::plain(*tick))).collect();
    ticks.retain(|(tick, _)| ends.1 - ends.0 <= 2.0 || (tick - tick.round()).abs() < 1e-9);
    TickedAxis { ends, ticks }
}

/// Distance of grid lines that gives at most seven: 1, 2 or 5 times a power of ten.
pub(super) fn y_step(span: f64) -> f64 {
    let power = 10f64.powi((span / 6.0).log10().floor() as i32);
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| span / step <= 6.0);
    step.unwrap_or(10.0 * power)
}

/// Half a step of room at both ends.
fn x_range(ticks: &[f64]) -> (f64, f64) {
    let (Some(first), Some(last)) = (ticks.first(), ticks.last()) else { return (0.0, 1.0) };
    let room = if ticks.len() < 2 { 1.0 } else { 0.5 * (last - first) / (ticks.len() - 1) as f64 };
    (first - room, last + room)
}

#[cfg(test)]
#[path = "figure_tests.rs"]
mod tests;
