//! Figure 6: where a request's time goes by each codec, and from which link rate down a codec pays; and what a generated
//! token costs. Compute times are measured, the link is modelled.

use super::TableSet;
use super::bars::{Bar, BarPanel, Bars};
use super::number::{self, MISSING};
use super::table::{Table, TableSection};
use crate::experiment::ResponseSpec;
use crate::file_name::file_name;
use crate::record::{RAW, Service, ServicePart, table_file};
use crate::simulate::{Cost, Load, ServicePair, ServiceProfile, label};

/// The server makes the activation itself.
const TOKEN_IDS: &str = "token-ids";

/// The parts of a bar.
const PARTS: [&str; 6] = ["client half", "encode", "link: bytes", "link: round trip", "decode", "server half"];

/// Mean of what some data sets take, each weighing alike.
fn mean(load: &Load, part: ServicePart) -> Cost {
    let cost = |pair: &ServicePair| if part == ServicePart::Prompt { pair.prompt } else { pair.step };
    let all: Vec<Cost> = load.classes.iter().map(cost).collect();
    let each = |field: &dyn Fn(&Cost) -> f64| all.iter().map(field).sum::<f64>() / all.len() as f64;
    Cost {
        client_s: each(&|cost| cost.client_s),
        encode_s: each(&|cost| cost.encode_s),
        bytes: each(&|cost| cost.bytes),
        decode_s: each(&|cost| cost.decode_s),
        server_s: each(&|cost| cost.server_s),
        more_s: each(&|cost| cost.more_s),
    }
}

/// Seconds of client half, encoding, link (transmission and one round trip), decoding and server half.
fn parts(cost: &Cost, mbps: f64, round_trip_ms: f64) -> [f64; 5] {
    let link = 8.0 * cost.bytes / (mbps * 1e6) + round_trip_ms / 1e3;
    [cost.client_s, cost.encode_s, link, cost.decode_s, cost.server_s]
}

/// When a codec is quicker than sending the activation in f16.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BreakEven {
    /// On links slower than this, Mbit/s.
    Below(f64),
    /// Never: it sends no fewer bytes.
    Never,
    /// Always: it takes no time.
    Always,
}

impl BreakEven {
    /// Encoding and decoding against the bytes that are saved.
    pub fn new(raw: &Cost, cost: &Cost) -> Self {
        let (saved, spent) = (raw.bytes - cost.bytes, cost.encode_s + cost.decode_s);
        match (saved > 0.0, spent > 0.0) {
            (false, _) => Self::Never,
            (true, false) => Self::Always,
            (true, true) => Self::Below(8.0 * saved / spent / 1e6),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Below(mbps) => number::significant(mbps),
            Self::Never => "never".into(),
            Self::Always => "always".into(),
        }
    }
}

/// One model and cut with what was measured there.
struct ResponsePlace<'a> {
    profile: ServiceProfile,
    lines: Vec<&'a Service>,
    response: &'a ResponseSpec,
}

fn places<'a>(lines: &'a [Service], response: &'a ResponseSpec) -> Vec<ResponsePlace<'a>> {
    let profiles = ServiceProfile::from_lines(lines, "service.csv").into_iter();
    profiles.map(|(profile, lines)| ResponsePlace { profile, lines, response }).collect()
}

/// What to say where there are no times: which command makes them.
pub(super) const NO_TIMES: &str = "response: the run has no service.csv, the times of single requests; `splitbench run figure6` measures them, and so does any experiment with a section [report.response].\n";

/// `response` and `decoding`, a table of each model and cut.
pub(super) fn tables(lines: &[Service], response: &ResponseSpec) -> Vec<(&'static str, TableSet)> {
    if lines.is_empty() {
        return Vec::new();
    }
    let places = places(lines, response);
    let mut shares = table_file::fields(
        "profile,codec,link_mbps,bytes,client_ms,encode_ms,link_ms,decode_ms,server_ms,total_ms,codec_share,break_even_mbps",
    );
    let mut steps = table_file::fields(
        "profile,codec,prompt_tokens,prompt_bytes,prompt_error,step_raw_bytes,step_bytes,step_error,step_encode_us,step_decode_us",
    );
    for place in &places {
        place.shares_csv(&mut shares);
        place.steps_csv(&mut steps);
    }
    vec![
        (
            "response",
            TableSet { tables: places.iter().map(ResponsePlace::shares).collect(), csv: table_file::text(&shares) },
        ),
        (
            "decoding",
            TableSet { tables: places.iter().map(ResponsePlace::steps).collect(), csv: table_file::text(&steps) },
        ),
    ]
}

