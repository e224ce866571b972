//! A zone under random use: nobody carries two jobs, no job is carried twice, and it comes to rest.

use super::assignment::{at, put};
use crate::entity::Entity;
use crate::fixtures::{Journalled, T0, courier_id, key, north, zone_id};
use crate::policy::Policy;
use crate::saga::{Job, JobRequest, Report, Step};
use crate::time::{Millis, Timestamp};
use crate::zone::{Command, CourierConfig, Event, JobState, Zone};
use proptest::prelude::*;
use std::collections::BTreeMap;

const JOBS: u64 = 8;

#[derive(Clone, Copy, Debug)]
enum Happening {
    Assign(u64, i32, u64),
    Unassign(u64),
    Complete(u64),
    Put(usize, i32, Option<(u64, u64)>),
    Online(usize, bool),
    Locate(usize, i32),
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
            };
            job(JobRequest::Assign { key: key(n), job: what })
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
        }),
        Happening::Locate(n, place) => Some(Command::Locate {
            id: courier_id(n),
            location: north(place),
        }),
        Happening::Pass(_) | Happening::Wake | Happening::Restart => None,
    }
}

/// Couriers and jobs name each other, and nothing that is over is still there.
fn check(zone: &Zone) {
    for courier in zone.couriers.values() {
        if let Some(key) = courier.job {
            let state = &zone.jobs[&key].state;
            assert!(
                matches!(state, JobState::Assigned { courier: by, .. } if *by == courier.id),
                "{key}: {state:?}"
            );
        }
    }
    for (key, entry) in &zone.jobs {
        assert!(!zone.over.contains_key(key), "{key} is over and there");
        if let JobState::Assigned { courier, .. } = &entry.state {
            assert_eq!(zone.couriers[courier].job, Some(*key));
        }
    }
}

/// After every turn nobody is free while a job waits.
fn nobody_is_idle(zone: &Zone, now: Timestamp) {
    let waiting = zone.jobs.values().any(|entry| entry.state == JobState::Queued);
    assert!(
        !waiting || !zone.couriers.values().any(|courier| courier.is_free(now)),
        "a job waits for nothing"
    );
}

fn turn(zone: &mut Journalled<Zone>, happening: Happening, now: Timestamp) {
    let policy = Policy::default();
    let Some(command) = command(happening) else { return };
    // A courier or zone that is not there yet is a rejection, and that is that.
    let Ok(told) = zone.tell(command.clone(), now, &policy) else {
        return;
    };
    let news = told
        .events
        .iter()
        .filter(|event| matches!(event, Event::JobAssigned { .. } | Event::JobLost { .. }));
    assert!(told.effects.len() <= news.count(), "no notice without news");
    if let (Command::Job { .. }, Ok(again)) = (&command, zone.tell(command.clone(), now, &policy)) {
        assert_eq!((again.reply, again.events.len()), (told.reply, 0), "{command:?} again");
    }
    nobody_is_idle(zone.state(), now);
}

/// A shell that heeds `wake_at` gives every waiting job to whoever comes on shift.
fn comes_to_rest(zone: &mut Journalled<Zone>, mut now: Timestamp) {
    let policy = Policy::default();
    let mut wakes = 0;
    while let Some(at) = zone.wake_at(now, &policy) {
        now = now.max(at);
        zone.wake(now, &policy);
        nobody_is_idle(zone.state(), now);
        wakes += 1;
        assert!(wakes < 100, "it does not come to rest");
    }
    assert!(zone.state().over.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_job_has_at_most_one_courier(
        happenings in proptest::collection::vec(happening(), 1..120)
    ) {
        let (mut zone, mut now) = (Journalled::<Zone>::new(), T0);
        for happening in happenings {
            match happening {
                Happening::Pass(minutes) => now = now + Millis::from_mins(minutes),
                Happening::Wake if zone.state.is_some() => drop(zone.wake(now, &Policy::default())),
                Happening::Restart if zone.state.is_some() => zone.restart(),
                other => turn(&mut zone, other, now),
            }
            if let Some(state) = &zone.state {
                check(state);
            }
        }
        if zone.state.is_some() {
            // What an order hears after a restart is what the zone holds to be true.
            let told: BTreeMap<_, _> =
                zone.state().resume(&Policy::default()).into_iter().map(|effect| (effect.order, effect.report)).collect();
            let carried = zone.state().couriers.values().filter(|courier| courier.job.is_some()).count();
            let heard = told.values().filter(|report| matches!(report, Report::Assigned { .. })).count();
            prop_assert_eq!(carried, heard);
            comes_to_rest(&mut zone, now);
            check(zone.state());
        }
    }
}
