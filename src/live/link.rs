//! What a link is like: two rates, a delay and its jitter. Up is from the client to the server, down is to the client.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};

static PRESETS: Dir = include_dir!("$CARGO_MANIFEST_DIR/experiments/links");

/// Most bytes that are on their way in one direction; what is on its way is kept in memory.
const MOST_IN_FLIGHT: u64 = 1 << 30;

/// Units of a rate, in bit/s.
const RATE_UNITS: [(&str, f64); 4] = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9), ("bit", 1.0)];

/// Units of a time, in ns.
const TIME_UNITS: [(&str, f64); 3] = [("us", 1e3), ("ms", 1e6), ("s", 1e9)];

/// How a link is given.
const FORMS: &str =
    "a link is a preset, a path that ends in .toml, or DOWN/UP,DELAY[,JITTER] such as 20mbit/5mbit,40ms,2ms";

/// A link between a client and a server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkProfile {
    /// Name of the preset or file, or the link as it was given.
    pub name: String,
    /// What it stands for.
    pub about: String,
    /// Rate from the server to the client, bit/s.
    pub down_bits_per_s: u64,
    /// Rate from the client to the server, bit/s.
    pub up_bits_per_s: u64,
    /// Delay of one way; a round trip has it twice.
    #[serde(rename = "delay_ms", serialize_with = "as_ms")]
    pub delay: Duration,
    /// Each piece of data is early or late by up to this.
    #[serde(rename = "jitter_ms", serialize_with = "as_ms")]
    pub jitter: Duration,
    /// Where the numbers are from.
    pub source: String,
    /// For each number, whether it was measured or assumed.
    pub basis: Option<LinkBasis>,
}

/// Of each number, `measured: ` with where, or `assumed: `.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkBasis {
    /// Of the rate to the client.
    pub down: String,
    /// Of the rate from the client.
    pub up: String,
    /// Of the delay.
    pub delay: String,
    /// Of the jitter.
    pub jitter: String,
}

/// A file of `experiments/links`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkFile {
    #[serde(default)]
    about: String,
    source: Option<String>,
    down: String,
    up: String,
    delay: String,
    jitter: Option<String>,
    basis: Option<LinkBasis>,
}

fn as_ms<S: serde::Serializer>(time: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_nanos() as f64 / 1e6)
}

/// Names of the links that are part of the program.
pub fn presets() -> Vec<&'static str> {
    let mut names: Vec<_> = PRESETS.files().filter_map(|file| file.path().file_stem()?.to_str()).collect();
    names.sort_unstable();
    names
}

/// A link by its name, as `DOWN/UP,DELAY[,JITTER]`, or of a file.
pub fn find(text: &str) -> Result<LinkProfile> {
    if let Some(file) = PRESETS.get_file(format!("{text}.toml")).and_then(|file| file.contents_utf8()) {
        return LinkProfile::read(text, file).with_context(|| format!("link {text}"));
    }
    if text.ends_with(".toml") {
        let file = std::fs::read_to_string(text).with_context(|| format!("reading link {text}"))?;
        let name = Path::new(text).file_stem().and_then(|stem| stem.to_str()).unwrap_or(text);
        return LinkProfile::read(name, &file).with_context(|| format!("link {text}"));
    }
    if text.contains([',', '/']) || text.starts_with(|first: char| first.is_ascii_digit()) {
        return LinkProfile::parse(text)
            .with_context(|| format!("link {text:?}"))
            .with_context(|| format!("{FORMS}; presets: {}", presets().join(", ")));
    }
    Err(splitbench_codec::suggest::unknown("link", text, presets()).context(FORMS))
}

/// A time with its unit.
pub fn parse_time(text: &str) -> Result<Duration> {
    let ns = with_unit("time", text, &TIME_UNITS)?;
    ensure!(ns <= 86_400e9, "time {text:?} is longer than a day");
    Ok(Duration::from_nanos(ns.round() as u64))
}

/// A rate with its unit, in bit/s.
fn parse_rate(text: &str) -> Result<u64> {
    let rate = with_unit("rate", text, &RATE_UNITS)?;
    ensure!((1e3..=1e11).contains(&rate), "rate {text:?} is not between 1kbit and 100gbit (per second)");
    Ok(rate.round() as u64)
}

