use super::*;

fn line(dataset: &str, codec: &str, part: ServicePart, bytes: f64) -> Service {
    Service {
        model: "pocket".into(),
        dataset: dataset.into(),
        split_layer: 1,
        scope: "prompt+choice".into(),
        codec: codec.into(),
        ratio: (codec != RAW).then_some(8.0),
        accounting: if codec == RAW { String::new() } else { "elements".into() },
        part,
        requests: 16,
        tokens: 10.0,
        raw_bytes: 4000.0,
        bytes: Some(bytes),
        rel_error: (codec != RAW).then_some(0.5),
        client_us: 1000.0,
        encode_us: Some(if codec == RAW { 0.0 } else { 20.0 }),
        decode_us: Some(if codec == RAW { 0.0 } else { 10.0 }),
        server_us: 5000.0,
        server_more_us: 2000.0,
        device: "cpu".into(),
        version: "test".into(),
        err: None,
    }
}

fn lines() -> Vec<Service> {
    let mut out = Vec::new();
    for set in ["piqa", "qasc"] {
        for (codec, bytes) in [("fc", 1000.0), (RAW, 4000.0), ("qr", 500.0)] {
            out.extend([
                line(set, codec, ServicePart::Prompt, bytes),
                line(set, codec, ServicePart::Step, bytes / 10.0),
            ]);
        }
    }
    out
}

#[test]
fn a_run_gives_a_load_a_codec_with_a_class_a_data_set() {
    let mut lines = lines();
    // A cell that failed, one that is not finite: their codecs are left out, and named.
    let failed = lines.iter_mut().find(|line| line.codec == "qr").unwrap();
    (failed.bytes, failed.err) = (None, Some("no".into()));
    lines.push(Service { encode_us: Some(f64::NAN), ..line("piqa", "nan", ServicePart::Prompt, 1.0) });
    let profiles = ServiceProfile::from_lines(&lines, "somewhere");
    let [(profile, its)] = profiles.as_slice() else { panic!("{profiles:?}") };
    assert_eq!(profile.name, "pocket after layer 1, scope prompt+choice");
    let names: Vec<&str> = profile.loads.iter().map(|load| load.codec.as_str()).collect();
    assert_eq!(names, [RAW, "fc at ratio 8 in elements"]);
    assert_eq!(profile.left_out.len(), 2);
    assert!(profile.left_out[0].contains("qr"), "{:?}", profile.left_out);
    assert_eq!(profile.loads[1].classes.len(), 2);
    let round = profile.loads[1].classes[0].prompt.round(1e6, 0.02);
    let expected =
        Round { client_s: 0.00102, link_s: 0.008, there_s: 0.01, server_s: 0.00501, more_s: 0.00201, back_s: 0.01 };
    for (found, expected) in [
        (round.client_s, expected.client_s),
        (round.link_s, expected.link_s),
        (round.there_s, expected.there_s),
        (round.server_s, expected.server_s),
        (round.more_s, expected.more_s),
        (round.back_s, expected.back_s),
    ] {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
    assert_eq!(its.len(), lines.len());
}

#[test]
fn a_run_without_times_says_what_makes_them() {
    let folder = tempfile::tempdir().unwrap();
    let error = format!("{:#}", ServiceProfile::from_run(folder.path()).unwrap_err());
    assert!(error.contains("service.csv") && error.contains("splitbench run figure6"), "{error}");
    table_file::write(folder.path(), &lines()).unwrap();
    assert_eq!(ServiceProfile::from_run(folder.path()).unwrap().len(), 1);
    std::fs::write(folder.path().join("service.csv"), "model\n").unwrap();
    let error = format!("{:#}", ServiceProfile::from_run(folder.path()).unwrap_err());
    assert!(error.contains("has no lines"), "{error}");
}

const FILE: &str = r#"
name = "a GPU"
source = "assumed"
[prompt]
client_ms = 10.0
server_ms = 4.0
server_more_ms = 1.0
[step]
client_ms = 2.0
server_ms = 2.5
server_more_ms = 0.1
[[codec]]
name = "raw f16"
prompt_bytes = 100000
step_bytes = 4096
[[codec]]
name = "half"
prompt_bytes = 50000
step_bytes = 2048
encode_ms = 0.5
"#;

#[test]
fn a_profile_is_read_and_wrong_ones_name_the_field() {
    let profile = ServiceProfile::parse(FILE).unwrap();
    assert_eq!((profile.loads.len(), profile.loads[1].classes[0].step.bytes), (2, 2048.0));
    assert_eq!(profile.loads[1].classes[0].prompt.encode_s, 0.0005);
    for (from, to, expected) in [
        ("server_ms = 4.0", "server_ms = -4.0", "[prompt] server_ms is -4"),
        ("step_bytes = 2048", "step_bytes = nan", "\"half\" step_bytes is NaN"),
        ("server_more_ms = 0.1", "server_more_ms = 3.0", "[step] server_more_ms is 3"),
        ("name = \"half\"", "name = \"raw f16\"", "\"raw f16\" is there twice"),
        ("encode_ms", "encode", "encode"),
        ("client_ms = 2.0", "", "client_ms"),
    ] {
        let error = format!("{:#}", ServiceProfile::parse(&FILE.replacen(from, to, 1)).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_profiles_that_are_part_of_the_program_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/services");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let profile = ServiceProfile::read(&entry.unwrap().path()).unwrap();
        assert_eq!(profile.loads[0].codec, RAW);
        assert!(profile.source.contains("assumed"), "{}", profile.source);
        read += 1;
    }
    assert!(read > 0);
}
