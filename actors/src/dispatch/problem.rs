//! A zone as its planner sees it: metres, seconds and small numbers.

use domain::geo::{Location, Projection};
use domain::ids::CourierId;
use domain::saga::EffectKey;
use domain::time::{Millis, Timestamp};
use domain::zone::{Courier, JobEntry, JobState, Trip, Zone, travel_ms};
use routing::dispatch::{self, Commitment, CourierKey, OrderKey, Place, Promise, RestaurantKey, Rules, Seconds};
use std::collections::HashMap;
use std::hash::Hash;

/// The least that food which is late, and not said to be ready, still takes.
const STILL_COOKING: Seconds = 60;
/// How long a shift without an end is thought to last.
const SHIFT: Seconds = 7 * 24 * 3_600;

/// Small numbers for names: a name keeps its number as long as it is in use.
struct Names<T> {
    numbers: HashMap<T, u32>,
    next: u32,
}

impl<T: Clone + Eq + Hash> Names<T> {
    fn new() -> Self {
        Self {
            numbers: HashMap::new(),
            next: 0,
        }
    }

    fn number(&mut self, name: &T) -> u32 {
        let next = &mut self.next;
        *self.numbers.entry(name.clone()).or_insert_with(|| {
            *next = next.wrapping_add(1);
            *next
        })
    }

    fn keep(&mut self, is_used: impl Fn(&T) -> bool) {
        self.numbers.retain(|name, _| is_used(name));
    }

    fn names(&self) -> HashMap<u32, &T> {
        self.numbers.iter().map(|(name, number)| (*number, name)).collect()
    }
}

/// What is to be planned.
#[derive(Clone, Debug, Default)]
pub(super) struct Problem {
    pub(super) now: Seconds,
    pub(super) couriers: Vec<dispatch::Courier>,
    pub(super) orders: Vec<dispatch::Order>,
}

/// Translates between a zone and its planner. The beginning of time and the middle of the map are where it began.
pub(super) struct Translator {
    beginning: Timestamp,
    middle: Option<Projection>,
    jobs: Names<EffectKey>,
    couriers: Names<CourierId>,
    restaurants: Names<(u64, u64)>,
}

impl Translator {
    pub(super) fn new(beginning: Timestamp) -> Self {
        Self {
            beginning,
            middle: None,
            jobs: Names::new(),
            couriers: Names::new(),
            restaurants: Names::new(),
        }
    }

    /// What is to be planned in the zone: everything that nobody has picked up yet, and everybody on or before a shift.
    pub(super) fn problem(&mut self, zone: &Zone, rules: &Rules, now: Timestamp) -> Problem {
        let open = |entry: &JobEntry| entry.progress.left_at.is_none() && !matches!(entry.state, JobState::Lost { .. });
        self.jobs.keep(|key| zone.jobs.contains_key(key));
        self.couriers.keep(|id| zone.couriers.contains_key(id));
        let jobs = zone.jobs.iter().filter(|(_, entry)| open(entry));
        let orders = jobs.map(|(key, entry)| self.order(key, entry, now)).collect();
        let there = |courier: &&Courier| {
            let is_off = courier.config.off_at.is_some_and(|off_at| off_at <= now);
            courier.online && !(is_off && courier.trip.is_empty())
        };
        let couriers = zone.couriers.values().filter(there);
        let couriers = couriers
            .map(|courier| self.courier(courier, zone, rules, now))
            .collect();
        Problem {
            now: self.seconds(now),
            couriers,
            orders,
        }
    }

    /// Who is to be sent off for what.
    pub(super) fn trips(&self, commitments: &[Commitment]) -> Vec<Trip> {
        let (jobs, couriers) = (self.jobs.names(), self.couriers.names());
        let trip = |commitment: &Commitment| {
            let orders = commitment
                .orders
                .iter()
                .map(|order| jobs.get(&order.0).copied().copied());
            Some(Trip {
                courier: (*couriers.get(&commitment.courier.0)?).clone(),
                jobs: orders.collect::<Option<Vec<EffectKey>>>()?,
            })
        };
        commitments.iter().filter_map(trip).collect()
    }

