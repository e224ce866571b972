//! The map: who is where at one minute, and where they go.

use super::moment::{Metres, Moment, metres};
use super::svg::{Frame, Point, Svg, ticks};
use routing::dispatch::Day;

const CORNER: Point = (78.0, 96.0);
const SIZE: Point = (760.0, 690.0);
const METRES_PER_KM: f64 = 1_000.0;

/// Draws the moment and its legend.
pub(super) fn draw(svg: &mut Svg, day: &Day, moment: &Moment) {
    let frame = frame(day);
    let (x_ticks, y_ticks) = (ticks(frame.x.0, frame.x.1, 8.0), ticks(frame.y.0, frame.y.1, 8.0));
    frame.axes(svg, (&x_ticks, "km to the east"), (&y_ticks, "km to the north"));
    let at = |(x, y): Metres| frame.at(x / METRES_PER_KM, y / METRES_PER_KM);
    for restaurant in &day.restaurants {
        svg.square(at(metres(*restaurant)), 3.0, "restaurant");
    }
    for place in &moment.free {
        svg.triangle(at(*place), 5.0, "free");
    }
    for tour in &moment.tours {
        if let Some(restaurant) = tour.restaurant {
            svg.path(&[at(tour.at), at(restaurant)], "fetch");
        }
        let begin = at(tour.restaurant.unwrap_or(tour.at));
        let stops: Vec<Point> = std::iter::once(begin)
            .chain(tour.dropoffs.iter().map(|stop| at(*stop)))
            .collect();
        svg.path(&stops, if tour.restaurant.is_some() { "planned" } else { "carry" });
    }
    for (place, late) in &moment.waiting {
        svg.circle(at(*place), 3.6, if *late { "waiting late" } else { "waiting" });
    }
    for (place, late) in &moment.carried {
        svg.circle(at(*place), 3.6, if *late { "carried late" } else { "carried" });
    }
    for tour in &moment.tours {
        if let Some(restaurant) = tour.restaurant {
            svg.square(at(restaurant), 3.6, "kitchen");
        }
        svg.triangle(
            at(tour.at),
            6.0,
            if tour.restaurant.is_some() {
                "fetching"
            } else {
                "carrying"
            },
        );
    }
    legend(svg, moment);
}

/// The whole city, as wide as it is high to the metre.
fn frame(day: &Day) -> Frame {
    let couriers = day.couriers.iter().map(|courier| courier.start);
    let orders = day.orders.iter().map(|order| order.dropoff);
    let all = || {
        day.restaurants
            .iter()
            .copied()
            .chain(orders.clone())
            .chain(couriers.clone())
    };
    let span = |of: fn(Metres) -> f64| {
        let km = || all().map(|place| of(metres(place)) / METRES_PER_KM);
        (
            km().fold(f64::INFINITY, f64::min),
            km().fold(f64::NEG_INFINITY, f64::max),
        )
    };
    let ((west, east), (south, north)) = (span(|place| place.0), span(|place| place.1));
    let margin = 1.04;
    let km_per_pixel = ((east - west) / SIZE.0).max((north - south) / SIZE.1).max(1e-6) * margin;
    let (wide, high) = (SIZE.0 * km_per_pixel / 2.0, SIZE.1 * km_per_pixel / 2.0);
    let (x, y) = (f64::midpoint(west, east), f64::midpoint(south, north));
    Frame {
        corner: CORNER,
        size: SIZE,
        x: (x - wide, x + wide),
        y: (y - high, y + high),
    }
}

fn legend(svg: &mut Svg, moment: &Moment) {
    let fetching = moment.tours.iter().filter(|tour| tour.restaurant.is_some()).count();
    let carrying = moment.tours.len() - fetching;
    let (waiting, carried, free) = (moment.waiting.len(), moment.carried.len(), moment.free.len());
    let late = [&moment.waiting, &moment.carried]
        .into_iter()
        .flatten()
        .filter(|(_, late)| *late)
        .count();
    let (first, second) = (CORNER.1 + SIZE.1 + 66.0, CORNER.1 + SIZE.1 + 92.0);
    let columns = [0.0, 200.0, 400.0, 580.0].map(|offset| CORNER.0 + offset);
    let mark = |x: f64, y: f64| (x + 13.0, y - 4.0);
    let mut entry = |x: f64, y: f64, text: &str| svg.text((x + 32.0, y), "start", "legend", text);
    entry(columns[0], first, &format!("courier carrying ({carrying})"));
    entry(columns[0], second, &format!("courier fetching ({fetching})"));
    entry(columns[1], first, &format!("order on its way ({carried})"));
    entry(columns[1], second, &format!("order waiting ({waiting})"));
    entry(columns[2], first, &format!("past the target ({late})"));
    entry(columns[2], second, &format!("courier free ({free})"));
    entry(columns[3], first, "restaurant");
    entry(columns[3], second, "restaurant awaiting a courier");
    let lines = [(columns[0], first, "carry"), (columns[0], second, "fetch")];
    for (x, y, class) in lines {
        svg.line((x, y - 4.0), (x + 26.0, y - 4.0), class);
    }
    svg.triangle(mark(columns[0], first), 6.0, "carrying");
    svg.triangle(mark(columns[0], second), 6.0, "fetching");
    svg.circle(mark(columns[1], first), 3.6, "carried");
    svg.circle(mark(columns[1], second), 3.6, "waiting");
    svg.circle(mark(columns[2], first), 3.6, "waiting late");
    svg.triangle(mark(columns[2], second), 5.0, "free");
    svg.square(mark(columns[3], first), 3.0, "restaurant");
    svg.square(mark(columns[3], second), 3.6, "kitchen");
}
