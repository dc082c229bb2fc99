//! The paper's claims against runs: what each says, and what rows say of it. METHODOLOGY.md, "Claims of the paper".

use super::super::number::{self, significant};
use super::super::table::{Notes, Section, Table};
use super::super::table3::paired_variance;
use super::super::view::{self, View};
use super::super::{names, paper, response, speed};
use super::source::{Kind, Source};
use super::verdict::{ANY, Measured, ONE, Verdict};
use crate::experiment::{Energy, RAW, Row, Similarity};
use crate::replay::Provenance;
use crate::simulate::Saturation;

/// A claim, in our words.
pub(super) struct Claim {
    pub says: &'static str,
    /// Where the paper makes it.
    pub section: &'static str,
    /// The command whose run can judge it.
    needs: &'static str,
    test: Test,
}

/// How a claim is judged.
enum Test {
    /// FC at each set's ratio loses less than so many points on average.
    AverageLoss(f64),
    /// The same on each set.
    EverySet(f64),
    /// At the least ratio called near-lossless no set loses more.
    NearLossless {
        from: f64,
        points: f64,
    },
    /// FC keeps more accuracy than a codec.
    Beats(&'static str),
    /// A codec loses more than so many points.
    LosesMore(&'static str, f64),
    /// FC is above the baseline on one of the paper's models.
    AboveBaseline(&'static str),
    /// FC keeps the most accuracy after layer 1.
    FirstLayer,
    /// Every codec keeps less after the last layer than after the first.
    FallsWithDepth,
    /// FC's error is least after layer 1.
    LeastError,
    /// FC's block holds more than so much of the energy after layer 1.
    Energy(f64),
    /// Inputs are most alike in the first so many layers.
    AlikeEarly(u32),
    /// They are less alike than this after the last one.
    UnlikeLate(f64),
    /// FC in software is so many times as fast as a method.
    Faster(&'static str, f64),
    /// FC in hardware against Top-k.
    Hardware,
    /// A codec takes at most, or at least, this share of a response time.
    ShareAtMost(&'static str, f64),
    ShareAtLeast(&'static str, f64),
    /// What limits a server of so many devices, with f16 and, where `fc` is set, with FC.
    Limits {
        workers: usize,
        by: &'static str,
        fc: bool,
    },
    /// FC lets in more than so many times the clients of f16, on one link or on all.
    Clients {
        workers: usize,
        gbps: Option<f64>,
        times: f64,
    },
}

/// The claims, in the paper's order of subjects: accuracy, layers, time, many clients.
pub(super) const CLAIMS: [Claim; 27] = [
    Claim {
        says: "At 7.6 times on average, FC loses less than 0.3 points on average",
        section: "Abstract, I-B",
        needs: "run table3",
        test: Test::AverageLoss(0.3),
    },
    Claim {
        says: "FC stays within 0.3 points of the baseline on every data set",
        section: "IV-B(3), Table III",
        needs: "run table3",
        test: Test::EverySet(0.3),
    },
    Claim {
        says: "Every data set has a near-lossless ratio of 5.8 or more",
        section: "IV-B(2), Table II",
        needs: "run table2",
        test: Test::NearLossless { from: 5.8, points: 0.3 },
    },
    Claim {
        says: "FC keeps more accuracy than Top-k at the same ratio",
        section: "IV-B(3), Table III",
        needs: "run table3",
        test: Test::Beats("topk"),
    },
    Claim {
        says: "FC keeps more accuracy than QR at the same ratio",
        section: "IV-B(3), Table III",
        needs: "run table3",
        test: Test::Beats("qr"),
    },
    Claim {
        says: "FC keeps more accuracy than FWSVD at the same ratio",
        section: "IV-B(3), Table III",
        needs: "run table3",
        test: Test::Beats("fwsvd"),
    },
    Claim {
        says: "FC keeps more accuracy than ASVD at the same ratio",
        section: "IV-B(3), Table III",
        needs: "run table3",
        test: Test::Beats("asvd"),
    },
    Claim {
        says: "FC keeps more accuracy than SVD-LLM at the same ratio",
        section: "IV-B(3), Table III",
        needs: "run table3",
        test: Test::Beats("svd-llm"),
    },
    Claim {
        says: "SVD-LLM loses more than 8 points at the same ratio",
        section: "IV-B(4), Figure 5",
        needs: "run table3",
        test: Test::LosesMore("svd-llm", 8.0),
    },
    Claim {
        says: "On Qwen2.5-3B FC's average is above the baseline's",
        section: "IV-B(3), Table III",
        needs: "run table3 --model qwen2.5-3b",
        test: Test::AboveBaseline("Qwen2.5-3B"),
    },
    Claim {
        says: "Layer 1 is the best place to cut: FC keeps the most accuracy there",
        section: "III-A, IV-B(1), Figure 4",
        needs: "run layer-sweep",
        test: Test::FirstLayer,
    },
    Claim {
        says: "All methods lose accuracy sharply as the cut moves deeper",
        section: "IV-B(1), Figure 4",
        needs: "run layer-sweep",
        test: Test::FallsWithDepth,
    },
    Claim {
        says: "Errors grow with depth: FC's is least after layer 1",
        section: "III-A(1), Figure 2(a)",
        needs: "run layer-sweep",
        test: Test::LeastError,
    },
    Claim {
        says: "Most of the energy after layer 1 lies in the low-frequency block (here at ratio 8)",
        section: "III-B, Figure 2(c)",
        needs: "run figure2",
        test: Test::Energy(0.5),
    },
    Claim {
        says: "Activations of different inputs are most alike in layers 1 to 3",
        section: "III-A(2), Figure 2(b)",
        needs: "run figure2",
        test: Test::AlikeEarly(3),
    },
    Claim {
        says: "In the deepest layers their similarity is below 0.4",
        section: "III-A(2), Figure 2(b)",
        needs: "run figure2",
        test: Test::UnlikeLate(0.4),
    },
    Claim {
        says: "FC in software is 3.5 times as fast as Top-k",
        section: "IV-C, Table IV",
        needs: "replay table4",
        test: Test::Faster("Top-k", 3.5),
    },
    Claim {
        says: "FC in software is more than 15 times as fast as SVD-LLM",
        section: "IV-C, Table IV",
        needs: "replay table4",
        test: Test::Faster("SVD-LLM", 15.0),
    },
    Claim {
        says: "QR takes 330 times as long as FC in software",
        section: "IV-C, Table IV",
        needs: "replay table4",
        test: Test::Faster("QR", 330.0),
    },
    Claim {
        says: "FC in hardware is 32 times as fast as Top-k",
        section: "I-B, IV-C, Table IV",
        needs: "replay table4",
        test: Test::Hardware,
    },
    Claim {
        says: "FC in software takes no more than 4 % of the response time",
        section: "IV-C, Figure 6",
        needs: "run figure6",
        test: Test::ShareAtMost("fc", 0.04),
    },
    Claim {
        says: "QR takes most of the response time (66 %)",
        section: "IV-C, Figure 6",
        needs: "run figure6",
        test: Test::ShareAtLeast("qr", 0.5),
    },
    Claim {
        says: "SVD-LLM takes most of the response time (53 %)",
        section: "IV-C, Figure 6",
        needs: "run figure6",
        test: Test::ShareAtLeast("svd-llm", 0.5),
    },
    Claim {
        says: "With one device the server limits at every link rate, with f16 and with FC",
        section: "IV-D(1), Figure 7(a)",
        needs: "simulate figure7",
        test: Test::Limits { workers: 1, by: "compute", fc: true },
    },
    Claim {
        says: "With eight devices the link limits f16 at every rate",
        section: "IV-D(2), Figure 7(b)",
        needs: "simulate figure7",
        test: Test::Limits { workers: 8, by: "link", fc: false },
    },
    Claim {
        says: "At 10 Gbit/s and eight devices FC lets in nearly 10 times the clients of f16",
        section: "IV-D(2), Figure 7(b)",
        needs: "simulate figure7",
        test: Test::Clients { workers: 8, gbps: Some(10.0), times: 9.0 },
    },
    Claim {
        says: "With eight devices FC lets in more clients than f16 at every link rate",
        section: "IV-D(2), Figure 7(b)",
        needs: "simulate figure7",
        test: Test::Clients { workers: 8, gbps: None, times: 1.0 },
    },
];

/// What a run says of a claim.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judged {
    /// Of which model, processor or profile.
    pub subject: String,
    pub verdict: Verdict,
    /// The numbers that decide it, with their uncertainty.
    pub found: String,
    /// How much it rests on: of two runs about one subject the one with more is taken.
    weight: usize,
}

/// A claim with what the runs say of it, and which of them.
pub(super) struct Line {
    pub says: &'static str,
    pub section: &'static str,
    pub from: String,
    pub judged: Judged,
}

/// Every claim, at least once.
pub(super) fn lines(sources: &[Source]) -> Vec<Line> {
    let mut out = Vec::new();
    for claim in &CLAIMS {
        let mut found: Vec<(String, Judged)> = Vec::new();
        for source in sources {
            for judged in claim.test.judge(source) {
                match found.iter_mut().find(|(_, known)| known.subject == judged.subject) {
                    Some(known) if known.1.weight < judged.weight => *known = (source.name.clone(), judged),
                    Some(_) => {}
                    None => found.push((source.name.clone(), judged)),
                }
            }
        }
        if found.is_empty() {
            let missing = format!("No run here has what it needs: `splitbench {}` makes it.", claim.needs);
            let judged = Judged { subject: "–".into(), verdict: Verdict::Open, found: missing, weight: 0 };
            found.push(("–".into(), judged));
        }
        let line = |(from, judged)| Line { says: claim.says, section: claim.section, from, judged };
        out.extend(found.into_iter().map(line));
    }
    out
}

/// As a table of words.
pub(super) fn table(lines: &[Line]) -> Table {
    let row = |line: &Line| {
        let judged = &line.judged;
        vec![
            line.says.into(),
            line.section.into(),
            judged.subject.clone(),
            judged.verdict.to_string(),
            judged.found.clone(),
            line.from.clone(),
        ]
    };
    Table {
        title: "Claims of the paper against this run".into(),
        caption: vec![
            "A verdict is about the model, data and machine named beside it, not about the paper's.".into(),
            format!("✓ or ✗ where the number is {ONE:.0} standard errors from the bound, or {ANY:.0} where any of several numbers could decide; ? where it is nearer, or was not measured."),
            "FC is `fc` as read by default, cut after layer 1, scope prompt+choice, ratios in elements; other readings are in the tables.".into(),
            "Losses are paired with the uncompressed model on the same questions; differences between codecs or layers take the two losses as independent, which in general makes them look less certain than they are.".into(),
        ],
        columns: ["", "the paper says", "where", "judged on", "verdict", "numbers", "run"].map(String::from).to_vec(),
        sections: vec![Section { name: String::new(), rows: lines.iter().map(row).collect() }],
        notes: Notes::default(),
    }
}

impl Test {
    fn judge(&self, source: &Source) -> Vec<Judged> {
        match &source.kind {
            Kind::Rows { rows, beside, report } => match *self {
                Self::Energy(least) => energy(&beside.energy, least),
                Self::AlikeEarly(layers) => alike(&beside.similarity, |lines| early(lines, layers)),
                Self::UnlikeLate(most) => alike(&beside.similarity, |lines| late(lines, most)),
                Self::ShareAtMost(codec, bound) | Self::ShareAtLeast(codec, bound) => {
                    let at_most = matches!(self, Self::ShareAtMost(..));
                    let lines = &beside.service;
                    report
                        .response
                        .as_ref()
                        .map_or(Vec::new(), |links| share(&response::shares(lines, links), codec, bound, at_most))
                }
                _ => View::new(rows).map_or(Vec::new(), |view| {
                    view.models.iter().filter_map(|model| self.judge_rows(&view, model)).collect()
                }),
            },
            Kind::Replay { rows, .. } => match *self {
                Self::Faster(method, times) => faster(&speed::claims(rows), method, times),
                Self::Hardware => hardware(&speed::accelerated(rows)),
                _ => Vec::new(),
            },
            Kind::Simulated { swept, .. } => match *self {
                Self::Limits { workers, by, fc } => limits(&swept.saturation, workers, by, fc),
                Self::Clients { workers, gbps, times } => clients(&swept.saturation, workers, gbps, times),
                _ => Vec::new(),
            },
        }
    }

    fn judge_rows(&self, view: &View, model: &str) -> Option<Judged> {
        let cells = Cells { view, model };
        let (verdict, found, weight) = match *self {
            Self::AverageLoss(most) => cells.average_loss(most),
            Self::EverySet(most) => cells.every_set(&cells.at("fc", paper_ratio), most),
            Self::NearLossless { from, points } => cells.near_lossless(from, points),
            Self::Beats(codec) => cells.beats(codec),
            Self::LosesMore(codec, least) => cells.loses_more(codec, least),
            Self::AboveBaseline(name) => cells.above_baseline(name),
            Self::FirstLayer => cells.first_layer(),
            Self::FallsWithDepth => cells.falls_with_depth(),
            Self::LeastError => cells.least_error(),
            _ => None,
        }?;
        Some(Judged { subject: model.to_string(), verdict, found, weight })
    }
}

/// The ratio in the paper's Table III of a data set, or of the one it is named after.
fn paper_ratio(dataset: &str) -> Option<f64> {
    paper::table3_ratio(names::DATASETS[names::paper_place(dataset)?].0)
}

/// A finished cell and the uncompressed model on the same questions.
#[derive(Clone, Copy)]
struct Pair<'a> {
    cell: &'a Row,
    baseline: &'a Row,
}

impl Pair<'_> {
    /// Points lost. Its error is never less than that of one changed answer: that none changed does not make it sure.
    fn loss(&self) -> Measured {
        let percent = |row: &Row| view::accuracy(row).map_or(f64::NAN, |cell| 100.0 * cell.value);
        let one = 1.0 / (self.cell.questions as f64).powi(2);
        let stderr = paired_variance(self.cell).map(|variance| 100.0 * variance.max(one).sqrt());
        Measured { value: percent(self.baseline) - percent(self.cell), stderr }
    }
}

/// Mean over the sets, each weighing alike.
fn mean_loss(pairs: &[Pair]) -> Measured {
    let losses: Vec<Measured> = pairs.iter().map(Pair::loss).collect();
    let n = losses.len() as f64;
    let squares: Option<f64> = losses.iter().map(|loss| loss.stderr.map(|stderr| stderr.powi(2))).sum();
    Measured { value: losses.iter().map(|loss| loss.value).sum::<f64>() / n, stderr: squares.map(|sum| sum.sqrt() / n) }
}

fn sets(count: usize) -> String {
    if count == 1 { "1 set".into() } else { format!("{count} sets") }
}

fn wire(pairs: &[Pair]) -> String {
    let mean = number::geometric_mean(pairs.iter().filter_map(|pair| pair.cell.ratio_wire));
    mean.map_or(String::new(), |wire| format!(" (wire {wire:.1})"))
}

/// A verdict, its numbers, and how many sets they are of.
type Said = Option<(Verdict, String, usize)>;

/// The cells of one model.
#[derive(Clone, Copy)]
struct Cells<'v, 'a> {
    view: &'v View<'a>,
    model: &'v str,
}

impl<'a> Cells<'_, 'a> {
    /// Rows in the paper's scope and accounting after some layer; codecs of fixed rate have no accounting.
    fn rows(&self, layer: Option<u32>) -> impl Iterator<Item = &'a Row> {
        let model = self.model.to_string();
        self.view.rows.iter().filter(move |row| {
            row.model == model
                && !row.is_baseline()
                && (layer.is_none() || row.split_layer == layer)
                && row.scope == "prompt+choice"
                && (row.accounting == "elements" || row.accounting.is_empty())
        })
    }

    fn baseline(&self, dataset: &str) -> Option<&'a Row> {
        let of = |row: &&Row| row.is_baseline() && row.model == self.model && row.dataset == dataset;
        self.view.rows.iter().rfind(of).filter(|row| view::accuracy(row).is_some())
    }

