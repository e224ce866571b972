//! The day's curves: what waits, who is busy, and how long it takes, a line a policy.

use super::moment::{Life, busy, lives};
use super::svg::{Frame, Point, Svg, hours, ticks};
use crate::dispatch::run::Run;
use routing::dispatch::Day;

const LEFT: f64 = 930.0;
/// From one policy's name in the legend to the next.
const LEGEND_STEP: f64 = 160.0;
const TOPS: [f64; 3] = [96.0, 356.0, 616.0];
const SIZE: Point = (440.0, 170.0);
/// Orders are taken together by when they were placed.
const BUCKET_MIN: i32 = 30;

/// The curves of one policy.
struct Curves {
    class: &'static str,
    waiting: Vec<(f64, f64)>,
    busy: Vec<(f64, f64)>,
    doors: Vec<(f64, f64)>,
}

/// Draws the three frames over these minutes, with a mark at one of them.
pub(super) fn draw(svg: &mut Svg, day: &Day, runs: &[&Run], (from, to): (i32, i32), at_minute: i32) {
    let minutes = from..=to;
    let curves: Vec<Curves> = runs.iter().map(|run| Curves::of(day, run, minutes.clone())).collect();
    let span = (f64::from(from), f64::from(to));
    let on_shift: Vec<(f64, f64)> = minutes
        .map(|minute| (f64::from(minute), on_shift(day, minute)))
        .collect();
    let target_min = f64::from(day.rules.target_s) / 60.0;

    let of = |points: fn(&Curves) -> &[(f64, f64)]| {
        let each = curves.iter().map(|curves| (curves.class, points(curves)));
        each.collect::<Vec<_>>()
    };
    let panels = [
        Panel {
            top: TOPS[0],
            title: "orders waiting for their pick-up",
            unit: "orders",
            series: of(|curves| &curves.waiting),
            backdrop: None,
        },
        Panel {
            top: TOPS[1],
            title: "couriers busy (grey: on shift)",
            unit: "couriers",
            series: of(|curves| &curves.busy),
            backdrop: Some(Backdrop::Area(&on_shift)),
        },
        Panel {
            top: TOPS[2],
            title: "click-to-door by placement (dashed: target)",
            unit: "minutes",
            series: of(|curves| &curves.doors),
            backdrop: Some(Backdrop::Line(target_min)),
        },
    ];
    for panel in panels {
        panel.draw(svg, span, f64::from(at_minute));
    }
}

impl Curves {
    fn of(day: &Day, run: &Run, minutes: std::ops::RangeInclusive<i32>) -> Self {
        let lives = lives(day, &run.solution);
        let busy: Vec<_> = run.solution.carried.iter().map(|bundle| busy(day, bundle)).collect();
        let count = |is_it: &dyn Fn(i32) -> usize| {
            let each = minutes.clone().map(|minute| (f64::from(minute), number(is_it(minute))));
            each.collect::<Vec<_>>()
        };
        Self {
            class: run.policy_name(),
            waiting: count(&|minute| lives.iter().filter(|life| life.is_waiting(minute)).count()),
            busy: count(&|minute| busy.iter().filter(|busy| busy.contains(&minute)).count()),
            doors: doors(&lives, *minutes.start(), *minutes.end()),
        }
    }
}

/// The mean click-to-door of the orders placed in each half hour, at its middle.
fn doors(lives: &[Life], from: i32, to: i32) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for begin in (0..=(to - from) / BUCKET_MIN).map(|bucket| from + bucket * BUCKET_MIN) {
        let bucket = begin..begin + BUCKET_MIN;
        let placed = lives
            .iter()
            .filter(|life| life.delivered && bucket.contains(&life.placed_minute));
        let minutes: Vec<i32> = placed.map(|life| life.end_minute - life.placed_minute).collect();
        if !minutes.is_empty() {
            let mean = f64::from(minutes.iter().sum::<i32>()) / number(minutes.len());
            points.push((f64::from(begin) + f64::from(BUCKET_MIN) / 2.0, mean));
        }
    }
    points
}

fn on_shift(day: &Day, minute: i32) -> f64 {
    let on = day
        .couriers
        .iter()
        .filter(|courier| (courier.on_minute..=courier.off_minute).contains(&minute));
    number(on.count())
}

/// What lies behind the curves.
#[derive(Clone, Copy)]
enum Backdrop<'a> {
    Area(&'a [(f64, f64)]),
    Line(f64),
}

/// A frame with a curve a policy.
struct Panel<'a> {
    top: f64,
    title: &'a str,
    unit: &'a str,
    series: Vec<(&'a str, &'a [(f64, f64)])>,
    backdrop: Option<Backdrop<'a>>,
}

impl Panel<'_> {
    fn draw(&self, svg: &mut Svg, span: (f64, f64), at: f64) {
        let frame = Frame {
            corner: (LEFT, self.top),
            size: SIZE,
            x: span,
            y: (0.0, self.most() * 1.08),
        };
        let points = |points: &[(f64, f64)]| points.iter().map(|(x, y)| frame.at(*x, *y)).collect::<Vec<_>>();
        if let Some(Backdrop::Area(shape)) = self.backdrop {
            let mut corners = points(shape);
            corners.extend([frame.at(span.1, 0.0), frame.at(span.0, 0.0)]);
            svg.area(&corners, "shift");
        }
        let (x_ticks, y_ticks) = (hours(span.0, span.1, 8.0), ticks(0.0, frame.y.1, 4.0));
        frame.axes(
            svg,
            (&x_ticks, "hours and minutes since minute 0"),
            (&y_ticks, self.unit),
        );
        if let Some(Backdrop::Line(value)) = self.backdrop {
            svg.line(frame.at(span.0, value), frame.at(span.1, value), "target");
        }
        svg.line(frame.at(at, frame.y.0), frame.at(at, frame.y.1), "now");
        for (class, curve) in &self.series {
            svg.path(&points(curve), &format!("curve {class}"));
        }
        svg.text((LEFT, self.top - 12.0), "start", "title", self.title);
    }

    /// The greatest value in it.
    fn most(&self) -> f64 {
        let greatest = |points: &[(f64, f64)]| points.iter().map(|(_, value)| *value).fold(1.0, f64::max);
        let behind = match self.backdrop {
            Some(Backdrop::Area(points)) => greatest(points),
            Some(Backdrop::Line(value)) => value,
            None => 1.0,
        };
        self.series
            .iter()
            .map(|(_, points)| greatest(points))
            .fold(behind, f64::max)
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Draws which line is which policy.
pub(super) fn legend(svg: &mut Svg, runs: &[&Run], y: f64) {
    let mut x = LEFT;
    for run in runs {
        let class = format!("curve {}", run.policy_name());
        svg.line((x, y - 4.0), (x + 20.0, y - 4.0), &class);
        let mean = run.metrics.click_to_door.mean;
        let mean = mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1} min"));
        svg.text(
            (x + 25.0, y),
            "start",
            "legend",
            &format!("{} ({mean})", run.policy_name()),
        );
        x += LEGEND_STEP;
    }
}