/// A decimal number times its unit. `mbps` and the like are no units: some read bytes there, some bits.
fn with_unit(kind: &str, text: &str, units: &[(&str, f64)]) -> Result<f64> {
    let names = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let number = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(number);
    let Some((_, scale)) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) else {
        bail!("{kind} {text:?} has no known unit: expected a number and one of {}", names());
    };
    let number: f64 = number.parse().ok().with_context(|| {
        format!("{kind} {text:?} is no number with a unit: expected one such as 20{}", units[units.len() - 2].0)
    })?;
    Ok(number * scale)
}

impl LinkProfile {
    /// `DOWN/UP,DELAY[,JITTER]`.
    fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let (rates, delay, jitter) = match parts[..] {
            [rates, delay] => (rates, delay, None),
            [rates, delay, jitter] => (rates, delay, Some(jitter)),
            [_] => bail!("no delay: expected it after a comma, such as ,40ms"),
            _ => bail!("{} parts: expected two or three, set apart by commas", parts.len()),
        };
        let (down, up) = rates.split_once('/').context("one rate: expected two, DOWN/UP, such as 20mbit/5mbit")?;
        Self::new(
            text,
            LinkFile {
                about: "as given".into(),
                source: Some("as given".into()),
                down: down.into(),
                up: up.into(),
                delay: delay.into(),
                jitter: jitter.map(String::from),
                basis: None,
            },
        )
    }

    /// The text of a file.
    fn read(name: &str, text: &str) -> Result<Self> {
        Self::new(name, toml::from_str(text)?)
    }

    fn new(name: &str, file: LinkFile) -> Result<Self> {
        let profile = Self {
            name: name.into(),
            about: file.about,
            down_bits_per_s: parse_rate(&file.down).context("down")?,
            up_bits_per_s: parse_rate(&file.up).context("up")?,
            delay: parse_time(&file.delay).context("delay")?,
            jitter: file.jitter.map_or(Ok(Duration::ZERO), |text| parse_time(&text)).context("jitter")?,
            source: file.source.unwrap_or_else(|| "not stated".into()),
            basis: file.basis,
        };
        profile.check()?;
        Ok(profile)
    }

    /// Fails on what cannot be emulated.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.jitter <= self.delay,
            "jitter {} is more than the delay {}: data cannot arrive before it is sent",
            show_time(self.jitter),
            show_time(self.delay)
        );
        ensure!(self.delay <= Duration::from_secs(60), "delay {} is more than a minute", show_time(self.delay));
        for (way, rate) in [("down", self.down_bits_per_s), ("up", self.up_bits_per_s)] {
            ensure!(rate > 0, "{way} is 0: nothing would arrive");
            ensure!(
                bytes_in(rate, self.delay + self.jitter) <= MOST_IN_FLIGHT,
                "{way}: more than 1 GiB would be on its way at {} and {}: give a lower rate or a shorter delay",
                show_rate(rate),
                show_time(self.delay + self.jitter)
            );
        }
        if let Some(LinkBasis { down, up, delay, jitter }) = &self.basis {
            for (name, text) in [("down", down), ("up", up), ("delay", delay), ("jitter", jitter)] {
                ensure!(
                    ["measured: ", "assumed: "].iter().any(|start| text.starts_with(start)),
                    "basis.{name} is {text:?}: expected it to begin with `measured: ` or `assumed: `"
                );
            }
        }
        Ok(())
    }
}

impl fmt::Display for LinkProfile {
    /// As [`find`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [down, up] = [self.down_bits_per_s, self.up_bits_per_s].map(show_rate);
        write!(f, "{down}/{up},{}", show_time(self.delay))?;
        if self.jitter > Duration::ZERO {
            write!(f, ",{}", show_time(self.jitter))?;
        }
        Ok(())
    }
}

/// Bytes that a rate carries in a time.
pub(super) fn bytes_in(bits_per_s: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(bits_per_s) * time.as_nanos() / 8_000_000_000).unwrap_or(u64::MAX)
}

/// In the largest unit of which there is at least one.
fn show(value: f64, units: &[(&str, f64)]) -> String {
    let (name, scale) = units.iter().rev().find(|(_, scale)| value >= *scale).unwrap_or(&units[0]);
    format!("{}{name}", value / scale)
}