    /// Finished cells of a codec after a layer at a ratio that may depend on the data set.
    fn after(&self, layer: u32, codec: &str, ratio: impl Fn(&str) -> Option<f64>) -> Vec<Pair<'a>> {
        let rows: Vec<&Row> = self.rows(Some(layer)).filter(|row| row.codec == codec).collect();
        let pair = |dataset: &&'a str| {
            let ratio = ratio(dataset)?;
            let of = |row: &&&Row| row.dataset == *dataset && row.ratio_requested == Some(ratio);
            let cell = rows.iter().copied().rfind(|row| of(&row)).filter(|row| view::accuracy(row).is_some())?;
            Some(Pair { cell, baseline: self.baseline(dataset)? })
        };
        self.view.datasets.iter().filter_map(pair).collect()
    }

    fn at(&self, codec: &str, ratio: impl Fn(&str) -> Option<f64>) -> Vec<Pair<'a>> {
        self.after(1, codec, ratio)
    }

    fn average_loss(&self, most: f64) -> Said {
        let pairs = self.at("fc", paper_ratio);
        (!pairs.is_empty()).then(|| {
            let loss = mean_loss(&pairs);
            let ratio = pairs.iter().filter_map(|pair| pair.cell.ratio_requested).sum::<f64>() / pairs.len() as f64;
            let found =
                format!("loses {} points over {}, ratio {ratio:.1}{}", loss.text(1), sets(pairs.len()), wire(&pairs));
            (Verdict::of(loss.surely_below(most, ONE), loss.surely_above(most, ONE)), found, pairs.len())
        })
    }

    fn every_set(&self, pairs: &[Pair], most: f64) -> Said {
        let worst = pairs.iter().max_by(|a, b| a.loss().value.total_cmp(&b.loss().value))?;
        let beyond = pairs.iter().filter(|pair| pair.loss().surely_above(most, ANY)).count();
        let holds = pairs.iter().all(|pair| pair.loss().surely_below(most, ANY));
        let found = format!(
            "{beyond} of {} surely lose more than {most} points; worst: {}, {}",
            sets(pairs.len()),
            names::title(&worst.cell.dataset),
            worst.loss().text(1)
        );
        Some((Verdict::of(holds, beyond > 0), found, pairs.len()))
    }

    /// At the least ratio from `from` on, which should hold if any does; not one much larger.
    fn near_lossless(&self, from: f64, points: f64) -> Said {
        let tried = self.rows(Some(1)).filter(|row| row.codec == "fc").filter_map(|row| row.ratio_requested);
        let ratio = tried.filter(|ratio| (from..from + 0.7).contains(ratio)).reduce(f64::min)?;
        let pairs = self.at("fc", |_| Some(ratio));
        let (verdict, found, weight) = self.every_set(&pairs, points)?;
        Some((verdict, format!("at ratio {ratio}: {found}; on average {}", mean_loss(&pairs).text(1)), weight))
    }

    fn beats(&self, codec: &str) -> Said {
        let (mut ours, mut theirs) = (self.at("fc", paper_ratio), self.at(codec, paper_ratio));
        let has = |pairs: &[Pair], one: &Pair| pairs.iter().any(|pair| pair.cell.dataset == one.cell.dataset);
        ours.retain(|pair| has(&theirs, pair));
        theirs.retain(|pair| has(&ours, pair));
        if ours.is_empty() {
            return None;
        }
        let gain = mean_loss(&theirs).minus(mean_loss(&ours));
        let papers: Vec<f64> = paper::models()
            .iter()
            .filter_map(|model| Some(paper::table3(model, "fc", "avg")? - paper::table3(model, codec, "avg")?))
            .collect();
        let found = format!(
            "FC{} minus {codec}{}: {} points over {}; the paper's averages: {}",
            wire(&ours),
            wire(&theirs),
            gain.text(1),
            sets(ours.len()),
            papers.iter().map(|points| number::signed(*points)).collect::<Vec<_>>().join(", ")
        );
        Some((Verdict::of(gain.surely_above(0.0, ONE), gain.surely_below(0.0, ONE)), found, ours.len()))
    }

    fn loses_more(&self, codec: &str, least: f64) -> Said {
        let pairs = self.at(codec, paper_ratio);
        (!pairs.is_empty()).then(|| {
            let loss = mean_loss(&pairs);
            let found = format!("loses {} points over {}", loss.text(1), sets(pairs.len()));
            (Verdict::of(loss.surely_above(least, ONE), loss.surely_below(least, ONE)), found, pairs.len())
        })
    }

    fn above_baseline(&self, name: &str) -> Said {
        let pairs = self.at("fc", paper_ratio);
        if paper::model(self.model) != Some(name) || pairs.is_empty() {
            return None;
        }
        let loss = mean_loss(&pairs);
        let found = format!("loses {} points over {}", loss.text(2), sets(pairs.len()));
        Some((Verdict::of(loss.surely_below(0.0, ONE), loss.surely_above(0.0, ONE)), found, pairs.len()))
    }

    /// Cells of a codec by layer, first and others, at the ratio that most of its rows have; only sets that every layer has.
    fn by_layer(&self, codec: &str) -> Vec<(u32, Vec<Pair<'a>>)> {
        let rows: Vec<&Row> = self.rows(None).filter(|row| row.codec == codec).collect();
        let mut layers = view::distinct(rows.iter().filter_map(|row| row.split_layer));
        layers.sort_unstable();
        let count = |ratio: &f64| rows.iter().filter(|row| row.ratio_requested == Some(*ratio)).count();
        let Some(ratio) = view::ratios(&rows).into_iter().max_by_key(count) else { return Vec::new() };
        let mut out: Vec<(u32, Vec<Pair>)> =
            layers.into_iter().map(|layer| (layer, self.after(layer, codec, |_| Some(ratio)))).collect();
        let sets: Vec<Vec<String>> =
            out.iter().map(|(_, pairs)| pairs.iter().map(|pair| pair.cell.dataset.clone()).collect()).collect();
        for (_, pairs) in &mut out {
            pairs.retain(|pair| sets.iter().all(|names| names.contains(&pair.cell.dataset)));
        }
        out.retain(|(_, pairs)| !pairs.is_empty());
        if out.first().is_some_and(|(layer, _)| *layer == 1) && out.len() > 1 { out } else { Vec::new() }
    }

    fn first_layer(&self) -> Said {
        let layers = self.by_layer("fc");
        let (first, others) = layers.split_first()?;
        // How much less is lost after layer 1.
        let ahead = |(_, pairs): &(u32, Vec<Pair>)| mean_loss(pairs).minus(mean_loss(&first.1));
        let (layer, best) =
            others.iter().map(|one| (one.0, ahead(one))).min_by(|a, b| a.1.value.total_cmp(&b.1.value))?;
        let verdict = Verdict::of(
            others.iter().all(|one| ahead(one).surely_above(0.0, ONE)),
            others.iter().any(|one| ahead(one).surely_below(0.0, ANY)),
        );
        let found = format!(
            "layer 1 keeps {} points more than layer {layer}, the best of layers 2 to {}, over {}",
            best.text(1),
            others.last().map_or(0, |(layer, _)| *layer),
            sets(first.1.len())
        );
        Some((verdict, found, others.len() * first.1.len()))
    }

    fn falls_with_depth(&self) -> Said {
        let codecs = view::distinct(self.rows(None).map(|row| row.codec.as_str()));
        let fall = |codec: &&str| {
            let layers = self.by_layer(codec);
            let ((_, first), (deepest, last)) = (layers.first()?, layers.last()?);
            Some((codec.to_string(), *deepest, mean_loss(last).minus(mean_loss(first)), first.len()))
        };
        let falls: Vec<(String, u32, Measured, usize)> = codecs.iter().filter_map(fall).collect();
        let (_, deepest, _, count) = falls.first()?;
        let list: Vec<String> =
            falls.iter().map(|(codec, _, points, _)| format!("{codec} {}", points.text(1))).collect();
        let verdict = Verdict::of(
            falls.iter().all(|(_, _, points, _)| points.surely_above(0.0, ONE)),
            falls.iter().any(|(_, _, points, _)| points.surely_below(0.0, ANY)),
        );
        let found = format!("points lost from layer 1 to layer {deepest}, over {}: {}", sets(*count), list.join(", "));
        Some((verdict, found, count * falls.len()))
    }

    fn least_error(&self) -> Said {
        let layers = self.by_layer("fc");
        let (first, others) = layers.split_first()?;
        let more = |(layer, pairs): &(u32, Vec<Pair>)| {
            let differences: Option<Vec<f64>> = pairs
                .iter()
                .zip(&first.1)
                .map(|(one, at_first)| Some(one.cell.rel_error? - at_first.cell.rel_error?))
                .collect();
            Some((*layer, Measured::mean(&differences?)?))
        };
        let more: Vec<(u32, Measured)> = others.iter().map(more).collect::<Option<_>>()?;
        let verdict = Verdict::of(
            more.iter().all(|(_, more)| more.surely_above(0.0, ONE)),
            more.iter().any(|(_, more)| more.surely_below(0.0, ANY)),
        );
        let list: Vec<String> = more.iter().map(|(layer, more)| format!("layer {layer} {}", more.text(3))).collect();
        let found =
            format!("relative error minus that after layer 1, mean over {}: {}", sets(first.1.len()), list.join(", "));
        Some((verdict, found, first.1.len() * more.len()))
    }
}

