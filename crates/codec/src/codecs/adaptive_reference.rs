//! The matrices of `tests/reference/adaptive.py`, and what NumPy makes of them.

use crate::activation::Activation;

/// Each matrix with its case.
pub(crate) fn cases() -> Vec<(Activation, serde_json::Value)> {
    let text = include_str!("../../../../tests/reference/adaptive.json");
    let reference: serde_json::Value = serde_json::from_str(text).unwrap();
    let activation = |case: &serde_json::Value| {
        let side = |key: &str| case[key].as_u64().unwrap() as usize;
        let values = case["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        Activation::new(side("tokens"), side("hidden"), values).unwrap()
    };
    reference["cases"].as_array().unwrap().iter().map(|case| (activation(case), case.clone())).collect()
}
