//! From log-likelihoods to accuracy, its uncertainty and paired comparisons.

mod loglik;
mod metrics;
mod paired;
mod rank;
mod request;
mod sample;

pub use loglik::log_softmax_at;
pub use metrics::{argmax, argmax_norm, chance, mean, standard_error};
pub use paired::{gold_loglik_change, mcnemar_exact, paired};
pub use rank::spearman;
pub use request::{Request, encode_request, encode_requests};
pub use sample::{Asked, CodecSample, Sample};
