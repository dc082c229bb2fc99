use super::*;
use crate::experiment::ResponseSpec;
use crate::record::testing::{row, two_codecs as rows};

fn everything() -> ReportSpec {
    ReportSpec { table2: true, table3: true, ratio_plot: true, layer_plot: true, codecs: true, ..ReportSpec::default() }
}

#[test]
fn writes_what_is_asked_for_and_the_rows_as_csv() {
    let folder = tempfile::tempdir().unwrap();
    let (results, plots) = (folder.path().join("results/run"), folder.path().join("plots/run"));
    let written = write(&results, &plots, &everything(), &rows(), &ReportContext::default()).unwrap();
    let names: Vec<&str> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "rows.csv",
            "table2.md",
            "table2.csv",
            "table3.md",
            "table3.csv",
            "codecs.md",
            "codecs.csv",
            "fidelity.md",
            "fidelity.csv",
            "paired.csv",
            "accuracy-vs-ratio-average.svg",
            "accuracy-vs-ratio.svg",
            "accuracy-vs-bytes-per-token-average.svg",
            "accuracy-vs-bytes-per-token.svg",
            "accuracy-vs-layer-average.svg",
            "accuracy-vs-layer.svg",
            "accuracy-vs-bytes.svg",
            "kl-vs-bytes.svg",
        ]
    );
    assert!(written.iter().all(|path| fs::metadata(path).unwrap().len() > 0));
    let before: Vec<Vec<u8>> = written.iter().map(|path| fs::read(path).unwrap()).collect();
    write(&results, &plots, &everything(), &rows(), &ReportContext::default()).unwrap();
    let after: Vec<Vec<u8>> = written.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(before == after, "the same rows make the same files");

    let bare = folder.path().join("bare");
    let written = write(
        &bare,
        &plots.join("none"),
        &ReportSpec { paired: false, ..ReportSpec::default() },
        &rows(),
        &ReportContext::default(),
    )
    .unwrap();
    assert_eq!(written.len(), 1);
    assert!(!plots.join("none").exists());
}

#[test]
fn terminal_shows_tables_and_says_what_is_missing() {
    let text = terminal(&everything(), &rows(), &ReportContext::default(), 100).unwrap();
    assert_eq!(text.matches("Table II:").count(), 2);
    assert_eq!(text.matches("Table III:").count(), 1);
    assert!(text.contains("] disk <full>"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100 || line.starts_with("Table I")), "{text}");
    let only = [row("baseline", None, 0.7)];
    let text = terminal(&everything(), &only, &ReportContext::default(), 100).unwrap();
    assert!(
        text.contains("accuracy-vs-ratio: no finished cell") && text.contains("table2: no row of a codec"),
        "{text}"
    );
}

#[test]
fn nothing_to_report_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let message =
        write(folder.path(), folder.path(), &everything(), &[], &ReportContext::default()).unwrap_err().to_string();
    assert!(message.contains("no rows") && message.contains("splitbench run"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let wrong = ReportSpec { near_lossless_points: f64::NAN, ..everything() };
    assert!(
        terminal(&wrong, &rows(), &ReportContext::default(), 80)
            .unwrap_err()
            .to_string()
            .contains("near_lossless_points")
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let message = format!(
        "{:#}",
        write(&file.join("run"), folder.path(), &everything(), &rows(), &ReportContext::default()).unwrap_err()
    );
    assert!(message.contains("cannot create the folder") && message.contains("run"), "{message}");
}

#[test]
fn the_report_section_of_an_experiment() {
    let section: ReportSpec = toml::from_str("table2 = true\nratio_plot = true").unwrap();
    assert_eq!(section, ReportSpec { table2: true, ratio_plot: true, ..ReportSpec::default() });
    assert!(section.paired && section.near_lossless_points == 0.3);
    let message = toml::from_str::<ReportSpec>("tabel2 = true").unwrap_err().to_string();
    assert!(message.contains("tabel2") && message.contains("table2"), "{message}");
}

#[test]
fn a_run_that_has_not_finished_says_so_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let partial = ReportContext { partial: true, ..ReportContext::default() };
    let written = write(folder.path(), folder.path(), &everything(), &rows(), &partial).unwrap();
    for path in written.iter().filter(|path| path.extension().is_some_and(|end| end == "md" || end == "svg")) {
        assert!(fs::read_to_string(path).unwrap().contains(PARTIAL), "{}", path.display());
    }
    assert!(terminal(&everything(), &rows(), &partial, 100).unwrap().contains(PARTIAL));
}

#[test]
fn what_was_not_measured_is_said_with_its_command() {
    let wanted = ReportSpec { activations: true, response: Some(ResponseSpec::default()), ..ReportSpec::default() };
    let text = terminal(&wanted, &rows(), &ReportContext::default(), 100).unwrap();
    assert!(text.contains("`splitbench run figure2`") && text.contains("`splitbench run figure6`"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    assert!(write(folder.path(), folder.path(), &wanted, &rows(), &ReportContext::default()).is_ok());
}
