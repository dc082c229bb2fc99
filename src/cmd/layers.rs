//! `splitbench layers`.

use anyhow::Result;

use super::ratio::RatioArgs;
use super::run::{RunPlace, check, publish, show};
use super::selection::SelectionPart;
use crate::experiment;
use crate::experiment::spec::{Ratios, find};
use crate::report::layers::sweeps;

/// Compare split layers: what each activation is like, what a codec loses there, and how its error grows behind the cut.
///
/// Runs the experiment `layers` with a codec and ratio of your own: it cuts after every layer, and tells whether some
/// indicator of the activation would have chosen the best one. Writes results/layers/<run>/ and plots/layers/<run>/.
/// Examples:
///   splitbench layers --datasets piqa-mini,qasc-mini --codec fc --ratio 8
///   splitbench layers --model qwen2.5-0.5b --datasets piqa --codec topk --ratio 8 --limit 50
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    part: SelectionPart,
    /// Codec with its options, such as fc:band=centered.
    #[arg(long, alias = "codecs", default_value = "fc")]
    codec: String,
    #[command(flatten)]
    ratio: RatioArgs,
    #[command(flatten)]
    place: RunPlace,
    /// Print one JSON object per model instead of tables.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the experiment.
    pub fn run(mut self) -> Result<()> {
        let budget = self.ratio.budget()?;
        let mut experiment = find("layers")?;
        experiment.spec.codecs = vec![self.codec];
        experiment.spec.ratios = Ratios::Some(vec![budget.ratio]);
        experiment.spec.accounting = vec![budget.accounting];
        self.part.apply(&mut experiment)?;
        let outcome = experiment::run(&experiment, &self.place.options(self.part))?;
        let published = publish(&outcome)?;
        match self.json {
            true => {
                say!("{}", serde_json::to_string_pretty(&sweeps(&outcome.rows, &outcome.indicators)?)?)?;
            }
            false => show(&outcome, &published)?,
        }
        check(outcome, published)
    }
}
