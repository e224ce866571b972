//! Sending couriers off on trips that a planner has decided on.

use super::command::{Event, Trip, Turn};
use super::{JobEntry, JobState};
use crate::rejection::Rejection;
use crate::saga::EffectKey;
use crate::time::Timestamp;

impl Turn<'_> {
    /// Sends a courier off, or adds to what it is sent for; does nothing when the trip does not fit what is true now.
    pub(super) fn send_off(&mut self, trip: &Trip) -> Result<(), Rejection> {
        let Some(pickup_at) = self.fitting(trip) else {
            return Ok(());
        };
        let courier = &trip.courier;
        for &key in &trip.jobs {
            if self.is_queued(&key) {
                self.emit(Event::JobAssigned {
                    key,
                    courier: courier.clone(),
                    pickup_at,
                })?;
            }
        }
        if self.zone.couriers[courier].trip != trip.jobs {
            self.emit(Event::TripSequenced {
                courier: courier.clone(),
                jobs: trip.jobs.clone(),
            })?;
        }
        Ok(())
    }

    fn is_queued(&self, key: &EffectKey) -> bool {
        self.zone
            .jobs
            .get(key)
            .is_some_and(|entry| entry.state == JobState::Queued)
    }

    /// When the courier is expected at the kitchen, if it can make the trip: it keeps everything that it was sent for and
    /// has not left with, the rest waits for a courier, and all of it is fetched in one place.
    fn fitting(&self, trip: &Trip) -> Option<Timestamp> {
        let now = self.context.now;
        let courier = self.zone.couriers.get(&trip.courier)?;
        let is_doubled = |(n, key): (usize, &EffectKey)| trip.jobs[..n].contains(key);
        let entries: Vec<&JobEntry> = trip.jobs.iter().filter_map(|key| self.zone.jobs.get(key)).collect();
        let first = entries.first()?;
        let fits = entries.len() == trip.jobs.len()
            && !trip.jobs.iter().enumerate().any(is_doubled)
            && courier.trip.iter().all(|key| trip.jobs.contains(key))
            && entries.iter().all(|entry| entry.job.pickup == first.job.pickup)
            && entries.iter().all(|entry| entry.progress.left_at.is_none())
            && trip
                .jobs
                .iter()
                .all(|key| courier.trip.contains(key) || self.is_queued(key));
        if !fits {
            return None;
        }
        let promised = entries.iter().find_map(|entry| match &entry.state {
            JobState::Assigned { pickup_at, .. } => Some(*pickup_at),
            _ => None,
        });
        promised.or_else(|| {
            courier
                .is_available(now)
                .then(|| courier.free_at(now) + courier.travel_ms(first.job.pickup))
        })
    }
}
