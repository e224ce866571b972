//! What came of days under policies, in figures.

use super::published::{self, TABLE_4_CLAIRVOYANT_MIN, TABLE_4_CLICK_TO_DOOR_MIN, in_table_4};
use super::run::policy_name;
use super::{Named, Options, Run};
use routing::dispatch::{Knowledge, Metrics, Policy};
use serde::Serialize;

/// What came of it all. As JSON, the outermost figures are those of [`Report::policy`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// How many days were played.
    pub instances: usize,
    /// Whose figures come first: `anneal` if it was played, else the last one.
    pub policy: Policy,
    /// Its means.
    pub mean: Figures,
    /// How long it thought.
    pub replan_ms: ReplanMs,
    /// How much sooner `anneal` delivers than `nearest`, in percent of the latter's click-to-door; absent unless both were
    /// played.
    pub improvement_pct: Option<f64>,
    /// What was known of preparation times: `exact` or `estimated`.
    pub prep: &'static str,
    /// The figures of each policy.
    pub policies: Vec<PolicyFigures>,
    /// What is published, when all instances are of the library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// The figures of each day under each policy.
    pub runs: Vec<RunFigures>,
}

/// Means over days: of each day's mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// From placement to drop-off, in minutes.
    pub click_to_door: Option<f64>,
    /// Orders that were not delivered, of a hundred.
    pub undelivered_pct: Option<f64>,
    /// How much longer than the target, in minutes, over all delivered orders.
    pub overdue: Option<f64>,
    /// From when the food is ready to its pick-up, in minutes.
    pub ready_to_pickup: Option<f64>,
    /// What couriers are paid for each delivered order.
    pub cost_per_order: Option<f64>,
    /// How many orders are carried together.
    pub orders_per_bundle: Option<f64>,
}

/// How long re-plans took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ReplanMs {
    /// All but one of a hundred took no longer.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

/// How long insertions took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct InsertionUs {
    /// All but one of a hundred took no longer.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

/// What came of all days under a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyFigures {
    /// Which.
    pub policy: Policy,
    /// On how many days it broke no rule.
    pub feasible: usize,
    /// Orders of all days.
    pub orders: usize,
    /// Orders delivered.
    pub delivered: usize,
    /// What all couriers of all days are paid.
    pub total_payment: f64,
    /// The share of them who are paid by the hour, because their orders earn less: the mean over days, 0 to 1.
    pub guaranteed_share: f64,
    /// Its means.
    pub mean: Figures,
    /// Its means over the instances of Reyes et al.'s table 4, if there are such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_4: Option<Table4>,
    /// How long it thought.
    pub replan_ms: ReplanMs,
    /// How long it took to find a new order its place.
    pub insertion_us: InsertionUs,
    /// The most orders that were open in one re-plan.
    pub open_orders_max: usize,
    /// Processor time of all days, if nothing else ran, in seconds.
    pub wall_s: f64,
}

/// Means over the instances of Reyes et al.'s table 4.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Table4 {
    /// How many of its sixteen were played.
    pub instances: usize,
    /// Their means.
    pub mean: Figures,
}

/// What others published.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Published {
    /// The means of Reyes et al. 2018 over all 240 instances.
    pub mean: Figures,
    /// Their mean click-to-door over the instances of table 4, with exact preparation times.
    pub table_4_click_to_door: Option<f64>,
    /// The same for couriers who know the day beforehand.
    pub table_4_clairvoyant: Option<f64>,
}

/// What came of a day under a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunFigures {
    /// The day.
    pub instance: String,
    /// The policy.
    pub policy: Policy,
    /// All that the library's evaluator tells.
    pub metrics: Metrics,
    /// The rules that were broken; none, unless the dispatcher is wrong.
    pub violations: Vec<String>,
    /// How long it thought.
    pub replan_ms: ReplanMs,
    /// How long the day took, in seconds.
    pub wall_s: f64,
}

impl Report {
    /// The report on all runs of these days.
    pub fn new(days: &[Named], options: &Options, runs: &[Run]) -> Self {
        let policies: Vec<PolicyFigures> = options
            .policies
            .iter()
            .map(|policy| figures(days, *policy, runs))
            .collect();
        let of = |wanted: Policy| policies.iter().find(|figures| figures.policy == wanted);
        let first = of(Policy::Anneal).or(policies.last());
        let doors = |policy| of(policy).and_then(|figures| figures.mean.click_to_door);
        let improvement = doors(Policy::Nearest).zip(doors(Policy::Anneal));
        let of_library = days.iter().all(|named| published::is_of_library(&named.name));
        let exact = options.knowledge == Knowledge::Exact;
        Self {
            instances: days.len(),
            policy: first.map(|figures| figures.policy).unwrap_or_default(),
            mean: first.map(|figures| figures.mean).unwrap_or_default(),
            replan_ms: first.map(|figures| figures.replan_ms).unwrap_or_default(),
            improvement_pct: improvement.map(|(nearest, anneal)| rounded(100.0 * (nearest - anneal) / nearest)),
            prep: if exact { "exact" } else { "estimated" },
            published: of_library.then(|| Published {
                mean: published::means(options.knowledge),
                table_4_click_to_door: exact.then_some(TABLE_4_CLICK_TO_DOOR_MIN),
                table_4_clairvoyant: exact.then_some(TABLE_4_CLAIRVOYANT_MIN),
            }),
            policies,
            runs: runs.iter().map(|run| run_figures(days, run)).collect(),
        }
    }

