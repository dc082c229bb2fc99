use super::*;

fn matrix(rows: usize, columns: usize, size: f32) -> Activation {
    let at = |i: usize| size * ((i * 7919 % 101) as f32 / 50.0 - 1.0);
    Activation::new(rows, columns, (0..rows * columns).map(at).collect()).unwrap()
}

fn map(layer: u32, kind: Kind, codec: &str, matrix: Option<Activation>) -> HeatMap {
    HeatMap {
        line: Heat {
            model: "pocket".into(),
            dataset: "piqa-mini".into(),
            question: "q7".into(),
            split_layer: layer,
            kind,
            codec: codec.into(),
            ratio: (kind == Kind::Received).then_some(8.0),
            accounting: if kind == Kind::Received { "elements".into() } else { String::new() },
            tokens: 20,
            hidden: 32,
            rel_error: matrix.as_ref().filter(|_| kind == Kind::Received).map(|_| 0.5),
            file: String::new(),
            err: matrix.is_none().then(|| "no".to_string()),
        },
        matrix,
    }
}

fn maps(codecs: usize, layers: &[u32]) -> Vec<HeatMap> {
    let mut out = Vec::new();
    for &layer in layers {
        out.push(map(layer, Kind::Activation, "", Some(matrix(20, 32, layer as f32))));
        out.push(map(layer, Kind::Spectrum, "", Some(matrix(20, 17, 3.0))));
        let received = |nth: usize| map(layer, Kind::Received, &format!("codec{nth}"), Some(matrix(20, 32, 0.5)));
        out.extend((0..codecs).map(received));
    }
    out
}

#[test]
fn a_panel_a_matrix_and_a_scale_a_layer() {
    for (codecs, layers) in [(0, &[1u32][..]), (1, &[1]), (3, &[1, 3, 6]), (200, &[1, 2])] {
        let drawn = figures(&maps(codecs, layers), TextPlace::Inside).unwrap();
        assert_eq!(drawn.iter().map(|one| one.file.as_str()).collect::<Vec<_>>(), ["heat-maps", "spectrum"]);
        let (heat, spectrum) = (&drawn[0].svg, &drawn[1].svg);
        // A again and a bar of colours in each block of three codecs, each A' and its error.
        let blocks = codecs.div_ceil(COLUMNS - 1).max(1);
        assert_eq!(heat.matches("<image").count(), layers.len() * 2 * (blocks + codecs));
        assert_eq!(spectrum.matches("<image").count(), layers.len() + 1);
        assert!(heat.contains("Question q7 of PIQA mini") && heat.contains("channel 1") && heat.contains(">\n0\n"));
        assert!(heat.contains("codec199, ratio 8") || codecs < 200);
        // Pictures lie beneath what is drawn over them.
        assert!(heat.rfind("<image").unwrap() < heat.find("<text").unwrap());
        for svg in [heat, spectrum] {
            assert!(svg.starts_with("<svg ") && !svg.contains("xlink") && svg.trim_end().ends_with("</svg>"));
        }
    }
}

#[test]
fn what_failed_is_counted_and_a_run_without_maps_has_no_figure() {
    let mut all = maps(2, &[1]);
    all.push(map(1, Kind::Received, "qr", None));
    let heat = figures(&all, TextPlace::Inside).unwrap().remove(0).svg;
    assert!(heat.contains("1 failed and are left out") && !heat.contains("qr, ratio"), "{heat}");
    assert!(figures(&[], TextPlace::Inside).unwrap().is_empty());
    // An activation whose file is gone.
    assert!(figures(&[map(1, Kind::Activation, "", None)], TextPlace::Inside).unwrap().is_empty());
}

#[test]
fn zeros_are_drawn() {
    let zeros = Activation::new(2, 2, vec![0.0; 4]).unwrap();
    let all = [map(1, Kind::Activation, "", Some(zeros.clone())), map(1, Kind::Spectrum, "", Some(zeros))];
    assert!(
        figures(&all, TextPlace::Inside)
            .unwrap()
            .iter()
            .all(|one| !one.svg.contains("NaN") && !one.svg.contains("inf"))
    );
}

#[test]
fn the_marked_block_is_fcs() {
    let a = matrix(20, 32, 1.0);
    let spec = splitbench_codec::CodecSpec::parse("fc").unwrap();
    let fc = splitbench_codec::build(&spec, None).unwrap();
    let budget = splitbench_codec::Budget { ratio: 8.0, accounting: splitbench_codec::Accounting::Elements };
    let (rows, columns) = block(20, 32);
    assert_eq!(fc.encode(&a, Some(budget)).unwrap().elements() as f64, rows * columns);
}
