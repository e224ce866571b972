//! Recreate: what is absent is put back greedily, one request after the other, now and then overlooking a place.

use super::draft::Draft;
use super::insertion::{Attentive, Insertion, Overlook};
use super::problem::{Problem, Request, small};
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

impl Draft<'_> {
    /// Puts back what is absent and fits; what does not stays absent. With `all`, stops at the first that does not fit, and
    /// says so.
    pub(super) fn recreate(&mut self, all: bool, random: &mut SmallRng) -> bool {
        self.sort_absent(random);
        let mut left = 0;
        for at in 0..self.absent.len() {
            let request = self.absent[at];
            if let Some((slot, place)) = self.cheapest(request, random) {
                self.insert(slot, request, place);
            } else if all {
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
        let problem = self.problem;
        let mut best: Option<(usize, Insertion)> = None;
        let mut bound = f64::INFINITY;
        let mut idle = None;
        for (slot, route) in self.routes.iter().enumerate() {
            if route.is_empty() {
                idle = Some(slot);
                continue;
            }
            let mut seen = self.known.place(problem, slot, route, request).filter(|place| place.longer < bound);
            if let Some(not) = seen.filter(|_| random.random_bool(BLINK)) {
                let ends = problem.requests[usize::from(request)];
                seen = route.cheapest_seen(problem, ends, &mut Blinking { random, not });
            }
            if let Some(place) = seen.filter(|place| place.longer < bound) {
                bound = place.longer;
                best = Some((slot, place));
            }
        }
        best.or_else(|| {
            let slot = idle?;
            let ends = problem.requests[usize::from(request)];
            let place = self.routes[slot].cheapest_seen(problem, ends, &mut Attentive)?;
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
