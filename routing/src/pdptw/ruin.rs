//! Ruin: strings of neighbouring stops are taken out of a few routes near each other.

use super::draft::Draft;
use rand::Rng;
use rand::rngs::SmallRng;

/// How many stops are taken out on average, the partners of those taken not counted.
const REMOVED_MEAN: f64 = 10.0;
/// The longest string.
const STRING_MAX: f64 = 10.0;
/// How often a string keeps some stops in its middle.
const SPLIT: f64 = 0.5;
/// How often it keeps one more.
const SPLIT_MORE: f64 = 0.01;

impl Draft<'_> {
    /// Adjacent string removal, SISR's only ruin; with a request, both its ends go.
    pub(super) fn ruin(&mut self, random: &mut SmallRng) {
        let tasks = self.problem.nodes.len();
        let used = self.routes.iter().filter(|route| !route.is_empty()).count();
        if tasks < 2 || used == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let stops_mean = (tasks - 1) as f64 / used as f64;
        let string_max = stops_mean.min(STRING_MAX);
        let most = 4.0 * REMOVED_MEAN / (1.0 + string_max) - 1.0;
        let mut strings = from_one_to(most, random);
        let problem = self.problem;
        let seed = super::problem::small(random.random_range(1..tasks));
        for task in std::iter::once(&seed).chain(problem.near(seed)) {
            let request = problem.nodes[usize::from(*task)].request;
            let Some(slot) = self.route_of(request).filter(|slot| !self.is_touched(*slot)) else {
                continue;
            };
            self.remove_string(slot, *task, string_max, random);
            strings -= 1;
            if strings == 0 {
                return;
            }
        }
    }

    fn remove_string(&mut self, slot: usize, around: u16, string_max: f64, random: &mut SmallRng) {
        let route = &self.routes[slot];
        let Some(position) = route.position(around).map(usize::from) else {
            return;
        };
        let stops = route.served().len();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let length = from_one_to(string_max.min(stops as f64), random);
        let mut kept = 0;
        if length > 1 && length < stops && random.random_bool(SPLIT) {
            kept = 1;
            while length + kept < stops && random.random_bool(SPLIT_MORE) {
                kept += 1;
            }
        }
        let whole = length + kept;
        // Stop 0 is the depot: the string covers the task and lies within 1..=stops.
        let first = random.random_range((position + 1).saturating_sub(whole).max(1)..=position.min(stops + 1 - whole));
        let kept_from = first + if kept > 0 { random.random_range(1..length) } else { 0 };
        self.remove(slot, [first, first + whole], [kept_from, kept_from + kept]);
    }
}

/// A whole number from 1 to the largest one not above `most`, the fraction being the chance of one more.
fn from_one_to(most: f64, random: &mut SmallRng) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to some dozens"
    )]
    let drawn = random.random_range(1.0..most.max(1.0) + 1.0) as usize;
    drawn.max(1)
}
