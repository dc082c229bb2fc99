use super::*;
use crate::record::RunFolder;

fn point(codec: &str, link_gbps: f64, clients: usize, mean: Option<f64>) -> SweepPoint {
    SweepPoint {
        profile: "p".into(),
        workers: 8,
        link_gbps,
        generate: 0,
        codec: codec.into(),
        clients,
        seeds: 5,
        requests: 1000,
        per_s: 20.0,
        mean_s: mean,
        mean_ci: mean.map(|mean| 0.01 * mean),
        median_s: mean,
        median_ci: None,
        p95_s: mean.map(|mean| 2.0 * mean),
        p95_ci: None,
        p99_s: mean.map(|mean| 3.0 * mean),
        p99_ci: None,
        link_busy: 0.5,
        workers_busy: 0.1,
    }
}

fn curve(codec: &str, link_gbps: f64) -> Saturation {
    Saturation {
        profile: "p".into(),
        workers: 8,
        link_gbps,
        generate: 0,
        codec: codec.into(),
        bytes: 1e6,
        alone_s: 0.025,
        link_per_s: 125.0,
        compute_per_s: 4000.0,
        bottleneck: "link".into(),
        clients: 128.1,
        doubled_at: Some(200),
        best_per_s: Some(124.6),
    }
}

fn swept(codecs: &[String], clients: &[usize]) -> SweepRecord {
    let mut swept = SweepRecord::default();
    for link in [1.0, 10.0] {
        for codec in codecs {
            swept.saturation.push(curve(codec, link));
            let mean = |clients: usize| Some(0.025 * clients as f64 / link);
            swept.points.extend(clients.iter().map(|&clients| point(codec, link, clients, mean(clients))));
        }
    }
    swept
}

#[test]
fn written_files_are_drawn_again_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (results, plots) = (folder.path().join("results"), folder.path().join("plots"));
    let swept = SweepRecord { about: "About it.".into(), ..swept(&["raw f16".into(), "fc".into()], &[1, 10, 100]) };
    let mut files = swept.write(&RunFolder::create_bare(results.clone(), &[]).unwrap()).unwrap();
    files.extend(write(&results, &plots, &swept).unwrap());
    let names: Vec<&str> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "simulation.csv",
            "saturation.csv",
            "about.txt",
            "saturation.md",
            "clients-8-workers-0-tokens.svg",
            "clients-8-workers-0-tokens-percentiles.svg"
        ]
    );
    assert!(SweepRecord::is_in(&results) && !SweepRecord::is_in(&plots));
    let before: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let swept = SweepRecord::read(&results).unwrap();
    write(&results, &plots, &swept).unwrap();
    assert!(files.iter().zip(before).all(|(file, before)| std::fs::read(file).unwrap() == before));
    let table = terminal(&swept, 160);
    assert!(table.contains("10 Gbit/s, fc") && table.contains("link") && table.contains("128"), "{table}");
    let svg = std::fs::read_to_string(&files[5]).unwrap();
    for part in ["1 Gbit/s, mean", "10 Gbit/s, 99th percentile", "raw f16", "Simulated", "About it."] {
        assert!(svg.contains(part), "{part}");
    }
}

#[test]
fn points_without_answers_are_left_out_and_counted() {
    let mut swept = swept(&["fc".into()], &[1, 10]);
    (swept.points[1].mean_s, swept.points[2].mean_s) = (None, Some(f64::NAN));
    let (_, figure) = figures(&swept).remove(0);
    assert_eq!(figure.panels.iter().map(|panel| panel.series[0].len()).collect::<Vec<_>>(), [1, 1]);
    assert!(figure.subtitle.contains("2 of 4 points are left out"), "{}", figure.subtitle);
    assert!(figure.svg(TextPlace::Inside).is_ok());
    swept.points.iter_mut().for_each(|point| point.mean_s = None);
    assert!(figures(&swept).remove(0).1.svg(TextPlace::Inside).unwrap().contains("no finished cell"));
}

#[test]
fn one_point_and_two_hundred_codecs() {
    let many: Vec<String> = (0..200).map(|nth| format!("codec {nth}")).collect();
    for swept in [swept(&["fc".into()], &[7]), swept(&many, &[1, 2000])] {
        let svg = figures(&swept).remove(1).1.svg(TextPlace::Inside).unwrap();
        assert!(svg.contains("clients (log scale)") && svg.contains("response time (s, log scale)"));
    }
}

#[test]
fn an_empty_simulation_says_so() {
    let folder = tempfile::tempdir().unwrap();
    SweepRecord::default().write(&RunFolder::create_bare(folder.path().into(), &[]).unwrap()).unwrap();
    let error = format!("{:#}", SweepRecord::read(folder.path()).unwrap_err());
    assert!(error.contains("simulation.csv has no lines") && error.contains("splitbench simulate"), "{error}");
}
