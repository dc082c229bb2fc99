//! What a thread keeps between calls.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::axis::{AxisPlan, Line};
use super::token_axis::{Pair, TokenAxis, TokenPlan};
use crate::vector::LANES;

thread_local! {
    pub(super) static WORK: RefCell<Work> = RefCell::default();
}

/// Plans and buffers. Only a length that the library transforms takes others, and the result its own.
#[derive(Default)]
pub(super) struct Work {
    plans: HashMap<usize, Rc<AxisPlan>>,
    token_plans: HashMap<usize, Rc<TokenPlan>>,
    pub token_axis: TokenAxis,
    /// The rows of some channels.
    pub rows: Vec<Pair>,
    /// Groups of eight rows.
    pub lines: Vec<Line>,
    pub scratch: Vec<Line>,
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

impl Work {
    /// Makes ready for `rows` row frequencies of an S x D activation: the plan of the hidden axis.
    pub fn prepare(&mut self, tokens: usize, hidden: usize, rows: usize, inverse: bool) -> Rc<AxisPlan> {
        let plan = cached(&mut self.plans, hidden, || AxisPlan::new(hidden));
        let token_plan = cached(&mut self.token_plans, tokens, || TokenPlan::new(tokens));
        self.token_axis.prepare(token_plan, hidden, rows, inverse);
        let groups = rows.div_ceil(LANES);
        self.rows.clear();
        self.rows.resize(groups * LANES, Pair::default());
        self.lines.resize(groups * plan.lines, Line::default());
        plan
    }
}
