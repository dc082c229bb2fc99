//! The paper's claims against runs: what each says, and what rows say of it. docs/methodology/claims.md.

mod accuracy;
mod activations;
mod clients;
mod time;

use super::super::table::{Table, TableSection};
use super::super::view::RowView;
use super::super::{response, speed};
use super::source::{RunKind, RunSource};
use super::verdict::{ANY, ClaimState, ONE};

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
pub(super) struct ClaimVerdict {
    /// Of which model, processor or profile.
    pub subject: String,
    pub verdict: ClaimState,
    /// The numbers that decide it, with their uncertainty.
    pub found: String,
    /// How much it rests on: of two runs about one subject the one with more is taken.
    weight: usize,
}

/// A claim with what the runs say of it, and which of them.
pub(super) struct ClaimLine {
    pub says: &'static str,
    pub section: &'static str,
    pub from: String,
    pub judged: ClaimVerdict,
}

/// Every claim, at least once.
pub(super) fn lines(sources: &[RunSource]) -> Vec<ClaimLine> {
    let mut out = Vec::new();
    for claim in &CLAIMS {
        let mut found: Vec<(&RunSource, ClaimVerdict)> = Vec::new();
        for source in sources {
            for judged in claim.test.judge(source) {
                match found.iter_mut().find(|(_, known)| known.subject == judged.subject) {
                    // Of as many sets the one with more questions.
                    Some(known) if (known.1.weight, known.0.questions()) < (judged.weight, source.questions()) => {
                        *known = (source, judged);
                    }
                    Some(_) => {}
                    None => found.push((source, judged)),
                }
            }
        }
        if found.is_empty() {
            let missing = format!("No run here has what it needs: `splitbench {}` makes it.", claim.needs);
            let judged = ClaimVerdict { subject: "–".into(), verdict: ClaimState::Open, found: missing, weight: 0 };
            out.push(ClaimLine { says: claim.says, section: claim.section, from: "–".into(), judged });
        }
        let line = |(source, judged): (&RunSource, _)| ClaimLine {
            says: claim.says,
            section: claim.section,
            from: source.name.clone(),
            judged,
        };
        out.extend(found.into_iter().map(line));
    }
    out
}

/// As a table of words.
pub(super) fn table(lines: &[ClaimLine]) -> Table {
    let row = |line: &ClaimLine| {
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
        sections: vec![TableSection { name: String::new(), rows: lines.iter().map(row).collect() }],
        ..Table::default()
    }
}

impl Test {
    fn judge(&self, source: &RunSource) -> Vec<ClaimVerdict> {
        match &source.kind {
            RunKind::Rows { rows, context, report } => match *self {
                Self::Energy(least) => activations::energy(&context.energy, &source.models, least),
                Self::AlikeEarly(layers) => {
                    activations::alike(&context.similarity, &source.models, |lines| activations::early(lines, layers))
                }
                Self::UnlikeLate(most) => {
                    activations::alike(&context.similarity, &source.models, |lines| activations::late(lines, most))
                }
                Self::ShareAtMost(codec, bound) | Self::ShareAtLeast(codec, bound) => {
                    let at_most = matches!(self, Self::ShareAtMost(..));
                    let lines = &context.service;
                    report
                        .response
                        .as_ref()
                        .map_or(Vec::new(), |links| time::share(&response::shares(lines, links), codec, bound, at_most))
                }
                _ => RowView::new(rows).map_or(Vec::new(), |view| {
                    let view = view.among(&source.models);
                    view.models.iter().filter_map(|model| accuracy::judge(self, &view, model)).collect()
                }),
            },
            RunKind::Replay { rows, .. } => match *self {
                Self::Faster(method, times) => time::faster(&speed::claims(rows), method, times),
                Self::Hardware => time::hardware(&speed::accelerated(rows)),
                _ => Vec::new(),
            },
            RunKind::Simulated(swept) => match *self {
                Self::Limits { workers, by, fc } => clients::limits(&swept.saturation, workers, by, fc),
                Self::Clients { workers, gbps, times } => clients::clients(&swept.saturation, workers, gbps, times),
                _ => Vec::new(),
            },
        }
    }
}

/// A verdict, its numbers, and how many sets they are of.
type ClaimAnswer = Option<(ClaimState, String, usize)>;

fn sets(count: usize) -> String {
    if count == 1 { "1 set".into() } else { format!("{count} sets") }
}

#[cfg(test)]
mod tests;