/// After layer 1, by the default reading at the ratio nearest to the paper's average; the error is of the mean over the sets.
fn energy(lines: &[Energy], least: f64) -> Vec<Judged> {
    let models = view::distinct(lines.iter().map(|line| line.model.as_str()));
    let judge = |model: &str| {
        let here: Vec<&Energy> = lines
            .iter()
            .filter(|line| line.model == model && line.layer == 1 && line.reading == "fc" && line.ratio == 8.0)
            .filter(|line| line.share.is_finite() && line.noise.is_finite())
            .collect();
        let of =
            |what: fn(&Energy) -> f64| Measured::mean(&here.iter().map(|line| 100.0 * what(line)).collect::<Vec<_>>());
        let (share, noise) = (of(|line| line.share)?, of(|line| line.noise)?);
        let bound = 100.0 * least;
        let found = format!(
            "{} % of the energy at ratio 8, mean over {}; of independent noise {:.1} %",
            share.text(1),
            sets(here.len()),
            noise.value
        );
        let verdict = Verdict::of(share.surely_above(bound, ONE), share.surely_below(bound, ONE));
        Some(Judged { subject: model.to_string(), verdict, found, weight: here.len() })
    };
    models.into_iter().filter_map(judge).collect()
}

/// Judges each model by each measure, since the paper names none.
fn alike(lines: &[Similarity], judge: impl Fn(&[&Similarity]) -> Said) -> Vec<Judged> {
    let places = view::distinct(lines.iter().map(|line| (line.model.as_str(), line.measure.as_str())));
    let one = |(model, measure): (&str, &str)| {
        let of = |line: &&Similarity| line.model == model && line.measure == measure && line.cosine.is_finite();
        let here: Vec<&Similarity> = lines.iter().filter(of).collect();
        let (verdict, found, weight) = judge(&here)?;
        Some(Judged { subject: format!("{model}, {measure}"), verdict, found, weight })
    };
    places.into_iter().filter_map(one).collect()
}

