//! Matrices as pictures: colours that keep their order in grey and for all kinds of colour vision, as PNG inside SVG.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plotters::style::RGBColor;

/// Nine colours of cividis (Nunez, Anderton and Renslow, 2018), dark blue to yellow: lightness rises evenly.
const COLORS: [(u8, u8, u8); 9] = [
    (0, 34, 78),
    (18, 53, 112),
    (59, 73, 108),
    (87, 93, 109),
    (112, 113, 115),
    (138, 135, 121),
    (166, 157, 117),
    (196, 181, 108),
    (254, 232, 56),
];

/// The colour of a share, 0 to 1.
fn color(share: f64) -> RGBColor {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let place = share * (COLORS.len() - 1) as f64;
    let at = (place as usize).min(COLORS.len() - 2);
    let (from, to, part) = (COLORS[at], COLORS[at + 1], place - at as f64);
    let mix = |from: u8, to: u8| (f64::from(from) + part * (f64::from(to) - f64::from(from))).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

/// A matrix of shares, 0 to 1, row by row, as an element of an SVG; one pixel a value.
pub(super) fn image(shares: &[f64], columns: usize, (left, top): (i32, i32), (width, height): (i32, i32)) -> String {
    let data = STANDARD.encode(png(shares, columns));
    format!(
        "<image x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" image-rendering=\"pixelated\" style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{data}\"/>\n"
    )
}

/// A PNG of 256 colours, one pixel per share.
fn png(shares: &[f64], columns: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let rows = shares.len() / columns.max(1);
    let mut encoder = png::Encoder::new(&mut out, columns as u32, rows as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_compression(png::Compression::High);
    let palette = (0..=255u8).flat_map(|level| {
        let RGBColor(r, g, b) = color(f64::from(level) / 255.0);
        [r, g, b]
    });
    encoder.set_palette(palette.collect::<Vec<_>>());
    let levels: Vec<u8> = shares.iter().map(|share| (255.0 * share.clamp(0.0, 1.0)).round() as u8).collect();
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&levels));
    // Memory takes all, and a matrix has rows and columns.
    written.expect("a matrix is a picture");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lightness_rises() {
        let grey = |share: f64| {
            let RGBColor(r, g, b) = color(share);
            0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)
        };
        let all: Vec<f64> = (0..=100).map(|nth| grey(f64::from(nth) / 100.0)).collect();
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
        assert_eq!((color(-1.0), color(f64::NAN)), (color(0.0), color(0.0)));
    }

    #[test]
    fn a_png_holds_its_rows() {
        let png = png(&[0.0, 1.0, 0.5, 0.2, 0.4, 0.6], 3);
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (3, 2));
        let mut levels = [0; 6];
        reader.next_frame(&mut levels).unwrap();
        assert_eq!(levels, [0, 255, 128, 51, 102, 153]);
    }
}
