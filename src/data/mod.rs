//! Data sets: registry, rows, prompts and where they come from.
