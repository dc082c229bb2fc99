//! What is on disk after a run: one type, one reader and one writer for each kind of file. Whoever runs something writes
//! records; whoever shows something reads them. `docs/methodology/records.md` lists every file, tables and figures too. Samples and
//! journals are written line by line while a run computes, by `experiment`.
//!
//! | file | holds |
//! |---|---|
//! | `rows.parquet`, `rows.csv` | [`Row`]: a cell and its numbers |
//! | `timings.csv` | [`Timing`]: what a cell's codec took |
//! | `layers.jsonl` | [`Indicators`] of a split layer |
//! | `service.csv` | [`Service`]: what single requests take |
//! | `live.csv` | [`LiveRow`]: what live runs took |
//! | `energy.csv`, `similarity.csv`, `heat.csv` | [`Energy`], [`Similarity`], [`Heat`]: what activations look like |
//! | `replay.jsonl` | [`ReplayRow`](replay::ReplayRow): times over a trace |
//! | `manifest.json`, `machine.json` | what was asked for, what it took, and on which [`Machine`](machine::Machine) |
//! | `samples/*.jsonl` | [`Sample`](crate::score::Sample): a question in a cell |
//! | `journal/*.journal` | what was computed so far (`experiment::journal`) |

mod energy;
mod folder;
mod heat;
mod indicators;
pub(crate) mod json_lines;
mod live;
pub mod machine;
pub mod manifest;
pub mod replay;
mod row;
mod rows;
mod service;
mod shard;
mod similarity;
pub(crate) mod table_file;
#[cfg(test)]
pub(crate) mod testing;
mod timing;

pub use energy::Energy;
pub use folder::{RunFolder, run_name};
pub use heat::{Heat, HeatKind};
pub use indicators::Indicators;
pub use live::{LOOPBACK, LiveRow, read_live};
pub use row::{Accuracy, Row};
pub use rows::{read_rows, write_csv, write_parquet};
pub use service::{RAW, Service, ServicePart};
pub use shard::Shard;
pub use similarity::Similarity;
pub use timing::{Timing, TimingTable};
