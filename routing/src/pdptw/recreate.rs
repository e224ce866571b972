//! Recreate: what is absent is put back greedily, one request after the other, now and then overlooking a place.

use super::draft::Draft;
use super::insertion::{Attentive, Insertion, Overlook};
use super::problem::{Problem, Request, small};
use super::route::Route;
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

/// How often a place is overlooked.
const BLINK: f64 = 0.01;
/// How often the sequence is random, and how often each of [`ranks`]; in SISR's proportions.
const RANDOM: u32 = 4;
const WEIGHTS: [u32; 6] = [4, 2, 1, 2, 2, 2];

/// Looks without what was seen before, and blinks.
struct Blinking<'a> {
    random: &'a mut SmallRng,
    not: Insertion,
}

impl Overlook for Blinking<'_> {
    fn overlooks(&mut self, pickup_after: u16, delivery_after: u16) -> bool {
        let not = (self.not.pickup_after, self.not.delivery_after) == (pickup_after, delivery_after);
        not || self.random.random_bool(BLINK)
    }
}

/// The ways to sort requests: the largest demand first, the farthest from the depot first, the closest first, the tightest
/// windows first, the earliest first, the latest first.
pub(super) fn ranks(problem: &Problem) -> Vec<Vec<u16>> {
    let node = |task: u16| &problem.nodes[usize::from(task)];
    let ends = |request: &Request, of: &dyn Fn(u16) -> f64| of(request.pickup) + of(request.delivery);
    let far = |request: &Request| ends(request, &|task| problem.way(0, task));
    let width = |request: &Request| ends(request, &|task| node(task).latest - node(task).earliest);
    let ways: [&dyn Fn(&Request) -> f64; WEIGHTS.len()] = [
        &|request| -f64::from(node(request.pickup).demand),
        &|request| -far(request),
        &far,
        &width,
        &|request| node(request.pickup).earliest,
        &|request| -node(request.delivery).latest,
    ];
    ways.iter().map(|way| rank(problem, *way)).collect()
}

fn rank(problem: &Problem, key: &dyn Fn(&Request) -> f64) -> Vec<u16> {
    let keys: Vec<f64> = problem.requests.iter().map(key).collect();
    let mut sorted: Vec<usize> = (0..keys.len()).collect();
    sorted.sort_by(|a, b| keys[*a].total_cmp(&keys[*b]));
    let mut ranks = vec![0; keys.len()];
    for (rank, request) in sorted.into_iter().enumerate() {
        ranks[request] = small(rank);
    }
    ranks
}

/// The cheapest place so far.
struct Cheapest<'p> {
    problem: &'p Problem,
    request: u16,
    bound: f64,
    best: Option<(usize, Insertion)>,
}

impl Cheapest<'_> {
    fn ends(&self) -> Request {
        self.problem.requests[usize::from(self.request)]
    }

    /// Takes a route's cheapest place, or when that one is overlooked, the cheapest that is seen.
    #[inline]
    fn consider(&mut self, slot: usize, route: &Route, place: Option<Insertion>, random: &mut SmallRng) {
        let Some(mut place) = place else {
            return;
        };
        if random.random_bool(BLINK) {
            let mut blinking = Blinking { random, not: place };
            let Some(other) = route.cheapest_seen(self.problem, self.ends(), self.bound, &mut blinking) else {
                return;
            };
            place = other;
        }
        self.bound = place.longer;
        self.best = Some((slot, place));
    }
}

impl Draft<'_> {
    /// Puts back what is absent and fits; what does not stays absent. When all must fit, and not make the plan longer by
    /// `room` or more, stops as soon as that cannot be, and says so.
    pub(super) fn recreate(&mut self, room: Option<f64>, random: &mut SmallRng) -> bool {
        let mut room = room;
        self.sort_absent(random);
        let mut left = 0;
        for at in 0..self.absent.len() {
            let request = self.absent[at];
            if let Some((slot, place)) = self.cheapest(request, random) {
                if let Some(room) = &mut room {
                    *room -= place.longer;
                    if *room <= 0.0 {
                        return false;
                    }
                }
                self.insert(slot, request, place);
            } else if room.is_some() {
                return false;
            } else {
                self.absent[left] = request;
                left += 1;
            }
        }
        self.absent.truncate(left);
        true
    }

    fn sort_absent(&mut self, random: &mut SmallRng) {
        self.absent.shuffle(random);
        let mut drawn = random.random_range(0..RANDOM + WEIGHTS.iter().sum::<u32>());
        for (weight, rank) in WEIGHTS.iter().zip(&self.problem.ranks) {
            if drawn < *weight {
                self.absent.sort_unstable_by_key(|request| rank[usize::from(*request)]);
                return;
            }
            drawn -= weight;
        }
    }

    /// The cheapest place in the routes that go somewhere; when there is none, in one that does not.
    ///
    /// Each place of SISR is overlooked with the same small chance. Here the cheapest place of a route is usually known from
    /// an earlier move, so the chance is drawn for that one, and only when it is overlooked the route is searched for the next:
    /// which has the same distribution.
    fn cheapest(&mut self, request: u16, random: &mut SmallRng) -> Option<(usize, Insertion)> {
        let mut search = Cheapest {
            problem: self.problem,
            request,
            bound: f64::INFINITY,
            best: None,
        };
        let mut idle = None;
        self.known.unknown.clear();
        for (slot, route) in self.routes.iter().enumerate() {
            if route.is_empty() {
                idle = Some(slot);
                continue;
            }
            match self.known.place(slot, request, route.version, search.bound) {
                Ok(place) => search.consider(slot, route, place, random),
                Err(()) => self.known.unknown.push(small(slot)),
            }
        }
        for at in 0..self.known.unknown.len() {
            let slot = usize::from(self.known.unknown[at]);
            let route = &self.routes[slot];
            let place = route.cheapest_seen(self.problem, search.ends(), search.bound, &mut Attentive);
            let tried = self.is_touched(slot);
            self.known
                .learn(slot, request, route.version, tried, search.bound, place);
            search.consider(slot, &self.routes[slot], place, random);
        }
        search.best.or_else(|| {
            let slot = idle?;
            let place = self.routes[slot].cheapest(self.problem, search.ends())?;
            Some((slot, place))
        })
    }

    /// The first plan: everything in its cheapest place, and a further vehicle for what has none.
    pub(super) fn construct(&mut self, random: &mut SmallRng) {
        self.sort_absent(random);
        for at in 0..self.absent.len() {
            let request = self.absent[at];
            let found = self.cheapest(request, random).or_else(|| {
                self.add_route();
                self.cheapest(request, random)
            });
            if let Some((slot, place)) = found {
                self.insert(slot, request, place);
            }
        }
        self.absent.clear();
    }
}