    /// Whether no rule was broken on any day.
    pub fn is_feasible(&self) -> bool {
        self.policies.iter().all(|figures| figures.feasible == self.instances)
    }
}

fn run_figures(days: &[Named], run: &Run) -> RunFigures {
    RunFigures {
        instance: days[run.instance].name.clone(),
        policy: run.policy,
        metrics: run.metrics.clone(),
        violations: run.violations.iter().map(ToString::to_string).collect(),
        replan_ms: replan_ms(&run.replan_ns),
        wall_s: rounded(run.took.as_secs_f64()),
    }
}

fn figures(days: &[Named], policy: Policy, runs: &[Run]) -> PolicyFigures {
    let runs: Vec<&Run> = runs.iter().filter(|run| run.policy == policy).collect();
    let all: Vec<&Metrics> = runs.iter().map(|run| &run.metrics).collect();
    let in_table = runs.iter().filter(|run| in_table_4(&days[run.instance].name));
    let table_4: Vec<&Metrics> = in_table.map(|run| &run.metrics).collect();
    let sorted = |of: fn(&Run) -> &[u64]| {
        let mut all: Vec<u64> = runs.iter().flat_map(|run| of(run)).copied().collect();
        all.sort_unstable();
        all
    };
    let insertion_ns = sorted(|run| &run.insertion_ns);
    PolicyFigures {
        policy,
        feasible: all.iter().filter(|metrics| metrics.feasible).count(),
        orders: all.iter().map(|metrics| metrics.orders).sum(),
        delivered: all.iter().map(|metrics| metrics.delivered).sum(),
        total_payment: all.iter().map(|metrics| metrics.total_payment).sum(),
        guaranteed_share: mean(all.iter().map(|metrics| metrics.guaranteed_share)).unwrap_or(0.0),
        mean: Figures::over(&all),
        table_4: (!table_4.is_empty()).then(|| Table4 {
            instances: table_4.len(),
            mean: Figures::over(&table_4),
        }),
        replan_ms: replan_ms(&sorted(|run| &run.replan_ns)),
        insertion_us: InsertionUs {
            p99: percentile_99(&insertion_ns).map(|ns| rounded(as_f64(ns) / 1_000.0)),
            max: insertion_ns.last().map(|ns| rounded(as_f64(*ns) / 1_000.0)),
        },
        open_orders_max: runs.iter().map(|run| run.open_orders_max).max().unwrap_or(0),
        wall_s: rounded(runs.iter().map(|run| run.took.as_secs_f64()).sum()),
    }
}

impl Figures {
    fn over(all: &[&Metrics]) -> Self {
        let mean = |of: fn(&Metrics) -> Option<f64>| mean(all.iter().filter_map(|metrics| of(metrics)));
        Self {
            click_to_door: mean(|metrics| metrics.click_to_door.mean),
            undelivered_pct: mean(|metrics| Some(metrics.undelivered_pct())),
            overdue: mean(|metrics| metrics.overage.mean),
            ready_to_pickup: mean(|metrics| metrics.ready_to_pickup.mean),
            cost_per_order: mean(|metrics| metrics.cost_per_order),
            orders_per_bundle: mean(|metrics| metrics.orders_per_bundle.mean),
        }
    }
}

/// To four places; absent without values.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
    (count > 0).then(|| rounded(values.iter().sum::<f64>() / f64::from(count)))
}

fn replan_ms(sorted_ns: &[u64]) -> ReplanMs {
    let ms = |ns: u64| rounded(as_f64(ns) / 1_000_000.0);
    ReplanMs {
        p99: percentile_99(sorted_ns).map(ms),
        max: sorted_ns.last().copied().map(ms),
    }
}

/// Nearest rank.
fn percentile_99(sorted: &[u64]) -> Option<u64> {
    let rank = (sorted.len() * 99).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[expect(clippy::cast_precision_loss, reason = "a figure of six places")]
const fn as_f64(value: u64) -> f64 {
    value as f64
}

/// To four places.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

impl PolicyFigures {
    /// The policy as the command line calls it.
    pub fn name(&self) -> &'static str {
        policy_name(self.policy)
    }
}