/// A rate as it is given.
pub fn show_rate(bits_per_s: u64) -> String {
    show(bits_per_s as f64, &[("bit", 1.0), ("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)])
}

/// A time as it is given.
pub fn show_time(time: Duration) -> String {
    show(time.as_nanos() as f64, &TIME_UNITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_says_where_its_numbers_are_from() {
        assert_eq!(presets(), ["5g", "dsl", "fibre", "home-cable", "leo"]);
        for name in presets() {
            let link = find(name).unwrap();
            assert!(!link.about.is_empty() && link.source != "not stated", "{name}");
            let LinkBasis { down, up, delay, jitter } = link.basis.clone().unwrap();
            for text in [down, up, delay, jitter] {
                let is_cited = text.contains("https://") || text.contains("same source");
                assert!(text.starts_with("assumed: ") || is_cited, "{name}: {text}");
            }
            // What is shown is read again, to the same link.
            let again = find(&link.to_string()).unwrap();
            assert_eq!(
                (again.down_bits_per_s, again.up_bits_per_s, again.delay, again.jitter),
                (link.down_bits_per_s, link.up_bits_per_s, link.delay, link.jitter),
                "{name}: {link}"
            );
        }
    }

    #[test]
    fn down_stands_before_up() {
        let link = find("20mbit/512kbit,40ms").unwrap();
        assert_eq!((link.down_bits_per_s, link.up_bits_per_s), (20_000_000, 512_000));
        assert_eq!((link.delay, link.jitter), (Duration::from_millis(40), Duration::ZERO));
        let link = find("1.5Gbit/64000bit, 2.5ms, 250us").unwrap();
        assert_eq!((link.down_bits_per_s, link.up_bits_per_s), (1_500_000_000, 64_000));
        assert_eq!((link.delay, link.jitter), (Duration::from_micros(2500), Duration::from_micros(250)));
        assert_eq!(find("1gbit/1gbit,0ms").unwrap().delay, Duration::ZERO);
        assert_eq!(parse_time("5s").unwrap(), Duration::from_secs(5));
    }

    #[test]
    fn what_is_no_link_says_why() {
        for (text, expected) in [
            ("", "unknown link"),
            ("home-cabel", "did you mean \"home-cable\""),
            ("nonsense", "known: 5g, dsl, fibre, home-cable, leo"),
            ("20mbit", "no delay"),
            ("20mbit,40ms", "one rate"),
            ("20mbit/5mbit", "no delay"),
            ("20mbit/5mbit,40ms,1ms,2ms", "4 parts"),
            ("20mbps/5mbit,40ms", "no known unit"),
            ("20/5,40ms", "no known unit"),
            ("mbit/5mbit,40ms", "is no number"),
            ("1.2.3mbit/5mbit,40ms", "is no number"),
            ("-20mbit/5mbit,40ms", "no known unit"),
            ("0mbit/5mbit,40ms", "not between 1kbit"),
            ("infmbit/5mbit,40ms", "no known unit"),
            ("200gbit/5mbit,40ms", "not between"),
            ("20mbit/5mbit,40", "no known unit"),
            ("20mbit/5mbit,2h", "no known unit"),
            ("20mbit/5mbit,1ms,2ms", "more than the delay"),
            ("20mbit/5mbit,61s", "more than a minute"),
            ("20mbit/5mbit,99999999s", "longer than a day"),
            ("100gbit/1mbit,1s", "more than 1 GiB"),
            ("/,", "down"),
            ("no/such.toml", "reading link no/such.toml"),
        ] {
            let said = format!("{:#}", find(text).unwrap_err());
            assert!(said.contains(expected), "{text:?}: {said}");
        }
        assert!(format!("{:#}", find("20mbit,40ms").unwrap_err()).contains("presets: 5g, dsl"));
    }

    #[test]
    fn a_file_of_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lab.toml");
        let good = "down = \"100mbit\"\nup = \"10mbit\"\ndelay = \"3ms\"\n";
        std::fs::write(&path, good).unwrap();
        let link = find(path.to_str().unwrap()).unwrap();
        assert_eq!((link.name.as_str(), link.to_string().as_str()), ("lab", "100mbit/10mbit,3ms"));
        for (text, expected) in [
            (good.replace("delay", "dealy"), "dealy"),
            (good.replace("3ms", "3"), "delay: time \"3\""),
            (good.replace("10mbit", "10"), "up: rate \"10\""),
            (format!("{good}[basis]\ndown = \"x\"\nup = \"x\"\ndelay = \"x\"\njitter = \"x\"\n"), "basis.down"),
        ] {
            std::fs::write(&path, text).unwrap();
            let said = format!("{:#}", find(path.to_str().unwrap()).unwrap_err());
            assert!(said.contains(expected) && said.contains("lab.toml"), "{said}");
        }
    }
}
