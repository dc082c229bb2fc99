//! Which coefficients of a matrix are kept, and what tells the receiver: the option `mask`.

use anyhow::{Result, bail, ensure};
use strum::VariantNames;

use crate::parts::coefficient_layout::CoefficientLayout;
use crate::parts::largest::largest;

/// The shape of the set kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase", parse_err_ty = anyhow::Error, parse_err_fn = unknown)]
pub(crate) enum Mask {
    /// Any coefficients.
    Free,
    /// Chosen row frequencies times chosen columns.
    Separable,
    /// The lowest columns of each row frequency, as many as the row needs.
    Staircase,
}

fn unknown(text: &str) -> anyhow::Error {
    crate::suggest::unknown("mask", text, Mask::VARIANTS.iter().copied())
}

impl Mask {
    pub fn id(self) -> u8 {
        self as u8
    }

    pub fn from_id(id: u8) -> Result<Self> {
        Ok(match id {
            0 => Self::Free,
            1 => Self::Separable,
            2 => Self::Staircase,
            _ => bail!("packet field mask: {id} is none of 0 (free), 1 (separable), 2 (staircase)"),
        })
    }
}

/// A set of coefficients as ascending numbers below a limit, for [`crate::bytes::bits`].
#[derive(Debug, PartialEq)]
pub(crate) struct MaskNumbers {
    pub numbers: Vec<u32>,
    pub below: usize,
}

/// The limit of [`MaskNumbers`] numbers of `kept` positions.
pub(crate) fn below(mask: Mask, layout: CoefficientLayout, kept: usize) -> usize {
    match mask {
        Mask::Free => layout.count(),
        Mask::Separable => layout.width() + layout.tokens,
        Mask::Staircase => kept + layout.tokens - 1,
    }
}

/// How many numbers [`MaskNumbers`] has; `None` where that must be told.
pub(crate) fn numbers(mask: Mask, layout: CoefficientLayout, kept: usize) -> Option<usize> {
    match mask {
        Mask::Free => Some(kept),
        Mask::Separable => None,
        Mask::Staircase => Some(layout.tokens - 1),
    }
}

/// Positions, ascending, of a set as listed; fails unless they are `kept` in number.
pub(crate) fn positions(mask: Mask, layout: CoefficientLayout, kept: usize, listed: Vec<u32>) -> Result<Vec<u32>> {
    match mask {
        Mask::Free => Ok(listed),
        Mask::Separable => {
            let rows_from = listed.partition_point(|&number| (number as usize) < layout.width());
            let (columns, rows) = listed.split_at(rows_from);
            let rows: Vec<usize> = rows.iter().map(|&row| row as usize - layout.width()).collect();
            // Rows beyond the middle lack the columns that are their own mirrors.
            let inner = columns.iter().filter(|&&v| !layout.is_edge(v as usize)).count();
            let low = rows.partition_point(|&u| u < layout.low_rows());
            let found = low * columns.len() + (rows.len() - low) * inner;
            ensure!(found == kept, "packet field index: its rows and columns have {found} coefficients, not {kept}");
            Ok(product(layout, &rows, columns))
        }
        Mask::Staircase => {
            let mut left = kept;
            let mut out = Vec::with_capacity(kept);
            for u in 0..layout.tokens {
                let before = if u == 0 { 0 } else { listed[u - 1] as usize + 1 };
                let width = listed.get(u).map_or(left, |&number| number as usize - before);
                let most = layout.columns(u).len();
                ensure!(width <= most, "packet field index: {width} columns in row {u}, which has {most}");
                left -= width;
                out.extend((layout.start(u)..layout.start(u) + width).map(|position| position as u32));
            }
            Ok(out)
        }
    }
}

