//! One direction of a link.

use std::fmt::Display;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::check;

/// One direction of a link: a rate and a delay. Nothing else shares it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OneWayLink {
    /// Rate, bit/s.
    pub bits_per_s: f64,
    /// From the first bit sent to its arrival, s.
    pub delay_s: f64,
}

impl OneWayLink {
    /// For how long so many bytes keep the link busy, s.
    pub fn busy_s(&self, bytes: f64) -> f64 {
        8.0 * bytes / self.bits_per_s
    }

    /// From the start of sending to the arrival of the last byte, s.
    pub fn send_s(&self, bytes: f64) -> f64 {
        self.delay_s + self.busy_s(bytes)
    }

    /// Fails where the rate is not above zero, or the delay no time.
    pub fn check(&self, name: impl Display) -> Result<()> {
        check::positive(format_args!("rate of {name} in bit/s"), self.bits_per_s)?;
        check::amount(format_args!("delay of {name} in s"), self.delay_s)
    }
}
