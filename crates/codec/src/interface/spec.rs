//! A codec's name with its options: `fc:band=centered,aspect=tokens`, `external:cmd=python3 codec.py --k 3`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::bytes::values::ValueType;
use crate::interface::calibration::CalibrationNeed;
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, RowScope};

/// A codec and its options, checked. Two specs are equal where they mean the same, however they were written.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodecSpec {
    info: &'static CodecInfo,
    /// One canonical value for each of the codec's options, in their order.
    chosen: Vec<String>,
}

impl CodecSpec {
    /// The spec of a codec with `options` as they follow its name in `text`.
    pub(crate) fn read(info: &'static CodecInfo, text: &str, options: Option<&str>) -> Result<Self> {
        let name = info.name;
        let mut chosen: Vec<Option<String>> = vec![None; info.options.len()];
        let mut rest = options;
        while let Some(unread) = rest {
            let (pair, after) = unread.split_once(',').map_or((unread, None), |(pair, after)| (pair, Some(after)));
            let (key, mut value) =
                pair.split_once('=').with_context(|| format!("codec {text:?}: {pair:?} is not key=value"))?;
            rest = after;
            let Some(at) = info.options.iter().position(|option| option.key == key) else {
                if info.options.is_empty() {
                    bail!("codec {name} has no options, got {key:?}");
                }
                let keys = info.options.iter().map(|option| option.key);
                return Err(crate::suggest::unknown(&format!("option of codec {name}"), key, keys));
            };
            ensure!(chosen[at].is_none(), "codec {text:?}: option {key} is given twice");
            if matches!(info.options[at].allowed, AllowedValues::Command) {
                // A command may hold commas: it takes all that follows.
                (value, rest) = (&unread[key.len() + 1..], None);
            }
            chosen[at] = Some(canonical(info, &info.options[at], value)?);
        }
        let with_default = |(chosen, option): (Option<String>, &OptionInfo)| match chosen {
            None if option.default.is_empty() => {
                bail!("codec {text:?} needs its {key}: {name}:{key}=...", key = option.key)
            }
            chosen => Ok(chosen.unwrap_or_else(|| option.default.to_string())),
        };
        let chosen = chosen.into_iter().zip(info.options).map(with_default).collect::<Result<_>>()?;
        let spec = Self { info, chosen };
        spec.check_coder()?;
        spec.check_band()?;
        Ok(spec)
    }

    /// The codec's name, without options.
    pub fn name(&self) -> &'static str {
        self.info.name
    }

    /// What the codec says about itself.
    pub fn info(&self) -> &'static CodecInfo {
        self.info
    }

    /// The value of one option, the default where it was left out; `None` where the codec has no such option.
    pub fn option(&self, key: &str) -> Option<&str> {
        let at = self.info.options.iter().position(|option| option.key == key)?;
        Some(&self.chosen[at])
    }

    /// Files on this machine that the codec is made of: words of its command that name one.
    pub fn files(&self) -> Vec<PathBuf> {
        let words = self.option("cmd").and_then(shlex::split).unwrap_or_default();
        words.into_iter().map(PathBuf::from).filter(|path| path.is_file()).collect()
    }

    /// Which calibration data [`crate::build`] will ask for.
    pub fn calibration(&self) -> Option<CalibrationNeed> {
        (self.info.needs)(self)
    }

    /// What a row that comes back depends on: what the option `rows` says of `external`, else what the codec says of itself;
    /// one scale for the whole matrix joins the rows of any codec.
    pub fn rows(&self) -> RowScope {
        if self.option("group") == Some("tensor") {
            return RowScope::Joint;
        }
        self.option("rows").map_or(self.info.rows, |rows| rows.parse().expect("checked by parse"))
    }

    /// The type of the numbers in this codec's packets; f32 where there is no such option.
    pub fn values(&self) -> ValueType {
        self.option("values").map_or(ValueType::F32, |v| v.parse().expect("checked by parse"))
    }

    /// Fails where a band is asked of a cosine transform, which has no mirrors to choose among.
    fn check_band(&self) -> Result<()> {
        let band = self.option("band").unwrap_or("mirrored");
        ensure!(
            band == "mirrored" || self.option("transform") != Some("dct"),
            "codec {self}: transform=dct has no bands, its block is the low corner; leave band={band} out"
        );
        Ok(())
    }

    /// Fails where `coder=rans` meets numbers it does not code: those of `grids::coefficients` must be int8, those of `noop`
    /// have two bytes.
    fn check_coder(&self) -> Result<()> {
        let Some(values) = self.option("values").filter(|_| self.option("coder") == Some("rans")) else {
            return Ok(());
        };
        let (coded, expected): (_, &[&str]) = match self.info.sends_int8() {
            true => ("integers", &["int8"]),
            false => ("the exponents of two-byte numbers", &["f16", "bf16"]),
        };
        ensure!(
            expected.contains(&values),
            "codec {self}: coder=rans codes {coded}: expected values={} beside it, found values={values}",
            expected.join(" or values=")
        );
        Ok(())
    }

    /// One option as its own type.
    pub(crate) fn typed<T: FromStr>(&self, key: &str) -> Result<T> {
        let value = self.option(key).with_context(|| format!("codec {} has no option {key}", self.name()))?;
        value.parse().ok().with_context(|| format!("codec {}: {key}={value} cannot be read", self.name()))
    }
}