/// Positions of rows times columns.
fn product(layout: CoefficientLayout, rows: &[usize], columns: &[u32]) -> Vec<u32> {
    let row = |&u: &usize| {
        let (own, start) = (layout.columns(u), layout.start(u));
        let inside = columns.iter().filter(move |&&v| own.contains(&(v as usize)));
        let first = layout.columns(u).start;
        inside.map(move |&v| (start + v as usize - first) as u32)
    };
    rows.iter().flat_map(row).collect()
}

/// Chooses sets of one matrix.
pub(crate) struct Chooser {
    layout: CoefficientLayout,
    mask: Mask,
    energies: Vec<f64>,
    /// For a staircase: runs of columns by falling energy per column.
    runs: Vec<MaskRun>,
}

/// Columns of a row that are worth more together than any fewer of them: an edge of the upper concave hull of the energy
/// below each width.
struct MaskRun {
    row: u32,
    width: u32,
    energy: f64,
}

impl Chooser {
    pub fn new(mask: Mask, layout: CoefficientLayout, energies: Vec<f64>) -> Self {
        let mut runs = Vec::new();
        if mask == Mask::Staircase {
            // Along a concave hull, taking what is worth most per column is the best choice (marginal analysis, Fox
            // 1966); along the energies themselves it need not be.
            (0..layout.tokens).for_each(|u| hull(u, &energies[layout.start(u)..layout.start(u + 1)], &mut runs));
            // Stable: of equals, the lower row and the lower columns come first.
            runs.sort_by(|a, b| (b.energy / f64::from(b.width)).total_cmp(&(a.energy / f64::from(a.width))));
        }
        Self { layout, mask, energies, runs }
    }

    /// At most `count` positions, ascending, and how they are listed. At least one.
    pub fn choose(&self, count: usize) -> (Vec<u32>, MaskNumbers) {
        let (kept, numbers) = match self.mask {
            Mask::Free => {
                // The root keeps the order, and every energy's root is within the range of f32.
                let sizes: Vec<f32> = self.energies.iter().map(|e| e.sqrt() as f32).collect();
                let kept = largest(&sizes, count).into_vec();
                (kept.clone(), kept)
            }
            Mask::Separable => {
                let (rows, columns) = self.separable(count);
                let kept = product(self.layout, &rows, &columns);
                let rows = rows.into_iter().map(|u| (u + self.layout.width()) as u32);
                (kept, columns.into_iter().chain(rows).collect())
            }
            Mask::Staircase => self.staircase(count),
        };
        let below = below(self.mask, self.layout, kept.len());
        (kept, MaskNumbers { numbers, below })
    }

    /// The widths of most energy, as long as whole runs fit: the first that does not closes its row, and what is left in
    /// the end goes where it is worth most. So it is the best for the counts at which runs end, and near it between.
    fn staircase(&self, count: usize) -> (Vec<u32>, Vec<u32>) {
        let layout = self.layout;
        let mut widths = vec![0usize; layout.tokens];
        let mut closed = vec![false; layout.tokens];
        let mut left = count;
        for run in &self.runs {
            let (u, width) = (run.row as usize, run.width as usize);
            if closed[u] || width > left {
                closed[u] = true;
                continue;
            }
            widths[u] += width;
            left -= width;
            if left == 0 {
                break;
            }
        }
        while left > 0 {
            let next = |u: usize| widths[u]..layout.columns(u).len().min(widths[u] + left);
            let worth = |u: usize| next(u).map(|i| self.energies[layout.start(u) + i]).sum::<f64>();
            let open = (0..layout.tokens).filter(|&u| !next(u).is_empty());
            let Some(u) = open.max_by(|&a, &b| worth(a).total_cmp(&worth(b)).then(b.cmp(&a))) else { break };
            let more = next(u).len();
            widths[u] += more;
            left -= more;
        }
        let kept =
            (0..layout.tokens).flat_map(|u| layout.start(u)..layout.start(u) + widths[u]).map(|p| p as u32).collect();
        let mut next = 0;
        // Widths become ascending numbers of which they are the gaps; the last width follows from the total.
        let place = |&width: &usize| {
            next += width + 1;
            (next - 1) as u32
        };
        (kept, widths[..layout.tokens - 1].iter().map(place).collect())
    }

