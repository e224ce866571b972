//! The whole search: a first plan, fewer vehicles, then a shorter way.

use super::absences::Absences;
use super::draft::Draft;
use super::problem::{PdptwError, Problem};
use super::route::Route;
use super::shorten::{Shorten, publish};
use crate::anneal::{Annealed, Budget, Cooling, anneal};
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// The share of the budget for getting by with fewer vehicles, at most.
const FLEET_SHARE: f64 = 0.35;
/// Temperatures, in mean distances between two tasks.
const FLEET_COOLING: Cooling = Cooling { first: 0.1, last: 0.01 };
const COOLING: Cooling = Cooling { first: 1.0, last: 0.03 };

/// Who goes where.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// For each vehicle that goes anywhere the tasks in sequence, without the depot.
    pub routes: Vec<Vec<u16>>,
    /// How long all routes are together, the ways from and to the depot included.
    pub distance: f64,
}

/// How much was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Moves to get by with fewer vehicles.
    pub fleet_moves: u64,
    /// Moves to shorten the way.
    pub moves: u64,
}

/// The best plan found, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// Feasible, and within the vehicles there are.
    pub plan: Plan,
    /// What it took.
    pub effort: Effort,
}

/// Searches until the budget is spent. The first plan is there whatever the budget; the search is a function of the seed
/// alone when only moves are counted.
///
/// # Errors
/// [`PdptwError::Vehicles`] when the best plan found uses more vehicles than there are.
pub fn solve(problem: &Problem, budget: Budget<'_>, seed: u64) -> Result<Solution, PdptwError> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut draft = Draft::new(problem);
    draft.construct(&mut random);
    let mut best = Vec::new();
    publish(&draft, &mut best);
    let fleet_moves = fewer_vehicles(problem, draft, &mut best, budget, seed);
    let annealed = shorten(problem, &mut best, budget, fleet_moves, seed);
    let effort = Effort {
        fleet_moves,
        moves: annealed.moves,
    };
    finish(problem, &best, effort)
}

/// Drops one route after the other for as long as the budget lasts; the best plan is the last complete one.
fn fewer_vehicles(
    problem: &Problem,
    mut draft: Draft<'_>,
    best: &mut Vec<Route>,
    budget: Budget<'_>,
    seed: u64,
) -> u64 {
    let mut counts = vec![0; problem.requests()];
    let mut moves = 0;
    while draft.routes.len() > 1 {
        let mut absences = Absences::drop_route(&mut draft, &mut counts);
        let cooling = scaled(FLEET_COOLING, problem);
        moves += within(budget, FLEET_SHARE, moves, |left| {
            anneal(&mut absences, cooling, left, seed ^ moves)
        })
        .moves;
        if !absences.is_complete() {
            break;
        }
        publish(&draft, best);
    }
    moves
}

fn shorten(problem: &Problem, best: &mut Vec<Route>, budget: Budget<'_>, moves_before: u64, seed: u64) -> Annealed {
    let mut draft = Draft::from_routes(problem, best);
    let mut landscape = Shorten::new(&mut draft, best);
    within(budget, 1.0, moves_before, |left| {
        anneal(&mut landscape, scaled(COOLING, problem), left, seed)
    })
}

fn finish(problem: &Problem, best: &[Route], effort: Effort) -> Result<Solution, PdptwError> {
    let plan = Plan {
        routes: best
            .iter()
            .filter(|route| !route.is_empty())
            .map(Route::tasks)
            .collect(),
        distance: best.iter().map(|route| route.distance).sum(),
    };
    if plan.routes.len() > problem.vehicles_max() {
        return Err(PdptwError::Vehicles {
            needed: plan.routes.len(),
            vehicles_max: problem.vehicles_max(),
        });
    }
    Ok(Solution { plan, effort })
}

fn scaled(cooling: Cooling, problem: &Problem) -> Cooling {
    Cooling {
        first: cooling.first * problem.leg_mean,
        last: cooling.last * problem.leg_mean,
    }
}

/// Runs a stage with what is left of a share of the budget.
fn within<T>(budget: Budget<'_>, share: f64, moves: u64, stage: impl FnOnce(Budget<'_>) -> T) -> T {
    let used_before = budget.time_used.map_or(0.0, |used| used());
    let left = (share - used_before).max(f64::MIN_POSITIVE);
    let used = || budget.time_used.map_or(0.0, |used| (used() - used_before) / left);
    stage(Budget {
        moves_max: of(budget.moves_max, share).saturating_sub(moves),
        time_used: budget.time_used.map(|_| &used as &dyn Fn() -> f64),
    })
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share need not be exact"
)]
fn of(moves: u64, share: f64) -> u64 {
    if share < 1.0 {
        (moves as f64 * share) as u64
    } else {
        moves
    }
}
