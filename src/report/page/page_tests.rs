use std::fs;

use super::super::{ReportContext, ReportSpec, table4, write as write_run};
use super::*;
use crate::record::Row;
use crate::record::testing::{failed, row, two_codecs as rows};
use crate::record::write_parquet;

/// A run's folder with manifest, machine, rows, tables and plots, as `run` leaves it.
fn run(out: &Path, name: &str, rows: &[Row], finished: bool) -> PathBuf {
    let (results, plots) = (out.join("results/test").join(name), out.join("plots/test").join(name));
    let report = ReportSpec { table2: true, table3: true, codecs: true, ratio_plot: true, ..ReportSpec::default() };
    write_run(&results, &plots, &report, rows, &ReportContext::default()).unwrap();
    write_parquet(&results.join("rows.parquet"), rows).unwrap();
    let finished = if finished { "\"2026-01-02T04:00:00\"" } else { "null" };
    let earlier = if name == "resumed" { r#""earlier": [{"wall_seconds": 60.0}], "# } else { "" };
    let manifest = format!(
        r#"{{"experiment": "test", "version": "0.1.0+abc-dirty", "command": ["/somewhere/splitbench", "run", "a b"],
            "started": "2026-01-02T03:04:05", "finished": {finished}, "wall_seconds": 12.3, {earlier}"notes": ["a <note>"],
            "spec": {{"analysis": "What & why.\n\nAgreement.", "datasets": "all", "codecs": ["fc"], "ratios": [8.0],
            "report": {{"table2": true, "table3": true, "codecs": true, "ratio_plot": true}}}}}}"#
    );
    fs::write(results.join("manifest.json"), manifest).unwrap();
    fs::write(results.join("machine.json"), r#"{"cpu": "A <CPU>", "cores": 2, "memory_bytes": 8000000000}"#).unwrap();
    results
}

/// Both files of a page over some runs.
fn made(runs: &[PathBuf], out: &Path) -> (String, String) {
    let files = write(runs, out, None).unwrap();
    let names: Vec<&str> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["index.html", "README.md"]);
    let read = |file: &PathBuf| fs::read_to_string(file).unwrap();
    (read(&files[0]), read(&files[1]))
}