/// Checks a value and brings it into its one spelling.
fn canonical(info: &CodecInfo, option: &OptionInfo, value: &str) -> Result<String> {
    match &option.allowed {
        AllowedValues::Words(choices) => match choices.iter().find(|c| c.word == value) {
            Some(choice) => Ok(choice.word.to_string()),
            None => Err(crate::suggest::unknown(
                &format!("value of {}:{}", info.name, option.key),
                value,
                choices.iter().map(|c| c.word),
            )),
        },
        AllowedValues::Number { min, max } => match value.parse::<f64>() {
            // Adding zero turns -0 into 0: one meaning, one spelling.
            Ok(number) if (*min..=*max).contains(&number) => Ok((number + 0.0).to_string()),
            _ => bail!("codec {}: {}={value} is not a number from {min} to {max}", info.name, option.key),
        },
        // As written: quotes put where a shell might want them would hide what the user wrote.
        AllowedValues::Command => {
            let (command, name) = (value.trim(), format!("{}:{}", info.name, option.key));
            ensure!(
                !command.contains(char::is_control),
                "{name}={command:?} has a line end or another control character"
            );
            let words = shlex::split(command)
                .with_context(|| format!("{name}={command}: a quote without its end, or a backslash at the end"))?;
            ensure!(words.first().is_some_and(|word| !word.is_empty()), "{name}={value}: no program is named");
            Ok(command.to_string())
        }
    }
}

impl fmt::Display for CodecSpec {
    /// The canonical form: options in the registry's order, defaults left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info.name)?;
        let given = self.info.options.iter().zip(&self.chosen).filter(|(option, value)| option.default != *value);
        for (i, (option, value)) in given.enumerate() {
            write!(f, "{}{}={value}", if i == 0 { ':' } else { ',' }, option.key)?;
        }
        Ok(())
    }
}

impl fmt::Debug for CodecSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodecSpec({self})")
    }
}

impl Eq for CodecSpec {}

impl std::hash::Hash for CodecSpec {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.info.name, &self.chosen).hash(state);
    }
}

