//! What the codecs say about themselves, as Python's objects.

use pyo3::prelude::*;
use splitbench_codec::{AllowedValues, CodecInfo, OptionInfo, Rate, registered};

/// What a codec says about itself.
#[pyclass(name = "CodecInfo", module = "splitbench", frozen, get_all)]
pub(crate) struct CodecDescription {
    /// The name, as in `encode(array, name)`.
    name: &'static str,
    /// One sentence on what it keeps.
    summary: &'static str,
    /// Whether a ratio steers how much it sends; if not, its format does.
    takes_ratio: bool,
    /// `local` where a row that comes back depends on that row alone, else `joint`.
    rows: String,
    /// Its options, in the order of the canonical form.
    options: Vec<Py<OptionDescription>>,
}

/// One option of a codec.
#[pyclass(name = "OptionInfo", module = "splitbench", frozen, get_all)]
pub(crate) struct OptionDescription {
    /// The key, as in `name:key=value`.
    key: &'static str,
    /// The value meant where it is left out; None where it must be given.
    default: Option<&'static str>,
    /// Words it takes, with what each means; empty for a number or a command.
    words: Vec<(&'static str, &'static str)>,
    /// Smallest and largest number; None for a word or a command.
    range: Option<(f64, f64)>,
    /// One sentence on what it chooses.
    meaning: &'static str,
}

#[pymethods]
impl CodecDescription {
    fn __repr__(&self) -> String {
        format!("CodecInfo({:?}: {})", self.name, self.summary)
    }
}

#[pymethods]
impl OptionDescription {
    fn __repr__(&self) -> String {
        format!("OptionInfo({:?}: {})", self.key, self.meaning)
    }
}

impl OptionDescription {
    fn new(option: &OptionInfo) -> Self {
        let (words, range) = match option.allowed {
            AllowedValues::Words(words) => (words.iter().map(|word| (word.word, word.meaning)).collect(), None),
            AllowedValues::Number { min, max } => (Vec::new(), Some((min, max))),
            AllowedValues::Command => (Vec::new(), None),
        };
        let default = Some(option.default).filter(|default| !default.is_empty());
        Self { key: option.key, default, words, range, meaning: option.meaning }
    }
}

impl CodecDescription {
    fn new(py: Python<'_>, info: &CodecInfo) -> PyResult<Self> {
        let options = info.options.iter().map(|option| Py::new(py, OptionDescription::new(option)));
        Ok(Self {
            name: info.name,
            summary: info.summary,
            takes_ratio: info.rate == Rate::Budget,
            rows: info.rows.to_string(),
            options: options.collect::<PyResult<_>>()?,
        })
    }
}

/// All codecs, in the order of `splitbench list codecs`.
#[pyfunction]
pub(crate) fn codecs(py: Python<'_>) -> PyResult<Vec<CodecDescription>> {
    registered().iter().map(|info| CodecDescription::new(py, info)).collect()
}
