//! Figure 2(a): an activation, what codecs leave of it and their errors; and the maps of 2(c): its 2-D spectrum.

use anyhow::Result;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{BLACK, Color, WHITE};

use super::names;
use super::number::significant;
use super::picture::{Picture, TextPlace, few};
use super::svg::{self, AXIS, Canvas, HEAD, INK, MARGIN, SMALL, TOP_LEFT, fit, path};
use super::view;
use crate::record::{Heat, HeatKind as Kind};
use splitbench_codec::Activation;

/// A line of `heat.csv` with its matrix; none of a codec that failed.
#[derive(Debug, Clone)]
pub struct HeatMap {
    /// The line.
    pub line: Heat,
    /// Rows x columns.
    pub matrix: Option<Activation>,
}

/// Columns of one block of heat maps: A and three codecs.
const COLUMNS: usize = 4;
const WIDTH: i32 = 250;
const GAP: i32 = 46;
/// Height of a token's row of pixels, and of the whole picture at most.
const ROW: i32 = 4;
const MOST: i32 = 140;
/// From the caption to the first pictures: room for their titles.
const ABOVE: i32 = 34;

/// Heat maps and spectra of each model.
pub(super) fn figures(maps: &[HeatMap], words: TextPlace) -> Result<Vec<Picture>> {
    let models = view::distinct(maps.iter().map(|map| map.line.model.as_str()));
    let mut out = Vec::new();
    for model in &models {
        let here: Vec<&HeatMap> = maps.iter().filter(|map| map.line.model == *model).collect();
        let name = crate::model::short_name(model, models.iter().copied());
        let file = |shows| names::figure_file(shows, (models.len() > 1).then_some(&name));
        if here.iter().any(|map| map.line.kind == Kind::Activation && map.matrix.is_some()) {
            out.push(heat_maps(&name, &here, file("heat-maps"), words)?);
        }
        if here.iter().any(|map| map.line.kind == Kind::Spectrum && map.matrix.is_some()) {
            out.push(spectra(&name, &here, file("spectrum"), words)?);
        }
    }
    Ok(out)
}

/// One panel: a matrix of shares of the colour scale, with what stands above and beside it.
struct HeatPanel {
    title: String,
    shares: Vec<f64>,
    columns: usize,
    /// At the left below, at the right below, above beside, and below beside.
    ends: [String; 4],
    /// A rectangle to mark, in shares of width and height from the upper left: left, top, right, bottom.
    frame: Option<[f64; 4]>,
}

impl HeatPanel {
    /// By hand: plotters' axes put a number at the middle of its tick, and these stand within the ends of a picture without room beside it.
    fn draw(&self, canvas: &Canvas, (left, top): (i32, i32), height: i32) -> Result<()> {
        if let Some(line) = fit(&self.title, HEAD, WIDTH + GAP - 10).first() {
            canvas.text(line, (left, top - 18), HEAD, TOP_LEFT)?;
        }
        canvas.image(&self.shares, self.columns, (left, top), (WIDTH, height));
        let (right, bottom) = (left + WIDTH, top + height);
        path(&canvas.area, outline([left, top, right, bottom]), None, INK)?;
        let [first, last, above, below] = &self.ends;
        canvas.text(first, (left, bottom + 4), SMALL, TOP_LEFT)?;
        canvas.text(last, (right, bottom + 4), SMALL, (HPos::Right, VPos::Top))?;
        canvas.text(above, (left - 4, top), SMALL, (HPos::Right, VPos::Top))?;
        canvas.text(below, (left - 4, bottom), SMALL, (HPos::Right, VPos::Bottom))?;
        if let Some([l, t, r, b]) = self.frame {
            let x = |share: f64| left + (share * f64::from(WIDTH)).round() as i32;
            let y = |share: f64| top + (share * f64::from(height)).round() as i32;
            let corners = outline([x(l), y(t), x(r), y(b)]);
            path(&canvas.area, corners.clone(), None, WHITE.stroke_width(3))?;
            path(&canvas.area, corners, Some((5, 4)), BLACK.stroke_width(2))?;
        }
        Ok(())
    }
}

fn outline([left, top, right, bottom]: [i32; 4]) -> Vec<(i32, i32)> {
    vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
}

/// The colours from left to right, with numbers below.
fn color_bar(
    canvas: &Canvas,
    (left, top): (i32, i32),
    width: i32,
    name: &str,
    numbers: &[(f64, String)],
) -> Result<()> {
    let shares: Vec<f64> = (0..width).map(|x| f64::from(x) / f64::from(width - 1)).collect();
    canvas.image(&shares, shares.len(), (left, top), (width, 14));
    for (share, text) in numbers {
        let x = left + (share * f64::from(width)).round() as i32;
        path(&canvas.area, vec![(x, top + 14), (x, top + 18)], None, INK)?;
        canvas.text(text, (x, top + 20), SMALL, (HPos::Center, VPos::Top))?;
    }
    canvas.text(name, (left + width / 2, top + 38), SMALL, (HPos::Center, VPos::Top))
}