    fn seconds(&self, at: Timestamp) -> Seconds {
        let seconds = (at.0 - self.beginning.0).div_euclid(1_000);
        Seconds::try_from(seconds.clamp(i64::from(-SHIFT), i64::from(Seconds::MAX / 2))).unwrap_or(0)
    }

    fn place(&mut self, location: Location) -> Place {
        let middle = self.middle.get_or_insert(Projection { origin: location });
        let (x, y) = middle.plane(location);
        #[expect(clippy::cast_possible_truncation, reason = "half the earth's girth in metres fits")]
        let metres = |length: f64| length.round() as i32;
        Place {
            x: metres(x),
            y: metres(y),
        }
    }

    fn order(&mut self, key: &EffectKey, entry: &JobEntry, now: Timestamp) -> dispatch::Order {
        let (ready_at, now) = (self.seconds(entry.ready_at()), self.seconds(now));
        let pickup = entry.job.pickup;
        dispatch::Order {
            key: OrderKey(self.jobs.number(key)),
            restaurant: RestaurantKey(self.restaurants.number(&(pickup.lat.to_bits(), pickup.lng.to_bits()))),
            pickup: self.place(pickup),
            dropoff: self.place(entry.job.dropoff),
            placed_at: self.seconds(entry.job.placed_at.unwrap_or(entry.since)),
            ready_at: if entry.progress.is_ready {
                ready_at.min(now)
            } else {
                ready_at.max(now + STILL_COOKING)
            },
        }
    }

    fn courier(&mut self, courier: &Courier, zone: &Zone, rules: &Rules, now: Timestamp) -> dispatch::Courier {
        let entries: Vec<(&EffectKey, &JobEntry)> = courier
            .trip
            .iter()
            .filter_map(|key| Some((key, zone.jobs.get(key)?)))
            .collect();
        let has_left = entries.iter().any(|(_, entry)| entry.progress.left_at.is_some());
        let (location, free_at) = if has_left {
            way_to_the_end(courier, &entries, rules, now)
        } else {
            (courier.location, courier.free_at(now))
        };
        let promised_at = entries.iter().find_map(|(_, entry)| match entry.state {
            JobState::Assigned { pickup_at, .. } => Some(pickup_at),
            _ => None,
        });
        let promise = promised_at.filter(|_| !has_left).map(|arrives_at| Promise {
            orders: entries.iter().map(|(key, _)| OrderKey(self.jobs.number(key))).collect(),
            arrives_at: Some(self.seconds(arrives_at)),
        });
        let on_at = courier.config.on_at.map_or(0, |at| self.seconds(at));
        dispatch::Courier {
            key: CourierKey(self.couriers.number(&courier.id)),
            metres_per_min: courier.config.metres_per_min,
            on_at,
            off_at: courier.config.off_at.map_or(on_at + SHIFT, |at| self.seconds(at)),
            place: self.place(location),
            free_at: self.seconds(free_at).max(on_at),
            orders_taken: courier.jobs_taken,
            promise,
        }
    }
}

/// Where and when a courier that has left with its trip will have dropped off everything: each stop takes its time, half
/// before and half after the food is handed over. What it said of its place since counts as well.
fn way_to_the_end(
    courier: &Courier,
    entries: &[(&EffectKey, &JobEntry)],
    rules: &Rules,
    now: Timestamp,
) -> (Location, Timestamp) {
    let half = |service_s: Seconds| Millis::from_secs(u64::try_from(service_s / 2).unwrap_or(0));
    let picked_up_at = entries.iter().filter_map(|(_, entry)| entry.progress.left_at).max();
    let fetched_at = || Some(picked_up_at? + half(rules.pickup_service_s));
    let (mut place, mut at) = (courier.location, courier.located_at.unwrap_or(now));
    if let Some(leaves_at) = courier.leaves_at.or_else(fetched_at) {
        at = at.max(leaves_at);
    }
    for (_, entry) in entries {
        let way = travel_ms(place, entry.job.dropoff, courier.config.metres_per_min);
        at = at + way + half(rules.dropoff_service_s) + half(rules.dropoff_service_s);
        place = entry.job.dropoff;
    }
    (place, at.max(now))
}

#[cfg(test)]
mod tests;
