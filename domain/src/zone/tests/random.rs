//! A zone under random use, with and without a planner: no job is carried twice, a trip begins in one place, and it comes
//! to rest.

use super::assignment::{at, put};
use crate::entity::Entity;
use crate::fixtures::{Journalled, T0, courier_id, key, north, zone_id};
use crate::policy::{Assigning, Policy};
use crate::saga::{Job, JobRequest, Report, Step};
use crate::time::{Millis, Timestamp};
use crate::zone::assignment::wanted_at;
use crate::zone::{Command, CourierConfig, Event, JobEntry, JobState, Progress, Trip, Zone};
use proptest::prelude::*;
use std::collections::BTreeMap;

const JOBS: u64 = 8;

#[derive(Clone, Debug)]
enum Happening {
    Assign(u64, i32, u64),
    Unassign(u64),
    Complete(u64),
    Put(usize, i32, Option<(u64, u64)>),
    Online(usize, bool),
    Locate(usize, i32),
    Dispatch(usize, Vec<u64>),
    Progress(u64, bool, bool),
    Pass(u64),
    Wake,
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    let shift = proptest::option::of((0..90_u64, 1..90_u64));
    prop_oneof![
        8 => (0..JOBS, 0..9_i32, 0..60_u64).prop_map(|(n, place, ready)| Happening::Assign(n, place, ready)),
        2 => (0..JOBS).prop_map(Happening::Unassign),
        4 => (0..JOBS).prop_map(Happening::Complete),
        3 => (0..4_usize, 0..9_i32, shift).prop_map(|(n, place, shift)| Happening::Put(n, place, shift)),
        3 => (0..4_usize, any::<bool>()).prop_map(|(n, online)| Happening::Online(n, online)),
        1 => (0..4_usize, 0..9_i32).prop_map(|(n, place)| Happening::Locate(n, place)),
        6 => (0..4_usize, proptest::collection::vec(0..JOBS, 1..4))
            .prop_map(|(n, jobs)| Happening::Dispatch(n, jobs)),
        3 => (0..JOBS, any::<bool>(), any::<bool>()).prop_map(|(n, ready, left)| Happening::Progress(n, ready, left)),
        3 => (1..40_u64).prop_map(Happening::Pass),
        3 => Just(Happening::Wake),
        1 => Just(Happening::Restart),
    ]
}

fn command(happening: Happening) -> Option<Command> {
    let job = |request| {
        Some(Command::Job {
            zone: zone_id(),
            request,
        })
    };
    let key = |n| key(n, Step::Dispatch, 0);
    let minute = |n| T0 + Millis::from_mins(n);
    match happening {
        Happening::Assign(n, place, ready) => {
            let what = Job {
                pickup: north(place),
                dropoff: north(20),
                ready_at: minute(ready),
                placed_at: None,
                is_ready: false,
            };
            job(JobRequest::Assign {
                key: key(n),
                job: Box::new(what),
            })
        }
        Happening::Unassign(n) => job(JobRequest::Unassign { key: key(n) }),
        Happening::Complete(n) => job(JobRequest::Complete { key: key(n) }),
        Happening::Put(n, place, shift) => {
            let (on_at, off_at) = (
                shift.map(|(on, _)| minute(on)),
                shift.map(|(on, length)| minute(on + length)),
            );
            Some(put(
                n,
                CourierConfig {
                    on_at,
                    off_at,
                    ..at(north(place))
                },
            ))
        }
        Happening::Online(n, online) => Some(Command::SetOnline {
            id: courier_id(n),
            online,
            said: None,
        }),
        Happening::Locate(n, place) => Some(Command::Locate {
            id: courier_id(n),
            location: north(place),
        }),
        Happening::Dispatch(n, jobs) => Some(Command::Dispatch {
            trips: vec![Trip {
                courier: courier_id(n),
                jobs: jobs.into_iter().map(key).collect(),
            }],
        }),
        Happening::Progress(n, is_ready, left) => Some(Command::Progress {
            key: key(n),
            progress: Progress {
                ready_at: None,
                is_ready,
                left_at: left.then(|| minute(n)),
            },
        }),
        Happening::Pass(_) | Happening::Wake | Happening::Restart => None,
    }
}

