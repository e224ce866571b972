//! The map: who is where at one minute, and where they go.

use super::moment::{Metres, Moment, metres};
use super::svg::{Frame, Point, Svg, ticks};
use routing::dispatch::Day;

const CORNER: Point = (78.0, 96.0);
const SIZE: Point = (760.0, 690.0);
const METRES_PER_KM: f64 = 1_000.0;
/// How many of a hundred places are left out on each side.
const CUT_PCT: usize = 1;
/// What the rest is widened by.
const MARGIN: f64 = 1.12;

/// Draws the moment and its legend.
pub(super) fn draw(svg: &mut Svg, day: &Day, moment: &Moment) {
    let frame = frame(day);
    let (x_ticks, y_ticks) = (ticks(frame.x.0, frame.x.1, 8.0), ticks(frame.y.0, frame.y.1, 8.0));
    frame.axes(svg, (&x_ticks, "km to the east"), (&y_ticks, "km to the north"));
    let at = |(x, y): Metres| frame.at(x / METRES_PER_KM, y / METRES_PER_KM);
    svg.clip(&frame);
    for restaurant in &day.restaurants {
        svg.square(at(metres(*restaurant)), 3.0, "restaurant");
    }
    for place in &moment.free {
        svg.triangle(at(*place), 5.0, "free");
    }
    ways(svg, moment, &at);
    for (place, late) in &moment.waiting {
        svg.circle(at(*place), 3.6, if *late { "waiting late" } else { "waiting" });
    }
    for (place, late) in &moment.carried {
        svg.circle(at(*place), 3.6, if *late { "carried late" } else { "carried" });
    }
    for tour in &moment.tours {
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
    svg.unclip();
    let outside = |(x, y): &Metres| !frame.holds(x / METRES_PER_KM, y / METRES_PER_KM);
    let orders = moment.waiting.iter().chain(&moment.carried);
    let orders = orders.filter(|(place, _)| outside(place)).count();
    let couriers = moment.tours.iter().map(|tour| &tour.at).chain(&moment.free);
    let couriers = couriers.filter(|place| outside(place)).count();
    if orders + couriers > 0 {
        let text = format!("not in this part: orders {orders}, couriers {couriers}");
        svg.text((CORNER.0 + SIZE.0 - 8.0, CORNER.1 + 18.0), "end", "sub", &text);
    }
    legend(svg, moment);
}

/// Where couriers go: to fetch, then from the restaurant, or on with what they carry.
fn ways(svg: &mut Svg, moment: &Moment, at: &impl Fn(Metres) -> Point) {
    for tour in &moment.tours {
        let begin = at(tour.restaurant.unwrap_or(tour.at));
        let stops: Vec<Point> = std::iter::once(begin)
            .chain(tour.dropoffs.iter().map(|stop| at(*stop)))
            .collect();
        svg.path(&stops, if tour.restaurant.is_some() { "planned" } else { "carry" });
        if let Some(restaurant) = tour.restaurant {
            svg.path(&[at(tour.at), at(restaurant)], "fetch");
            svg.square(at(restaurant), 3.6, "kitchen");
        }
    }
}

/// Where nearly all of the day's orders go, and as wide as it is high to the metre: few that go far would make the rest small.
fn frame(day: &Day) -> Frame {
    let span = |of: fn(Metres) -> f64| {
        let restaurants = day.restaurants.iter().copied();
        let places = day.orders.iter().map(|order| order.dropoff).chain(restaurants);
        let mut km: Vec<f64> = places.map(|place| of(metres(place)) / METRES_PER_KM).collect();
        km.sort_by(f64::total_cmp);
        let cut = km.len() * CUT_PCT / 100;
        (km[cut], km[km.len() - 1 - cut])
    };
    let ((west, east), (south, north)) = (span(|place| place.0), span(|place| place.1));
    let km_per_pixel = ((east - west) / SIZE.0).max((north - south) / SIZE.1).max(1e-6) * MARGIN;
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