/// Values of an attribute.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let lead = format!(" {name}=\"");
    html.split(lead.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// Every element is closed in its turn, no identifier is there twice and is named where it is referred to, nothing is loaded.
fn is_sound(html: &str) {
    let (body, script) = html.split_once("<script>").unwrap();
    let style = body.find("<style>").unwrap() + "<style>".len()..body.find("</style>").unwrap();
    assert!(!html[style.clone()].contains("url(") && !html[style.clone()].contains("@import"));
    assert!(!script.contains("fetch(") && !script.contains("import"));
    let markup = [&body[..style.start], &body[style.end..]].concat();
    let mut open: Vec<&str> = Vec::new();
    for part in markup.split('<').skip(1) {
        let (tag, _) = part.split_once('>').unwrap_or_else(|| panic!("not closed: {part:.80}"));
        let name = tag.split([' ', '/', '\n']).find(|name| !name.is_empty()).unwrap();
        match tag {
            _ if tag.starts_with('/') => {
                let last = open.pop();
                assert_eq!(last, Some(name), "closed");
            }
            _ if tag.starts_with('!') || tag.ends_with('/') || ["meta", "link"].contains(&name) => {}
            _ => open.push(name),
        }
    }
    assert_eq!(open, ["html", "body"]);
    let ids = attributes(&markup, "id");
    assert_eq!(view::distinct(ids.iter()).len(), ids.len(), "{ids:?}");
    assert!(attributes(&markup, "aria-labelledby").iter().all(|id| ids.contains(id)));
    for link in
        attributes(&markup, "href").iter().chain(&attributes(&markup, "src")).chain(&attributes(&markup, "xlink:href"))
    {
        let inside = link.strip_prefix('#').is_some_and(|id| ids.contains(&id));
        assert!(inside || link.starts_with("data:"), "{link}");
    }
    for loaded in ["http://", "https://", "<iframe", "<img", "<object", "<embed", "@import"] {
        assert!(!markup.contains(loaded), "{loaded}");
    }
}

#[test]
fn one_run_has_every_table_and_figure_with_the_numbers_of_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), "one", &rows(), true);
    let (html, markdown) = made(std::slice::from_ref(&run), &run);
    is_sound(&html);
    for text in [&html, &markdown] {
        for part in [
            "Table II",
            "Table III",
            "Codecs of pocket",
            "The paper's claims",
            "The paper against itself",
            "What was run",
            "How to make it again",
            "Accuracy against compression ratio: pocket",
            "Accuracy against bytes on the wire: pocket",
        ] {
            assert!(text.replace("&#39;", "'").contains(part), "{part}");
        }
        for part in [
            "splitbench run",
            "a b",
            "abc, with changes that were not committed",
            "2026-01-02, 12 s",
            "A &lt;CPU",
            "2 processors, 8 GB",
            "disk &lt;full",
            "What &",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("PARTIAL") && !text.contains("/somewhere"));
    }
    let resumed = self::run(folder.path(), "resumed", &rows(), true);
    assert!(made(std::slice::from_ref(&resumed), &resumed).1.contains("2026-01-02, 72 s in 2 processes"));
    // 50 of 100 right; 4 lost and 2 gained; the paper's models lose 0.5, 0.4, 1.2 and 0.
    let cell = "<td>50.0 ± 5.0<small>2.0 [-3.6, 8.2]</small><small>paper 0.5 (+19.5)</small></td>";
    assert!(html.contains(cell));
    assert!(markdown.contains("50.0 ± 5.0<br>2.0 [-3.6, 8.2]<br>paper 0.5 (+19.5)"));
    assert_eq!(html.matches("role=\"img\"").count(), html.matches("<svg").count());
    assert_eq!(
        html.matches("<svg").count(),
        6,
        "ratio and bytes, with and without the sets, and all codecs by accuracy and KL"
    );
    assert!(attributes(&html, "aria-label").iter().filter(|label| label.contains("series: fc, topk")).count() == 6);
    // The figures' words stand beside them.
    let svg = &html[html.find("<svg").unwrap()..html.find("</svg>").unwrap()];
    assert!(!svg.contains("Arithmetic in f32") && html.contains("Arithmetic in f32"));
    assert!(markdown.contains("](<../../../plots/test/one/accuracy-vs-ratio-average.svg>)"));
    for link in markdown.split("](<").skip(1).map(|rest| rest.split('>').next().unwrap()) {
        assert!(run.join(link).is_file(), "{link}");
    }
    // The same rows make the same page.
    assert_eq!(made(std::slice::from_ref(&run), &run), (html, markdown));
}

#[test]
fn a_model_of_the_papers_has_its_number_and_the_difference_in_the_cell() {
    let folder = tempfile::tempdir().unwrap();
    let of = |row: Row| Row { model: "llama-3.2-1b".into(), ..row };
    let rows = [row("baseline", None, 0.6), row("fc", Some(8.0), 0.5)].map(of);
    let run = run(folder.path(), "one", &rows, true);
    let (html, _) = made(std::slice::from_ref(&run), &run);
    assert!(html.contains("<td>50.0 ± 5.0<small>paper 56.0 (-6.0)</small></td>"));
    assert!(!html.contains("is none of the paper"));
}

#[test]
fn names_are_no_markup() {
    let folder = tempfile::tempdir().unwrap();
    let odd = |row: Row| Row { model: "<script>alert(1)<script>".into(), dataset: "a|b&\"<i>".into(), ..row };
    let rows = [row("baseline", None, 0.7), row("external:cmd=x <y> & 'z'\"", Some(8.0), 0.5)].map(odd);
    let run = run(folder.path(), "one", &rows, true);
    let (html, markdown) = made(std::slice::from_ref(&run), &run);
    is_sound(&html);
    assert!(html.contains("&lt;script&gt;alert(1)&lt;script&gt;") && html.matches("<script>").count() == 1);
    assert!(!markdown.contains("<script>") && markdown.contains("a\\|b"));
}