fn cosine(line: &Similarity) -> Measured {
    Measured { value: line.cosine, stderr: line.stderr }
}

/// The largest similarity of the first layers against the largest behind them, set by set.
fn early(lines: &[&Similarity], first: u32) -> Said {
    let sets = view::distinct(lines.iter().map(|line| line.dataset.as_str()));
    let ahead = |set: &&str| {
        let most = |of: &dyn Fn(&Similarity) -> bool| {
            let here = lines.iter().filter(|line| line.dataset == *set && of(line)).map(|line| cosine(line));
            here.max_by(|a, b| a.value.total_cmp(&b.value))
        };
        let (early, late) = (most(&|line| line.layer <= first)?, most(&|line| line.layer > first)?);
        Some((names::title(set), early.minus(late)))
    };
    let ahead: Vec<(String, Measured)> = sets.iter().filter_map(ahead).collect();
    let list: Vec<String> = ahead.iter().map(|(set, ahead)| format!("{set} {}", ahead.text(2))).collect();
    let verdict = Verdict::of(
        ahead.iter().all(|(_, ahead)| ahead.surely_above(0.0, ONE)),
        ahead.iter().any(|(_, ahead)| ahead.surely_below(0.0, ANY)),
    );
    let found = format!("most alike in layers 1 to {first} minus behind them: {}", list.join(", "));
    (!ahead.is_empty()).then_some((verdict, found, ahead.len()))
}

