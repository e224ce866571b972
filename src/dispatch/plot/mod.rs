//! A day as a drawing: the map with the routes of one moment, and the day's curves.

mod curves;
mod map;
mod moment;
mod svg;

use super::{Named, Run};
use moment::{Moment, lives};
use routing::dispatch::{Day, Policy, Solution};
use std::fmt;
use svg::{Point, Svg};

const PAPER: Point = (1_410.0, 900.0);
const STYLE: &str = "
text { font-family: 'DejaVu Sans', Verdana, sans-serif; fill: #222 }
.paper { fill: #fff } .head { font-size: 20px; font-weight: bold } .sub { font-size: 14px; fill: #555 }
.title { font-size: 14px; font-weight: bold } .name { font-size: 13px; fill: #555 } .tick { font-size: 12px; fill: #555 }
.legend { font-size: 13px } .grid { stroke: #e8e8e8 } .axis { stroke: #888; fill: none }
.restaurant { fill: #c9c9c9 } .kitchen { fill: #222 } .free { fill: #fff; stroke: #8a8a8a; stroke-width: 1.2 }
.carry { stroke: #d1495b; stroke-width: 1.6; fill: none } .fetch { stroke: #2b6cb0; stroke-width: 1.4; stroke-dasharray: 5 3; fill: none }
.planned { stroke: #d1495b; stroke-width: 1; stroke-dasharray: 1.5 3; fill: none }
.carrying { fill: #d1495b; stroke: #fff; stroke-width: .8 } .fetching { fill: #2b6cb0; stroke: #fff; stroke-width: .8 }
.waiting { fill: #fff; stroke: #2b6cb0; stroke-width: 1.5 } .carried { fill: #d1495b }
.late { stroke: #111; stroke-width: 2.2 }
.curve { fill: none; stroke-width: 1.8 } .nearest { stroke: #7a7a7a } .rolling { stroke: #e0a030 } .anneal { stroke: #1b7f5c }
.shift { fill: #ececec } .target { stroke: #b33; stroke-width: 1.2; stroke-dasharray: 6 4 } .now { stroke: #111; stroke-dasharray: 2 3 }
";

/// A day as a drawing; as text, an SVG file.
#[derive(Debug)]
pub struct Plot(String);

impl Plot {
    /// The first and the last minute of which there is something to draw.
    pub fn minutes(day: &Day) -> (i32, i32) {
        let placed = || day.orders.iter().map(|order| order.placed_minute);
        let first = placed().min().unwrap_or(0);
        (first, placed().max().unwrap_or(first) + day.rules.limit_s / 60)
    }

    /// Draws a day and its runs: the curves of all, the map of `anneal` or else the last one, at a minute or else when most orders
    /// were open.
    pub fn new(named: &Named, runs: &[Run], at_minute: Option<i32>) -> Self {
        let Some(run) = runs.iter().find(|run| run.policy == Policy::Anneal).or(runs.last()) else {
            return Self(Svg::default().finish(PAPER, STYLE, &named.name));
        };
        let (day, mut svg) = (&named.day, Svg::default());
        let span = Self::minutes(day);
        let at_minute = at_minute.unwrap_or_else(|| busiest_minute(day, &run.solution));
        let (hour, minute) = (at_minute / 60, at_minute % 60);
        let head = format!(
            "{} at minute {at_minute} ({hour}:{minute:02}), dispatched by {}",
            named.name,
            run.policy_name()
        );
        svg.text((36.0, 40.0), "start", "head", &head);
        let size = format!(
            "{} orders, {} restaurants, {} couriers; {} orders delivered; couriers cover {} m a minute",
            day.orders.len(),
            day.restaurants.len(),
            day.couriers.len(),
            run.metrics.delivered,
            day.metres_per_min
        );
        svg.text((36.0, 64.0), "start", "sub", &size);
        map::draw(&mut svg, day, &Moment::new(day, &run.solution, at_minute));
        let runs: Vec<&Run> = runs.iter().collect();
        curves::draw(&mut svg, day, &runs, span, at_minute);
        curves::legend(&mut svg, &runs, 878.0);
        Self(svg.finish(PAPER, STYLE, &head))
    }
}

impl fmt::Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first minute with the most orders placed and not dropped off.
fn busiest_minute(day: &Day, solution: &Solution) -> i32 {
    let lives = lives(day, solution);
    let (first, last) = Plot::minutes(day);
    let open = |minute: &i32| {
        let open = lives
            .iter()
            .filter(|life| (life.placed_minute..life.end_minute).contains(minute));
        (open.count(), std::cmp::Reverse(*minute))
    };
    (first..=last).max_by_key(open).unwrap_or(first)
}
