//! What a zone can be told and what can happen to it.

use super::assignment::{Assignment, assign, wanted_at};
use super::courier::{Courier, CourierConfig, Said};
use super::{JobEntry, JobState, Progress, Zone};
use crate::entity::{Context, Decision, Entity, IllegalEvent};
use crate::geo::Location;
use crate::ids::{CourierId, OrderId, ZoneId};
use crate::policy::Policy;
use crate::ports::StreamKind;
use crate::rejection::{FieldError, Rejection};
use crate::saga::{Answer, EffectKey, Job, JobRequest, Receipt, Refused, Report};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a zone can be told. The first word to a zone creates it. The names are part of what nodes say to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A courier's settings; it joins the first time. Idempotent.
    PutCourier {
        /// The zone.
        zone: ZoneId,
        /// Who.
        id: CourierId,
        /// The settings.
        config: Box<CourierConfig>,
    },
    /// A courier takes jobs, or drops out. Idempotent; and what is heard again after what came behind it changes nothing, if
    /// it says where it stands.
    SetOnline {
        /// Who.
        id: CourierId,
        /// Whether it takes jobs.
        online: bool,
        /// Where that stands among its words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        said: Option<Said>,
    },
    /// Where a courier is.
    Locate {
        /// Who.
        id: CourierId,
        /// Where.
        location: Location,
    },
    /// A saga asks for a courier, or no longer. Idempotent by the request's key.
    Job {
        /// The zone.
        zone: ZoneId,
        /// What is asked.
        request: JobRequest,
    },
    /// A planner's decision: couriers are sent off. What no longer fits (a job or a courier is gone, or taken) is passed
    /// over; the planner looks again. Idempotent.
    Dispatch {
        /// Who fetches what.
        trips: Vec<Trip>,
    },
    /// How far a job's food is. Idempotent.
    Progress {
        /// The job.
        key: EffectKey,
        /// How far.
        progress: Progress,
    },
    /// A shift may have begun.
    Wake,
}

/// What a courier is sent to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trip {
    /// Who.
    pub courier: CourierId,
    /// The jobs, in the sequence of their drop-offs: those it was sent for already, and others from the same place.
    pub jobs: Vec<EffectKey>,
}

/// One event of a zone's log. The names are part of the storage format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The zone exists.
    ZoneOpened {
        /// Its id.
        id: ZoneId,
    },
    /// A courier's settings are these now.
    CourierPut {
        /// Who.
        id: CourierId,
        /// The settings.
        config: Box<CourierConfig>,
    },
    /// A courier takes jobs, or not, now.
    CourierOnline {
        /// Who.
        id: CourierId,
        /// Whether.
        online: bool,
        /// Where that stands among its words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        said: Option<Said>,
    },
    /// Where a courier is.
    CourierLocated {
        /// Who.
        id: CourierId,
        /// Where.
        location: Location,
    },
    /// A job waits for a courier.
    JobQueued {
        /// Its name.
        key: EffectKey,
        /// What to carry.
        job: Job,
    },
    /// A courier carries it out.
    JobAssigned {
        /// Its name.
        key: EffectKey,
        /// Who.
        courier: CourierId,
        /// When it is expected at the kitchen.
        pickup_at: Timestamp,
    },
    /// A courier drops off in this sequence.
    TripSequenced {
        /// Who.
        courier: CourierId,
        /// The sequence.
        jobs: Vec<EffectKey>,
    },
    /// Its food is this far.
    JobProgressed {
        /// Its name.
        key: EffectKey,
        /// How far.
        progress: Progress,
    },
    /// Its courier dropped out.
    JobLost {
        /// Its name.
        key: EffectKey,
    },
    /// It is over.
    JobOver {
        /// Its name.
        key: EffectKey,
        /// Whether it was carried out (and the courier is at the customer's).
        delivered: bool,
        /// Until when it is remembered.
        until: Timestamp,
        /// When its courier can leave the customer, if it was carried out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leaves_at: Option<Timestamp>,
    },
    /// A job that is over is no longer remembered.
    JobForgotten {
        /// Its name.
        key: EffectKey,
    },
}

/// What a zone wants done: an order is to hear of its courier.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Which order.
    pub order: OrderId,
    /// What it is to hear.
    pub report: Report,
}

pub(super) struct Turn<'a> {
    pub(super) zone: Zone,
    pub(super) context: &'a Context<'a>,
    events: Vec<Event>,
}

