use super::*;

fn figure(panels: Vec<Panel>) -> Figure {
    Figure {
        title: "t".into(),
        subtitle: String::new(),
        x_label: "x".into(),
        y_label: "y".into(),
        axis: Axis::Values,
        series: vec!["fc".into()],
        panels,
    }
}

fn panel(series: &[&[(f64, f64)]]) -> Panel {
    let points = |cells: &&[(f64, f64)]| cells.iter().map(|&(x, y)| FigurePoint { x, y, stderr: 1.5 }).collect();
    Panel {
        title: "ARC-Easy".into(),
        scale: Scale::PERCENT,
        baseline: Some(62.0),
        chance: Some(25.0),
        series: series.iter().map(points).collect(),
        front: Vec::new(),
        named: Vec::new(),
        bands: Vec::new(),
    }
}

fn texts_of(axis: &TickedAxis) -> Vec<&str> {
    axis.ticks.iter().map(|tick| tick.1.as_str()).collect()
}

#[test]
fn the_y_axis_holds_everything() {
    let shown = panel(&[&[(6.0, 40.0), (10.0, 20.0)]]).y_axis();
    assert_eq!(shown.ends, (10.0, 70.0));
    assert_eq!(texts_of(&shown), ["10", "20", "30", "40", "50", "60", "70"]);
    let full = Panel { baseline: Some(100.0), ..panel(&[&[(6.0, 99.5)]]) };
    assert_eq!(full.y_axis().ends, (20.0, 100.0), "never above 100");
    let empty = Panel { baseline: None, chance: None, ..panel(&[&[]]) };
    assert_eq!(texts_of(&empty.y_axis()), ["0", "20", "40", "60", "80", "100"]);
    let free = |low: f64, high: f64| Panel {
        scale: Scale::FREE,
        baseline: None,
        chance: None,
        series: vec![vec![FigurePoint { x: 1.0, y: low, stderr: 0.0 }, FigurePoint { x: 2.0, y: high, stderr: 0.0 }]],
        ..panel(&[])
    };
    for (low, high, expected) in [
        (-0.2, 1.3, &["-0.5", "0.0", "0.5", "1.0", "1.5"][..]),
        (0.0, 0.0, &["-0.001", "0.000", "0.001"]),
        (0.81, 0.84, &["0.805", "0.810", "0.815", "0.820", "0.825", "0.830", "0.835", "0.840", "0.845"]),
        (120.0, 700.0, &["0", "100", "200", "300", "400", "500", "600", "700", "800"]),
    ] {
        assert_eq!(texts_of(&free(low, high).y_axis()), expected);
    }
}

#[test]
fn numbers_that_cannot_be_drawn_are_left_out_and_told() {
    let odd = [(f64::INFINITY, 5.0), (0.0, 5.0), (1e308, f64::NAN), (-1.0, f64::NEG_INFINITY), (2.0, 1e300)];
    for axis in [Axis::Values, Axis::Log, Axis::LogLines] {
        for scale in [Scale::PERCENT, Scale::FREE, Scale::log(f64::NAN, f64::INFINITY), Scale::log(0.0, 0.0)] {
            for good in [&[][..], &[(8.0, 40.0)], &[(8.0, 102.0), (9.0, 250.0)], &[(1e-29, 1e29), (1e29, 1e29)]] {
                let panel = Panel { scale, baseline: Some(f64::NAN), chance: None, ..panel(&[&odd, good]) };
                let figure = Figure { axis, ..figure(vec![panel]) };
                let svg = figure.svg(TextPlace::Inside).unwrap();
                assert!(svg.contains("Left out") && svg.len() < 200_000, "{axis:?} {scale:?} {good:?}: {}", svg.len());
                assert!(!svg.contains("NaN"), "{axis:?} {scale:?} {good:?}");
                let caption = figure.picture("f".into(), TextPlace::Beside).unwrap().caption;
                assert!(caption.contains("Left out"), "{caption}");
            }
        }
    }
}

#[test]
fn dodge_keeps_series_within_their_x() {
    let points: &[(f64, f64)] = &[(6.0, 50.0)];
    for count in [1, 3, 20] {
        let spread = panel(&vec![points; count]).dodge(&even_axis((5.5, 10.5), 1.0), Axis::Values, 240) * count as f64;
        assert!(spread > 0.0 && spread <= 0.6 + 1e-9, "{count} series take {spread} of the way to the next x");
    }
}

#[test]
fn one_point_still_shows_and_text_is_escaped() {
    let figure = Figure {
        title: "A & B".into(),
        subtitle: "p < 0.05".into(),
        x_label: "ratio".into(),
        y_label: "accuracy (%)".into(),
        axis: Axis::Values,
        series: vec!["fc".into(), "a<b>".into()],
        panels: vec![panel(&[&[(8.0, 50.0)], &[]])],
    };
    let svg = figure.svg(TextPlace::Inside).unwrap();
    assert!(svg.contains("A &amp; B") && svg.contains("p &lt; 0.05") && svg.contains("a&lt;b&gt;"), "{svg}");
    // The marker of the first series: once in the panel, once in the legend.
    assert_eq!(svg.matches("<circle").count(), 2);
    assert!(svg.contains("baseline 62.0") && svg.contains("chance 25.0"));
}

#[test]
fn long_names_are_broken_not_cut() {
    let name = "organisation/".to_string() + &"long-model-name-".repeat(10);
    let lines = fit(&format!("Accuracy: {name}"), HEAD, 400);
    assert!(lines.iter().all(|line| text_width(line, HEAD.size) <= 400), "{lines:?}");
    assert_eq!(lines.concat(), format!("Accuracy:{name}"));
}

