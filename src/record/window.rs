//! Windows of a text: the lines of `perplexity --samples`.

use serde::Serialize;

/// A window.
#[derive(Debug, Serialize)]
pub struct WindowSample {
    /// Number of the window, from 0.
    pub window: usize,
    /// Log-likelihood of its scored tokens by the unsplit model, nats.
    pub loglik: f64,
    /// Each cell that did not fail.
    pub cells: Vec<WindowCell>,
}

/// A window in a cell.
#[derive(Debug, Serialize)]
pub struct WindowCell {
    /// Codec with its options.
    pub codec: String,
    /// Ratio asked for; none of a codec of fixed rate.
    pub ratio_requested: Option<f64>,
    /// What it counts.
    pub accounting: Option<String>,
    /// Log-likelihood of the scored tokens, nats.
    pub loglik: f64,
    /// KL of each scored position, nats.
    pub kl: Vec<f32>,
    /// Positions at which the most likely token is the unsplit model's.
    pub same_top: usize,
    /// Sum over positions of sum min(p, q).
    pub acceptance: f64,
    /// Bytes of the packet.
    pub wire_bytes: usize,
    /// `||A - A'||_F / ||A||_F`.
    pub rel_error: f64,
}
