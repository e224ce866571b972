//! Which courier gets which job, when; lost jobs; tombstones; wake-ups.

use crate::entity::{Context, Entity};
use crate::fixtures::{Journalled, T0, courier_config, courier_id, key, north, zone_id};
use crate::geo::Location;
use crate::policy::Policy;
use crate::rejection::Rejection;
use crate::saga::{Answer, Job, JobRequest, Receipt, Report, Step};
use crate::time::{Millis, Timestamp};
use crate::zone::{Command, CourierConfig, Effect, JobState, Said, Zone};

pub(super) fn put(n: usize, config: CourierConfig) -> Command {
    Command::PutCourier {
        zone: zone_id(),
        id: courier_id(n),
        config: Box::new(config),
    }
}

pub(super) fn at(location: Location) -> CourierConfig {
    CourierConfig {
        location,
        ..courier_config()
    }
}

pub(super) fn job(pickup: Location, ready_min: u64) -> Job {
    Job {
        pickup,
        dropoff: north(50),
        ready_at: T0 + Millis::from_mins(ready_min),
        placed_at: Some(T0),
        is_ready: false,
    }
}

pub(super) fn assign(n: u64, job: Job) -> Command {
    Command::Job {
        zone: zone_id(),
        request: JobRequest::Assign {
            key: key(n, Step::Dispatch, 0),
            job: Box::new(job),
        },
    }
}

pub(super) fn unassign(n: u64) -> Command {
    Command::Job {
        zone: zone_id(),
        request: JobRequest::Unassign {
            key: key(n, Step::Dispatch, 0),
        },
    }
}

pub(super) fn complete(n: u64) -> Command {
    Command::Job {
        zone: zone_id(),
        request: JobRequest::Complete {
            key: key(n, Step::Dispatch, 0),
        },
    }
}

pub(super) const DONE: Answer = Answer::Done(Receipt::Empty);

pub(super) struct Centre(pub(super) Journalled<Zone>, pub(super) Timestamp, pub(super) Policy);

impl Centre {
    pub(super) fn with(couriers: &[CourierConfig]) -> Self {
        let mut zone = Self(Journalled::new(), T0, Policy::default());
        for (n, config) in couriers.iter().enumerate() {
            assert_eq!(zone.told(put(n, config.clone())), (DONE, Vec::new()));
        }
        zone
    }

    pub(super) fn told(&mut self, command: Command) -> (Answer, Vec<Effect>) {
        let told = self.0.tell(command, self.1, &self.2).expect("it is carried out");
        (told.reply, told.effects)
    }

    pub(super) fn online(&mut self, n: usize, online: bool) -> Vec<Effect> {
        self.told(Command::SetOnline {
            id: courier_id(n),
            online,
            said: None,
        })
        .1
    }

    fn job_of(&self, n: usize) -> Option<u64> {
        let job = *self.0.state().couriers[&courier_id(n)].trip.first()?;
        (1..10).find(|n| key(*n, Step::Dispatch, 0) == job)
    }

    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.0.wake_at(self.1, &self.2)
    }

    pub(super) fn wake(&mut self) -> Vec<Effect> {
        self.0.wake(self.1, &self.2).effects
    }

    fn resumed(&self) -> Vec<Effect> {
        self.0.state().resume(&Policy::default())
    }
}

pub(super) fn assigned(n: u64, courier: usize, pickup_at: Timestamp) -> Effect {
    let report = Report::Assigned {
        round: 0,
        courier: courier_id(courier),
        pickup_at,
    };
    Effect {
        order: key(n, Step::Dispatch, 0).order,
        report,
    }
}

pub(super) fn lost(n: u64, courier: usize) -> Effect {
    let report = Report::CourierLost {
        round: 0,
        courier: courier_id(courier),
    };
    Effect {
        order: key(n, Step::Dispatch, 0).order,
        report,
    }
}

#[test]
fn the_nearest_free_courier_gets_the_job_and_is_the_answer() {
    let mut zone = Centre::with(&[at(north(30)), at(north(2)), at(north(-10))]);
    let travel = zone.0.state().couriers[&courier_id(1)].travel_ms(north(0));
    let here = Answer::Done(Receipt::Assigned {
        courier: courier_id(1),
        pickup_at: T0 + travel,
    });
    assert_eq!(
        zone.told(assign(1, job(north(0), 5))),
        (here.clone(), Vec::new()),
        "the answer says it, no notice does"
    );
    let rows = zone.0.rows.len();
    assert_eq!(
        zone.told(assign(1, job(north(0), 5))),
        (here, Vec::new()),
        "asked again"
    );
    assert_eq!(zone.0.rows.len(), rows, "nothing is written twice");
    zone.told(assign(2, job(north(0), 5)));
    assert_eq!(
        (zone.job_of(0), zone.job_of(1), zone.job_of(2)),
        (None, Some(1), Some(2))
    );
    assert_eq!(
        travel,
        Millis::from_mins(7),
        "2,224 m at 320 m a minute, in whole minutes"
    );
}

