use super::*;
use crate::record::testing::{failed, older, on, row};

/// A codec's row with bytes of its own.
fn sized(codec: &str, accounting: &str, bytes: f64, acc: f64) -> Row {
    let ratio = (!accounting.is_empty()).then_some(8.0);
    Row {
        accounting: accounting.into(),
        wire_bytes_per_token: Some(bytes),
        ratio_wire: Some(384.0 / bytes),
        rel_error: Some(0.25),
        ..row(codec, ratio, acc)
    }
}

fn rows() -> Vec<Row> {
    let both = |row: Row| [row.clone(), on("piqa", row)];
    [
        both(row("baseline", None, 0.9)),
        both(sized("fc", "elements", 96.0, 0.5)),
        both(sized("int8", "", 200.0, 0.9)),
        both(sized("topk", "elements", 60.0, 0.7)),
        both(sized("fc", "wire", 48.0, 0.4)),
        both(sized("topk", "wire", 48.0, 0.6)),
        both(sized("token-ids", "", 2.0, 0.95)),
        [failed(sized("qr", "wire", 1.0, 0.99), "no"), on("piqa", sized("qr", "wire", 1.0, 0.99))],
    ]
    .concat()
}

#[test]
fn the_front_has_no_line_that_another_beats() {
    let rows = rows();
    let view = RowView::new(&rows).unwrap();
    let places = places(&view);
    assert_eq!(places.len(), 1);
    let lines = places[0].lines();
    let named: Vec<String> = lines.iter().map(|line| format!("{} {}", line.codec, line.ratio_label())).collect();
    assert_eq!(
        named,
        [
            "fc 8 elements",
            "topk 8 elements",
            "fc 8 wire",
            "topk 8 wire",
            "qr 8 wire",
            "int8 fixed rate",
            "token-ids fixed rate"
        ]
    );
    // topk in 48 and 60 bytes, int8 in 200; a codec that failed on a set has no mean and is on no front, and neither is what
    // sends no activation.
    assert_eq!(front(&lines, |line| line.accuracy().map(|cell| cell.value)), [3, 1, 5]);
}

#[test]
fn table_and_csv() {
    let rows = older(&rows());
    let made = codecs(&RowView::new(&rows).unwrap(), &TimingTable::default());
    let text = made.markdown();
    assert!(
        text.contains("| int8† | fixed rate | local |  | 90.0 ± 2.1 | 0.0 [-3.4, 3.4] | 200.0 | 1.92 | 0.250 |\n"),
        "{text}"
    );
    assert!(!text.contains("µs") && !text.contains("Times"), "nothing was timed: {text}");
    assert!(text.contains("1 of 14 cells failed") && text.contains("guessing 25.0"), "{text}");
    let line = "pocket,1,prompt+choice,fc,8,elements,50.00,3.55,40.0000,1.7350,96.0000,4.0000,0.2500,,,false";
    assert!(made.csv.lines().any(|found| found == line), "{}", made.csv);
}

#[test]
fn kl_and_top1_where_rows_have_them() {
    let rows = rows();
    let made = codecs(&RowView::new(&rows).unwrap(), &TimingTable::default());
    let text = made.markdown();
    assert!(text.contains("| accuracy | drop | KL | top-1 % | bytes/token |"), "{text}");
    assert!(
        text.contains(
            "| local |  | 90.0 ± 2.1 | 0.0 [-3.4, 3.4] | 0.0200 ± 7.1e-4 | 93.0 ± 0.424 | 200.0 | 1.92 | 0.250 |\n"
        ),
        "{text}"
    );
    assert!(text.contains("KL(unsplit \\|\\| codec) of the next token"), "{text}");
    let csv: Vec<&str> = made.csv.lines().collect();
    assert!(csv[0].ends_with(",decode_us,pareto,kl,kl_se,top1,top1_se"));
    assert!(csv[1].ends_with(",false,2e-2,7.071067811865475e-4,9.3e-1,4.242640687119285e-3"), "{}", csv[1]);
    // A codec that failed on a set has no mean.
    assert!(csv.iter().any(|line| line.starts_with("pocket,1,prompt+choice,qr,8,wire,") && line.ends_with(",,,,")));
}
