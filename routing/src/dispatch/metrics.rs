//! The figures by which the library's evaluator (`compute_performance_summary.py` of grubhub/mdrplib) judges a solution, computed by
//! its arithmetic and printed in its layout. Times are in minutes, money is in the instance's major unit.

use super::day::{Day, PlacedOrder};
use super::describe::{Description, FIGURES, number, sum};
use super::problem::OrderKey;
use super::solution::{Move, Solution};
use super::travel::travel_s;
use super::verify::verify;
use serde::Serialize;
use std::fmt;

/// What a solution is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Whether it keeps every rule.
    pub feasible: bool,
    /// Orders of the day.
    pub orders: usize,
    /// Orders that were delivered.
    pub delivered: usize,
    /// What all couriers are paid.
    pub total_payment: f64,
    /// What they are paid for each delivered order; absent without any.
    pub cost_per_order: Option<f64>,
    /// The share of the couriers who are paid by the hour, because their orders earn less, 0 to 1.
    pub guaranteed_share: f64,
    /// From the placement to the drop-off of each delivered order.
    pub click_to_door: Description,
    /// From when the food was ready to its drop-off.
    pub ready_to_door: Description,
    /// From when the food was ready to its pick-up.
    pub ready_to_pickup: Description,
    /// How much longer than the target from the placement to the drop-off; 0 for those in time.
    pub overage: Description,
    /// Orders delivered in an hour of each courier's shift.
    pub orders_per_hour: Description,
    /// Bundles carried in an hour of each courier's shift.
    pub bundles_per_hour: Description,
    /// The part of each courier's shift spent driving, picking up and dropping off; more than 1 with work past its end.
    pub utilization: Description,
    /// What each courier is paid at least.
    pub guaranteed_earnings: Description,
    /// What each courier's orders earn.
    pub order_earnings: Description,
    /// What each courier is paid.
    pub payment: Description,
    /// Orders in each bundle.
    pub orders_per_bundle: Description,
}

/// What a courier did, in numbers that are exact.
#[derive(Clone, Copy, Default)]
struct Work {
    orders: u32,
    bundles: u32,
    busy_min: i32,
}

impl Metrics {
    /// Of a solution of a day. Where the solution is not feasible, the figures say little.
    pub fn new(day: &Day, solution: &Solution) -> Self {
        let delivered = Delivered::of(day, solution);
        let couriers = Couriers::of(day, &work(day, solution));
        let total_payment = sum(&couriers.payment);
        let count = delivered.click_to_door.len();
        let by_hour = couriers.order_earnings.iter().zip(&couriers.guaranteed_earnings);
        let by_hour = by_hour.filter(|(orders, guaranteed)| orders < guaranteed).count();
        let sizes: Vec<f64> = solution
            .carried
            .iter()
            .map(|bundle| number(bundle.orders.len()))
            .collect();
        Self {
            feasible: verify(day, solution).is_empty(),
            orders: day.orders.len(),
            delivered: count,
            total_payment,
            cost_per_order: (count > 0).then(|| total_payment / number(count)),
            guaranteed_share: number(by_hour) / number(day.couriers.len()),
            click_to_door: Description::of(&delivered.click_to_door),
            ready_to_door: Description::of(&delivered.ready_to_door),
            ready_to_pickup: Description::of(&delivered.ready_to_pickup),
            overage: Description::of(&delivered.overage),
            orders_per_hour: Description::of(&couriers.orders_per_hour),
            bundles_per_hour: Description::of(&couriers.bundles_per_hour),
            utilization: Description::of(&couriers.utilization),
            guaranteed_earnings: Description::of(&couriers.guaranteed_earnings),
            order_earnings: Description::of(&couriers.order_earnings),
            payment: Description::of(&couriers.payment),
            orders_per_bundle: Description::of(&sizes),
        }
    }

    /// How many of a hundred orders were not delivered.
    pub fn undelivered_pct(&self) -> f64 {
        100.0 * number(self.orders - self.delivered) / number(self.orders)
    }
}

/// The times of the delivered orders, in the sequence of the day.
#[derive(Default)]
struct Delivered {
    click_to_door: Vec<f64>,
    ready_to_door: Vec<f64>,
    ready_to_pickup: Vec<f64>,
    overage: Vec<f64>,
}

impl Delivered {
    fn of(day: &Day, solution: &Solution) -> Self {
        let mut times = vec![None; day.orders.len()];
        for bundle in &solution.carried {
            for (OrderKey(at), dropoff_minute) in &bundle.orders {
                if let Some(time) = times.get_mut(*at as usize) {
                    *time = Some((bundle.pickup_minute, *dropoff_minute));
                }
            }
        }
        let target_min = f64::from(day.rules.target_s) / 60.0;
        let mut delivered = Self::default();
        for (order, time) in day.orders.iter().zip(times) {
            if let Some((pickup_minute, dropoff_minute)) = time {
                delivered.add(order, pickup_minute, dropoff_minute, target_min);
            }
        }
        delivered
    }