impl From<CodecSpec> for String {
    fn from(spec: CodecSpec) -> Self {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form() {
        for (given, expected) in [
            ("noop", "noop"),
            ("noop:coder=rans,values=bf16", "noop:values=bf16,coder=rans"),
            ("noop:values=f32", "noop"),
            ("fc", "fc"),
            ("fc:band=mirrored", "fc"),
            ("fc:values=f32,aspect=tokens,band=centered", "fc:band=centered,aspect=tokens,values=f32"),
            ("asvd:alpha=0.50", "asvd"),
            ("asvd:alpha=-0.0", "asvd:alpha=0"),
            ("asvd:alpha=1.0,values=bf16", "asvd:alpha=1,values=bf16"),
            ("svd-llm:whiten=weights", "svd-llm:whiten=weights"),
            ("int4:coder=rans,group=64,scales=f16", "int4:group=64,coder=rans"),
            ("int8:group=token", "int8"),
            ("external:cmd=a", "external:cmd=a"),
            ("external:timeout=60,cmd= a --k=3,4 'b \"c' d\\ e ", "external:cmd=a --k=3,4 'b \"c' d\\ e"),
            ("external:timeout=2.50,cmd=a,timeout=3", "external:timeout=2.5,cmd=a,timeout=3"),
            ("external:cmd=cmd=a", "external:cmd=cmd=a"),
        ] {
            let spec = CodecSpec::parse(given).unwrap();
            assert_eq!(spec.to_string(), expected);
            assert_eq!(CodecSpec::parse(expected).unwrap(), spec);
        }
    }

    #[test]
    fn mistakes_are_named_with_the_nearest() {
        for (given, parts) in [
            ("tokp", &["unknown codec", "\"topk\""][..]),
            ("", &["unknown codec"]),
            ("fc:bond=corner", &["option of codec fc", "\"band\""]),
            ("fc:band=centred", &["fc:band", "\"centered\""]),
            ("fc:band", &["key=value"]),
            ("fc:", &["key=value"]),
            ("fc:band=corner,band=corner", &["twice"]),
            ("asvd:alpha=x", &["alpha=x", "number"]),
            ("asvd:alpha=NaN", &["number"]),
            ("asvd:alpha=3", &["from 0 to 2"]),
            ("token-ids:values=f32", &["no options"]),
            ("noop:coder=rans", &["noop:coder=rans", "values=f16 or values=bf16", "found values=f32"]),
            ("topk:values=f61", &["\"f16\""]),
            ("fc:coder=rans", &["fc:coder=rans", "values=int8"]),
            ("fc:transform=dct,band=corner", &["transform=dct has no bands", "leave band=corner out"]),
            ("topk:values=f32,coder=rans", &["coder=rans", "values=int8"]),
            ("svd:values=int8", &["svd:values"]),
            ("external", &["external:cmd=..."]),
            ("external:timeout=3", &["external:cmd=..."]),
            ("external:timeout=0,cmd=a", &["timeout=0", "from 0.1 to 86400"]),
            ("external:comd=a", &["\"cmd\""]),
            ("external:cmd= ", &["external:cmd", "no program"]),
            ("external:cmd='' a", &["external:cmd", "no program"]),
            ("external:cmd=a 'b", &["external:cmd=a 'b", "quote"]),
            ("external:cmd=a\nb", &["external:cmd", "line end"]),
        ] {
            let error = CodecSpec::parse(given).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{given}: {error}");
        }
    }

    #[test]
    fn calibration_needs() {
        for (text, need) in [
            ("fc", None),
            ("svd", None),
            ("fc:rotate=hadamard", None),
            ("fc:rotate=whiten", Some(CalibrationNeed::Moments)),
            ("klt", Some(CalibrationNeed::Moments)),
            ("fwsvd", Some(CalibrationNeed::Fisher)),
            ("asvd", Some(CalibrationNeed::Moments)),
            ("svd-llm", Some(CalibrationNeed::Moments)),
            ("svd-llm:whiten=weights", Some(CalibrationNeed::NextWeights)),
            ("awq", Some(CalibrationNeed::NextWeights)),
            ("awq:error=activation", Some(CalibrationNeed::Moments)),
            ("spinquant", Some(CalibrationNeed::Moments)),
            ("atom", Some(CalibrationNeed::Moments)),
            ("agile-quant", None),
        ] {
            assert_eq!(CodecSpec::parse(text).unwrap().calibration(), need, "{text}");
        }
    }

    #[test]
    fn serde_uses_the_text() {
        let spec: CodecSpec = serde_json::from_str("\"fc:band=corner\"").unwrap();
        assert_eq!(serde_json::to_string(&spec).unwrap(), "\"fc:band=corner\"");
        assert!(serde_json::from_str::<CodecSpec>("\"fcc\"").is_err());
    }
}