#[test]
fn a_log_axis_has_round_ticks_around_its_values() {
    assert_eq!(Axis::Log.ticks(&[30.0, 48.0, 390.0]), [20.0, 50.0, 100.0, 200.0, 500.0]);
    assert_eq!(Axis::Log.ticks(&[100.0]), [100.0]);
    assert_eq!(Axis::Values.ticks(&[6.0, 7.0]), [6.0, 7.0]);
}

#[test]
fn a_log_scale_has_whole_ticks_and_even_decades() {
    let of = |low, high| Panel { scale: Scale::log(low, high), ..panel(&[]) }.y_axis();
    let (near, far) = (of(0.025, 0.9), of(0.025, 3.8));
    assert_eq!(texts_of(&near), ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]);
    assert!((near.ends.0 - 0.02f64.log10()).abs() < 1e-12 && near.ends.1.abs() < 1e-12, "{near:?}");
    assert_eq!(texts_of(&far), ["0.1", "1"], "powers of ten where there are many");
    assert_eq!(texts_of(&of(0.1, 0.1)), ["0.05", "0.1", "0.2"]);
    assert_eq!(Axis::LogLines.ticks(&[1.0, 2000.0]).len(), 11);
}

#[test]
fn what_is_beyond_a_log_scale_lies_on_its_edge() {
    let mut shown = panel(&[&[(1.0, 0.0), (10.0, 1.0)]]);
    (shown.scale, shown.baseline, shown.chance) = (Scale::log(0.01, 10.0), None, None);
    let figure = Figure { axis: Axis::LogLines, y_label: String::new(), ..figure(vec![shown]) };
    svg::draw(["", ""], 400, 300, |canvas, top| {
        let axes = [&figure.x_axis(300), &figure.panels[0].y_axis()];
        let chart = canvas.chart((50, top), (300, 200), axes, GridLines::Across)?;
        let chart = PanelChart { chart, axis: figure.axis, log_y: true };
        assert_eq!(chart.edges(), [50, top, 350, top + 200]);
        assert_eq!(chart.height_of(0.0), top + 200, "the lower end of an error bar may be beyond it");
        assert_eq!(chart.height_of(99.0), top);
        Ok(())
    })
    .unwrap();
}

/// The text of an SVG's elements, in order.
fn texts(svg: &str) -> Vec<&str> {
    svg.split("<text")
        .skip(1)
        .filter_map(|part| Some(part.split_once('>')?.1.split_once("</text>")?.0.trim()))
        .collect()
}

#[test]
fn the_ends_of_a_log_axis_and_powers_of_ten_keep_their_numbers() {
    let points: Vec<(f64, f64)> = [1.0, 7.0, 4000.0].map(|x| (x, 50.0)).to_vec();
    let figure = |panels| Figure {
        title: "t".into(),
        subtitle: String::new(),
        x_label: "clients".into(),
        y_label: "s".into(),
        axis: Axis::LogLines,
        series: vec!["fc".into()],
        panels: (0..panels).map(|_| panel(&[&points])).collect(),
    };
    let svg = figure(4).svg(TextPlace::Inside).unwrap();
    for tick in ["1", "10", "100", "1000", "5000"] {
        assert!(texts(&svg).iter().filter(|text| **text == tick).count() >= 4, "{tick}: {:?}", texts(&svg));
    }
}

/// Where the words of an SVG stand, by their middle.
fn place(svg: &str, words: &str) -> Option<(i32, i32)> {
    let element = svg.split("<text").find(|part| part.split('>').nth(1).is_some_and(|text| text.contains(words)))?;
    let number = |name: &str| element.split_once(&format!("{name}=\""))?.1.split_once('"')?.0.parse().ok();
    Some((number(" x")?, number(" y")?))
}

#[test]
fn corners_of_the_front_are_named_and_no_name_lies_on_another_or_a_point() {
    let points: Vec<(f64, f64)> = (0..12).map(|at| (100.0 + f64::from(at), 50.0 + f64::from(at))).collect();
    let mut crowded = panel(&[&points]);
    let corner = |&(x, y): &(f64, f64)| ParetoCorner { x, y, label: format!("codec{x}") };
    crowded.front = points.iter().map(corner).collect();
    let figure = |panels| {
        let figure = Figure {
            title: "t".into(),
            subtitle: String::new(),
            x_label: "bytes".into(),
            y_label: "accuracy (%)".into(),
            axis: Axis::Log,
            series: vec!["one".into()],
            panels,
        };
        figure.svg(TextPlace::Inside).unwrap()
    };
    let svg = figure(vec![crowded.clone()]);
    let places: Vec<(i32, i32)> = crowded.front.iter().filter_map(|corner| place(&svg, &corner.label)).collect();
    assert_eq!(places.len(), 12, "{svg}");
    for (at, (x, y)) in places.iter().enumerate() {
        // Eight letters of 11 pixels.
        let far = |(other_x, other_y): &(i32, i32)| (x - other_x).abs() >= 50 || (y - other_y).abs() >= 12;
        assert!(places[at + 1..].iter().all(far), "{places:?}");
    }
    assert_eq!(svg.matches("<circle").count(), 13);
    // Several panels are in two rows.
    let four =
        figure(vec![crowded.clone(), crowded.clone(), crowded.clone(), crowded.clone(), crowded.clone(), crowded]);
    assert_eq!(four.matches("codec100").count(), 6);
}