/// Figure 6 and the bytes a generated token, for each model and cut; with file names.
pub(super) fn figures(lines: &[Service], response: &ResponseSpec) -> Vec<(String, Bars)> {
    let places = places(lines, response);
    let mut out = Vec::new();
    for place in &places {
        // The profile's name, but for the model's made of few words.
        let file = |shows: &str| match place.lines.first() {
            Some(line) if places.len() > 1 => {
                let model = crate::model::short_name(&line.model, lines.iter().map(|line| line.model.as_str()));
                let (model, scope) = (file_name(&model), line.scope.replace('+', "-"));
                format!("{shows}-{model}-after-layer-{}-scope-{scope}", line.split_layer)
            }
            _ => shows.to_string(),
        };
        out.push((file("response"), place.share_bars()));
        out.push((file("bytes-per-generated-token"), place.step_bars()));
    }
    out
}

/// The part of encoding and decoding in a response time.
pub(super) struct CodecShare {
    /// Model and cut.
    pub profile: String,
    /// Codec without its ratio.
    pub codec: String,
    /// The link.
    pub mbps: f64,
    /// Of the mean request, as the table has it.
    pub mean: f64,
    /// Of each data set's.
    pub sets: Vec<f64>,
}

/// Those of all codecs and links.
pub(super) fn shares(lines: &[Service], response: &ResponseSpec) -> Vec<CodecShare> {
    let mut out = Vec::new();
    for place in places(lines, response) {
        for load in &place.profile.loads {
            let codec = place.lines.iter().find(|line| label(line) == load.codec).map(|line| line.codec.clone());
            for &mbps in &response.links_mbps {
                let share = |cost: &Cost| {
                    let parts = parts(cost, mbps, response.round_trip_ms);
                    (parts[1] + parts[3]) / parts.iter().sum::<f64>()
                };
                out.push(CodecShare {
                    profile: place.profile.name.clone(),
                    codec: codec.clone().unwrap_or_default(),
                    mbps,
                    mean: share(&mean(load, ServicePart::Prompt)),
                    sets: load.classes.iter().map(|pair| share(&pair.prompt)).collect(),
                });
            }
        }
    }
    out
}

fn ms(seconds: f64) -> String {
    number::significant(1e3 * seconds)
}

