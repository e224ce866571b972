//! Which shifts cover what is needed at least cost.

use super::ForecastError;
use microlp::{ComparisonOp, OptimizationDirection, Problem};

/// How long shifts may be, in slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShiftLengths {
    min_slots: usize,
    max_slots: usize,
}

impl ShiftLengths {
    /// From the shortest to the longest.
    ///
    /// # Errors
    /// [`ForecastError::Lengths`] when there is no length between them, or one of nothing.
    pub const fn new(min_slots: usize, max_slots: usize) -> Result<Self, ForecastError> {
        if min_slots == 0 || min_slots > max_slots {
            return Err(ForecastError::Lengths { min_slots, max_slots });
        }
        Ok(Self { min_slots, max_slots })
    }
}

/// A shift: from the beginning of a slot on, for so many slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Its first slot.
    pub start: usize,
    /// How many it has.
    pub slots: usize,
}

/// What a shift costs beside its slots: so little that a slot is never given up for fewer shifts, and of two coverings with
/// as many slots the one with fewer shifts is taken.
const SHIFT_COST_SLOTS: f64 = 1e-4;

/// The shifts with the fewest slots together that cover what each slot needs, and among those the fewest shifts; sorted.
/// Shifts lie within the slots, which are as many as the shortest shift has at least.
///
/// A shift covers slots in a row, so that the constraints form an interval matrix, which is totally unimodular: the linear
/// program has a solution in whole numbers, and the simplex method finds one (Hoffman and Kruskal 1956; for shifts Bartholdi,
/// Orlin and Ratliff 1980).
///
/// # Errors
/// [`ForecastError::Solver`] when the solver fails, or answers what does not cover.
pub fn cover(needed: &[u32], lengths: ShiftLengths) -> Result<Vec<Span>, ForecastError> {
    let end = needed.len().max(lengths.min_slots);
    let spans: Vec<Span> = (lengths.min_slots..=lengths.max_slots.min(end))
        .flat_map(|slots| (0..=end - slots).map(move |start| Span { start, slots }))
        .collect();
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let cost = |span: &Span| u32::try_from(span.slots).map_or(f64::MAX, f64::from) + SHIFT_COST_SLOTS;
    let counts: Vec<_> = spans
        .iter()
        .map(|span| problem.add_var(cost(span), (0.0, f64::INFINITY)))
        .collect();
    for (slot, need) in needed.iter().enumerate().filter(|(_, need)| **need > 0) {
        let covering = spans.iter().zip(&counts).filter(|(span, _)| span.covers(slot));
        let terms: Vec<_> = covering.map(|(_, count)| (*count, 1.0)).collect();
        problem.add_constraint(&terms, ComparisonOp::Ge, f64::from(*need));
    }
    let solved = problem
        .solve()
        .map_err(|error| ForecastError::Solver(error.to_string()))?;
    let solution = solved
        .into_solution()
        .map_err(|_| ForecastError::Solver("it stopped early".to_owned()))?;
    let mut chosen = Vec::new();
    for (span, count) in spans.iter().zip(&counts) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "no more than the couriers needed, and whether they cover is checked below"
        )]
        let count = solution.var_value(*count).round().max(0.0) as usize;
        chosen.extend(std::iter::repeat_n(*span, count));
    }
    chosen.sort_unstable();
    for (slot, need) in needed.iter().enumerate() {
        let there = chosen.iter().filter(|span| span.covers(slot)).count();
        if there < *need as usize {
            return Err(ForecastError::Solver(format!(
                "slot {slot} has {there} of {need} couriers"
            )));
        }
    }
    Ok(chosen)
}

impl Span {
    /// Whether a slot is one of its.
    pub const fn covers(&self, slot: usize) -> bool {
        self.start <= slot && slot < self.start + self.slots
    }
}
