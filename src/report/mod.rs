//! Tables and figures. Reads rows, never computes a score.
