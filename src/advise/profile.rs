//! What a model and codecs take on one machine: the file of `splitbench profile`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::model::Config;

/// Where a number is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Basis {
    /// Run on the machine.
    Measured,
    /// Operations and bytes counted over a data sheet: a lower bound.
    Modelled,
    /// Taken for another's.
    Assumed,
}

/// A time by number of tokens: the larger of `fixed + per_token n + per_token_squared n^2` and `at_least[0] + at_least[1] n`,
/// microseconds, and what it was fitted to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeFit {
    /// Whatever the number, us.
    pub fixed_us: f64,
    /// For each token, us.
    #[serde(default)]
    pub per_token_us: f64,
    /// For each pair of tokens, us.
    #[serde(default)]
    pub per_token_squared_us: f64,
    /// What it takes at least, us, fixed and for each token: of a data sheet the memory's time, beside which it computes. 0 of a
    /// measured time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at_least_us: [f64; 2],
    /// Largest |measured - fitted| / measured; 0 where nothing was measured.
    #[serde(default)]
    pub worst_residual: f64,
    /// Tokens and the median time there, us.
    #[serde(default)]
    pub samples: Vec<(f64, f64)>,
}

impl TimeFit {
    /// At so many tokens, s; never below 0.
    pub fn seconds(&self, tokens: f64) -> f64 {
        let us = self.fixed_us + tokens * (self.per_token_us + tokens * self.per_token_squared_us);
        let [fixed_us, per_token_us] = self.at_least_us;
        1e-6 * us.max(fixed_us + tokens * per_token_us).max(0.0)
    }
}

fn is_zero(bound: &[f64; 2]) -> bool {
    *bound == [0.0; 2]
}

/// A part of the model on this machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartFit {
    /// A prompt of n tokens at once.
    pub prompt: TimeFit,
    /// One token after n others.
    pub step: TimeFit,
}

/// What a codec makes of a matrix of so many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketSample {
    /// Rows.
    pub tokens: f64,
    /// The packet, a mean.
    pub bytes: f64,
    /// Median, one thread, us.
    pub encode_us: f64,
    /// Median, one thread, us.
    pub decode_us: f64,
}

/// A codec at one ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodecFit {
    /// With its options.
    pub codec: String,
    /// The ratio asked for; none of a codec of fixed rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// `elements` or `wire`; none without a ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounting: Option<String>,
    /// By ascending tokens, from one on; two at least.
    pub samples: Vec<PacketSample>,
}

impl CodecFit {
    /// At so many tokens: between two samples by a power of the tokens, beyond them by the last two.
    pub fn at(&self, tokens: f64) -> PacketSample {
        let samples = &self.samples;
        let tokens = tokens.max(1.0);
        let above = samples.iter().position(|sample| sample.tokens >= tokens).unwrap_or(samples.len() - 1).max(1);
        let (low, high) = (samples[above - 1], samples[above]);
        let share = (tokens / low.tokens).ln() / (high.tokens / low.tokens).ln();
        let between = |low: f64, high: f64| match low > 0.0 && high > 0.0 {
            true => low * (high / low).powf(share),
            false => low + (high - low) * share,
        };
        PacketSample {
            tokens,
            bytes: between(low.bytes, high.bytes),
            encode_us: between(low.encode_us, high.encode_us),
            decode_us: between(low.decode_us, high.decode_us),
        }
    }
}

/// The model that was profiled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Its name, as it was given.
    pub name: String,
    /// SHA-256 of its files; empty where the numbers are modelled from the shape alone.
    pub sha256: String,
    /// Type the weights are kept in.
    pub dtype: String,
    /// N.
    pub layers: usize,
    /// D.
    pub hidden: usize,
    /// Weights of one layer, bytes.
    pub layer_bytes: u64,
    /// The embedding, bytes.
    pub embedding_bytes: u64,
    /// The final norm and the head, bytes; of a tied head those of the embedding, which it is.
    pub head_bytes: u64,
    /// Whether the head is the embedding: a machine that has both has it once.
    pub tied: bool,
    /// Keys and values of one token in one layer, bytes.
    pub cache_bytes_per_token: u64,
}