    fn add(&mut self, order: &PlacedOrder, pickup_minute: i32, dropoff_minute: i32, target_min: f64) {
        let click_to_door = f64::from(dropoff_minute - order.placed_minute);
        self.click_to_door.push(click_to_door);
        self.ready_to_door.push(f64::from(dropoff_minute - order.ready_minute));
        self.ready_to_pickup.push(f64::from(pickup_minute - order.ready_minute));
        self.overage.push((click_to_door - target_min).max(0.0));
    }
}

/// What each courier did and earned, in the sequence of the day.
#[derive(Default)]
struct Couriers {
    orders_per_hour: Vec<f64>,
    bundles_per_hour: Vec<f64>,
    utilization: Vec<f64>,
    guaranteed_earnings: Vec<f64>,
    order_earnings: Vec<f64>,
    payment: Vec<f64>,
}

impl Couriers {
    fn of(day: &Day, work: &[Work]) -> Self {
        let (per_order, per_hour) = (
            major(day.rules.pay_per_order_minor),
            major(day.rules.pay_per_hour_minor),
        );
        let mut couriers = Self::default();
        for (shift, work) in day.couriers.iter().zip(work) {
            let shift_min = f64::from(shift.off_minute - shift.on_minute);
            let guaranteed = shift_min * per_hour / 60.0;
            let earned = f64::from(work.orders) * per_order;
            couriers.orders_per_hour.push(60.0 * f64::from(work.orders) / shift_min);
            couriers
                .bundles_per_hour
                .push(60.0 * f64::from(work.bundles) / shift_min);
            couriers.utilization.push(f64::from(work.busy_min) / shift_min);
            couriers.guaranteed_earnings.push(guaranteed);
            couriers.order_earnings.push(earned);
            couriers.payment.push(earned.max(guaranteed));
        }
        couriers
    }
}

fn work(day: &Day, solution: &Solution) -> Vec<Work> {
    let mut all = vec![Work::default(); day.couriers.len()];
    for bundle in &solution.carried {
        let Some(work) = all.get_mut(bundle.courier.0 as usize) else {
            continue;
        };
        work.bundles += 1;
        work.busy_min += day.rules.pickup_service_s / 60;
        for _ in &bundle.orders {
            work.orders += 1;
            work.busy_min += day.rules.dropoff_service_s / 60;
        }
    }
    for way in &solution.moves {
        if let Some(work) = all.get_mut(way.courier.0 as usize) {
            work.busy_min += day.way_min(way).unwrap_or_default();
        }
    }
    all
}

/// Exact to the cent, as a float can be.
fn major(minor: i64) -> f64 {
    f64::from(i32::try_from(minor).unwrap_or(i32::MAX)) / 100.0
}

impl Day {
    /// How many minutes a way takes; absent when the day has no such places.
    pub fn way_min(&self, way: &Move) -> Option<i32> {
        let places = self.place(way.from).zip(self.place(way.to));
        places.map(|(from, to)| travel_s(from, to, f64::from(self.metres_per_min)) / 60)
    }
}

impl fmt::Display for Metrics {
    /// In the evaluator's layout, line by line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "number of orders delivered: {} out of {}",
            self.delivered, self.orders
        )?;
        writeln!(f, "total payment: {:.2}", self.total_payment)?;
        let share = self.guaranteed_share;
        writeln!(
            f,
            "proportion of couriers receiving minimum guaranteed compensation: {share:.2}"
        )?;
        let blocks = [
            &[
                ("click-to-door", &self.click_to_door),
                ("ready-to-door", &self.ready_to_door),
                ("ready-to-pickup", &self.ready_to_pickup),
                ("click-to-door overage", &self.overage),
            ][..],
            &[
                ("orders_per_hour", &self.orders_per_hour),
                ("bundles_per_hour", &self.bundles_per_hour),
                ("utilization", &self.utilization),
                ("guaranteed_earnings", &self.guaranteed_earnings),
                ("order_earnings", &self.order_earnings),
                ("payment", &self.payment),
            ],
            &[("orders_per_bundle", &self.orders_per_bundle)],
        ];
        for columns in blocks {
            f.write_str("\n\n")?;
            block(f, columns)?;
        }
        Ok(())
    }
}

/// A table as pandas prints it: a line a figure, a column a series, as wide as the widest in it.
fn block(f: &mut fmt::Formatter<'_>, columns: &[(&str, &Description)]) -> fmt::Result {
    let text = |value: Option<f64>| value.map_or_else(|| "NaN".to_owned(), |value| format!("{value:.2}"));
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, description)| (*name, description.figures().map(text)))
        .map(|(name, cells)| {
            let widest = cells.iter().map(String::len).max();
            (name, widest.unwrap_or(0).max(name.len()), cells)
        })
        .collect();
    write!(f, "{:5}", "")?;
    for (name, width, _) in &columns {
        write!(f, "  {name:>width$}")?;
    }
    f.write_str("\n")?;
    for (line, figure) in FIGURES.iter().enumerate() {
        write!(f, "{figure:5}")?;
        for (_, width, cells) in &columns {
            write!(f, "  {:>width$}", cells[line])?;
        }
        f.write_str("\n")?;
    }
    Ok(())
}
