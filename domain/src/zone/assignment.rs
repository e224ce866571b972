//! Which free courier takes which waiting job: greedy, the pair that wastes the least courier time first.
//!
//! Always sending the nearest courier to the oldest job collapses under load: with few couriers free the nearest one is
//! far away, spends its time on the way, and fewer are free ("wild goose chase": Castillo, Knoepfle and Weyl 2017). So when
//! jobs wait, a courier takes what is near to it, and waiting makes a job ever more attractive, so that none is left over.

use super::{Courier, JobEntry, JobState, Zone};
use crate::entity::Context;
use crate::ids::CourierId;
use crate::policy::{Assigning, Policy};
use crate::saga::EffectKey;
use crate::time::{Millis, Timestamp};

/// How much waiting beyond its ready time offsets courier time: half.
const WAITING_SHARE: i64 = 2;

/// How long before its food is ready a job is given away.
const LEAD_MS: Millis = Millis::from_mins(10);
/// How long after that a job that no planner has given away is given away here.
const FORSAKEN_MS: Millis = Millis::from_mins(25);

/// From when on the zone itself looks for a courier. When a planner assigns, that is a last resort: nobody plans any more.
pub(super) fn wanted_at(entry: &JobEntry, policy: &Policy) -> Timestamp {
    let wanted_at = (entry.ready_at() - LEAD_MS).max(entry.since);
    match policy.assigning {
        Assigning::AtOnce => wanted_at,
        Assigning::Planned => wanted_at + FORSAKEN_MS,
    }
}

/// A courier for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) key: EffectKey,
    pub(super) courier: CourierId,
    /// When it is expected at the kitchen.
    pub(super) pickup_at: Timestamp,
}

/// Pairs waiting jobs with free couriers until either has run out. O(jobs × couriers × log), and one of them is small.
pub(super) fn assign(zone: &Zone, context: &Context<'_>) -> Vec<Assignment> {
    let now = context.now;
    let free: Vec<&Courier> = zone
        .couriers
        .values()
        .filter(|courier| courier.is_available(now))
        .collect();
    let waiting = zone
        .jobs
        .iter()
        .filter(|(_, entry)| entry.state == JobState::Queued && wanted_at(entry, context.policy) <= now);
    let mut pairs: Vec<Pair<'_>> = waiting
        .flat_map(|(key, entry)| free.iter().map(move |courier| Pair::of(*key, entry, courier, now)))
        .collect();
    pairs.sort_by(|a, b| a.rank().cmp(&b.rank()));
    let mut chosen: Vec<Assignment> = Vec::new();
    for Pair {
        key,
        courier,
        pickup_at,
        ..
    } in pairs
    {
        if chosen
            .iter()
            .all(|taken| taken.key != key && taken.courier != courier.id)
        {
            chosen.push(Assignment {
                key,
                courier: courier.id.clone(),
                pickup_at,
            });
        }
    }
    chosen
}

/// A job and a courier for it.
struct Pair<'a> {
    /// The courier's way to the kitchen and its waiting there, less half of what the food has waited already.
    cost_ms: i64,
    ready_at: Timestamp,
    key: EffectKey,
    courier: &'a Courier,
    pickup_at: Timestamp,
}

impl<'a> Pair<'a> {
    fn of(key: EffectKey, entry: &JobEntry, courier: &'a Courier, now: Timestamp) -> Self {
        let ready_at = entry.ready_at();
        let pickup_at = courier.free_at(now) + courier.travel_ms(entry.job.pickup);
        let ms = |length: u64| i64::try_from(length).unwrap_or(i64::MAX / 4);
        let cost_ms = ms(pickup_at.max(ready_at).ms_since(now)) - ms(now.ms_since(ready_at)) / WAITING_SHARE;
        Self {
            cost_ms,
            ready_at,
            key,
            courier,
            pickup_at,
        }
    }

    /// Cheapest first, then what is ready first; the rest only makes the order complete.
    fn rank(&self) -> (i64, Timestamp, EffectKey, &CourierId) {
        (self.cost_ms, self.ready_at, self.key, &self.courier.id)
    }
}