impl ModelShape {
    /// Of a model's configuration, with weights of so many bytes.
    pub fn new(name: &str, sha256: &str, config: &Config, dtype: &str, weight_bytes: usize) -> Self {
        let (wide, narrow) =
            (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
        let d = config.hidden_size;
        let layer = d * (2 * wide + 2 * narrow) + 3 * d * config.intermediate_size;
        let vocabulary = (config.vocab_size * d * weight_bytes) as u64;
        Self {
            name: name.to_string(),
            sha256: sha256.to_string(),
            dtype: dtype.to_string(),
            layers: config.num_hidden_layers,
            hidden: d,
            layer_bytes: (layer * weight_bytes) as u64,
            embedding_bytes: vocabulary,
            head_bytes: vocabulary,
            tied: config.tie_word_embeddings,
            cache_bytes_per_token: (2 * narrow * size_of::<f32>()) as u64,
        }
    }
}

/// What a model and codecs take on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineProfile {
    /// What the machine is: processor and threads, or the name of a data sheet.
    pub machine: String,
    /// Where the times of layers are from.
    pub basis: Basis,
    /// By what, and what a reader must know.
    pub about: String,
    /// This program.
    pub version: String,
    /// The model.
    pub model: ModelShape,
    /// The embedding.
    pub embedding: PartFit,
    /// One layer: all have the same shape.
    pub layer: PartFit,
    /// How far layers are apart: standard deviation over mean of their times for the longest prompt.
    pub layer_spread: f64,
    /// Final norm and head, of one row, and the choice of a token.
    pub head: PartFit,
    /// Codecs.
    #[serde(default, rename = "codec")]
    pub codecs: Vec<CodecFit>,
}