fn layers(maps: &[&HeatMap]) -> Vec<u32> {
    let mut layers = view::distinct(maps.iter().map(|map| map.line.split_layer));
    layers.sort_unstable();
    layers
}

/// Below this magnitude lie 99.5 % of the values: beyond it colours no longer differ.
fn scale(a: &Activation) -> f64 {
    let mut sizes: Vec<f64> = a.values().iter().map(|&value| f64::from(value).abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let at = sizes[((0.995 * sizes.len() as f64).ceil() as usize).clamp(1, sizes.len()) - 1];
    if at > 0.0 { at } else { 1.0 }
}

fn label(line: &Heat) -> String {
    match line.ratio {
        Some(ratio) if line.accounting == "wire" => format!("{}, ratio {ratio} on the wire", line.codec),
        Some(ratio) => format!("{}, ratio {ratio}", line.codec),
        None => line.codec.clone(),
    }
}

/// How much of a side of a matrix is drawn.
fn shown(most: u64, all: u64, what: &str) -> String {
    if all > most { format!("the first {most} of {all} {what}") } else { format!("all {all} {what}") }
}

fn heat_maps(model: &str, maps: &[&HeatMap], file: String, words: TextPlace) -> Result<Picture> {
    struct HeatBlock {
        layer: u32,
        scale: f64,
        height: i32,
        above: Vec<HeatPanel>,
        below: Vec<HeatPanel>,
    }
    let mut blocks: Vec<HeatBlock> = Vec::new();
    let mut failed = 0;
    for layer in layers(maps) {
        let here: Vec<&&HeatMap> = maps.iter().filter(|map| map.line.split_layer == layer).collect();
        let original = here.iter().find(|map| map.line.kind == Kind::Activation);
        let Some((original, a)) = original.and_then(|map| Some((map, map.matrix.as_ref()?))) else { continue };
        let scale = scale(a);
        let ends = || ["channel 1".to_string(), a.hidden().to_string(), "1".into(), a.tokens().to_string()];
        let panel = |title: String, values: &mut dyn Iterator<Item = f64>| HeatPanel {
            title,
            shares: values.map(|value| (value / scale + 1.0) / 2.0).collect(),
            columns: a.hidden(),
            ends: ends(),
            frame: None,
        };
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        let received: Vec<_> = here.iter().filter(|map| map.line.kind == Kind::Received).collect();
        failed += received.iter().filter(|map| map.matrix.is_none()).count();
        let received: Vec<(&Heat, &Activation)> = received
            .iter()
            .filter_map(|map| Some((&map.line, map.matrix.as_ref()?)))
            .filter(|(_, matrix)| (matrix.tokens(), matrix.hidden()) == (a.tokens(), a.hidden()))
            .collect();
        let parts: Vec<_> = if received.is_empty() { vec![&[][..]] } else { received.chunks(COLUMNS - 1).collect() };
        for part in parts {
            let of = format!("A after layer {}", original.line.split_layer);
            let mut above = vec![panel(of, &mut wide(a.values()).into_iter())];
            let mut below = Vec::new();
            for (line, matrix) in part {
                let (now, was) = (wide(matrix.values()), wide(a.values()));
                above.push(panel(label(line), &mut now.iter().copied()));
                let error = line.rel_error.map(|error| format!(" {error:.3}")).unwrap_or_default();
                below.push(panel(format!("error{error}"), &mut now.iter().zip(&was).map(|(now, was)| now - was)));
            }
            blocks.push(HeatBlock { layer, scale, height: (ROW * a.tokens() as i32).clamp(40, MOST), above, below });
        }
    }
    let columns = blocks.iter().map(|block| block.above.len()).max().unwrap_or(1).max(2) as i32;
    let inner = columns * (WIDTH + GAP);
    let first = &maps[0].line;
    let name = format!("What codecs leave of an activation: {model}");
    let mut about = format!(
        "Question {} of {}, gold choice; {}, {}. Above A' as received, below the error A' - A with its relative Frobenius norm. One signed scale a layer, to the 99.5 % quantile of |A|; what lies beyond has the last colour. Ratios in elements where nothing else is said.",
        first.question,
        names::title(&first.dataset),
        shown(192, first.hidden, "channels"),
        shown(48, first.tokens, "tokens")
    );
    if failed > 0 {
        about += &format!(" {failed} failed and are left out.");
    }
    let tall = |block: &HeatBlock| 2 * (block.height + 46) + 14;
    let below = ABOVE + blocks.iter().map(tall).sum::<i32>() + MARGIN;
    let titles: Vec<String> =
        blocks.iter().flat_map(|block| block.above.iter().chain(&block.below)).map(|one| one.title.clone()).collect();
    let alt = format!("{name}. Heat maps, tokens down and channels to the right: {}.", few(&titles));
    let svg = svg::draw([&name, &about].map(|text| words.drawn(text)), inner, below, |canvas, top| {
        let mut y = top + ABOVE;
        for block in &blocks {
            let place = |column: usize| MARGIN + 30 + column as i32 * (WIDTH + GAP);
            for (column, panel) in block.above.iter().enumerate() {
                panel.draw(canvas, (place(column), y), block.height)?;
            }
            canvas.text_up("token", (place(0) - 12, y + block.height / 2), SMALL)?;
            let below = y + block.height + 46;
            for (column, panel) in block.below.iter().enumerate() {
                panel.draw(canvas, (place(column + 1), below), block.height)?;
            }
            let numbers =
                [(0.0, -block.scale), (0.5, 0.0), (1.0, block.scale)].map(|(at, value)| (at, significant(value)));
            let name = format!("value, layer {}", block.layer);
            color_bar(canvas, (place(0) + 20, below + 10), WIDTH - 40, &name, &numbers)?;
            y += tall(block);
        }
        Ok(())
    })?;
    Ok(Picture { file, title: name, caption: about, alt, svg })
}

/// The block of FC as read by default, at ratio 8, in the half of the spectrum that is shown.
fn block(tokens: u64, hidden: u64) -> (f64, f64) {
    let (s, d) = (tokens as f64, hidden as f64);
    let rows = (s / 8f64.sqrt()).round().max(1.0);
    (rows, (s * d / (8.0 * rows)).floor().min(d).max(1.0))
}

fn spectra(model: &str, maps: &[&HeatMap], file: String, words: TextPlace) -> Result<Picture> {
    let known: Vec<(&Heat, &Activation)> = maps
        .iter()
        .filter(|map| map.line.kind == Kind::Spectrum)
        .filter_map(|map| Some((&map.line, map.matrix.as_ref()?)))
        .collect();
    let all = || known.iter().flat_map(|(_, matrix)| matrix.values()).map(|&value| f64::from(value));
    let most = all().fold(f64::NEG_INFINITY, f64::max);
    // Five orders of magnitude below the largest; what has less has the first colour.
    let least = all().fold(f64::INFINITY, f64::min).max(most - 5.0);
    let span = (most - least).max(1e-6);
    let panels: Vec<(HeatPanel, i32)> = known
        .iter()
        .map(|(line, matrix)| {
            let (rows, columns) = (matrix.tokens(), matrix.hidden());
            let half = rows / 2;
            let (ks, kd) = block(line.tokens, line.hidden);
            // Frequencies rise upwards.
            let upwards = (0..rows).rev().flat_map(|u| matrix.row(u)).map(|&value| (f64::from(value) - least) / span);
            let from = |frequency: f64| 1.0 - (frequency + half as f64) / rows as f64;
            let panel = HeatPanel {
                title: format!("after layer {}", line.split_layer),
                shares: upwards.collect(),
                columns,
                ends: [
                    "0".into(),
                    format!("{} channel frequency", columns - 1),
                    format!("{}", rows - half - 1),
                    format!("-{half}"),
                ],
                frame: Some([0.0, from(ks).max(0.0), (kd / columns as f64).min(1.0), from(0.0)]),
            };
            (panel, (2 * ROW * rows as i32).clamp(60, 2 * MOST))
        })
        .collect();
    let columns = panels.len().clamp(2, 3) as i32;
    let inner = columns * (WIDTH + GAP);
    let first = &known[0].0;
    let name = format!("2-D spectrum of an activation: {model}");
    let about = format!(
        "Question {} of {}, gold choice. Share of the energy of each coefficient, log10; up: token frequency, right: channel frequency, of which the negative half mirrors this one. Dashed: the block that fc keeps at ratio 8 (with its mirror).",
        first.question,
        names::title(&first.dataset)
    );
    let row_height = panels.iter().map(|(_, height)| height + 50).max().unwrap_or(0);
    let rows = panels.len().div_ceil(columns as usize) as i32;
    let below = ABOVE + rows * row_height + 64 + MARGIN;
    let titles: Vec<String> = panels.iter().map(|(panel, _)| panel.title.clone()).collect();
    let alt = format!("{name}. Maps of the energy of each frequency, {}.", few(&titles));
    let svg = svg::draw([&name, &about].map(|text| words.drawn(text)), inner, below, |canvas, top| {
        let top = top + ABOVE;
        for (nth, (panel, height)) in panels.iter().enumerate() {
            let (row, column) = (nth as i32 / columns, nth as i32 % columns);
            panel.draw(canvas, (MARGIN + 30 + column * (WIDTH + GAP), top + row * row_height), *height)?;
        }
        let numbers: Vec<(f64, String)> =
            [0.0, 0.5, 1.0].map(|at| (at, format!("{:.1}", least + at * span))).into_iter().collect();
        let name = "log10 of the share of energy";
        color_bar(canvas, (MARGIN + 30, top + rows * row_height), 2 * WIDTH, name, &numbers)?;
        // Between the two ends of the axis.
        let middle = |nth: usize| top + nth as i32 * row_height + panels[0].1 / 2;
        (0..rows as usize).try_for_each(|nth| canvas.text_up("token frequency", (MARGIN + 2, middle(nth)), AXIS))
    })?;
    Ok(Picture { file, title: name, caption: about, alt, svg })
}

#[cfg(test)]
#[path = "heat_figures_tests.rs"]
mod tests;