/// Mean over the sets after the last layer.
fn late(lines: &[&Similarity], most: f64) -> Said {
    let last = lines.iter().map(|line| line.layer).max()?;
    let here: Vec<Measured> = lines.iter().filter(|line| line.layer == last).map(|line| cosine(line)).collect();
    let n = here.len() as f64;
    let squares: Option<f64> = here.iter().map(|one| one.stderr.map(|stderr| stderr.powi(2))).sum();
    let mean = Measured {
        value: here.iter().map(|one| one.value).sum::<f64>() / n,
        stderr: squares.map(|sum| sum.sqrt() / n),
    };
    let found = format!("{} after layer {last}, mean over {}", mean.text(2), sets(here.len()));
    Some((Verdict::of(mean.surely_below(most, ONE), mean.surely_above(most, ONE)), found, here.len()))
}

/// The codec's share of the response time at every link rate of the run: the paper does not state its link.
fn share(all: &[response::Share], codec: &str, bound: f64, at_most: bool) -> Vec<Judged> {
    let profiles = view::distinct(all.iter().map(|share| share.profile.as_str()));
    let judge = |profile: &str| {
        let here: Vec<&response::Share> =
            all.iter().filter(|share| share.profile == profile && share.codec == codec).collect();
        let ends = |share: &&response::Share| {
            let of = |fold: fn(f64, f64) -> f64| share.sets.iter().copied().reduce(fold);
            Some((of(f64::min)?, of(f64::max)?))
        };
        let all: Vec<(f64, f64)> = here.iter().filter_map(ends).collect();
        let below = all.iter().all(|(_, high)| *high <= bound);
        let above = all.iter().all(|(low, _)| *low > bound);
        let list: Vec<String> = here
            .iter()
            .zip(&all)
            .map(|(share, (low, high))| {
                let percent = |part: f64| significant(100.0 * part);
                format!(
                    "{} % ({} to {} by set) at {}",
                    percent(share.mean),
                    percent(*low),
                    percent(*high),
                    response::rate(share.mbps)
                )
            })
            .collect();
        let verdict = if at_most { Verdict::of(below, above) } else { Verdict::of(above, below) };
        let open = if verdict == Verdict::Open { "depends on the link, which the paper does not state: " } else { "" };
        let judged =
            Judged { subject: profile.into(), verdict, found: format!("{open}{}", list.join(", ")), weight: all.len() };
        (!all.is_empty()).then_some(judged)
    };
    profiles.into_iter().filter_map(judge).collect()
}

