use super::*;
use crate::record::testing::{failed, older, on, row};

fn rows(model: &str) -> Vec<Row> {
    let mut noop = row("noop", None, 0.60);
    (noop.lost, noop.gained, noop.ratio_wire) = (Some(0), Some(0), Some(1.0));
    let rows = vec![
        row("baseline", None, 0.60),
        row("fc", Some(8.0), 0.40),
        row("asvd:alpha=0.5", Some(8.0), 0.58),
        on("piqa", row("baseline", None, 0.80)),
        on("piqa", row("fc", Some(10.0), 0.60)),
        on("piqa", failed(row("asvd:alpha=0.5", Some(10.0), 0.0), "not positive definite")),
        on("piqa", Row { acc: Some(0.80), ..noop.clone() }),
        noop,
    ];
    rows.into_iter().map(|row| Row { model: model.into(), ..row }).collect()
}

fn made(rows: &[Row]) -> TableSet {
    table3(&RowView::new(&older(rows)).unwrap(), NumberPlace::Below)
}

#[test]
fn kl_and_top1_stand_beside_the_drop_where_rows_have_them() {
    let rows = rows("Llama-3.2-1B");
    let made = table3(&RowView::new(&rows).unwrap(), NumberPlace::Below);
    let markdown = made.tables[0].markdown();
    // sqrt(2) * 0.001 / 2, and the same of 0.6 %.
    for line in [
        "| avg | drop | KL | top-1 % | wire |",
        "| 50.0 ± 3.5 | 20.0 ± 1.7 | 0.0200 ± 7.1e-4 | 93.0 ± 0.424 | 4.47 |",
        "| – | 2.0 ± 2.5 [2] | – | – | – |",
        "|  | baseline | 60.0 ± 4.9 | 80.0 ± 4.0 | 70.0 ± 3.2 |  |  |  |  |",
        "positions with the unsplit model's most likely token",
    ] {
        assert!(markdown.contains(line), "no `{line}` in\n{markdown}");
    }
    let cells = markdown.lines().filter(|line| line.starts_with('|')).map(|line| line.matches(" |").count());
    assert!(cells.into_iter().all(|count| count == 9), "{markdown}");
    let csv: Vec<&str> = made.csv.lines().collect();
    assert!(csv[0].ends_with(",scope,accounting,kl,kl_se,top1,top1_se"));
    assert!(csv[1].ends_with(",elements,2e-2,7.071067811865475e-4,9.3e-1,4.242640687119285e-3"), "{}", csv[1]);
    assert!(csv[2].ends_with(",elements,,,,") && csv[4].ends_with(",elements,,,,"));
    let inside = table3(&RowView::new(&rows).unwrap(), NumberPlace::Inside);
    assert!(inside.tables[0].sections.iter().flat_map(|one| &one.rows).all(|row| row.len() == 8));
}

#[test]
fn markdown_golden() {
    // One paired standard error of a set: sqrt((6/100 - (2/100)^2) / 99) = 2.45 points; of two: 1.73.
    let expected = "\
| model | method | ARC-Easy | PIQA | avg | drop | wire |
| :-- | :-- | --: | --: | --: | --: | --: |
| **asked for** | ratio | 8 | 10 | 9.0 |  |  |
| **pocket** | fc | 40.0 ± 4.9<br>2.0 [-3.6, 8.2] | 60.0 ± 4.9<br>2.0 [-3.6, 8.2] | 50.0 ± 3.5 | 20.0 ± 1.7 | 4.47 |
|  | asvd:alpha=0.5 | 58.0 ± 5.0<br>2.0 [-3.6, 8.2] | – [1] | – | 2.0 ± 2.5 [2] | – |
|  | noop | 60.0 ± 4.9<br>0.0 [-3.7, 3.7] | 80.0 ± 4.9<br>0.0 [-3.7, 3.7] | 70.0 ± 3.5 | 0.0 ± 0.0 | 1.00 |
|  | baseline | 60.0 ± 4.9 | 80.0 ± 4.0 | 70.0 ± 3.2 |  |  |

- [1] not positive definite
- [2] over the 1 of 2 sets that both have
";
    let markdown = made(&rows("pocket")).tables[0].markdown();
    let (caption, table) = markdown.split_once("\n\n|").unwrap();
    assert_eq!(format!("|{table}"), expected);
    assert!(
        caption
            .starts_with("### Table III: accuracy (%) of each method at each data set's ratio, split after layer 1,")
    );
    assert!(caption.contains("1 of 8 cells failed") && caption.contains("The paper has no numbers"), "{caption}");
}

#[test]
fn csv_golden() {
    let expected = "\
model,method,arc_easy,piqa,avg,arc_easy_se,piqa_se,avg_se,arc_easy_ratio,piqa_ratio,drop,drop_se,drop_sets,ratio_wire,split_layer,scope,accounting
pocket,fc,40.00,60.00,50.00,4.92,4.92,3.48,8,10,20.00,1.73,2,4.472,1,prompt+choice,elements
pocket,asvd:alpha=0.5,58.00,,,4.96,,,8,10,2.00,2.45,1,,1,prompt+choice,elements
pocket,noop,60.00,80.00,70.00,4.92,4.92,3.48,,,0.00,0.00,2,1.000,1,prompt+choice,elements
pocket,baseline,60.00,80.00,70.00,4.92,4.02,3.18,,,,,,,1,prompt+choice,elements
";
    assert_eq!(made(&rows("pocket")).csv, expected);
}

#[test]
fn the_paper_beside_only_at_its_ratio() {
    let text = made(&rows("Llama-3.2-1B")).tables[0].text(200, &mut vec![]);
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Paper: FC 56.0 on ARC-Easy at 8 and 74.6 on PIQA at 10; ASVD 45.4 and 67.0; baseline 56.5 and 74.6.
    for line in [
        "fc, paper 56.0 (-16.0) 74.6 (-14.6) 65.3 (-15.3)",
        "asvd:alpha=0.5, paper 45.4 (+12.6) 67.0 56.2",
        "baseline, paper 56.5 (+3.5) 74.6 (+5.4) 65.5 (+4.5)",
    ] {
        assert!(plain.contains(line), "no `{line}` in\n{text}");
    }
    assert!(!text.contains("noop, paper"));
    let mut other = rows("Llama-3.2-1B");
    other
        .iter_mut()
        .filter(|row| row.dataset == "arc_easy" && row.codec == "fc")
        .for_each(|row| row.ratio_requested = Some(7.0));
    let text = made(&other).tables[0].text(200, &mut vec![]);
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plain.contains("fc, paper – 74.6 (-14.6) – asvd"), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("ratio ") && line.contains("7/8")), "{text}");
}

#[test]
fn of_several_ratios_the_papers_is_taken_and_said() {
    let mut all = rows("pocket");
    all.push(row("fc", Some(9.0), 0.10));
    all.push(on("piqa", row("fc", Some(12.0), 0.10)));
    let made = made(&all);
    assert!(made.csv.contains("pocket,fc,40.00,60.00,"), "{}", made.csv);
    let caption = made.tables[0].caption.join(" ");
    assert!(caption.contains("Several ratios a set were run for fc:"), "{caption}");
    let mut own = rows("pocket");
    own.iter_mut().for_each(|row| row.dataset = format!("own-{}", row.dataset));
    own.push(on("own-piqa", row("fc", Some(12.0), 0.10)));
    assert!(self::made(&own).csv.contains("pocket,fc,40.00,10.00,"), "else the largest");
}
