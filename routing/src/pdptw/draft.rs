//! A plan while it is worked on: changed in place, and taken back exactly.

use super::insertion::Insertion;
use super::known::Known;
use super::problem::{Problem, small};
use super::route::Route;
use std::mem;

/// Of a request that is in no route.
const NOWHERE: u16 = u16::MAX;

/// Routes, and the requests that are in none of them.
pub(super) struct Draft<'p> {
    pub(super) problem: &'p Problem,
    pub(super) routes: Vec<Route>,
    /// The requests that are in no route.
    pub(super) absent: Vec<u16>,
    /// For each request its route.
    route_of: Vec<u16>,
    /// The last version given.
    version: u64,
    before: Before,
    pub(super) known: Known,
}

/// What a change replaced.
#[derive(Default)]
struct Before {
    /// The routes that were changed, …
    touched: Vec<u16>,
    /// … which are these, …
    is_touched: Vec<bool>,
    /// … as they were; those beyond are spare memory.
    routes: Vec<Route>,
    absent: Vec<u16>,
}

impl<'p> Draft<'p> {
    /// No routes; nothing is served.
    pub(super) fn new(problem: &'p Problem) -> Self {
        let requests = problem.requests.len();
        Self {
            problem,
            routes: Vec::new(),
            absent: (0..small(requests)).collect(),
            route_of: vec![NOWHERE; requests],
            version: 0,
            before: Before::default(),
            known: Known::new(requests),
        }
    }

    /// These routes, which serve everything.
    pub(super) fn from_routes(problem: &'p Problem, routes: &[Route]) -> Self {
        let mut draft = Self::new(problem);
        for (slot, route) in routes.iter().enumerate() {
            draft.add_route();
            draft.routes[slot].stops.clone_from(&route.stops);
            draft.routes[slot].distance = route.distance;
            mark(problem, &mut draft.route_of, route, small(slot));
        }
        draft.absent.clear();
        draft
    }

    /// Another vehicle, that goes nowhere yet.
    pub(super) fn add_route(&mut self) {
        self.routes.push(Route::new(self.problem));
        self.before.routes.push(Route::new(self.problem));
        self.before.is_touched.push(false);
        self.version += 1;
        self.routes[self.before.routes.len() - 1].version = self.version;
        self.known.grow(self.routes.len());
    }

    /// One vehicle less; its requests are absent. Not within a change.
    pub(super) fn drop_route(&mut self, slot: usize) {
        let dropped = self.routes.swap_remove(slot);
        self.begin();
        self.before.routes.pop();
        self.before.is_touched.pop();
        for stop in dropped.served() {
            let request = self.problem.nodes[usize::from(stop.task)].request;
            if mem::replace(&mut self.route_of[usize::from(request)], NOWHERE) != NOWHERE {
                self.absent.push(request);
            }
        }
        if let Some(moved) = self.routes.get(slot) {
            mark(self.problem, &mut self.route_of, moved, small(slot));
        }
    }

    /// The sum of all routes.
    pub(super) fn distance(&self) -> f64 {
        self.routes.iter().map(|route| route.distance).sum()
    }

    /// The route that serves a request.
    pub(super) fn route_of(&self, request: u16) -> Option<usize> {
        let slot = self.route_of[usize::from(request)];
        (slot != NOWHERE).then_some(usize::from(slot))
    }

    /// From here on, what happens can be taken back.
    pub(super) fn begin(&mut self) {
        for slot in self.before.touched.drain(..) {
            self.before.is_touched[usize::from(slot)] = false;
        }
        self.before.absent.clone_from(&self.absent);
    }

    /// What was absent when the change began.
    pub(super) fn absent_before(&self) -> &[u16] {
        &self.before.absent
    }

    /// Whether the change has changed this route.
    pub(super) fn is_touched(&self, slot: usize) -> bool {
        self.before.is_touched[slot]
    }

    fn touch(&mut self, slot: usize) {
        if !self.is_touched(slot) {
            self.before.routes[self.before.touched.len()].copy_from(&self.routes[slot]);
            self.before.touched.push(small(slot));
            self.before.is_touched[slot] = true;
        }
        self.version += 1;
        self.routes[slot].version = self.version;
    }

    /// Takes out of a route the requests of the stops from one position to before another, but for those from `kept_from` to
    /// before `kept_to`; a request goes when either of its ends does.
    pub(super) fn remove(&mut self, slot: usize, string: [usize; 2], kept: [usize; 2]) {
        self.touch(slot);
        let route = &mut self.routes[slot];
        for position in (string[0]..kept[0]).chain(kept[1]..string[1]) {
            let task = route.stops[position].task;
            let request = self.problem.nodes[usize::from(task)].request;
            if mem::replace(&mut self.route_of[usize::from(request)], NOWHERE) != NOWHERE {
                self.absent.push(request);
            }
        }
        let (nodes, route_of) = (&self.problem.nodes, &self.route_of);
        let stays = |task: u16| task == 0 || route_of[usize::from(nodes[usize::from(task)].request)] != NOWHERE;
        route.stops.retain(|stop| stays(stop.task));
        route.retime(self.problem);
    }

    /// Puts a request into a route. It stays in the list of those that are absent: who goes through that list clears it.
    pub(super) fn insert(&mut self, slot: usize, request: u16, place: Insertion) {
        self.touch(slot);
        self.routes[slot].insert(self.problem, self.problem.requests[usize::from(request)], place);
        self.route_of[usize::from(request)] = small(slot);
    }

    /// Takes back everything since the beginning of the change.
    pub(super) fn undo(&mut self) {
        for (before, slot) in self.before.routes.iter_mut().zip(&self.before.touched) {
            let route = &mut self.routes[usize::from(*slot)];
            mem::swap(before, route);
            mark(self.problem, &mut self.route_of, route, *slot);
        }
        self.absent.clone_from(&self.before.absent);
        for request in &self.absent {
            self.route_of[usize::from(*request)] = NOWHERE;
        }
    }
}

fn mark(problem: &Problem, route_of: &mut [u16], route: &Route, slot: u16) {
    for stop in route.served() {
        route_of[usize::from(problem.nodes[usize::from(stop.task)].request)] = slot;
    }
}
