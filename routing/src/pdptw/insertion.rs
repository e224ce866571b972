//! Where in a route a request fits best: both its ends at once.

use super::problem::{Problem, ROUNDING, Request, small};
use super::route::{Route, Stop};

/// A place for a request in a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Insertion {
    /// How much longer the route becomes.
    pub(super) longer: f64,
    /// The stop after which the pickup comes.
    pub(super) pickup_after: u16,
    /// The stop after which the delivery comes; when it is the same, directly after the pickup.
    pub(super) delivery_after: u16,
}

/// Decides which places are overlooked.
pub(super) trait Overlook {
    /// Whether this place is passed over.
    fn overlooks(&mut self, pickup_after: u16, delivery_after: u16) -> bool;
}

/// Sees everything.
pub(super) struct Attentive;

impl Overlook for Attentive {
    #[inline]
    fn overlooks(&mut self, _: u16, _: u16) -> bool {
        false
    }
}

impl Route {
    /// The cheapest feasible place.
    pub(super) fn cheapest(&self, problem: &Problem, request: Request) -> Option<Insertion> {
        self.cheapest_seen(problem, request, f64::INFINITY, &mut Attentive)
    }

    /// The cheapest feasible place of those that are seen and make the route longer by less than a bound.
    ///
    /// Each pair of positions costs constant time: the times after the pickup are carried along the route, and what comes after
    /// the delivery is judged by how late the next stop may be. All the breaks below rest on the triangle inequality: coming
    /// somewhere with a stop in between is never earlier than without.
    pub(super) fn cheapest_seen<O: Overlook>(
        &self,
        problem: &Problem,
        request: Request,
        bound: f64,
        overlook: &mut O,
    ) -> Option<Insertion> {
        let mut search = Search::new(self, problem, request, bound);
        // What comes after the pickup may not be too early for it; that is so from some stop on.
        let pickup = &problem.nodes[usize::from(request.pickup)];
        let ready = pickup.earliest + pickup.service - ROUNDING;
        let first = self.stops.iter().skip(1).position(|next| next.latest >= ready);
        for after in first.unwrap_or(self.stops.len())..self.stops.len() - 1 {
            if !search.pickup_after(after, overlook) {
                break;
            }
        }
        search.best
    }

    /// Puts a request there.
    pub(super) fn insert(&mut self, problem: &Problem, request: Request, place: Insertion) {
        let (pickup_after, delivery_after) = (usize::from(place.pickup_after), usize::from(place.delivery_after));
        self.put(delivery_after, request.delivery);
        self.put(pickup_after, request.pickup);
        self.forward(problem, pickup_after + 1);
        self.backward(problem, delivery_after + 2);
    }
}

struct Search<'a> {
    stops: &'a [Stop],
    problem: &'a Problem,
    request: Request,
    to_pickup: &'a [f64],
    to_delivery: &'a [f64],
    between: f64,
    /// The most the vehicle may carry before the request comes on board.
    room: i32,
    best: Option<Insertion>,
    bound: f64,
}

impl<'a> Search<'a> {
    fn new(route: &'a Route, problem: &'a Problem, request: Request, bound: f64) -> Self {
        let demand = problem.nodes[usize::from(request.pickup)].demand;
        Self {
            stops: &route.stops,
            problem,
            request,
            to_pickup: problem.ways(request.pickup),
            to_delivery: problem.ways(request.delivery),
            between: problem.way(request.pickup, request.delivery),
            room: problem.capacity - demand,
            best: None,
            bound,
        }
    }

    /// Tries the pickup after a stop; false when it is too late for that, and for all that come after.
    #[inline]
    fn pickup_after<O: Overlook>(&mut self, after: usize, overlook: &mut O) -> bool {
        let (stop, next) = (&self.stops[after], &self.stops[after + 1]);
        let pickup = &self.problem.nodes[usize::from(self.request.pickup)];
        let arrive = stop.leave + self.to_pickup[usize::from(stop.task)];
        if arrive > pickup.latest + ROUNDING {
            return false;
        }
        let there = self.to_pickup[usize::from(stop.task)];
        let on = self.to_pickup[usize::from(next.task)];
        let longer = there + on - next.leg;
        if stop.load > self.room || longer >= self.bound {
            return true;
        }
        let leave = arrive.max(pickup.earliest) + pickup.service;
        self.delivery_at_once(after, there, leave, overlook);
        self.delivery_later(after, longer, leave + on, overlook);
        true
    }

    #[inline]
    fn delivery_at_once<O: Overlook>(&mut self, after: usize, there: f64, leave: f64, overlook: &mut O) {
        let next = &self.stops[after + 1];
        let delivery = &self.problem.nodes[usize::from(self.request.delivery)];
        let on = self.to_delivery[usize::from(next.task)];
        let longer = there + self.between + on - next.leg;
        let arrive = leave + self.between;
        if longer >= self.bound || arrive > delivery.latest + ROUNDING {
            return;
        }
        let left = arrive.max(delivery.earliest) + delivery.service;
        if left + on <= next.latest + ROUNDING {
            self.found(longer, after, after, overlook);
        }
    }

    /// The pickup is after a stop, the delivery after a later one: `arrive` is when the vehicle then comes to the first of
    /// these.
    #[inline]
    fn delivery_later<O: Overlook>(&mut self, pickup_after: usize, so_far: f64, mut arrive: f64, overlook: &mut O) {
        let delivery = self.problem.nodes[usize::from(self.request.delivery)];
        for after in pickup_after + 1..self.stops.len() - 1 {
            let (stop, next) = (&self.stops[after], &self.stops[after + 1]);
            if arrive > stop.latest + ROUNDING || stop.load > self.room {
                return;
            }
            let node = &self.problem.nodes[usize::from(stop.task)];
            let leave = arrive.max(node.earliest) + node.service;
            let there = self.to_delivery[usize::from(stop.task)];
            if leave + there > delivery.latest + ROUNDING {
                return;
            }
            let on = self.to_delivery[usize::from(next.task)];
            let longer = so_far + there + on - next.leg;
            if longer < self.bound {
                let left = (leave + there).max(delivery.earliest) + delivery.service;
                if left + on <= next.latest + ROUNDING {
                    self.found(longer, pickup_after, after, overlook);
                }
            }
            arrive = leave + next.leg;
        }
    }

    #[inline]
    fn found<O: Overlook>(&mut self, longer: f64, pickup_after: usize, delivery_after: usize, overlook: &mut O) {
        let (pickup_after, delivery_after) = (small(pickup_after), small(delivery_after));
        if overlook.overlooks(pickup_after, delivery_after) {
            return;
        }
        self.bound = longer;
        self.best = Some(Insertion {
            longer,
            pickup_after,
            delivery_after,
        });
    }
}
