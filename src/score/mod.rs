//! From log-likelihoods to accuracy, its uncertainty and paired comparisons.

mod decision;
mod fidelity;
mod limits;
mod loss_interval;
mod mcnemar;
mod metrics;
mod multiple;
mod rank;
mod request;
mod search;
mod windows;

pub use decision::{
    CONFIDENCE, Decision, ShareEstimate, Verdict, loss_at_most, mean_at_most, share_at_least, student_quantile,
};
pub use fidelity::{Fidelity, PositionFidelity, RatioEstimate, fidelity, percentile};
pub use limits::ModelLimits;
pub use loss_interval::{gold_loglik_change, ln_perplexity_ratio, loss_interval};
pub use mcnemar::{Paired, mcnemar_exact, paired};
pub use metrics::{argmax, argmax_norm, chance, mean, standard_error};
pub use multiple::{holm, smallest_loss_seen, smallest_mean_seen};
pub use rank::spearman;
pub use request::{Request, encode_dataset, encode_request, encode_requests, lengths};
pub use search::{Bound, Largest, ROUNDING, RatioTrial, largest, next_ratios};
pub use windows::{SMALLEST_WINDOW, TextWindows, WINDOW, read_text};