impl Entity for Zone {
    const KIND: StreamKind = StreamKind::Zone;
    type Command = Command;
    type Event = Event;
    type Effect = Effect;
    type Reply = Answer;

    fn decide(state: Option<&Self>, command: Command, context: &Context<'_>) -> Result<Decision<Self>, Rejection> {
        let mut turn = begin(state, &command, context)?;
        let own = match &command {
            Command::Job {
                request: JobRequest::Assign { key, .. },
                ..
            } => Some(*key),
            _ => None,
        };
        turn.forget_old()?;
        let reply = turn.handle(command)?;
        turn.assign_free()?;
        let reply = own
            .filter(|_| reply == Answer::Pending)
            .map_or(reply, |key| turn.answer(key));
        let effects = turn
            .events
            .iter()
            .filter_map(|event| turn.notice(event))
            .filter(|(key, _)| Some(*key) != own);
        let effects = effects.map(|(_, effect)| effect).collect();
        Ok(Decision {
            events: turn.events,
            effects,
            reply,
        })
    }

    fn evolve(state: Option<Self>, event: &Event, at: Timestamp) -> Result<Self, IllegalEvent> {
        let illegal = |why: &str| IllegalEvent {
            event: format!("{event:?}"),
            why: why.to_owned(),
        };
        match (state, event) {
            (None, Event::ZoneOpened { id }) => Ok(Self {
                id: id.clone(),
                couriers: BTreeMap::new(),
                jobs: BTreeMap::new(),
                over: BTreeMap::new(),
            }),
            (None, _) => Err(illegal("the zone does not exist yet")),
            (Some(_), Event::ZoneOpened { .. }) => Err(illegal("the zone exists already")),
            (Some(mut zone), event) => {
                zone.apply(event, at).map_err(illegal)?;
                Ok(zone)
            }
        }
    }

    fn resume(&self, _policy: &Policy) -> Vec<Effect> {
        self.jobs
            .iter()
            .filter_map(|(key, entry)| notice(*key, entry))
            .collect()
    }

    fn wake_at(&self, context: &Context<'_>) -> Option<Timestamp> {
        let now = context.now;
        let jobs = self.jobs.values().filter(|entry| entry.state == JobState::Queued);
        let wanted_at = jobs.map(|entry| wanted_at(entry, context.policy)).min();
        // A shift may have begun while nobody was there to wake the zone: then it is wanted at once.
        let free_at = |courier: &Courier| {
            if courier.is_available(now) {
                Some(now)
            } else {
                courier.config.on_at.filter(|on_at| *on_at > now)
            }
        };
        let free_at = self.couriers.values().filter_map(free_at).min();
        let assignable_at = wanted_at.zip(free_at).map(|(wanted, free)| wanted.max(free));
        assignable_at.into_iter().chain(self.over.values().copied()).min()
    }

    fn wake() -> Command {
        Command::Wake
    }

    fn is_live(&self) -> bool {
        true
    }
}

fn begin<'a>(state: Option<&Zone>, command: &Command, context: &'a Context<'a>) -> Result<Turn<'a>, Rejection> {
    match (state, command) {
        (Some(zone), _) => Ok(Turn {
            zone: zone.clone(),
            context,
            events: Vec::new(),
        }),
        (None, Command::PutCourier { zone, .. } | Command::Job { zone, .. }) => {
            let event = Event::ZoneOpened { id: zone.clone() };
            let zone = Zone::evolve(None, &event, context.now).map_err(|e| Rejection::NotAllowed(e.to_string()))?;
            Ok(Turn {
                zone,
                context,
                events: vec![event],
            })
        }
        (None, _) => Err(Rejection::NotFound("courier")),
    }
}

/// What an order is to hear about its job.
fn notice(key: EffectKey, entry: &JobEntry) -> Option<Effect> {
    let report = match &entry.state {
        JobState::Queued => return None,
        JobState::Assigned { courier, pickup_at } => Report::Assigned {
            round: key.round,
            courier: courier.clone(),
            pickup_at: *pickup_at,
        },
        JobState::Lost { courier } => Report::CourierLost {
            round: key.round,
            courier: courier.clone(),
        },
    };
    Some(Effect {
        order: key.order,
        report,
    })
}

