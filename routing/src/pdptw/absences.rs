//! Fewer vehicles: one route is dropped, and what it served is looked a place for. Requests that are left out often count
//! more and more, so that the hard ones are placed first and the easy ones are left out (SISR's sum of absences).

use super::draft::Draft;
use crate::anneal::Landscape;
use rand::rngs::SmallRng;

/// A plan that leaves requests out, until it does not.
pub(super) struct Absences<'a, 'p> {
    draft: &'a mut Draft<'p>,
    /// For each request, how often it was left out.
    counts: &'a mut [u64],
}

impl<'a, 'p> Absences<'a, 'p> {
    /// Drops the route whose requests were left out least often.
    pub(super) fn drop_route(draft: &'a mut Draft<'p>, counts: &'a mut [u64]) -> Self {
        let problem = draft.problem;
        let cost = |slot: &usize| -> u64 {
            let stops = draft.routes[*slot].served().iter();
            stops
                .map(|stop| counts[usize::from(problem.nodes[usize::from(stop.task)].request)])
                .sum()
        };
        if let Some(slot) = (0..draft.routes.len()).min_by_key(cost) {
            draft.drop_route(slot);
        }
        Self { draft, counts }
    }

    /// Whether nothing is left out.
    pub(super) fn is_complete(&self) -> bool {
        self.draft.absent.is_empty()
    }

    fn sum(&self, absent: &[u16]) -> u64 {
        absent.iter().map(|request| self.counts[usize::from(*request)]).sum()
    }
}

impl Landscape for Absences<'_, '_> {
    fn cost(&self) -> f64 {
        self.draft.distance()
    }

    fn change(&mut self, random: &mut SmallRng) -> f64 {
        self.draft.begin();
        self.draft.ruin(random);
        self.draft.recreate(None, random);
        self.draft.distance()
    }

    /// Kept is what leaves out less, or what leaves out no more and is not too long.
    fn accepts(&mut self, cost: f64, threshold: f64) -> bool {
        let (now, before) = (&self.draft.absent, self.draft.absent_before());
        let (sum_now, sum_before) = (self.sum(now), self.sum(before));
        let accepted = sum_now < sum_before || (now.len() <= before.len() && cost < threshold);
        for request in &self.draft.absent {
            self.counts[usize::from(*request)] += 1;
        }
        accepted
    }

    fn finished(&self) -> bool {
        self.is_complete()
    }

    fn keep(&mut self) {}

    fn undo(&mut self) {
        self.draft.undo();
    }

    fn publish(&mut self) {}
}
