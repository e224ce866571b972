//! What a zone's events make of it.

use super::{Courier, CourierConfig, Event, JobEntry, JobState, Progress, Zone};
use crate::ids::CourierId;
use crate::saga::{EffectKey, Job};
use crate::time::Timestamp;

/// A drop-off.
#[derive(Clone, Copy)]
struct Delivered {
    /// When it was.
    at: Timestamp,
    /// When the courier can leave, unless an earlier version recorded it.
    leaves_at: Option<Timestamp>,
}

impl Zone {
    fn courier(&mut self, id: &CourierId) -> Result<&mut Courier, &'static str> {
        self.couriers.get_mut(id).ok_or("there is no such courier")
    }

    pub(super) fn apply(&mut self, event: &Event, at: Timestamp) -> Result<(), &'static str> {
        match event {
            Event::ZoneOpened { .. } => return Err("the zone exists already"),
            Event::CourierPut { id, config } => self.put(id, config),
            Event::CourierOnline { id, online, said } => {
                let courier = self.courier(id)?;
                courier.online = *online;
                if said.is_some() {
                    courier.heard.clone_from(said);
                }
            }
            Event::CourierLocated { id, location } => {
                let courier = self.courier(id)?;
                (courier.location, courier.located_at) = (*location, Some(at));
            }
            Event::JobQueued { key, job } => self.queued(*key, *job, at),
            Event::JobAssigned {
                key,
                courier,
                pickup_at,
            } => {
                let taker = self.courier(courier)?;
                taker.trip.push(*key);
                taker.jobs_taken = taker.jobs_taken.saturating_add(1);
                let entry = self.entry(key)?;
                entry.state = JobState::Assigned {
                    courier: courier.clone(),
                    pickup_at: *pickup_at,
                };
            }
            Event::TripSequenced { courier, jobs } => self.courier(courier)?.trip.clone_from(jobs),
            Event::JobProgressed { key, progress } => self.progressed(key, *progress)?,
            Event::JobLost { key } => {
                let entry = self.entry(key)?;
                let JobState::Assigned { courier, .. } = entry.state.clone() else {
                    return Err("nobody has the job");
                };
                entry.state = JobState::Lost {
                    courier: courier.clone(),
                };
                self.courier(&courier)?.drops(key);
            }
            Event::JobOver {
                key,
                delivered,
                until,
                leaves_at,
            } => {
                if let Some(entry) = self.jobs.remove(key) {
                    let delivered = delivered.then_some(Delivered {
                        at,
                        leaves_at: *leaves_at,
                    });
                    self.ended(key, &entry, delivered)?;
                }
                self.over.insert(*key, *until);
            }
            Event::JobForgotten { key } => {
                self.over.remove(key);
            }
        }
        Ok(())
    }

    fn put(&mut self, id: &CourierId, config: &CourierConfig) {
        let fresh = Courier {
            id: id.clone(),
            config: config.clone(),
            online: true,
            heard: None,
            location: config.location,
            located_at: None,
            leaves_at: None,
            jobs_taken: 0,
            trip: Vec::new(),
        };
        let courier = self.couriers.entry(id.clone()).or_insert(fresh);
        courier.config = config.clone();
    }

    fn queued(&mut self, key: EffectKey, job: Job, at: Timestamp) {
        let entry = JobEntry {
            job,
            since: at,
            state: JobState::Queued,
            progress: Progress {
                is_ready: job.is_ready,
                ..Progress::default()
            },
        };
        self.jobs.insert(key, entry);
    }

    fn entry(&mut self, key: &EffectKey) -> Result<&mut JobEntry, &'static str> {
        self.jobs.get_mut(key).ok_or("there is no such job")
    }

    fn progressed(&mut self, key: &EffectKey, progress: Progress) -> Result<(), &'static str> {
        let entry = self.entry(key)?;
        entry.progress = progress;
        let pickup = entry.job.pickup;
        if let (Some(left_at), JobState::Assigned { courier, .. }) = (progress.left_at, entry.state.clone()) {
            let courier = self.courier(&courier)?;
            courier.leaves_at = None;
            if courier.located_at.is_none_or(|located_at| located_at <= left_at) {
                (courier.location, courier.located_at) = (pickup, Some(left_at));
            }
        }
        Ok(())
    }

    /// A job is gone. If it was delivered, its courier is at the customer's, and has everything else of its trip with it.
    fn ended(&mut self, key: &EffectKey, entry: &JobEntry, delivered: Option<Delivered>) -> Result<(), &'static str> {
        let JobState::Assigned { courier, .. } = &entry.state else {
            return Ok(());
        };
        let courier = self.courier(courier)?;
        let Some(Delivered { at, leaves_at }) = delivered else {
            courier.drops(key);
            return Ok(());
        };
        courier.trip.retain(|other| other != key);
        (courier.location, courier.located_at) = (entry.job.dropoff, Some(at));
        courier.leaves_at = leaves_at;
        let others = courier.trip.clone();
        others.into_iter().try_for_each(|key| {
            self.entry(&key)?.progress.left_at.get_or_insert(at);
            Ok(())
        })
    }
}
