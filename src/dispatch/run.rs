//! Days played under policies, several at once.

use super::{Named, Options};
use routing::dispatch::{Metrics, Played, Policy, Settings, Solution, Violation, play, verify};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tokio::time::Instant;

/// What came of one day under one policy.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which instance: its place among those that were given.
    pub instance: usize,
    /// Under which policy.
    pub policy: Policy,
    /// Who carried what, and when.
    pub solution: Solution,
    /// What that is worth.
    pub metrics: Metrics,
    /// The rules it breaks; none, unless the dispatcher is wrong.
    pub violations: Vec<Violation>,
    /// What each re-plan took, in nanoseconds, sorted.
    pub replan_ns: Vec<u64>,
    /// What each insertion of a new order took, in nanoseconds, sorted.
    pub insertion_ns: Vec<u64>,
    /// The most orders that were open in one re-plan.
    pub open_orders_max: usize,
    /// How long the whole day took.
    pub took: Duration,
}

impl Run {
    /// The policy as the command line calls it.
    pub fn policy_name(&self) -> &'static str {
        policy_name(self.policy)
    }
}

/// A policy as the command line calls it.
pub(super) const fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Nearest => "nearest",
        Policy::Rolling => "rolling",
        Policy::Anneal => "anneal",
    }
}

/// Told of each run that is done.
pub trait Progress: Sync {
    /// A run is done; `Err` ends the whole, and no further run begins.
    ///
    /// # Errors
    /// Whatever makes it pointless to go on.
    fn done(&self, run: &Run) -> Result<(), super::DispatchError>;
}

/// Plays each day under each policy, as many at once as the options allow; the outcomes are in the sequence of the days, then of
/// the policies, and do not depend on how many are played at once.
///
/// # Errors
/// What `progress` said.
pub fn dispatch(days: &[Named], options: &Options, progress: &impl Progress) -> Result<Vec<Run>, super::DispatchError> {
    let mut jobs: Vec<(usize, Policy)> = (0..days.len())
        .flat_map(|day| options.policies.iter().map(move |policy| (day, *policy)))
        .collect();
    // The largest first: nobody waits for one that began last.
    jobs.sort_by_key(|(day, policy)| std::cmp::Reverse((*policy == Policy::Anneal, days[*day].day.orders.len())));
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Ok(Vec::with_capacity(jobs.len()))));
    let work = || {
        while let Some((day, policy)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let run = run(days, *day, *policy, options);
            let told = progress.done(&run);
            let mut outcomes = outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match (&mut *outcomes, told) {
                (Ok(runs), Ok(())) => runs.push(run),
                (Ok(_), Err(error)) => *outcomes = Err(error),
                (Err(_), _) => {}
            }
            if outcomes.is_err() {
                break;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut runs = outcomes
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)?;
    let place = |policy: Policy| options.policies.iter().position(|other| *other == policy);
    runs.sort_by_key(|run: &Run| (run.instance, place(run.policy)));
    Ok(runs)
}

fn run(days: &[Named], instance: usize, policy: Policy, options: &Options) -> Run {
    let day = &days[instance].day;
    let settings = Settings {
        policy,
        knowledge: options.knowledge,
        seed: options.seed,
        moves_max: options.moves_max,
        budget_ns: options.budget_ns,
        tuning: options.tuning,
    };
    let began = Instant::now();
    let clock_ns = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let Played {
        solution,
        mut replan_ns,
        mut insertion_ns,
        open_orders_max,
    } = play(day, &settings, &clock_ns);
    let took = began.elapsed();
    replan_ns.sort_unstable();
    insertion_ns.sort_unstable();
    Run {
        instance,
        policy,
        metrics: Metrics::new(day, &solution),
        violations: verify(day, &solution),
        solution,
        replan_ns,
        insertion_ns,
        open_orders_max,
        took,
    }
}
