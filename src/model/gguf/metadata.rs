//! The keys and values of a GGUF header.

use std::collections::HashMap;

use anyhow::{Result, bail, ensure};

/// What a key holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any integer type.
    Integer(i128),
    /// f32 or f64.
    Float(f64),
    /// A boolean.
    Flag(bool),
    /// A string.
    Text(String),
    /// An array of numbers.
    Numbers(Vec<f64>),
    /// An array of strings.
    Texts(Vec<String>),
    /// An array that no one asks for; checked, but not kept.
    Skipped,
}

/// Keys and values; a value of another type than asked for is an error.
#[derive(Debug, Default)]
pub struct Metadata(HashMap<String, Value>);

impl Metadata {
    /// Adds a key, which must be new.
    pub fn insert(&mut self, key: String, value: Value) -> Result<()> {
        ensure!(!self.0.contains_key(&key), "key {key:?} stands in the header twice");
        self.0.insert(key, value);
        Ok(())
    }

    /// A string.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => bail!("key {key}: expected a string"),
        }
    }

    /// An integer that is no less than 0.
    pub fn count(&self, key: &str) -> Result<Option<u64>> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Integer(value)) if u64::try_from(*value).is_ok() => Ok(Some(*value as u64)),
            Some(_) => bail!("key {key}: expected an integer no less than 0"),
        }
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) if value.is_finite() => Ok(Some(*value)),
            Some(Value::Integer(value)) => Ok(Some(*value as f64)),
            Some(_) => bail!("key {key}: expected a finite number"),
        }
    }

    /// A boolean.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Flag(value)) => Ok(Some(*value)),
            Some(_) => bail!("key {key}: expected a boolean"),
        }
    }

    /// An array of strings.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(_) => bail!("key {key}: expected an array of strings"),
        }
    }

    /// An array of numbers.
    pub fn numbers(&self, key: &str) -> Result<Option<&[f64]>> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Numbers(numbers)) => Ok(Some(numbers)),
            Some(_) => bail!("key {key}: expected an array of numbers"),
        }
    }

    /// An integer, or an array of equal ones as some converters write one for each layer.
    pub fn uniform(&self, key: &str) -> Result<Option<u64>> {
        let Some(Value::Numbers(numbers)) = self.0.get(key) else { return self.count(key) };
        match numbers.first() {
            Some(first) if numbers.iter().all(|n| n == first) && *first >= 0.0 && first.fract() == 0.0 => {
                Ok(Some(*first as u64))
            }
            _ => bail!("key {key}: layers that differ are not supported, expected the same integer for all"),
        }
    }
}
