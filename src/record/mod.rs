//! What is on disk after a run: one type, one reader and one writer for each kind of file. Whoever runs something writes
//! records; whoever shows something reads them. `docs/methodology/records.md` lists every file, tables and figures too.
//!
//! | file | holds |
//! |---|---|
//! | `rows.parquet`, `rows.csv` | [`Row`]: a cell and its numbers |
//! | `samples/*.jsonl` | [`SampleLine`]: a question in a cell |
//! | `timings.csv` | [`Timing`]: what a cell's codec took |
//! | `layers.jsonl` | [`Indicators`] of a split layer |
//! | `service.csv` | [`Service`]: what single requests take |
//! | `live.csv` | [`LiveRow`]: what live runs took |
//! | `energy.csv`, `similarity.csv`, `heat.csv` | [`Energy`], [`Similarity`], [`Heat`]: what activations look like |
//! | `replay.jsonl`, its `timings.csv` | [`ReplayRow`](replay::ReplayRow), [`SequenceTiming`](replay::SequenceTiming): times over a trace |
//! | `simulation.csv`, `saturation.csv`, `about.txt` | [`SweepRecord`]: response times of many clients |
//! | `manifest.json`, `simulate.json`, `machine.json` | what was asked for, what it took, and on which [`Machine`](machine::Machine) |
//! | what `perplexity --samples` names | [`WindowSample`]: a window of a text |
//!
//! `experiment` has files of its own that say how far it is, and that nobody else reads: `journal/` and `results/calibrations/`.

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
mod sample;
mod service;
mod shard;
mod similarity;
mod simulation;
pub(crate) mod table_file;
#[cfg(test)]
pub(crate) mod testing;
mod timing;
mod window;

pub use energy::Energy;
pub use folder::{RunFolder, find_json, read_json, run_name};
pub use heat::{Heat, HeatKind};
pub use indicators::Indicators;
pub use live::{LOOPBACK, LiveRow, UNSPLIT, read_live};
pub use row::{Accuracy, Row};
pub use rows::{read_rows, write_parquet};
pub use sample::{CodecSample, QuestionRecord, Sample, SampleLine};
pub use service::{RAW, Service, ServicePart};
pub use shard::Shard;
pub use similarity::Similarity;
pub use simulation::{Saturation, SimulationManifest, SweepPoint, SweepRecord};
pub use timing::{Timing, TimingTable};
pub use window::{WindowCell, WindowSample};