impl Turn<'_> {
    pub(super) fn emit(&mut self, event: Event) -> Result<(), Rejection> {
        self.zone
            .apply(&event, self.context.now)
            .map_err(|why| Rejection::NotAllowed(why.to_owned()))?;
        self.events.push(event);
        Ok(())
    }

    fn handle(&mut self, command: Command) -> Result<Answer, Rejection> {
        let done = Answer::Done(Receipt::Empty);
        match command {
            Command::PutCourier { id, config, .. } => {
                let problems = config.problems();
                if !problems.is_empty() {
                    return Err(Rejection::Invalid(problems));
                }
                if self
                    .zone
                    .couriers
                    .get(&id)
                    .is_none_or(|courier| courier.config != *config)
                {
                    self.emit(Event::CourierPut { id, config })?;
                }
            }
            Command::SetOnline { id, online, said } => {
                let courier = self.zone.couriers.get(&id).ok_or(Rejection::NotFound("courier"))?;
                if courier.has_heard(said.as_ref()) {
                    return Ok(done);
                }
                let (was, trip) = (courier.online, courier.trip.clone());
                if !online {
                    trip.into_iter().try_for_each(|key| self.emit(Event::JobLost { key }))?;
                }
                // Also when it changes nothing: an earlier word that comes again must be known for one.
                if was != online || said.is_some() {
                    self.emit(Event::CourierOnline { id, online, said })?;
                }
            }
            Command::Locate { id, location } => {
                self.zone.couriers.get(&id).ok_or(Rejection::NotFound("courier"))?;
                if !location.is_valid() {
                    return Err(Rejection::Invalid(vec![FieldError::new("/location", "is off the map")]));
                }
                self.emit(Event::CourierLocated { id, location })?;
            }
            Command::Job { request, .. } => return self.job(&request),
            Command::Dispatch { trips } => trips.iter().try_for_each(|trip| self.send_off(trip))?,
            Command::Progress { key, progress } => {
                let entry = self.zone.jobs.get(&key).ok_or(Rejection::NotFound("job"))?;
                // What was said earlier may come later.
                let is_later = progress.is_ready || !entry.progress.is_ready;
                let is_later = is_later && entry.progress.left_at.is_none();
                if is_later && entry.progress != progress {
                    self.emit(Event::JobProgressed { key, progress })?;
                }
            }
            Command::Wake => {}
        }
        Ok(done)
    }

    fn job(&mut self, request: &JobRequest) -> Result<Answer, Rejection> {
        match request {
            JobRequest::Assign { key, job } => {
                let key = *key;
                if self.zone.over.contains_key(&key) {
                    return Ok(Answer::Refused(Refused::new(
                        "over",
                        "the job was called off, or is done",
                    )));
                }
                if !self.zone.jobs.contains_key(&key) {
                    self.emit(Event::JobQueued { key, job: **job })?;
                }
                Ok(Answer::Pending)
            }
            JobRequest::Unassign { key } => self.over(*key, false),
            JobRequest::Complete { key } => self.over(*key, true),
        }
    }

    fn over(&mut self, key: EffectKey, delivered: bool) -> Result<Answer, Rejection> {
        if !self.zone.over.contains_key(&key) {
            let (now, policy) = (self.context.now, self.context.policy);
            self.emit(Event::JobOver {
                key,
                delivered,
                until: now + policy.tombstone_ttl_ms,
                leaves_at: delivered.then(|| now + policy.dropoff_leave_ms),
            })?;
        }
        Ok(Answer::Done(Receipt::Empty))
    }

    fn answer(&self, key: EffectKey) -> Answer {
        match self.zone.jobs.get(&key).map(|entry| &entry.state) {
            Some(JobState::Assigned { courier, pickup_at }) => Answer::Done(Receipt::Assigned {
                courier: courier.clone(),
                pickup_at: *pickup_at,
            }),
            _ => Answer::Pending,
        }
    }

    fn notice(&self, event: &Event) -> Option<(EffectKey, Effect)> {
        match event {
            Event::JobAssigned { key, .. } | Event::JobLost { key } => {
                Some((*key, notice(*key, self.zone.jobs.get(key)?)?))
            }
            _ => None,
        }
    }

    fn forget_old(&mut self) -> Result<(), Rejection> {
        let now = self.context.now;
        let old: Vec<EffectKey> = self
            .zone
            .over
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(key, _)| *key)
            .collect();
        old.into_iter()
            .try_for_each(|key| self.emit(Event::JobForgotten { key }))
    }

    /// Gives jobs that the zone itself is to assign to free couriers.
    fn assign_free(&mut self) -> Result<(), Rejection> {
        for Assignment {
            key,
            courier,
            pickup_at,
        } in assign(&self.zone, self.context)
        {
            self.emit(Event::JobAssigned {
                key,
                courier,
                pickup_at,
            })?;
        }
        Ok(())
    }
}
