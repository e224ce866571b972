//! The report as tables for people.

use super::report::{DayPlan, DayScores, PlanReport, ShiftFigures};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use routing::forecast::Score;
use std::fmt;

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [day] = &self.days[..] {
            writeln!(f, "{}, slot by slot\n{}\n", day.day, slots(day))?;
            writeln!(f, "shifts: {}\n", shifts(day))?;
        }
        if self.mean.is_some() {
            writeln!(
                f,
                "how good the forecasts are, in orders per slot of {} minutes",
                self.slot_min
            )?;
            writeln!(f, "{}\n", self.judged())?;
        }
        write!(f, "{}", self.suggested())?;
        let level = 100.0 * self.service_level;
        write!(
            f,
            "\nkitchens: what suffices in {level} % of slots; --json has each restaurant's"
        )?;
        let couriers = self.courier_level.map_or_else(
            || "what is expected".to_owned(),
            |level| format!("what {} % of slots do not exceed", 100.0 * level),
        );
        write!(
            f,
            "\ncouriers: for {couriers}, at work {:.0} % of their time",
            100.0 * self.utilisation
        )?;
        if self.growth_rate != 0.0 {
            write!(f, "\ndemand is to grow by {:.1} %", 100.0 * self.growth_rate)?;
        }
        Ok(())
    }
}

impl PlanReport {
    /// A row a day that is over, against the plain means of the others.
    fn judged(&self) -> Table {
        let mut table = table(&[
            "day",
            "orders",
            "expected",
            "error",
            "plain mean's",
            "its per restaurant",
            "deviance",
            "plain mean's",
            "its per restaurant",
            "slots held",
            "orders held",
        ]);
        for (day, scores) in self.days.iter().filter_map(|day| Some((day, day.scores.as_ref()?))) {
            let of = [scores.forecast, scores.plain, scores.plain_per_restaurant];
            let mut row = vec![day.day.clone(), scores.orders.to_string()];
            row.extend(scored(of));
            row.extend(held(scores));
            table.add_row(row);
        }
        if let Some(mean) = &self.mean {
            let mut row = vec![format!("mean of {}", mean.days), String::new()];
            row.extend(scored([mean.forecast, mean.plain, mean.plain_per_restaurant]));
            table.add_row(row);
        }
        table
    }

    /// A row a day: its shifts, and those there were.
    fn suggested(&self) -> Table {
        let mut table = table(&[
            "day",
            "restaurants",
            "expected",
            "courier minutes an order",
            "couriers",
            "hours",
            "guaranteed",
            "given couriers",
            "hours",
            "guaranteed",
        ]);
        for day in &self.days {
            let mut row = vec![
                day.day.clone(),
                day.restaurants.to_string(),
                format!("{:.0}", day.expected),
                format!("{:.1}", day.minutes_per_order),
            ];
            row.extend(figures(Some(day.suggested)));
            row.extend(figures(day.given));
            table.add_row(row);
        }
        table
    }
}

fn scored([forecast, plain, per_restaurant]: [Score; 3]) -> [String; 7] {
    let all = [forecast, plain, per_restaurant];
    let [error, plain_error, per_restaurant_error] = all.map(|score| format!("{:.2}", score.absolute_error));
    let [deviance, plain_deviance, per_restaurant_deviance] = all.map(|score| format!("{:.2}", score.deviance));
    [
        format!("{:.0}", forecast.expected),
        error,
        plain_error,
        per_restaurant_error,
        deviance,
        plain_deviance,
        per_restaurant_deviance,
    ]
}

fn held(scores: &DayScores) -> [String; 2] {
    [scores.slots_held_pct, scores.orders_held_pct].map(|share| format!("{share:.1} %"))
}

fn figures(shifts: Option<ShiftFigures>) -> [String; 3] {
    shifts.map_or_else(
        || ["-"; 3].map(str::to_owned),
        |shifts| {
            [
                shifts.couriers.to_string(),
                format!("{:.1}", shifts.hours),
                format!("{:.2}", shifts.guaranteed_minor / 100.0),
            ]
        },
    )
}

fn slots(day: &DayPlan) -> Table {
    let mut table = table(&[
        "slot",
        "expected",
        "orders",
        "kitchen units",
        "couriers needed",
        "suggested",
        "given",
    ]);
    for slot in &day.slots {
        table.add_row([
            clock(slot.minute),
            format!("{:.1}", slot.expected),
            slot.orders
                .map_or_else(|| "-".to_owned(), |orders| format!("{orders:.0}")),
            slot.capacity.to_string(),
            slot.needed.to_string(),
            slot.suggested.to_string(),
            slot.given.to_string(),
        ]);
    }
    table
}

fn shifts(day: &DayPlan) -> String {
    let one = day.shifts.iter().map(|shift| {
        let (from, to) = (clock(shift.on_minute), clock(shift.off_minute));
        format!("{} × {from}-{to}", shift.couriers)
    });
    let all: Vec<String> = one.collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(", ")
    }
}

/// A minute of the day as hours and minutes, beyond 24 when it lies after midnight.
fn clock(minute: u32) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.to_vec());
    for at in 1..header.len() {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
