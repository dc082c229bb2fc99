use super::*;
use crate::report::TextPlace;

pub fn line(codec: &str, part: ServicePart, bytes: f64, codec_us: f64) -> Service {
    Service {
        model: "pocket".into(),
        dataset: "arc_easy".into(),
        split_layer: 1,
        scope: "prompt+choice".into(),
        codec: codec.into(),
        ratio: (codec != RAW).then_some(8.0),
        accounting: if codec == RAW { String::new() } else { "elements".into() },
        part,
        requests: 16,
        tokens: if part == ServicePart::Prompt { 10.0 } else { 1.0 },
        raw_bytes: if part == ServicePart::Prompt { 4000.0 } else { 400.0 },
        bytes: Some(bytes),
        rel_error: (codec != RAW).then_some(if part == ServicePart::Prompt { 0.5 } else { 0.9 }),
        client_us: 1000.0,
        encode_us: Some(0.75 * codec_us),
        decode_us: Some(0.25 * codec_us),
        server_us: 5000.0,
        server_more_us: 2000.0,
        device: "cpu".into(),
        version: "test".into(),
        err: None,
    }
}

fn lines(codecs: &[(&str, f64, f64)]) -> Vec<Service> {
    let all = codecs.iter().flat_map(|&(codec, bytes, us)| {
        [line(codec, ServicePart::Prompt, bytes, us), line(codec, ServicePart::Step, bytes / 8.0, us / 10.0)]
    });
    all.collect()
}

fn links() -> ResponseSpec {
    ResponseSpec { links_mbps: vec![1.0, 1000.0], round_trip_ms: 10.0 }
}

#[test]
fn break_even_is_where_both_take_as_long() {
    let cost = |bytes, codec_s| Cost { bytes, encode_s: codec_s, ..Cost::default() };
    let raw = cost(4000.0, 0.0);
    // 24,000 bits in 3 ms.
    let BreakEven::Below(mbps) = BreakEven::new(&raw, &cost(1000.0, 0.003)) else { panic!("no rate") };
    assert!((mbps - 8.0).abs() < 1e-9);
    for rate in [0.5 * mbps, 2.0 * mbps] {
        let total = |cost: &Cost| parts(cost, rate, 10.0).iter().sum::<f64>();
        assert_eq!(total(&cost(1000.0, 0.003)) < total(&raw), rate < mbps);
    }
    assert_eq!(BreakEven::new(&raw, &cost(4000.0, 0.001)), BreakEven::Never);
    assert_eq!(BreakEven::new(&raw, &cost(400.0, 0.0)), BreakEven::Always);
}

#[test]
fn parts_sum_up_and_move_with_the_link() {
    let all = lines(&[(RAW, 4000.0, 0.0), ("fc", 1000.0, 3000.0)]);
    let made = tables(&all, &links());
    let text = made[0].1.markdown();
    // 1 + 2.25 + 0.75 + 5 ms, 8 ms of link at 1 Mbit/s and the round trip: 27 ms, 3 of them the codec's.
    let row =
        "| fc at ratio 8 in elements | 1000 | 1.00 | 2.25 | 0.750 | 5.00 | 27.0 | 11.1 % | 19.0 | 15.8 % | 8.00 |";
    assert!(text.contains(row), "{text}");
    assert!(text.contains("| raw f16 | 4000 | 1.00 | 0 | 0 | 5.00 | 48.0 | 0 % | 16.0 | 0 % | – |"), "{text}");
    let csv = &made[0].1.csv;
    assert_eq!(csv.lines().count(), 1 + 2 * 2);
    assert!(
        csv.lines().all(|line| line.split(',').count() == csv.lines().next().unwrap().split(',').count() + 1
            || line.starts_with("profile")),
        "the profile's name has a comma: {csv}"
    );
    let text = made[1].1.markdown();
    assert!(
        text.contains("| fc at ratio 8 in elements | 100.0 | 0.500 | 125.0 | 3.20 | 0.900 | 225.0 | 75.0 |"),
        "{text}"
    );
}

#[test]
fn figures_of_few_and_of_many() {
    let names: Vec<String> = (0..200).map(|nth| format!("svd:rank=number_{nth}&<option>")).collect();
    let many: Vec<(&str, f64, f64)> = names.iter().map(|name| (name.as_str(), 1000.0, 10.0)).collect();
    for all in [lines(&[("fc", 1000.0, 30.0)]), lines(&[(RAW, 4000.0, 0.0), ("fc", 1000.0, 30.0)]), lines(&many)] {
        let drawn: Vec<(String, String)> = figures(&all, &links())
            .into_iter()
            .map(|(file, bars)| (file, bars.svg(TextPlace::Inside).unwrap()))
            .collect();
        let files: Vec<&str> = drawn.iter().map(|(file, _)| file.as_str()).collect();
        assert_eq!(files, ["response", "bytes-per-generated-token"]);
        for (_, svg) in &drawn {
            assert!(svg.contains("fc at ratio 8") || svg.contains("number_199&amp;&lt;option&gt;"));
            assert!(svg.contains("measured one request at a time"));
        }
        assert!(drawn[0].1.contains("1 Gbit/s") && drawn[0].1.contains("the link modelled"));
    }
}

#[test]
fn what_is_missing_is_left_out_and_said() {
    let mut all = lines(&[(RAW, 4000.0, 0.0), ("fc", 1000.0, 30.0), ("qr", 1000.0, 30.0), ("svd", 900.0, 3.0)]);
    all[4].bytes = Some(f64::NAN);
    (all[6].err, all[6].encode_us) = (Some("no convergence".into()), None);
    let svg = figures(&all, &links()).remove(0).1.svg(TextPlace::Inside).unwrap();
    let flat = svg.replace("</text>", " ").replace('\n', " ");
    assert!(svg.contains("fc at ratio 8"));
    assert!(flat.contains("Left out") && !flat.contains("NaN"), "{flat}");
    let text = tables(&all, &links())[0].1.markdown();
    assert!(text.contains("Left out: qr at ratio 8 in elements: not measured on every data set; svd at"), "{text}");
    assert!(tables(&[], &links()).is_empty() && figures(&[], &links()).is_empty());
    assert!(NO_TIMES.contains("splitbench run figure6"));
}

#[test]
fn two_cuts_are_two_figures() {
    let mut all = lines(&[("fc", 1000.0, 30.0)]);
    all.extend(lines(&[("fc", 1000.0, 30.0)]).into_iter().map(|line| Service { split_layer: 2, ..line }));
    let files: Vec<String> = figures(&all, &links()).into_iter().map(|(file, _)| file).collect();
    assert_eq!(files.len(), 4);
    assert!(files[2].contains("layer-2"), "{files:?}");
}

#[test]
fn links_are_checked() {
    for wrong in [
        ResponseSpec { links_mbps: vec![], ..links() },
        ResponseSpec { links_mbps: vec![-1.0], ..links() },
        ResponseSpec { round_trip_ms: f64::NAN, ..links() },
    ] {
        let error = wrong.check().unwrap_err().to_string();
        assert!(error.contains("[report.response]"), "{error}");
    }
}