#[test]
fn a_courier_takes_what_is_near_unless_the_food_far_away_has_waited_for_long() {
    for (waited_min, taken) in [(5, 2), (120, 1)] {
        let mut zone = Centre::with(&[]);
        zone.told(assign(1, job(north(10), 0)));
        zone.1 = zone.1 + Millis::from_mins(waited_min);
        zone.told(assign(2, job(north(1), waited_min)));
        zone.told(put(0, at(north(0))));
        assert_eq!(zone.job_of(0), Some(taken), "after {waited_min} minutes");
    }
}

#[test]
fn waiting_jobs_go_out_in_the_order_in_which_the_food_is_ready() {
    let mut zone = Centre::with(&[]);
    for (n, ready) in [(1, 9), (2, 3), (3, 6)] {
        assert_eq!(
            zone.told(assign(n, job(north(0), ready))),
            (Answer::Pending, Vec::new())
        );
    }
    assert_eq!(zone.told(put(0, at(north(0)))).1, [assigned(2, 0, T0)]);
    assert_eq!(
        zone.told(complete(2)),
        (DONE, vec![assigned(3, 0, T0 + Millis::from_mins(176))])
    );
    assert_eq!(
        zone.0.state().couriers[&courier_id(0)].location,
        north(50),
        "it is at the customer's"
    );
    assert_eq!(
        zone.resumed(),
        [assigned(3, 0, T0 + Millis::from_mins(176))],
        "told again after a restart"
    );
    zone.0.restart();
}

/// It drops out, comes back and is sent off; then its first words come again, as after a crash.
#[test]
fn words_that_are_heard_again_take_no_job_away() {
    let mut zone = Centre::with(&[at(north(0))]);
    let say = |zone: &mut Centre, online, place, at| {
        let said = Said {
            line: "couriers/3".into(),
            place,
            at,
        };
        let command = Command::SetOnline {
            id: courier_id(0),
            online,
            said: Some(said),
        };
        zone.told(command).1
    };
    say(&mut zone, false, 7, T0);
    say(&mut zone, true, 8, T0);
    zone.told(assign(1, job(north(0), 5)));
    assert_eq!(zone.job_of(0), Some(1));
    for round in 0..2 {
        let rows = zone.0.rows.len();
        assert_eq!(say(&mut zone, false, 7, T0), [], "round {round}");
        assert_eq!(say(&mut zone, true, 8, T0), []);
        assert_eq!((zone.job_of(0), zone.0.rows.len()), (Some(1), rows));
        zone.0.restart();
    }
    // A word that changes nothing is remembered too, lest one before it be taken for new.
    say(&mut zone, true, 12, T0);
    assert_eq!(say(&mut zone, false, 11, T0), []);
    assert_eq!(zone.job_of(0), Some(1));
    // The topic was made anew: its places begin again, but later.
    say(&mut zone, false, 0, T0 + Millis(1));
    assert_eq!(zone.job_of(0), None);
    // Places on another line say nothing, and neither do words without one.
    zone.online(0, true);
    zone.told(assign(2, job(north(0), 5)));
    zone.online(0, false);
    assert!(!zone.0.state().couriers[&courier_id(0)].online);
}

#[test]
fn a_courier_that_is_offline_or_off_shift_gets_nothing() {
    let minute = |n| Some(T0 + Millis::from_mins(n));
    let early = CourierConfig {
        off_at: minute(0),
        ..at(north(0))
    };
    let late = CourierConfig {
        on_at: minute(10),
        off_at: minute(20),
        ..at(north(0))
    };
    let mut zone = Centre::with(&[at(north(0)), early, late]);
    assert_eq!(zone.online(0, false), []);
    assert_eq!(zone.told(assign(1, job(north(0), 5))).0, Answer::Pending);
    assert_eq!(zone.wake_at(), minute(10), "when the next shift begins");
    zone.1 = T0 + Millis::from_mins(9);
    assert_eq!(zone.wake(), [], "too early");
    zone.1 = T0 + Millis::from_mins(10);
    assert_eq!(zone.wake(), [assigned(1, 2, zone.1)]);
    assert_eq!(zone.wake_at(), None);
    zone.told(assign(2, job(north(0), 5)));
    assert_eq!(zone.wake_at(), None, "no shift is to begin");
    assert_eq!(zone.online(0, true), [assigned(2, 0, zone.1)]);
}

/// The zone was not there when the shift began: it must not sleep through it.
#[test]
fn a_shift_that_began_unnoticed_wakes_the_zone_at_once() {
    let late = CourierConfig {
        on_at: Some(T0 + Millis::from_mins(10)),
        ..at(north(0))
    };
    let mut zone = Centre::with(&[late]);
    zone.told(assign(1, job(north(0), 5)));
    zone.1 = T0 + Millis::from_mins(30);
    zone.0.restart();
    assert_eq!(zone.wake_at(), Some(zone.1));
    assert_eq!(zone.wake(), [assigned(1, 0, zone.1)]);
    assert_eq!(zone.wake_at(), None);
}

