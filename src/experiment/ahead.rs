//! Token ids of a run's data sets, those of the next one made while one is scored.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use anyhow::{Context, Result};
use rayon::ThreadPoolBuilder;
use tokenizers::Tokenizer;

use crate::data::Dataset;
use crate::score::{Request, encode_dataset};

/// Requests of data sets, in turn.
pub struct Ahead {
    begin: SyncSender<()>,
    begun: bool,
    made: Receiver<Result<Vec<Vec<Request>>>>,
}

impl Ahead {
    /// Nothing is made before it is asked for. Ends with this, or with the first error.
    pub fn new<'scope>(
        scope: &'scope Scope<'scope, '_>,
        tokenizer: &'scope Tokenizer,
        datasets: Vec<Arc<Dataset>>,
    ) -> Self {
        let (begin, asked) = sync_channel(1);
        // Nobody waits in the channel: what is ready stays with its maker, so memory holds two data sets' ids at most.
        let (sender, made) = sync_channel(0);
        scope.spawn(move || {
            for (nth, dataset) in datasets.into_iter().enumerate() {
                if asked.recv().is_err() {
                    break;
                }
                // The first is waited for; beside a later one the model is at work.
                let threads = if nth == 0 { rayon::current_num_threads() } else { 1 };
                let pool = ThreadPoolBuilder::new().num_threads(threads).build().context("starting threads");
                let requests = pool.and_then(|pool| pool.install(|| encode_dataset(tokenizer, &dataset)));
                let failed = requests.is_err();
                if sender.send(requests).is_err() || failed {
                    break;
                }
            }
        });
        Self { begin, begun: false, made }
    }

    /// Begins the next data set, if there is one and it has not begun.
    pub fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            // The thread has ended where there is none.
            let _ = self.begin.send(());
        }
    }

    /// The next data set's requests, when they are ready.
    pub fn take(&mut self) -> Result<Vec<Vec<Request>>> {
        self.begin();
        self.begun = false;
        self.made.recv().context("there is no further data set").flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::data::{self, Source};
    use crate::model::source::{POCKET, load_tokenizer};

    fn dataset(name: &str) -> Dataset {
        data::load(name, &Source::Embedded, Some(5)).unwrap()
    }

    #[test]
    fn data_sets_come_in_order_and_an_error_ends_them() {
        let tokenizer = load_tokenizer(POCKET).unwrap();
        let mut wrong = dataset("piqa-mini");
        wrong.questions[3].choices[0].continuation.clear();
        let sets = [dataset("arc_easy-mini"), wrong, dataset("qasc-mini")].map(Arc::new);
        thread::scope(|scope| {
            let mut ahead = Ahead::new(scope, &tokenizer, sets.to_vec());
            assert_eq!(ahead.take().unwrap(), encode_dataset(&tokenizer, &sets[0]).unwrap());
            ahead.begin();
            ahead.begin();
            let error = format!("{:#}", ahead.take().unwrap_err());
            assert!(error.contains("data set piqa-mini: question"), "{error}");
            ahead.begin();
            assert!(ahead.take().is_err());
        });
        // Who stops listening is not waited for.
        for begun in [false, true] {
            thread::scope(|scope| {
                let mut ahead = Ahead::new(scope, &tokenizer, sets.to_vec());
                if begun {
                    ahead.begin();
                }
            });
        }
    }
}
