//! Simulated annealing that works in place: the solver under which plans are ruined and recreated.
//!
//! The acceptance and the cooling are those of SISR (Christiaens and Vanden Berghe 2020, "Slack induction by string
//! removals for vehicle routing problems"): a change is kept when its cost is below `current − T·ln U`, and T falls
//! exponentially from its first to its last value. argmin runs it. Its own `SimulatedAnnealing` clones the solution at
//! every move; here the solution lives in the solver, a move is undone when it is not kept, and only a new best is copied.

use argmin::core::{Error, Executor, IterState, KV, Problem, Solver, TerminationReason, TerminationStatus};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Moves between two looks at the clock, and of one iteration of argmin.
const BATCH: u64 = 32;

/// A solution that is changed in place.
pub trait Landscape {
    /// What the present solution costs.
    fn cost(&self) -> f64;
    /// Changes the solution a little and says what it costs now. Never called twice without [`keep`](Self::keep) or
    /// [`undo`](Self::undo) in between.
    fn change(&mut self, random: &mut SmallRng) -> f64;
    /// Makes the change part of the solution.
    fn keep(&mut self);
    /// Takes the change back: the solution is exactly what it was.
    fn undo(&mut self);
    /// Remembers the present solution as the best seen.
    fn publish(&mut self);
}

/// How hot it begins and how cold it ends, in units of cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cooling {
    /// The first temperature.
    pub first: f64,
    /// The last; not above the first, and above zero.
    pub last: f64,
}

/// How long it may take. Whichever ends first ends it.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// Most moves.
    pub moves_max: u64,
    /// The share of the time budget that is used up, from 0 to 1 (and beyond: the end); absent when only moves count,
    /// which makes the outcome a function of the seed alone.
    pub time_used: Option<&'a dyn Fn() -> f64>,
}

impl Budget<'_> {
    /// So many moves, however long they take.
    pub const fn moves(moves_max: u64) -> Self {
        Self {
            moves_max,
            time_used: None,
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Annealed {
    /// Moves made.
    pub moves: u64,
    /// Moves kept.
    pub kept: u64,
    /// The cost of the best solution seen, the first one included.
    pub best_cost: f64,
}

/// Improves a solution until the budget is spent; the landscape's published solution is the best one seen. Deterministic
/// for a seed when the budget has no time in it.
pub fn anneal<L: Landscape>(landscape: &mut L, cooling: Cooling, budget: Budget<'_>, seed: u64) -> Annealed {
    landscape.publish();
    let cost = landscape.cost();
    let solver = Annealer {
        landscape,
        cooling,
        budget,
        random: SmallRng::seed_from_u64(seed),
        cost,
        done: Annealed {
            best_cost: cost,
            ..Annealed::default()
        },
    };
    let executor = Executor::new((), solver).ctrlc(false).timer(false);
    let outcome = executor.run();
    outcome.map_or_else(|_| unreachable!("a move does not fail"), |result| result.solver.done)
}

struct Annealer<'a, L> {
    landscape: &'a mut L,
    cooling: Cooling,
    budget: Budget<'a>,
    random: SmallRng,
    cost: f64,
    done: Annealed,
}

/// What argmin sees: the cost alone.
type Seen = IterState<(), (), (), (), (), f64>;

impl<L: Landscape> Annealer<'_, L> {
    /// How much of the budget is used up, from 0 on.
    fn progress(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let moves = self.done.moves as f64 / self.budget.moves_max.max(1) as f64;
        self.budget.time_used.map_or(moves, |used| moves.max(used()))
    }

    fn temperature(&self, progress: f64) -> f64 {
        let Cooling { first, last } = self.cooling;
        first * (last / first).powf(progress.min(1.0))
    }

    fn step(&mut self, temperature: f64) {
        let cost = self.landscape.change(&mut self.random);
        self.done.moves += 1;
        let threshold = self.cost - temperature * self.random.random::<f64>().max(f64::MIN_POSITIVE).ln();
        if cost >= threshold {
            self.landscape.undo();
            return;
        }
        self.landscape.keep();
        self.done.kept += 1;
        self.cost = cost;
        if cost < self.done.best_cost {
            self.done.best_cost = cost;
            self.landscape.publish();
        }
    }
}

impl<L: Landscape> Solver<(), Seen> for Annealer<'_, L> {
    fn name(&self) -> &'static str {
        "ruin and recreate"
    }

    fn next_iter(&mut self, _: &mut Problem<()>, state: Seen) -> Result<(Seen, Option<KV>), Error> {
        let temperature = self.temperature(self.progress());
        let left = self.budget.moves_max.saturating_sub(self.done.moves);
        for _ in 0..left.min(BATCH) {
            self.step(temperature);
        }
        Ok((state.cost(self.cost), None))
    }

    fn terminate(&mut self, _: &Seen) -> TerminationStatus {
        if self.progress() >= 1.0 {
            TerminationStatus::Terminated(TerminationReason::SolverConverged)
        } else {
            TerminationStatus::NotTerminated
        }
    }
}
