//! Numbers that come from outside.

use std::fmt::Display;

use anyhow::{Result, ensure};

/// Fails unless a number is finite and at least zero.
pub fn amount(name: impl Display, value: f64) -> Result<()> {
    ensure!(
        value.is_finite() && value >= 0.0,
        "{name} is {value}: a finite number of at least 0 was expected; leave out rows that failed or were not measured"
    );
    Ok(())
}

/// Fails unless a number is finite and above zero.
pub fn positive(name: impl Display, value: f64) -> Result<()> {
    ensure!(value.is_finite() && value > 0.0, "{name} is {value}: a finite number above 0 was expected");
    Ok(())
}
