//! What was planned, in figures.

use super::{PlanOptions, Planned};
use routing::forecast::{Bandwidths, SLOT_MIN, Score};
use serde::Serialize;
use std::collections::BTreeMap;

/// What was planned, for all days.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanReport {
    /// How long a slot is, in minutes.
    pub slot_min: u32,
    /// How much more demand was planned for than the history shows.
    pub growth_rate: f64,
    /// The share of slots in which a kitchen's capacity is to suffice.
    pub service_level: f64,
    /// The share of their time that couriers are to be at work.
    pub utilisation: f64,
    /// Which orders of a slot couriers are planned for; absent for what is expected.
    pub courier_level: Option<f64>,
    /// Of the days that are over: how good their forecasts were. Absent without such days.
    pub mean: Option<MeanScores>,
    /// Each day.
    pub days: Vec<DayPlan>,
}

/// How good forecasts were, as means over days.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeanScores {
    /// Of how many days.
    pub days: usize,
    /// The forecast.
    pub forecast: Score,
    /// The plain mean of the other days.
    pub plain: Score,
    /// Their mean per restaurant.
    pub plain_per_restaurant: Score,
}

/// How good a day's forecast was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DayScores {
    /// Its orders.
    pub orders: usize,
    /// The forecast, without growth.
    pub forecast: Score,
    /// The plain mean of the other days.
    pub plain: Score,
    /// Their mean per restaurant.
    pub plain_per_restaurant: Score,
    /// The share of restaurants' slots that the suggested capacity would have held, in percent.
    pub slots_held_pct: f64,
    /// The share of orders within the suggested capacity, in percent.
    pub orders_held_pct: f64,
}

/// A day.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DayPlan {
    /// Its name.
    pub day: String,
    /// The days it was learned from, each with how much it counted.
    pub learned_from: Vec<Source>,
    /// How many restaurants it has.
    pub restaurants: usize,
    /// Orders expected, with growth.
    pub expected: f64,
    /// How far the forecast looked for what is alike.
    pub bandwidths: Bandwidths,
    /// How good the forecast was, if the day is over.
    pub scores: Option<DayScores>,
    /// Minutes of a courier that an order takes.
    pub minutes_per_order: f64,
    /// The shifts there were, if any.
    pub given: Option<ShiftFigures>,
    /// The shifts suggested.
    pub suggested: ShiftFigures,
    /// How many couriers work from which minute to which.
    pub shifts: Vec<ShiftCount>,
    /// Slot by slot.
    pub slots: Vec<SlotPlan>,
    /// Units by slot that each restaurant should be able to make.
    pub capacity: BTreeMap<String, Vec<u32>>,
}

/// A day that another was learned from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// Its name.
    pub day: String,
    /// How much it counted; all together 1.
    pub weight: f64,
}

/// What shifts come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ShiftFigures {
    /// How many.
    pub couriers: usize,
    /// Hours of all.
    pub hours: f64,
    /// What they are guaranteed, in minor units.
    pub guaranteed_minor: f64,
}

/// Shifts of the same times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ShiftCount {
    /// When they begin.
    pub on_minute: u32,
    /// When they end.
    pub off_minute: u32,
    /// How many.
    pub couriers: usize,
}

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SlotPlan {
    /// When it begins.
    pub minute: u32,
    /// Orders expected, with growth.
    pub expected: f64,
    /// Orders there were, if the day is over.
    pub orders: Option<f64>,
    /// Units that all restaurants together should be able to make.
    pub capacity: u32,
    /// Couriers needed.
    pub needed: u32,
    /// Couriers on the suggested shifts.
    pub suggested: usize,
    /// Couriers on the given shifts at its beginning.
    pub given: usize,
}