#[test]
fn runs_of_one_name_are_told_apart_by_their_folders() {
    let machines = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let runs = machines.each_ref().map(|machine| run(machine.path(), "same", &rows(), true));
    let again = runs[0].join("../same");
    let (html, markdown) = made(&[runs[0].clone(), runs[1].clone(), again], &machines[0].path().join("page"));
    is_sound(&html);
    for machine in &machines {
        let place = machine.path().canonicalize().unwrap().join("results/test/same").display().to_string();
        assert!(html.contains(&place) && markdown.contains(&place), "{place}");
        assert_eq!(markdown.lines().filter(|line| line.starts_with("## ") && line.contains(&place)).count(), 1);
    }
}

#[test]
fn a_run_that_has_not_finished_is_partial_and_one_without_rows_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let half = run(folder.path(), "half", &rows()[..4], false);
    let whole = run(folder.path(), "whole", &rows(), true);
    let out = folder.path().join("page");
    let (html, markdown) = made(&[half.clone(), whole.clone(), half.clone()], &out);
    is_sound(&html);
    assert!(html.contains("PARTIAL: test/half has not finished") && markdown.contains("PARTIAL: test/half has not"));
    assert_eq!(html.matches("PARTIAL: this run has not finished").count(), 1);
    let error = |runs: &[PathBuf]| format!("{:#}", write(runs, &out, None).unwrap_err());
    fs::remove_file(half.join("manifest.json")).unwrap();
    assert!(error(std::slice::from_ref(&half)).contains("has no manifest.json"));
    fs::remove_file(half.join("rows.parquet")).unwrap();
    let message = error(&[whole, half]);
    assert!(
        message.contains("half") && message.contains("has no rows yet") && message.contains("splitbench run"),
        "{message}"
    );
    assert!(error(&[folder.path().join("nowhere")]).contains("there is no run"));
    assert!(error(&[]).contains("Name their folders"));
}

#[test]
fn few_cells_many_series_and_none_that_is_finite() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = || vec![row("baseline", None, 0.7)];
    let many = || (0..200).map(|nth| row(&format!("external:cmd=<{nth}>"), Some(8.0), 0.5)).collect::<Vec<_>>();
    let nan = vec![Row { acc: Some(f64::NAN), ..row("fc", Some(8.0), 0.5) }, failed(row("topk", Some(8.0), 0.5), "no")];
    for (name, more) in [("none", vec![]), ("one", vec![row("fc", Some(8.0), 0.5)]), ("many", many()), ("nan", nan)] {
        let run = run(folder.path(), name, &[baseline(), more].concat(), true);
        let (html, _) = made(std::slice::from_ref(&run), &run);
        is_sound(&html);
        assert!(
            !html.split("<script>").next().unwrap().contains("NaN") && html.len() < 5_000_000,
            "{name}: {}",
            html.len()
        );
        match name {
            "none" => assert!(html.contains("accuracy-vs-ratio: no finished cell to draw")),
            "many" => assert!(html.contains("and 188 more") && html.contains("external:cmd=&lt;199&gt;")),
            "nan" => assert!(html.contains("2 without a number") && html.contains("2 of 3 cells failed")),
            _ => assert!(html.contains("50.0 ± 5.0")),
        }
    }
}

#[test]
fn a_replay_has_a_page_with_the_papers_seconds_in_its_cells() {
    let folder = tempfile::tempdir().unwrap();
    let replay = folder.path().join("results/table4/r");
    fs::create_dir_all(&replay).unwrap();
    let rows = [table4::tests::row("cpu", "fc", Some(2.0)), table4::tests::row("cpu", "topk", Some(5.0))];
    crate::record::replay::write(&replay, &rows).unwrap();
    fs::write(replay.join("manifest.json"), r#"{"finished": "now", "spec": {"table4": true}}"#).unwrap();
    let (html, _) = made(std::slice::from_ref(&replay), &replay);
    is_sound(&html);
    assert!(html.contains("<td>5.00 ± 0.05<small>paper 22.8 (-17.8)</small></td>"));
    assert!(html.contains("<td>2.50 ± 0.04<small>paper 3.30 (-0.80)</small></td>"));
}