    /// Rows and columns by turns: for a number of rows, those of most energy; to them the columns of most energy that fit;
    /// to these the rows of most energy; until nothing is gained. Numbers of rows an eighth apart are tried. A greedy
    /// search: the best pair of sets is a hard problem (it contains that of the densest bipartite subgraph).
    fn separable(&self, count: usize) -> (Vec<usize>, Vec<u32>) {
        let layout = self.layout;
        let (mut most, mut best) = (-1.0, (vec![0], vec![0]));
        let mut number = layout.tokens;
        while number > 0 {
            let mut rows = self.rows(number, &(0..layout.width() as u32).collect::<Vec<_>>());
            let mut last = -1.0;
            loop {
                let (columns, energy) = self.columns(&rows, count);
                // Sums in another order differ in the last bits; that must not go on for ever.
                if columns.is_empty() || energy <= last * (1.0 + 1e-12) {
                    break;
                }
                last = energy;
                let next = self.rows(number, &columns);
                if energy > most * (1.0 + 1e-12) {
                    (most, best) = (energy, (rows, columns));
                }
                rows = next;
            }
            number = (number - 1).min(number * 7 / 8);
        }
        best
    }

    /// The rows, ascending, with most energy in these columns.
    fn rows(&self, number: usize, columns: &[u32]) -> Vec<usize> {
        let layout = self.layout;
        let energy = |u: usize| {
            let (own, row) = (layout.columns(u), &self.energies[layout.start(u)..layout.start(u + 1)]);
            columns.iter().filter(|&&v| own.contains(&(v as usize))).map(|&v| row[v as usize - own.start]).sum::<f64>()
        };
        let energies: Vec<f64> = (0..layout.tokens).map(energy).collect();
        let mut order: Vec<usize> = (0..layout.tokens).collect();
        order.sort_by(|&a, &b| energies[b].total_cmp(&energies[a]));
        order.truncate(number);
        order.sort_unstable();
        order
    }

    /// The columns, ascending, taken by falling energy in these rows as long as their coefficients fit; and their energy.
    fn columns(&self, rows: &[usize], count: usize) -> (Vec<u32>, f64) {
        let layout = self.layout;
        let mut energies = vec![0f64; layout.width()];
        for &u in rows {
            let own = &mut energies[layout.columns(u)];
            own.iter_mut().zip(&self.energies[layout.start(u)..layout.start(u + 1)]).for_each(|(sum, e)| *sum += e);
        }
        let low = rows.partition_point(|&u| u < layout.low_rows());
        let mut order: Vec<u32> = (0..layout.width() as u32).collect();
        order.sort_by(|&a, &b| energies[b as usize].total_cmp(&energies[a as usize]));
        let (mut left, mut energy) = (count, 0.0);
        order.retain(|&v| {
            let cost = if layout.is_edge(v as usize) { low } else { rows.len() };
            let taken = (1..=left).contains(&cost);
            if taken {
                left -= cost;
                energy += energies[v as usize];
            }
            taken
        });
        order.sort_unstable();
        (order, energy)
    }
}

/// Appends the runs of row u.
fn hull(u: usize, energies: &[f64], runs: &mut Vec<MaskRun>) {
    let first = runs.len();
    // Pool adjacent violators (Ayer et al. 1955): the hull in one pass.
    for &energy in energies {
        let mut run = MaskRun { row: u as u32, width: 1, energy };
        // A run that is worth more per column than the one before it is merged into it.
        while let Some(before) = runs[first..].last()
            && before.energy * f64::from(run.width) <= run.energy * f64::from(before.width)
        {
            run.width += before.width;
            run.energy += before.energy;
            runs.pop();
        }
        runs.push(run);
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
