//! What a thread keeps between calls.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::axis::{Line, Scratch};
use super::row::RowPlan;
use super::token_axis::{SIDE, TokenAxis, TokenPlan, WIDTH};

thread_local! {
    pub(super) static WORK: RefCell<Work> = RefCell::default();
}

/// Plans and buffers.
#[derive(Default)]
pub(super) struct Work {
    plans: HashMap<usize, Rc<RowPlan>>,
    token_plans: HashMap<usize, Rc<TokenPlan>>,
    pub token_axis: TokenAxis,
    /// The wanted row frequencies of each channel, [`pitch`] lines apart.
    pub lines: Vec<Line>,
    /// One row of the spectrum.
    pub row: Vec<Line>,
    /// The rows of a whole spectrum, [`pitch`] lines apart.
    pub spectrum: Vec<Line>,
    pub scratch: Scratch,
}

/// Values of S, and of D, that plans are kept for add up to this at most: hostile packets may ask for many.
const MOST_KEPT: usize = 1 << 18;

/// What the map holds for a length, made where it is missing.
fn cached<T>(map: &mut HashMap<usize, Rc<T>>, length: usize, make: impl FnOnce() -> T) -> Rc<T> {
    if !map.contains_key(&length) && map.keys().sum::<usize>() + length > MOST_KEPT {
        map.clear();
    }
    map.entry(length).or_insert_with(|| Rc::new(make())).clone()
}

/// Lines from one row of D numbers to the next. One more than a row has keeps the rows of a power of two from all falling
/// into the same sets of the caches.
pub(super) fn pitch(hidden: usize) -> usize {
    hidden.div_ceil(WIDTH) * SIDE + 1
}

impl Work {
    /// Makes ready for `rows` row frequencies of an S x D activation: the plan of the hidden axis.
    pub fn prepare(&mut self, tokens: usize, hidden: usize, rows: usize, inverse: bool) -> Rc<RowPlan> {
        let plan = cached(&mut self.plans, hidden, || RowPlan::new(hidden));
        let token_plan = cached(&mut self.token_plans, tokens, || TokenPlan::new(tokens));
        self.token_axis.prepare(token_plan, hidden, rows, inverse);
        self.lines.resize(rows * pitch(hidden), Line::default());
        self.row.resize(pitch(hidden), Line::default());
        plan
    }
}
