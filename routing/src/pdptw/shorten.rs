//! A shorter way with the same vehicles.

use super::draft::Draft;
use super::route::Route;
use crate::anneal::Landscape;
use rand::rngs::SmallRng;

/// A plan that serves everything, and the best of those seen.
pub(super) struct Shorten<'a, 'p> {
    draft: &'a mut Draft<'p>,
    best: &'a mut Vec<Route>,
    /// More than any plan can be shortened by: a vehicle less is worth that.
    vehicle: f64,
}

impl<'a, 'p> Shorten<'a, 'p> {
    pub(super) fn new(draft: &'a mut Draft<'p>, best: &'a mut Vec<Route>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a bound, not a figure")]
        let vehicle = draft.problem.leg_mean * (draft.problem.nodes.len() + 1) as f64 * 2.0;
        Self { draft, best, vehicle }
    }
}

impl Landscape for Shorten<'_, '_> {
    fn cost(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "few vehicles")]
        let used = self.draft.routes.iter().filter(|route| !route.is_empty()).count() as f64;
        self.draft.distance() + used * self.vehicle
    }

    fn change(&mut self, random: &mut SmallRng) -> f64 {
        self.change_below(random, f64::INFINITY)
    }

    /// Every insertion makes the plan longer: the rest need not be tried when it is too long already.
    fn change_below(&mut self, random: &mut SmallRng, limit: f64) -> f64 {
        self.draft.begin();
        self.draft.ruin(random);
        let room = limit - self.cost();
        if self.draft.recreate(Some(room), random) {
            self.cost()
        } else {
            f64::INFINITY
        }
    }

    fn keep(&mut self) {}

    fn undo(&mut self) {
        self.draft.undo();
    }

    fn publish(&mut self) {
        publish(self.draft, self.best);
    }
}

/// Copies the routes that go somewhere, into the memory that is there.
pub(super) fn publish(draft: &Draft<'_>, best: &mut Vec<Route>) {
    best.resize_with(draft.routes.len(), || Route::new(draft.problem));
    for (copy, route) in best.iter_mut().zip(&draft.routes) {
        copy.copy_from(route);
    }
}
