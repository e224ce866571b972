//! A route that knows, at every stop, when it leaves, how late it might come, and what it carries.

use super::problem::{Problem, small};

/// A stop of a route: half a cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stop {
    pub(super) task: u16,
    /// What the vehicle carries when it leaves.
    pub(super) load: i32,
    /// The earliest it can leave.
    pub(super) leave: f64,
    /// The latest it may arrive without anything after it being late.
    pub(super) latest: f64,
    /// How far it is from the stop before.
    pub(super) leg: f64,
}

/// A vehicle's way from the depot and back.
#[derive(Debug, PartialEq)]
pub(super) struct Route {
    /// The depot at both ends.
    pub(super) stops: Vec<Stop>,
    /// Another one for every content; the same again when a change is taken back.
    pub(super) version: u64,
    pub(super) distance: f64,
}

impl Route {
    /// Straight back to the depot.
    pub(super) fn new(problem: &Problem) -> Self {
        let depot = Stop {
            task: 0,
            load: 0,
            leave: 0.0,
            latest: 0.0,
            leg: 0.0,
        };
        let mut route = Self {
            stops: vec![depot, depot],
            version: 0,
            distance: 0.0,
        };
        route.retime(problem);
        route
    }

    /// The same as another, in the memory it has.
    pub(super) fn copy_from(&mut self, other: &Self) {
        self.stops.clone_from(&other.stops);
        self.version = other.version;
        self.distance = other.distance;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.stops.len() == 2
    }

    /// The stops that are no depot.
    pub(super) fn served(&self) -> &[Stop] {
        &self.stops[1..self.stops.len() - 1]
    }

    /// The tasks in sequence, without the depot.
    pub(super) fn tasks(&self) -> Vec<u16> {
        self.served().iter().map(|stop| stop.task).collect()
    }

    /// Makes all times, loads and legs those of its sequence of tasks.
    pub(super) fn retime(&mut self, problem: &Problem) {
        self.forward(problem, 1);
        self.backward(problem, self.stops.len() - 1);
    }

    /// Puts a task after a stop, without looking at whether it can be there. The caller retimes.
    pub(super) fn put(&mut self, after: usize, task: u16) {
        let stop = Stop {
            task,
            ..self.stops[after]
        };
        self.stops.insert(after + 1, stop);
    }

    /// What lies before `from` has not changed.
    pub(super) fn forward(&mut self, problem: &Problem, from: usize) {
        if from == 1 {
            let depot = problem.nodes[0];
            self.stops[0].leave = depot.earliest;
            self.stops[0].load = 0;
        }
        let mut before = self.stops[from - 1];
        for stop in &mut self.stops[from..] {
            let node = &problem.nodes[usize::from(stop.task)];
            stop.leg = problem.way(before.task, stop.task);
            stop.leave = (before.leave + stop.leg).max(node.earliest) + node.service;
            stop.load = before.load + if stop.task == 0 { 0 } else { node.demand };
            before = *stop;
        }
        self.distance = self.stops.iter().map(|stop| stop.leg).sum();
    }

    /// What lies after `to` has not changed.
    pub(super) fn backward(&mut self, problem: &Problem, to: usize) {
        let end = self.stops.len() - 1;
        let (mut latest, mut leg) = if to == end {
            (f64::INFINITY, 0.0)
        } else {
            (self.stops[to + 1].latest, self.stops[to + 1].leg)
        };
        for stop in self.stops[..=to].iter_mut().rev() {
            let node = &problem.nodes[usize::from(stop.task)];
            stop.latest = node.latest.min(latest - leg - node.service);
            (latest, leg) = (stop.latest, stop.leg);
        }
    }

    /// Whether everything is in time and nothing is overloaded.
    #[cfg(test)]
    pub(super) fn is_feasible(&self, problem: &Problem) -> bool {
        let in_time = |stop: &Stop| {
            let node = &problem.nodes[usize::from(stop.task)];
            stop.leave - node.service <= node.latest + super::problem::ROUNDING
                && (0..=problem.capacity).contains(&stop.load)
        };
        self.stops.iter().all(in_time)
    }

    /// Where a task is in it.
    pub(super) fn position(&self, task: u16) -> Option<u16> {
        self.stops.iter().position(|stop| stop.task == task).map(small)
    }
}