impl ResponsePlace<'_> {
    fn raw(&self) -> Option<Cost> {
        let load = self.profile.loads.iter().find(|load| load.codec == RAW)?;
        Some(mean(load, ServicePart::Prompt))
    }

    fn caption(&self) -> Vec<String> {
        let mut out = vec![format!("Times: {}.", self.profile.source)];
        if !self.profile.left_out.is_empty() {
            out.push(format!("Left out: {}.", self.profile.left_out.join("; ")));
        }
        out
    }

    fn table(&self, what: &str, caption: Vec<String>, columns: Vec<String>, rows: Vec<Vec<String>>) -> Table {
        Table {
            title: format!("{what}: {}", self.profile.name),
            caption: caption.into_iter().chain(self.caption()).collect(),
            columns: ["model".to_string(), "codec".into()].into_iter().chain(columns).collect(),
            sections: vec![TableSection { name: self.profile.name.clone(), rows }],
            ..Table::default()
        }
    }

    fn shares(&self) -> Table {
        let raw = self.raw();
        let mut columns: Vec<String> =
            ["bytes", "client ms", "encode ms", "decode ms", "server ms"].map(String::from).to_vec();
        for mbps in &self.response.links_mbps {
            let rate = rate(*mbps);
            columns.extend([format!("ms at {rate}"), format!("codec share at {rate}")]);
        }
        columns.push("pays below, Mbit/s".into());
        let row = |load: &Load| {
            let cost = mean(load, ServicePart::Prompt);
            let mut cells = vec![load.codec.clone(), format!("{:.0}", cost.bytes)];
            cells.extend([cost.client_s, cost.encode_s, cost.decode_s, cost.server_s].map(ms));
            for mbps in &self.response.links_mbps {
                let parts = parts(&cost, *mbps, self.response.round_trip_ms);
                cells.extend([ms(parts.iter().sum()), percent(&parts)]);
            }
            let own = load.codec == RAW;
            cells.push(raw.filter(|_| !own).map_or(MISSING.into(), |raw| BreakEven::new(&raw, &cost).text()));
            cells
        };
        let caption = vec![
            format!(
                "One request at a time, no waiting; the link is modelled: bytes over its rate, and a round trip of {} ms.",
                self.response.round_trip_ms
            ),
            "Mean over the data sets. codec share: encoding and decoding in the whole response time.".into(),
            format!(
                "pays below: the link rate at which encoding and decoding take as long as the bytes saved, against {RAW}; never: no bytes are saved."
            ),
        ];
        self.table("Response time of one request", caption, columns, self.profile.loads.iter().map(row).collect())
    }

    fn shares_csv(&self, out: &mut Vec<Vec<String>>) {
        let raw = self.raw();
        for load in &self.profile.loads {
            let cost = mean(load, ServicePart::Prompt);
            let even = match raw.filter(|_| load.codec != RAW).map(|raw| BreakEven::new(&raw, &cost)) {
                Some(BreakEven::Below(mbps)) => format!("{mbps:.4}"),
                Some(BreakEven::Never) => "0".into(),
                Some(BreakEven::Always) => "inf".into(),
                None => String::new(),
            };
            for mbps in &self.response.links_mbps {
                let parts = parts(&cost, *mbps, self.response.round_trip_ms);
                let total: f64 = parts.iter().sum();
                let [client, encode, link, decode, server] = parts.map(|part| format!("{:.6}", 1e3 * part));
                out.push(vec![
                    self.profile.name.clone(),
                    load.codec.clone(),
                    mbps.to_string(),
                    format!("{:.2}", cost.bytes),
                    client,
                    encode,
                    link,
                    decode,
                    server,
                    format!("{:.6}", 1e3 * total),
                    format!("{:.6}", (parts[1] + parts[3]) / total),
                    even.clone(),
                ]);
            }
        }
    }

    fn share_bars(&self) -> Bars {
        let panel = |mbps: &f64| BarPanel {
            title: rate(*mbps),
            bars: self
                .profile
                .loads
                .iter()
                .map(|load| {
                    let parts = parts(&mean(load, ServicePart::Prompt), *mbps, self.response.round_trip_ms);
                    let note = format!("{} ms, codec {}", ms(parts.iter().sum()), percent(&parts));
                    let [client, encode, link, decode, server] = parts.map(|part| 1e3 * part);
                    let trip = self.response.round_trip_ms;
                    Bar {
                        name: load.codec.clone(),
                        parts: vec![client, encode, link - trip, trip, decode, server],
                        note,
                    }
                })
                .collect(),
        };
        let ids = self.profile.loads.iter().any(|load| load.codec == TOKEN_IDS);
        let again = if ids { " What decodes token-ids is the client half, computed again by the server." } else { "" };
        Bars {
            title: format!("Where the time of one request goes: {}", self.profile.name),
            subtitle: format!(
                "Compute times measured, one request at a time; the link modelled: bytes over its rate, and a round trip of {} ms. At the end of a bar: the whole time, and the share of encoding and decoding in it.{again} Each panel has its own scale. {}",
                self.response.round_trip_ms,
                self.caption().join(" ")
            ),
            x_label: "response time (ms)".into(),
            parts: PARTS.map(String::from).to_vec(),
            panels: self.response.links_mbps.iter().map(panel).collect(),
        }
    }

    /// Relative error of a codec, mean over the data sets; none where a set lacks it.
    fn error(&self, codec: &str, part: ServicePart) -> Option<f64> {
        let lines = self.lines.iter().filter(|line| line.part == part && label(line) == codec);
        number::mean(lines.map(|line| line.rel_error.filter(|error| error.is_finite())))
    }

    /// Mean of something of the lines of one part.
    fn of_lines(&self, part: ServicePart, of: impl Fn(&Service) -> f64) -> f64 {
        let values: Vec<f64> = self.lines.iter().filter(|line| line.part == part).map(|line| of(line)).collect();
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn steps(&self) -> Table {
        let raw = self.of_lines(ServicePart::Step, |line| line.raw_bytes);
        let tokens = self.of_lines(ServicePart::Prompt, |line| line.tokens);
        let error = |value: Option<f64>| value.map_or(MISSING.into(), |value| format!("{value:.3}"));
        let row = |load: &Load| {
            let (prompt, step) = (mean(load, ServicePart::Prompt), mean(load, ServicePart::Step));
            vec![
                load.codec.clone(),
                format!("{:.1}", prompt.bytes / tokens),
                error(self.error(&load.codec, ServicePart::Prompt)),
                format!("{:.1}", step.bytes),
                format!("{:.2}", raw / step.bytes),
                error(self.error(&load.codec, ServicePart::Step)),
                format!("{:.1}", 1e6 * step.encode_s),
                format!("{:.1}", 1e6 * step.decode_s),
            ]
        };
        let columns = [
            "prompt bytes/token",
            "prompt error",
            "bytes a generated token",
            "wire ratio",
            "row error",
            "row encode µs",
            "row decode µs",
        ];
        let caption = vec![
            "A generated token sends one row of the activation, by itself: what a codec shares between tokens it cannot share there, and its header is paid each time.".into(),
            "fc on one row is a transform over channels alone: its block is the lowest of their frequencies.".into(),
            format!("error: ||A - A'||_F / ||A||_F; the row is the last of each request. Requests have {tokens:.1} rows on average; a row in f16 has {raw:.0} bytes."),
        ];
        let rows = self.profile.loads.iter().map(row).collect();
        self.table("A generated token", caption, columns.map(String::from).to_vec(), rows)
    }

    fn steps_csv(&self, out: &mut Vec<Vec<String>>) {
        let field = |value: Option<f64>| number::field_to(value, 6);
        let (tokens, raw) = (
            self.of_lines(ServicePart::Prompt, |line| line.tokens),
            self.of_lines(ServicePart::Step, |line| line.raw_bytes),
        );
        for load in &self.profile.loads {
            let (prompt, step) = (mean(load, ServicePart::Prompt), mean(load, ServicePart::Step));
            out.push(vec![
                self.profile.name.clone(),
                load.codec.clone(),
                format!("{tokens:.4}"),
                format!("{:.2}", prompt.bytes),
                field(self.error(&load.codec, ServicePart::Prompt)),
                format!("{raw:.0}"),
                format!("{:.2}", step.bytes),
                field(self.error(&load.codec, ServicePart::Step)),
                format!("{:.3}", 1e6 * step.encode_s),
                format!("{:.3}", 1e6 * step.decode_s),
            ]);
        }
    }

    fn step_bars(&self) -> Bars {
        let bar = |load: &Load| {
            let bytes = mean(load, ServicePart::Step).bytes;
            let error = self
                .error(&load.codec, ServicePart::Step)
                .map(|error| format!(", error {error:.2}"))
                .unwrap_or_default();
            Bar { name: load.codec.clone(), parts: vec![bytes], note: format!("{bytes:.0}{error}") }
        };
        Bars {
            title: format!("Bytes a generated token: {}", self.profile.name),
            subtitle: format!(
                "One row of the activation by itself, header and all; at the end of a bar its bytes and the relative error of the row. fc on one row is a transform over channels alone. {}",
                self.caption().join(" ")
            ),
            x_label: "bytes a generated token".into(),
            parts: vec!["bytes".into()],
            panels: vec![BarPanel { title: String::new(), bars: self.profile.loads.iter().map(bar).collect() }],
        }
    }
}

/// Share of encoding and decoding.
fn percent(parts: &[f64; 5]) -> String {
    format!("{} %", number::significant(100.0 * (parts[1] + parts[3]) / parts.iter().sum::<f64>()))
}

/// `100 Mbit/s`, `1 Gbit/s`.
pub(super) fn rate(mbps: f64) -> String {
    if mbps >= 1000.0 { format!("{} Gbit/s", mbps / 1000.0) } else { format!("{mbps} Mbit/s") }
}

#[cfg(test)]
#[path = "response_tests.rs"]
pub(super) mod tests;
