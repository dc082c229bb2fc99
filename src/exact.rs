//! Serde of floating-point numbers that come back to the bit. JSON has no NaN and no infinity, which are written as text.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number, or the text of one that is not finite.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Finite(f64),
    Text(String),
}

struct Exact(f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() { serializer.serialize_f64(self.0) } else { serializer.collect_str(&self.0) }
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Finite(number) => Ok(Self(number)),
            Written::Text(text) => {
                text.parse().map(Self).map_err(|_| de::Error::custom(format!("{text:?} is not a number")))
            }
        }
    }
}

/// One f64.
pub(crate) mod number {
    use super::*;

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Exact(*value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Exact::deserialize(deserializer).map(|exact| exact.0)
    }
}

/// An f64 that may be missing.
pub(crate) mod option {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Exact).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Exact>::deserialize(deserializer)?.map(|exact| exact.0))
    }
}

/// A list of f64 or f32.
pub(crate) mod list {
    use super::*;

    /// A float that f64 holds exactly.
    pub trait Float: Copy {
        fn widen(self) -> f64;
        fn narrow(wide: f64) -> Self;
    }

    impl Float for f64 {
        fn widen(self) -> f64 {
            self
        }
        fn narrow(wide: f64) -> Self {
            wide
        }
    }

    impl Float for f32 {
        fn widen(self) -> f64 {
            f64::from(self)
        }
        fn narrow(wide: f64) -> Self {
            wide as f32
        }
    }

    pub fn serialize<S: Serializer, F: Float>(values: &[F], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| Exact(value.widen())))
    }

    pub fn deserialize<'de, D: Deserializer<'de>, F: Float>(deserializer: D) -> Result<Vec<F>, D::Error> {
        Ok(Vec::<Exact>::deserialize(deserializer)?.into_iter().map(|exact| F::narrow(exact.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Numbers {
        #[serde(with = "number")]
        one: f64,
        #[serde(with = "option")]
        maybe: Option<f64>,
        #[serde(with = "list")]
        singles: Vec<f32>,
    }

    #[test]
    fn every_bit_comes_back() {
        for one in [0.1 + 0.2, -0.0, f64::MIN_POSITIVE / 3.0, 5e-324, f64::MAX, f64::NEG_INFINITY, f64::INFINITY] {
            for maybe in [None, Some(one / 3.0)] {
                let singles = vec![one as f32, f32::MIN_POSITIVE / 3.0, 1e-7 / 3.0];
                let text = serde_json::to_string(&Numbers { one, maybe, singles: singles.clone() }).unwrap();
                let back: Numbers = serde_json::from_str(&text).unwrap();
                assert_eq!(back.one.to_bits(), one.to_bits(), "{text}");
                assert_eq!(back.maybe.map(f64::to_bits), maybe.map(f64::to_bits), "{text}");
                assert_eq!(
                    back.singles.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                    singles.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
                );
            }
        }
        let nan =
            serde_json::to_string(&Numbers { one: f64::NAN, maybe: Some(f64::NAN), singles: Vec::new() }).unwrap();
        let back: Numbers = serde_json::from_str(&nan).unwrap();
        assert!(back.one.is_nan() && back.maybe.unwrap().is_nan());
        assert!(serde_json::from_str::<Numbers>("{\"one\":\"much\",\"maybe\":null,\"singles\":[]}").is_err());
    }
}