impl PlanReport {
    /// The report on these days.
    pub fn new(planned: &[Planned<'_>], options: &PlanOptions) -> Self {
        let days: Vec<DayPlan> = planned.iter().map(DayPlan::new).collect();
        Self {
            slot_min: SLOT_MIN,
            growth_rate: options.growth_rate,
            service_level: options.service_level,
            utilisation: options.utilisation,
            courier_level: options.courier_level,
            mean: MeanScores::of(&days),
            days,
        }
    }
}

impl MeanScores {
    fn of(days: &[DayPlan]) -> Option<Self> {
        let scores: Vec<&DayScores> = days.iter().filter_map(|day| day.scores.as_ref()).collect();
        let mean = |of: fn(&DayScores) -> Score| {
            let mean = |part: fn(&Score) -> f64| {
                scores.iter().map(|score| part(&of(score))).sum::<f64>() / count(scores.len())
            };
            Score {
                expected: mean(|score| score.expected),
                absolute_error: mean(|score| score.absolute_error),
                deviance: mean(|score| score.deviance),
            }
        };
        (!scores.is_empty()).then(|| Self {
            days: scores.len(),
            forecast: mean(|of| of.forecast),
            plain: mean(|of| of.plain),
            plain_per_restaurant: mean(|of| of.plain_per_restaurant),
        })
    }
}

impl DayPlan {
    fn new(planned: &Planned<'_>) -> Self {
        let instance = &planned.named.instance;
        let weights = planned.forecast.weights.iter();
        let sources = planned.from.iter().zip(weights).map(|(day, weight)| Source {
            day: (*day).to_owned(),
            weight: *weight,
        });
        let given = instance
            .couriers
            .iter()
            .map(|courier| (courier.on_minute, courier.off_minute));
        let suggested = planned
            .couriers
            .iter()
            .map(|courier| (courier.on_minute, courier.off_minute));
        let pay = instance.parameters.pay_per_hour_minor;
        let names = instance.restaurants.iter().map(|restaurant| restaurant.id.clone());
        Self {
            day: planned.named.name.clone(),
            learned_from: sources.collect(),
            restaurants: instance.restaurants.len(),
            expected: planned.forecast.expected.iter().sum(),
            bandwidths: planned.forecast.bandwidths,
            scores: DayScores::of(planned),
            minutes_per_order: planned.labour.minutes_per_order(),
            given: (!instance.couriers.is_empty()).then(|| ShiftFigures::of(given, pay)),
            suggested: ShiftFigures::of(suggested.clone(), pay),
            shifts: counted(suggested),
            slots: slots(planned),
            capacity: names.zip(planned.capacity.iter().cloned()).collect(),
        }
    }
}

impl DayScores {
    fn of(planned: &Planned<'_>) -> Option<Self> {
        planned.judged.as_ref().map(|judged| Self {
            orders: planned.named.instance.orders.len(),
            forecast: judged.score,
            plain: judged.plain,
            plain_per_restaurant: judged.plain_per_restaurant,
            slots_held_pct: 100.0 * judged.held,
            orders_held_pct: 100.0 * judged.held_orders,
        })
    }
}

impl ShiftFigures {
    fn of(shifts: impl Iterator<Item = (u32, u32)>, pay_per_hour_minor: u32) -> Self {
        let (mut couriers, mut minutes) = (0, 0.0);
        for (on, off) in shifts {
            couriers += 1;
            minutes += f64::from(off) - f64::from(on);
        }
        let hours = minutes / 60.0;
        Self {
            couriers,
            hours,
            guaranteed_minor: hours * f64::from(pay_per_hour_minor),
        }
    }
}

fn counted(shifts: impl Iterator<Item = (u32, u32)>) -> Vec<ShiftCount> {
    let mut counts: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    shifts.for_each(|shift| *counts.entry(shift).or_default() += 1);
    let count = |((on_minute, off_minute), couriers)| ShiftCount {
        on_minute,
        off_minute,
        couriers,
    };
    counts.into_iter().map(count).collect()
}

/// All slots in which something is expected, happened, or is to be done.
fn slots(planned: &Planned<'_>) -> Vec<SlotPlan> {
    let instance = &planned.named.instance;
    let forecast = &planned.forecast;
    let last = planned
        .couriers
        .iter()
        .chain(&instance.couriers)
        .map(|courier| courier.off_minute)
        .max();
    let slots = planned.needed.len().max(last.unwrap_or(0).div_ceil(SLOT_MIN) as usize);
    let minutes = (0..).step_by(SLOT_MIN as usize).take(slots);
    let placed_in = |minute: u32| {
        let in_slot = |placed: u32| (minute..minute + SLOT_MIN).contains(&placed);
        instance
            .orders
            .iter()
            .filter(|order| in_slot(order.placed_minute))
            .count()
    };
    let given_at = |minute: u32| {
        let there = instance
            .couriers
            .iter()
            .filter(|of| (of.on_minute..of.off_minute).contains(&minute));
        there.count()
    };
    let slot = |(at, minute): (usize, u32)| SlotPlan {
        minute,
        expected: forecast.expected.get(at).copied().unwrap_or(0.0),
        orders: planned.judged.as_ref().map(|_| count(placed_in(minute))),
        capacity: planned.capacity.iter().filter_map(|units| units.get(at)).sum(),
        needed: planned.needed.get(at).copied().unwrap_or(0),
        suggested: planned.shifts.iter().filter(|shift| shift.covers(at)).count(),
        given: given_at(minute),
    };
    minutes.enumerate().map(|(at, minute)| slot((at, minute))).collect()
}

fn count(of: usize) -> f64 {
    u32::try_from(of).map_or(f64::MAX, f64::from)
}