fn factors(found: &[(usize, f64, f64)]) -> String {
    let one = |(hidden, ratio, error): &(usize, f64, f64)| format!("{ratio:.2} ± {error:.2} at D {hidden}");
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn faster(claims: &[speed::Claim], method: &str, times: f64) -> Vec<Judged> {
    let judge = |claim: &speed::Claim| {
        let (verdict, says) = match speed::verdict(times, &claim.found) {
            speed::Verdict::Holds => (Verdict::Holds, ""),
            speed::Verdict::Less => (Verdict::Fails, "faster, but by less: "),
            speed::Verdict::Fails => (Verdict::Fails, "FC is slower: "),
            speed::Verdict::Open => (Verdict::Open, "within two standard errors: "),
        };
        let threads = if claim.threads == 1 { "1 thread".to_string() } else { format!("{} threads", claim.threads) };
        let found = format!("{says}{} (the paper's averages: {:.1})", factors(&claim.found), claim.claimed);
        Judged { subject: format!("this CPU, {threads}"), verdict, found, weight: claim.found.len() }
    };
    claims.iter().filter(|claim| claim.method == method).map(judge).collect()
}

fn hardware(all: &[speed::Accelerated]) -> Vec<Judged> {
    let judge = |one: &speed::Accelerated| {
        let reached = one.found.iter().all(|(_, ratio, error)| ratio - ONE * error >= one.claimed);
        let short = one.found.iter().any(|(_, ratio, error)| ratio + ONE * error < one.claimed);
        let (verdict, says) = match (one.provenance, short) {
            (Provenance::Measured, _) => (Verdict::of(reached, short), ""),
            (Provenance::Simulated, true) => (Verdict::Fails, "even if the stated clock is met: "),
            (Provenance::Simulated, false) => (Verdict::Open, "simulated, if the stated clock is met: "),
            // A bound on what a device could do is no measurement.
            (Provenance::Modelled, true) => (Verdict::Open, "not measured; by the model's bound at most "),
            (Provenance::Modelled, false) => (Verdict::Open, "not measured; the model's bound does not exclude it: "),
        };
        let found = format!("{says}{}, against Top-k on 1 thread of this CPU", factors(&one.found));
        Judged { subject: one.name.clone(), verdict, found, weight: one.found.len() }
    };
    all.iter().map(judge).collect()
}

/// Prompts alone, of one profile and so many workers.
fn places(lines: &[Saturation], workers: usize) -> Vec<(&str, Vec<&Saturation>)> {
    let here = || lines.iter().filter(move |line| line.workers == workers && line.generate == 0);
    let profiles = view::distinct(here().map(|line| line.profile.as_str()));
    profiles.into_iter().map(|profile| (profile, here().filter(|line| line.profile == profile).collect())).collect()
}

fn is_fc(line: &Saturation) -> bool {
    line.codec == "fc" || line.codec.starts_with("fc at ratio")
}

/// By arithmetic from service times: there is no sampling error, and the times are one request's alone.
fn limits(lines: &[Saturation], workers: usize, by: &str, fc: bool) -> Vec<Judged> {
    let judge = |(profile, lines): (&str, Vec<&Saturation>)| {
        let counted: Vec<&Saturation> =
            lines.into_iter().filter(|line| line.codec == RAW || fc && is_fc(line)).collect();
        let others: Vec<&&Saturation> = counted.iter().filter(|line| line.bottleneck != by).collect();
        let tightest = |line: &&Saturation| line.link_per_s / line.compute_per_s;
        let ends = counted.iter().map(tightest);
        let (low, high) = (ends.clone().reduce(f64::min)?, ends.reduce(f64::max)?);
        let list: Vec<String> =
            others.iter().map(|line| format!("{} at {} Gbit/s", line.codec, line.link_gbps)).collect();
        let except = if list.is_empty() { String::new() } else { format!("; not so: {}", list.join(", ")) };
        let found = format!(
            "the link carries {} to {} times the requests that the server computes{except}",
            significant(low),
            significant(high)
        );
        let verdict = Verdict::of(others.is_empty(), !others.is_empty());
        Some(Judged { subject: profile.into(), verdict, found, weight: counted.len() })
    };
    places(lines, workers).into_iter().filter_map(judge).collect()
}

fn clients(lines: &[Saturation], workers: usize, gbps: Option<f64>, times: f64) -> Vec<Judged> {
    let judge = |(profile, lines): (&str, Vec<&Saturation>)| {
        let doubled = |line: &Saturation| line.doubled_at.map_or("none tried".into(), |clients| clients.to_string());
        let rates = view::distinct(lines.iter().map(|line| line.link_gbps));
        let at = |rate: f64| {
            let find = |of: &dyn Fn(&Saturation) -> bool| lines.iter().find(|line| line.link_gbps == rate && of(line));
            let (raw, fc) = (find(&|line| line.codec == RAW)?, find(&is_fc)?);
            let ratio = fc.clients / raw.clients;
            let found = format!(
                "{ratio:.2} times at {rate} Gbit/s: {:.0} against {:.0} clients by arithmetic; simulated, the mean time has doubled at {} against {}",
                fc.clients,
                raw.clients,
                doubled(fc),
                doubled(raw)
            );
            Some((ratio, found))
        };
        let all: Vec<(f64, String)> =
            rates.into_iter().filter(|rate| gbps.is_none_or(|gbps| gbps == *rate)).filter_map(at).collect();
        let verdict =
            Verdict::of(all.iter().all(|(ratio, _)| *ratio > times), all.iter().any(|(ratio, _)| *ratio <= times));
        let found = all.iter().map(|(_, found)| found.as_str()).collect::<Vec<_>>().join(". ");
        (!all.is_empty()).then(|| Judged { subject: profile.into(), verdict, found, weight: all.len() })
    };
    places(lines, workers).into_iter().filter_map(judge).collect()
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
