//! From log-likelihoods to accuracy, its uncertainty and paired comparisons.
