//! Rotary embedding as config.json spells it: `rope_parameters`, or `rope_theta` and `rope_scaling` beside each other.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use super::config::RopeScaling;

/// What config.json says of it, in every spelling.
pub(super) struct RopeKeys<'a> {
    pub rope_theta: Option<f64>,
    pub original_max_position_embeddings: Option<f64>,
    pub rope_parameters: Option<&'a Value>,
    pub rope_scaling: Option<&'a Value>,
}

/// Base and scaling of a file that gives neither.
const PLAIN: (f64, RopeScaling) = (10_000.0, RopeScaling::None);

const LLAMA3: [&str; 4] = ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];

impl RopeKeys<'_> {
    /// Base and scaling. Where both tables are there transformers takes all of `rope_scaling`, other programs `rope_parameters`:
    /// they must say the same.
    pub fn read(&self) -> Result<(f64, RopeScaling)> {
        let tables = [("rope_parameters", self.rope_parameters), ("rope_scaling", self.rope_scaling)];
        let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
        let given: Vec<(&str, &Value)> =
            tables.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !empty(value))?))).collect();
        let read = given.iter().map(|(key, value)| self.table(key, value)).collect::<Result<Vec<_>>>()?;
        if let ([(a, a_value), (b, b_value)], [a_read, b_read]) = (&given[..], &read[..]) {
            ensure!(
                a_read == b_read,
                "{a} {a_value} and {b} {b_value} disagree{}; remove the one that is not meant",
                match self.rope_theta {
                    Some(theta) => format!(" (rope_theta is {theta})"),
                    None => " (rope_theta is not given outside them and 10000 where a table has none)".to_string(),
                }
            );
        }
        let (theta, scaling) = read.first().cloned().unwrap_or((self.rope_theta.unwrap_or(PLAIN.0), PLAIN.1));
        ensure!(theta.is_finite() && theta > 0.0, "rope_theta {theta} must be above 0");
        Ok((theta, scaling))
    }

    fn table(&self, name: &str, value: &Value) -> Result<(f64, RopeScaling)> {
        let table = value.as_object().with_context(|| format!("{name} must be an object or null, found {value}"))?;
        if let Some((key, _)) = table.iter().find(|(_, value)| value.is_object()) {
            bail!(
                "{name} is nested, it has an object {key:?}: the supported decoders have one rope for all layers; give \
                 rope_type, rope_theta and the rest in {name} itself"
            );
        }
        let number = |key: &str| match table.get(key).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => {
                value.as_f64().map(Some).with_context(|| format!("{name}: {key} must be a number, found {value}"))
            }
        };
        let theta = agreed("rope_theta", self.rope_theta, name, number("rope_theta")?)?.unwrap_or(PLAIN.0);
        let kind = kind(name, table)?;
        let own: &[&str] = match kind {
            "default" => &[],
            "llama3" => &LLAMA3,
            other => bail!("{name}: rope_type {other:?} is not supported; supported are \"default\" and \"llama3\""),
        };
        for (key, value) in table.iter().filter(|(_, value)| !value.is_null()) {
            let whole_head = key == "partial_rotary_factor" && value.as_f64() == Some(1.0);
            ensure!(
                whole_head
                    || ["rope_type", "type", "rope_theta"].contains(&key.as_str())
                    || own.contains(&key.as_str()),
                "{name}: {key} = {value} means nothing to rope_type {kind:?}{}; remove it, or give the rope_type that is meant",
                if table.contains_key("rope_type") || table.contains_key("type") {
                    ""
                } else {
                    ", which it is where none is given"
                }
            );
        }
        if kind == "default" {
            return Ok((theta, RopeScaling::None));
        }
        let need = |key: &str| {
            number(key)?.with_context(|| format!("{name}: rope_type llama3 needs the number {key:?} in {name} itself"))
        };
        let original = need(LLAMA3[3])?;
        agreed(LLAMA3[3], self.original_max_position_embeddings, name, Some(original))?;
        let (factor, low, high) = (need("factor")?, need("low_freq_factor")?, need("high_freq_factor")?);
        ensure!(
            factor > 0.0 && original > 0.0 && low > 0.0 && high > low,
            "{name}: rope_type llama3 needs factor, original_max_position_embeddings and low_freq_factor above 0 and \
             high_freq_factor above low_freq_factor; found {factor}, {original}, {low} and {high}"
        );
        let scaling = RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: original,
        };
        Ok((theta, scaling))
    }
}

/// A number that may stand beside the table and in it.
fn agreed(key: &str, beside: Option<f64>, name: &str, inside: Option<f64>) -> Result<Option<f64>> {
    if let (Some(beside), Some(inside)) = (beside, inside) {
        ensure!(
            beside == inside,
            "{key} {beside} and {name}.{key} {inside} disagree; remove the one that is not meant"
        );
    }
    Ok(inside.or(beside))
}

/// `rope_type`, once called `type`.
fn kind<'a>(name: &str, table: &'a Map<String, Value>) -> Result<&'a str> {
    let word = |key: &str| match table.get(key).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).with_context(|| format!("{name}: {key} must be a text, found {value}")),
    };
    match (word("rope_type")?, word("type")?) {
        (Some(new), Some(old)) if new != old => {
            bail!("{name}: rope_type {new:?} and type {old:?} disagree; remove the one that is not meant")
        }
        (new, old) => Ok(new.or(old).unwrap_or("default")),
    }
}
