//! What a caller keeps between transforms.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use super::forward::Spectrum;
use super::line_transform::ComplexLine;
use super::row::{RowBuffers, RowPlan};
use super::token_axis::{SIDE, TokenAxis, TokenPlan, WIDTH};
use crate::shape::Shape;

thread_local! {
    static THREAD: RefCell<Workspace> = RefCell::default();
}

/// Calls `transform` with this thread's own workspace, for codecs, which threads share and which therefore have none.
/// Calls must not be nested.
pub fn with_workspace<R>(transform: impl FnOnce(&mut Workspace) -> R) -> R {
    THREAD.with_borrow_mut(transform)
}

/// Plans and buffers for transforms of any shape; once warm, a transform allocates nothing. It belongs to the caller,
/// as scratch does in RustFFT.
#[derive(Default)]
pub struct Workspace {
    plans: HashMap<usize, Rc<RowPlan>>,
    /// By the number of tokens and of wanted row frequencies.
    token_plans: HashMap<(usize, usize), Rc<TokenPlan>>,
    pub(super) token_axis: TokenAxis,
    /// The wanted row frequencies of each channel, [`pitch`] lines apart.
    pub(super) lines: Vec<ComplexLine>,
    /// One row of the spectrum.
    pub(super) row: Vec<ComplexLine>,
    pub(super) spectrum: Spectrum,
    pub(super) scratch: RowBuffers,
}

/// Plans of either axis are kept for lengths that add up to this at most: hostile packets may ask for many lengths.
const MOST_KEPT: usize = 1 << 18;

/// The map's entry for a key, which is made where it is missing.
fn cached<K: Copy + Eq + Hash, T>(
    map: &mut HashMap<K, Rc<T>>,
    key: K,
    length: impl Fn(&K) -> usize,
    make: impl FnOnce() -> T,
) -> Rc<T> {
    if let Some(plan) = map.get(&key) {
        return plan.clone();
    }
    if map.keys().map(&length).sum::<usize>() + length(&key) > MOST_KEPT {
        map.clear();
    }
    map.entry(key).or_insert_with(|| Rc::new(make())).clone()
}

/// Lines from one row of D numbers to the next. The one line beyond a row's own keeps rows of a power of two from all
/// falling into the same cache sets.
pub(super) fn pitch(hidden: usize) -> usize {
    hidden.div_ceil(WIDTH) * SIDE + 1
}

impl Workspace {
    /// Prepares for `rows` row frequencies of an S x D activation, and returns the plan of the hidden axis.
    pub(super) fn prepare(&mut self, shape: Shape, rows: usize, inverse: bool) -> Rc<RowPlan> {
        let Shape { tokens, hidden } = shape;
        let plan = cached(&mut self.plans, hidden, |length| *length, || RowPlan::new(hidden));
        let token_plan =
            cached(&mut self.token_plans, (tokens, rows), |(tokens, _)| *tokens, || TokenPlan::new(tokens, rows));
        self.token_axis.prepare(token_plan, hidden, inverse);
        self.lines.resize(rows * pitch(hidden), ComplexLine::default());
        self.row.resize(pitch(hidden), ComplexLine::default());
        plan
    }
}