impl MachineProfile {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        let what = || format!("profile {}", path.display());
        let text = std::fs::read_to_string(path).with_context(what)?;
        let profile: Self = toml::from_str(&text).with_context(|| {
            format!(
                "{}: not a profile; `splitbench profile --model MODEL --output {}` makes one",
                what(),
                path.display()
            )
        })?;
        profile.check().with_context(what)?;
        Ok(profile)
    }

    /// As a file has it.
    pub fn to_toml(&self) -> Result<String> {
        let text = toml::to_string(self)?;
        Ok(format!(
            "# What a model and codecs take on one machine, by `splitbench profile`. Times are microseconds.\n{text}"
        ))
    }

    /// Fails on what is no time, size or shape.
    pub fn check(&self) -> Result<()> {
        let Self { model, embedding, layer, head, .. } = self;
        ensure!(model.layers > 0 && model.hidden > 0, "model: layers and hidden must be above 0");
        for (part, fit) in [("embedding", embedding), ("layer", layer), ("head", head)] {
            for (phase, fit) in [("prompt", &fit.prompt), ("step", &fit.step)] {
                let [at_least, more] = fit.at_least_us;
                let numbers =
                    [fit.fixed_us, fit.per_token_us, fit.per_token_squared_us, at_least, more, fit.worst_residual];
                ensure!(numbers.iter().all(|n| n.is_finite()), "{part}.{phase} has a number that is none: {numbers:?}");
            }
        }
        ensure!(
            layer.prompt.seconds(64.0) > 0.0 && layer.step.seconds(64.0) > 0.0,
            "layer: a prompt of 64 tokens and a step must take longer than nothing"
        );
        for codec in &self.codecs {
            let name = &codec.codec;
            ensure!(codec.samples.len() > 1, "codec {name} needs samples at two numbers of tokens at least");
            let ascend = codec.samples.windows(2).all(|pair| pair[0].tokens < pair[1].tokens);
            ensure!(
                ascend && codec.samples[0].tokens >= 1.0,
                "codec {name}: tokens of its samples must ascend from 1 on"
            );
            for sample in &codec.samples {
                let numbers = [sample.tokens, sample.bytes, sample.encode_us, sample.decode_us];
                ensure!(
                    numbers.iter().all(|n| n.is_finite() && *n >= 0.0),
                    "codec {name} has a sample that is none: {numbers:?}"
                );
            }
        }
        Ok(())
    }

    /// The machine, and where its numbers are from.
    pub fn describe(&self) -> String {
        format!("{} ({})", self.machine, self.basis)
    }

    /// The codec at its ratio, if it was profiled.
    pub fn codec(&self, codec: &str, ratio: Option<f64>, accounting: &str) -> Option<&CodecFit> {
        self.codecs.iter().find(|fit| {
            fit.codec == codec && fit.ratio == ratio && fit.accounting.as_deref().unwrap_or("") == accounting
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A layer takes 100 us and 10 a token, a step 50.
    pub(crate) fn profile(scale: f64) -> MachineProfile {
        let fit = |fixed: f64, per_token: f64| TimeFit {
            fixed_us: fixed * scale,
            per_token_us: per_token * scale,
            ..TimeFit::default()
        };
        let part = |prompt: TimeFit, step: TimeFit| PartFit { prompt, step };
        let sample = |tokens: f64, bytes: f64| PacketSample {
            tokens,
            bytes: bytes * tokens,
            encode_us: scale * tokens,
            decode_us: scale * tokens,
        };
        let codec = |name: &str, ratio: Option<f64>, bytes: f64| CodecFit {
            codec: name.into(),
            ratio,
            accounting: ratio.map(|_| "wire".into()),
            samples: vec![sample(1.0, bytes), sample(64.0, bytes), sample(256.0, bytes)],
        };
        MachineProfile {
            machine: format!("made up, {scale} times slower"),
            basis: Basis::Assumed,
            about: String::new(),
            version: crate::VERSION.into(),
            model: ModelShape {
                name: "model".into(),
                sha256: String::new(),
                dtype: "f32".into(),
                layers: 10,
                hidden: 100,
                layer_bytes: 1_000_000,
                embedding_bytes: 5_000_000,
                head_bytes: 5_000_000,
                tied: true,
                cache_bytes_per_token: 100,
            },
            embedding: part(fit(1.0, 0.1), fit(1.0, 0.0)),
            layer: part(fit(100.0, 10.0), fit(50.0, 0.1)),
            layer_spread: 0.01,
            head: part(fit(200.0, 0.0), fit(200.0, 0.0)),
            codecs: vec![
                codec("noop:values=f16", None, 200.0),
                codec("int8", None, 104.0),
                codec("fc", Some(8.0), 25.0),
            ],
        }
    }

    #[test]
    fn fits_and_samples_give_back_what_they_were_made_of() {
        let profile = profile(2.0);
        assert!((profile.layer.prompt.seconds(64.0) - 2e-6 * 740.0).abs() < 1e-12);
        let int8 = profile.codec("int8", None, "").unwrap();
        for tokens in [1.0, 20.0, 64.0, 100.0, 1000.0] {
            let at = int8.at(tokens);
            assert!((at.bytes / (104.0 * tokens) - 1.0).abs() < 1e-12, "{tokens}: {at:?}");
        }
        assert!(profile.codec("fc", Some(8.0), "elements").is_none() && profile.codec("fc", None, "").is_none());
        let negative = TimeFit { fixed_us: -5.0, per_token_us: 1.0, ..TimeFit::default() };
        assert_eq!(negative.seconds(2.0), 0.0);
        let bounded = TimeFit { per_token_us: 2.0, at_least_us: [10.0, 1.0], ..TimeFit::default() };
        assert_eq!([1.0, 10.0, 20.0].map(|n| 1e6 * bounded.seconds(n)), [11.0, 20.0, 40.0]);
    }

    #[test]
    fn files_return_and_wrong_ones_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("phone.toml");
        let good = profile(1.0);
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(&good.to_toml().unwrap());
        assert_eq!(MachineProfile::read(&path).unwrap(), good);
        for (from, to, expected) in [
            ("layers = 10", "layers = 0", "above 0"),
            ("encode_us = 64.0", "encode_us = nan", "noop"),
            ("tokens = 256.0", "tokens = 2.0", "ascend"),
            ("fixed_us = 100.0", "fixed = 100.0", "not a profile"),
            (
                "[[codec.samples]]\ntokens = 64.0\nbytes = 12800.0\nencode_us = 64.0\ndecode_us = 64.0\n\n[[codec.samples]]\ntokens = 256.0\nbytes = 51200.0\nencode_us = 256.0\ndecode_us = 256.0\n",
                "",
                "two numbers",
            ),
            ("basis = \"assumed\"", "basis = \"guessed\"", "guessed"),
        ] {
            let text = good.to_toml().unwrap();
            assert!(text.contains(from), "{from} is not in\n{text}");
            write(&text.replace(from, to));
            let error = format!("{:#}", MachineProfile::read(&path).unwrap_err());
            assert!(error.contains("phone.toml") && error.contains(expected), "{error}");
        }
    }
}