/// Couriers and jobs name each other, and nothing that is over is still there.
fn check(zone: &Zone) {
    for courier in zone.couriers.values() {
        for key in &courier.trip {
            let state = &zone.jobs[key].state;
            assert!(
                matches!(state, JobState::Assigned { courier: by, .. } if *by == courier.id),
                "{key}: {state:?}"
            );
        }
        let places: Vec<_> = courier.trip.iter().map(|key| zone.jobs[key].job.pickup).collect();
        assert!(
            places.windows(2).all(|two| two[0] == two[1]),
            "a trip begins in one place"
        );
    }
    for (key, entry) in &zone.jobs {
        assert!(!zone.over.contains_key(key), "{key} is over and there");
        if let JobState::Assigned { courier, .. } = &entry.state {
            let named = zone.couriers[courier].trip.iter().filter(|named| *named == key);
            assert_eq!(named.count(), 1, "{key}");
        }
    }
}

/// After every turn nobody is free while a job waits that the zone itself is to assign.
fn nobody_is_idle(zone: &Zone, policy: &Policy, now: Timestamp) {
    let is_waiting = |entry: &JobEntry| entry.state == JobState::Queued && wanted_at(entry, policy) <= now;
    let waiting = zone.jobs.values().any(is_waiting);
    assert!(
        !waiting || !zone.couriers.values().any(|courier| courier.is_available(now)),
        "a job waits for nothing"
    );
}

fn turn(zone: &mut Journalled<Zone>, happening: Happening, policy: &Policy, now: Timestamp) {
    let Some(command) = command(happening) else { return };
    // A courier or zone that is not there yet is a rejection, and that is that.
    let Ok(told) = zone.tell(command.clone(), now, policy) else {
        return;
    };
    let news = told
        .events
        .iter()
        .filter(|event| matches!(event, Event::JobAssigned { .. } | Event::JobLost { .. }));
    assert!(told.effects.len() <= news.count(), "no notice without news");
    let idempotent = matches!(
        command,
        Command::Job { .. } | Command::Dispatch { .. } | Command::Progress { .. }
    );
    if let (true, Ok(again)) = (idempotent, zone.tell(command.clone(), now, policy)) {
        assert_eq!((again.reply, again.events.len()), (told.reply, 0), "{command:?} again");
    }
    nobody_is_idle(zone.state(), policy, now);
}

/// A shell that heeds `wake_at` gives every waiting job to whoever comes on shift.
fn comes_to_rest(zone: &mut Journalled<Zone>, policy: &Policy, mut now: Timestamp) {
    let mut wakes = 0;
    while let Some(at) = zone.wake_at(now, policy) {
        now = now.max(at);
        zone.wake(now, policy);
        nobody_is_idle(zone.state(), policy, now);
        wakes += 1;
        assert!(wakes < 100, "it does not come to rest");
    }
    assert!(zone.state().over.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_job_has_at_most_one_courier(
        planned in any::<bool>(), happenings in proptest::collection::vec(happening(), 1..120)
    ) {
        let assigning = if planned { Assigning::Planned } else { Assigning::AtOnce };
        let policy = Policy { assigning, ..Policy::default() };
        let (mut zone, mut now) = (Journalled::<Zone>::new(), T0);
        for happening in happenings {
            match happening {
                Happening::Pass(minutes) => now = now + Millis::from_mins(minutes),
                Happening::Wake if zone.state.is_some() => drop(zone.wake(now, &policy)),
                Happening::Restart if zone.state.is_some() => zone.restart(),
                other => turn(&mut zone, other, &policy, now),
            }
            if let Some(state) = &zone.state {
                check(state);
            }
        }
        if zone.state.is_some() {
            // What an order hears after a restart is what the zone holds to be true.
            let told: BTreeMap<_, _> =
                zone.state().resume(&policy).into_iter().map(|effect| (effect.order, effect.report)).collect();
            let carried = zone.state().couriers.values().map(|courier| courier.trip.len()).sum::<usize>();
            let heard = told.values().filter(|report| matches!(report, Report::Assigned { .. })).count();
            prop_assert_eq!(carried, heard);
            comes_to_rest(&mut zone, &policy, now);
            check(zone.state());
        }
    }
}
