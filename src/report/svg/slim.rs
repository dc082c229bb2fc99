//! A shorter SVG of the same picture: what plotters writes at length, in less than half of the bytes.

use std::fmt::Write;

/// Attributes that say what holds anyway, once the font is named by the root.
const SAID: [&str; 5] =
    [" opacity=\"1\"", " text-anchor=\"start\"", " stroke=\"none\" stroke-width=\"1\"", " stroke=\"none\"", FONT];

/// The font of every text.
pub(in crate::report) const FONT: &str = " font-family=\"sans-serif\"";

/// Lines and polygons of one look that follow one another become one path, in steps from point to point. Quotes in texts are escaped, so
/// that nothing but attributes is met. Shapes that let others shine through stay apart, as they are darker where they overlap.
pub(super) fn slim(svg: &str) -> String {
    let mut svg = svg.replace(".000000000000002\"", "\"");
    for said in SAID {
        svg = svg.replace(said, "");
    }
    let svg = svg.replacen("<svg", &format!("<svg{FONT}"), 1);
    let mut out = String::with_capacity(svg.len());
    let mut open: Option<Outline> = None;
    let mut last = (0, 0);
    let mut lines = svg.lines().peekable();
    while let Some(line) = lines.next() {
        // What stands at a tick without a number.
        if line.starts_with("<text") && lines.peek() == Some(&"") {
            lines.nth(1);
            continue;
        }
        let outline = Outline::read(line);
        let goes_on = outline.is_some() && outline.as_ref().map(|s| s.look()) == open.as_ref().map(|s| s.look());
        if !goes_on {
            out += if open.is_some() { "\"/>\n" } else { "" };
            match &outline {
                Some(outline) => {
                    let _ = write!(out, "<path {}d=\"", outline.look);
                    last = (0, 0);
                }
                None => {
                    out += line;
                    out.push('\n');
                }
            }
        }
        if let Some(outline) = &outline {
            outline.draw(&mut out, &mut last);
        }
        open = outline;
    }
    out + if open.is_some() { "\"/>\n" } else { "" }
}

/// A line, a polyline, or a closed polygon.
struct Outline<'a> {
    look: &'a str,
    points: Vec<(i32, i32)>,
    closed: bool,
}

impl<'a> Outline<'a> {
    /// What a line of the SVG draws, if it is one of these, of whole pixels and opaque.
    fn read(line: &'a str) -> Option<Self> {
        if let Some((look, ends)) = line.strip_prefix("<line ").and_then(|rest| rest.split_once("x1=")) {
            // `"82" y1="329" x2="326" y2="329"/>`: each second part between quotes.
            let numbers: Vec<i32> =
                ends.split('"').skip(1).step_by(2).map_while(|number| number.parse().ok()).collect();
            let [x1, y1, x2, y2] = numbers[..] else { return None };
            return Some(Self { look, points: vec![(x1, y1), (x2, y2)], closed: false });
        }
        let (rest, closed) = match line.strip_prefix("<polyline ") {
            Some(rest) => (rest, false),
            None => (line.strip_prefix("<polygon ")?, true),
        };
        let (look, points) = rest.strip_suffix(" \"/>")?.split_once("points=\"")?;
        let point = |pair: &str| {
            let (x, y) = pair.split_once(',')?;
            Some((x.parse().ok()?, y.parse().ok()?))
        };
        let points: Vec<(i32, i32)> = points.split(' ').map(point).collect::<Option<_>>()?;
        (points.len() > 1 && !look.contains("opacity")).then_some(Self { look, points, closed })
    }

    fn look(&self) -> (&str, bool) {
        (self.look, self.closed)
    }

    /// Steps from `last`, where the path before it ended: whole pixels, so nothing is rounded.
    fn draw(&self, out: &mut String, last: &mut (i32, i32)) {
        let first = self.points[0];
        // A path's first step counts from the corner of the picture.
        number(out, 'm', &[first.0 - last.0, first.1 - last.1], true);
        let mut before = ' ';
        for pair in self.points.windows(2) {
            let (dx, dy) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
            let (letter, steps): (char, &[i32]) = match (dx, dy) {
                (_, 0) => ('h', &[dx]),
                (0, _) => ('v', &[dy]),
                _ => ('l', &[dx, dy]),
            };
            number(out, letter, steps, letter != before);
            before = letter;
        }
        *last = self.points[self.points.len() - 1];
        if self.closed {
            out.push('z');
            *last = first;
        }
    }
}

/// A command, its letter where it is new, and its numbers: a minus sign parts them as a blank does.
fn number(out: &mut String, letter: char, steps: &[i32], new: bool) {
    if new {
        out.push(letter);
    }
    for (nth, step) in steps.iter().enumerate() {
        if *step >= 0 && (nth > 0 || !new) {
            out.push(' ');
        }
        let _ = write!(out, "{step}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_look_are_one_path_in_steps() {
        let line = |look: &str, points: &str| format!("<polyline fill=\"{look}\" points=\"{points} \"/>\n");
        let svg = line("none", "1,2 3,4") + &line("none", "5,6 9,6 9,3 8,3 6,3") + &line("red", "1,1 1,0");
        assert_eq!(
            slim(&svg),
            "<path fill=\"none\" d=\"m1 2l2 2m2 2h4v-3h-1-2\"/>\n<path fill=\"red\" d=\"m1 1v-1\"/>\n"
        );
        let grid = "<line stroke=\"grey\" x1=\"1\" y1=\"9\" x2=\"5\" y2=\"9\"/>\n";
        let empty = "<text x=\"1\" y=\"2\">\n\n</text>\n";
        assert_eq!(slim(&format!("{grid}{empty}{grid}")), "<path stroke=\"grey\" d=\"m1 9h4m-4 0h4\"/>\n");
        let polygon = "<polygon fill=\"red\" points=\"10,10 14,10 12,7 \"/>\n";
        assert_eq!(
            slim(&format!("{polygon}{polygon}</svg>")),
            "<path fill=\"red\" d=\"m10 10h4l-2-3zm0 0h4l-2-3z\"/>\n</svg>\n"
        );
    }

    #[test]
    fn what_shines_through_and_what_is_no_line_stays() {
        for svg in [
            "<polygon opacity=\"0.5\" fill=\"red\" points=\"1,1 2,2 1,2 \"/>\n<circle cx=\"1\" cy=\"1\" r=\"4\"/>\n",
            "<polyline fill=\"none\" points=\"1.5,1 2,2 \"/>\n",
        ] {
            assert_eq!(slim(svg), svg);
        }
        let svg = "<svg width=\"764\" xmlns=\"http://www.w3.org/2000/svg\">\n<text opacity=\"1\" font-family=\"sans-serif\" x=\"1\">\n opacity=&quot;1&quot;\n</text>\n</svg>\n";
        let short = "<svg font-family=\"sans-serif\" width=\"764\" xmlns=\"http://www.w3.org/2000/svg\">\n<text x=\"1\">\n opacity=&quot;1&quot;\n</text>\n</svg>\n";
        assert_eq!(slim(svg), short);
    }
}