#[test]
fn a_courier_that_drops_out_loses_its_job_and_the_order_hears_of_it_until_it_answers() {
    let mut zone = Centre::with(&[at(north(0))]);
    zone.told(assign(1, job(north(0), 5)));
    assert_eq!(zone.online(0, false), [lost(1, 0)]);
    assert_eq!(zone.online(0, false), [], "once");
    assert_eq!(zone.resumed(), [lost(1, 0)], "and again after a restart");
    assert_eq!(
        zone.online(0, true),
        [],
        "what is lost is not given out again under the same key"
    );
    assert_eq!(zone.told(assign(1, job(north(0), 5))), (Answer::Pending, Vec::new()));
    assert_eq!(zone.told(unassign(1)), (DONE, Vec::new()));
    assert_eq!(zone.resumed(), []);
}

#[test]
fn a_job_called_off_frees_the_courier_where_it_is() {
    let mut zone = Centre::with(&[at(north(3))]);
    zone.told(assign(1, job(north(0), 5)));
    zone.told(assign(2, job(north(3), 5)));
    assert_eq!(
        zone.told(unassign(1)),
        (DONE, vec![assigned(2, 0, T0)]),
        "the next one gets it"
    );
    assert_eq!(zone.told(unassign(1)), (DONE, Vec::new()));
    assert_eq!(zone.told(complete(1)), (DONE, Vec::new()), "late, and nothing to do");
    assert_eq!(zone.job_of(0), Some(2));
}

#[test]
fn what_was_called_off_before_it_came_is_refused_until_it_is_forgotten() {
    let mut zone = Centre::with(&[at(north(0))]);
    assert_eq!(zone.told(unassign(1)), (DONE, Vec::new()));
    let late = zone.told(assign(1, job(north(0), 5))).0;
    assert!(
        matches!(&late, Answer::Refused(refused) if refused.code == "over"),
        "{late:?}"
    );
    zone.0.restart();
    let forgotten = T0 + Policy::default().tombstone_ttl_ms;
    assert_eq!(zone.wake_at(), Some(forgotten));
    zone.1 = forgotten;
    assert_eq!(zone.wake(), []);
    assert!(zone.0.state().over.is_empty());
    assert_eq!(zone.wake_at(), None);
}

#[test]
fn a_position_that_is_heard_of_counts() {
    let mut zone = Centre::with(&[at(north(0)), at(north(9))]);
    zone.told(Command::Locate {
        id: courier_id(0),
        location: north(40),
    });
    zone.told(assign(1, job(north(0), 5)));
    assert_eq!(zone.job_of(1), Some(1), "the other has gone away");
    let off = Command::Locate {
        id: courier_id(0),
        location: Location { lat: 99.0, lng: 0.0 },
    };
    let refused = zone.0.tell(off, T0, &Policy::default()).expect_err("off the map");
    assert!(matches!(refused, Rejection::Invalid(_)));
}

#[test]
fn a_courier_that_nobody_knows_cannot_be_told_anything() {
    let unknown = || {
        [
            Command::SetOnline {
                id: courier_id(7),
                online: true,
                said: None,
            },
            Command::Locate {
                id: courier_id(7),
                location: north(0),
            },
        ]
    };
    let mut zone = Centre::with(&[at(north(0))]);
    let mut none = Journalled::<Zone>::new();
    for (first, second) in unknown().into_iter().zip(unknown()) {
        let of = |told: Result<_, Rejection>| told.map(|_: crate::fixtures::Told<Zone>| ()).expect_err("unknown");
        assert_eq!(
            of(zone.0.tell(first, T0, &Policy::default())),
            Rejection::NotFound("courier")
        );
        assert_eq!(
            of(none.tell(second, T0, &Policy::default())),
            Rejection::NotFound("courier")
        );
    }
}

#[test]
fn a_courier_finishes_its_job_after_its_shift() {
    let off_at = Some(T0 + Millis::from_mins(5));
    let mut zone = Centre::with(&[CourierConfig { off_at, ..at(north(0)) }]);
    zone.told(assign(1, job(north(0), 5)));
    zone.told(assign(2, job(north(0), 6)));
    zone.1 = T0 + Millis::from_mins(6);
    assert_eq!(zone.wake(), []);
    let state = zone.0.state().jobs[&key(1, Step::Dispatch, 0)].state.clone();
    assert!(matches!(state, JobState::Assigned { .. }));
    assert_eq!(zone.told(complete(1)), (DONE, Vec::new()), "and gets no other");
    let context = Context {
        now: zone.1,
        policy: &Policy::default(),
    };
    assert_eq!(
        zone.0.state().wake_at(&context),
        Some(zone.1 + Policy::default().tombstone_ttl_ms)
    );
}
