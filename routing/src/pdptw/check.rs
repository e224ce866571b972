//! Judges a plan from the instance's text alone: nothing here is shared with the search.

use thiserror::Error;

/// How much later than its window service may begin because sums of distances are not exact.
const TOLERANCE: f64 = 1e-6;

/// What a feasible plan amounts to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Vehicles that go anywhere.
    pub vehicles: usize,
    /// All routes together.
    pub distance: f64,
}

/// Why a plan is not feasible.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// The instance itself could not be read.
    #[error("the instance could not be read")]
    Instance,
    /// More routes than vehicles.
    #[error("more routes than vehicles")]
    Vehicles,
    /// Not served, or more than once, or not there at all.
    #[error("task {0} is not served exactly once")]
    Once(usize),
    /// A delivery without its pickup before it in the same route.
    #[error("task {0} is delivered before it is picked up, or by another vehicle")]
    Precedence(usize),
    /// Service would begin after the window.
    #[error("task {0} is served too late")]
    Late(usize),
    /// The vehicle carries more than it can.
    #[error("the vehicle is overloaded at task {0}")]
    Load(usize),
}

/// Recomputes everything from the text, in Li and Lim's format, and the tasks of each route in sequence, without the depot.
///
/// # Errors
/// The first [`Violation`] found.
pub fn check(text: &str, routes: &[Vec<u16>]) -> Result<Verdict, Violation> {
    let rows = read(text).ok_or(Violation::Instance)?;
    let (head, tasks) = rows.split_first().ok_or(Violation::Instance)?;
    if tasks.is_empty() || tasks.iter().any(|task| task.len() != 9) || head.len() < 2 {
        return Err(Violation::Instance);
    }
    let mut seen = vec![0_u32; tasks.len()];
    let mut verdict = Verdict {
        vehicles: 0,
        distance: 0.0,
    };
    for route in routes.iter().filter(|route| !route.is_empty()) {
        verdict.vehicles += 1;
        verdict.distance += drive(tasks, head[1], route, &mut seen)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "few vehicles")]
    let too_many = verdict.vehicles as f64 > head[0];
    if too_many {
        return Err(Violation::Vehicles);
    }
    let once = seen.iter().skip(1).position(|times| *times != 1);
    once.map_or(Ok(verdict), |index| Err(Violation::Once(index + 1)))
}

fn read(text: &str) -> Option<Vec<Vec<f64>>> {
    let numbers = |line: &str| line.split_whitespace().map(|field| field.parse().ok()).collect();
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(numbers)
        .collect()
}

fn drive(tasks: &[Vec<f64>], capacity: f64, route: &[u16], seen: &mut [u32]) -> Result<f64, Violation> {
    let (mut distance, mut now, mut load) = (0.0, tasks[0][4], 0.0);
    let mut at = &tasks[0];
    for (order, task) in route.iter().map(|task| usize::from(*task)).chain([0]).enumerate() {
        let next = tasks.get(task).ok_or(Violation::Once(task))?;
        let way = ((at[1] - next[1]).powi(2) + (at[2] - next[2]).powi(2)).sqrt();
        distance += way;
        now = f64::max(now + way, next[4]);
        if now > next[5] + TOLERANCE {
            return Err(Violation::Late(task));
        }
        now += next[6];
        at = next;
        if task == 0 {
            if order < route.len() {
                return Err(Violation::Once(0));
            }
            continue;
        }
        seen[task] += 1;
        load += next[3];
        if load > capacity {
            return Err(Violation::Load(task));
        }
        let fetched = route[..order]
            .iter()
            .any(|before| (f64::from(*before) - next[7]).abs() < 0.5);
        if next[7] > 0.0 && !fetched {
            return Err(Violation::Precedence(task));
        }
    }
    Ok(distance)
}
