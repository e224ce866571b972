//! A planner's decisions: bundles, additions until the pick-up, what no longer fits, and a zone without its planner.

use super::assignment::{Centre, DONE, assign, assigned, at, complete, job, lost, put};
use crate::entity::Entity;
use crate::fixtures::{Journalled, T0, courier_id, key, north};
use crate::policy::{Assigning, Policy};
use crate::rejection::Rejection;
use crate::saga::{Answer, EffectKey, Step};
use crate::time::{Millis, Timestamp};
use crate::zone::{Command, Courier, CourierConfig, Progress, Trip, Zone};
use serde_json::Value;

fn planned(couriers: usize) -> Centre {
    let mut zone = Centre::with(&vec![at(north(0)); couriers]);
    zone.2 = Policy {
        assigning: Assigning::Planned,
        ..Policy::default()
    };
    zone
}

fn key_of(n: u64) -> EffectKey {
    key(n, Step::Dispatch, 0)
}

fn send(courier: usize, jobs: &[u64]) -> Command {
    Command::Dispatch {
        trips: vec![Trip {
            courier: courier_id(courier),
            jobs: jobs.iter().map(|n| key_of(*n)).collect(),
        }],
    }
}

fn progress(n: u64, is_ready: bool, left_at: Option<Timestamp>) -> Command {
    Command::Progress {
        key: key_of(n),
        progress: Progress {
            ready_at: None,
            is_ready,
            left_at,
        },
    }
}

fn trip(zone: &Centre, courier: usize) -> Vec<EffectKey> {
    zone.0.state().couriers[&courier_id(courier)].trip.clone()
}

fn keys(jobs: &[u64]) -> Vec<EffectKey> {
    jobs.iter().map(|n| key_of(*n)).collect()
}

/// Jobs 1, 2 and 3 wait in one place, 4 in another.
fn waiting(couriers: usize) -> Centre {
    let mut zone = planned(couriers);
    for n in 1..=3 {
        assert_eq!(zone.told(assign(n, job(north(2), 5))), (Answer::Pending, Vec::new()));
    }
    zone.told(assign(4, job(north(3), 5)));
    zone
}

#[test]
fn a_bundle_is_fetched_together_and_dropped_off_in_its_sequence() {
    let mut zone = waiting(1);
    let arrival = T0 + zone.0.state().couriers[&courier_id(0)].travel_ms(north(2));
    assert_eq!(
        zone.told(send(0, &[2, 1])),
        (DONE, vec![assigned(2, 0, arrival), assigned(1, 0, arrival)])
    );
    assert_eq!(trip(&zone, 0), keys(&[2, 1]));
    assert_eq!(zone.told(send(0, &[2, 1])), (DONE, Vec::new()), "once");
    zone.told(complete(2));
    let courier = &zone.0.state().couriers[&courier_id(0)];
    assert_eq!((courier.location, courier.trip.clone()), (north(50), keys(&[1])));
    assert!(!courier.is_available(zone.1), "it still carries one");
    zone.told(complete(1));
    assert!(zone.0.state().couriers[&courier_id(0)].is_available(zone.1));
}

#[test]
fn until_it_leaves_a_courier_can_be_given_more_but_loses_nothing() {
    let mut zone = waiting(1);
    let arrival = T0 + zone.0.state().couriers[&courier_id(0)].travel_ms(north(2));
    zone.told(send(0, &[1]));
    zone.1 = zone.1 + Millis::from_mins(1);
    assert_eq!(
        zone.told(send(0, &[3, 1])),
        (DONE, vec![assigned(3, 0, arrival)]),
        "it arrives when it would have"
    );
    assert_eq!(trip(&zone, 0), keys(&[3, 1]));
    assert_eq!(zone.told(send(0, &[2, 1])), (DONE, Vec::new()), "without 3");
    assert_eq!(zone.told(send(0, &[3, 1, 4])), (DONE, Vec::new()), "4 is elsewhere");
    assert_eq!(zone.told(send(0, &[3, 1, 1])), (DONE, Vec::new()), "a job twice");
    let left_at = zone.1;
    zone.told(progress(1, true, Some(left_at)));
    let courier = &zone.0.state().couriers[&courier_id(0)];
    assert_eq!((courier.location, courier.located_at), (north(2), Some(left_at)));
    assert_eq!(zone.told(send(0, &[3, 1, 2])), (DONE, Vec::new()), "it has left");
    assert_eq!(trip(&zone, 0), keys(&[3, 1]));
}

#[test]
fn what_no_longer_fits_is_passed_over() {
    let mut zone = waiting(2);
    zone.told(send(0, &[1]));
    assert_eq!(zone.told(send(1, &[1, 2])), (DONE, Vec::new()), "another has it");
    assert_eq!(zone.told(send(1, &[7])), (DONE, Vec::new()), "there is no such job");
    assert_eq!(zone.told(send(9, &[2])), (DONE, Vec::new()), "nor such a courier");
    zone.online(1, false);
    assert_eq!(zone.told(send(1, &[2])), (DONE, Vec::new()), "it is offline");
    assert!(trip(&zone, 1).is_empty());
}

#[test]
fn all_orders_of_a_trip_hear_that_their_courier_dropped_out() {
    let mut zone = waiting(1);
    zone.told(send(0, &[1, 2]));
    assert_eq!(zone.online(0, false), vec![lost(1, 0), lost(2, 0)]);
    assert!(trip(&zone, 0).is_empty());
}

#[test]
fn what_was_said_earlier_and_comes_later_changes_nothing() {
    let mut zone = waiting(1);
    zone.told(send(0, &[1]));
    let of = |zone: &Centre| zone.0.state().jobs[&key_of(1)].progress;
    zone.told(progress(1, true, None));
    assert!(of(&zone).is_ready);
    zone.told(progress(1, false, None));
    assert!(of(&zone).is_ready);
    zone.told(progress(1, true, Some(zone.1)));
    zone.told(progress(1, true, None));
    assert_eq!(of(&zone).left_at, Some(zone.1));
    let told = zone.0.tell(progress(8, true, None), zone.1, &zone.2);
    assert_eq!(told.err(), Some(Rejection::NotFound("job")));
}

#[test]
fn whoever_delivers_one_order_of_a_trip_has_left_with_the_others() {
    let mut zone = waiting(1);
    zone.told(send(0, &[1, 2]));
    zone.told(complete(1));
    assert_eq!(zone.0.state().jobs[&key_of(2)].progress.left_at, Some(zone.1));
}

#[test]
fn a_courier_leaves_its_last_customer_before_it_goes_for_more() {
    let mut zone = waiting(1);
    zone.told(send(0, &[1]));
    zone.1 = zone.1 + Millis::from_mins(20);
    zone.told(complete(1));
    let courier = zone.0.state().couriers[&courier_id(0)].clone();
    let (delivered_at, leaves_at) = (zone.1, zone.1 + zone.2.dropoff_leave_ms);
    assert_eq!(courier.leaves_at, Some(leaves_at));
    assert_eq!(courier.free_at(leaves_at + Millis(1)), leaves_at + Millis(1));
    zone.1 = delivered_at + Millis::from_mins(1);
    let arrival = leaves_at + courier.travel_ms(north(3));
    assert_eq!(zone.told(send(0, &[4])), (DONE, vec![assigned(4, 0, arrival)]));
    zone.told(progress(4, true, Some(arrival)));
    let courier = &zone.0.state().couriers[&courier_id(0)];
    assert_eq!(courier.leaves_at, None, "it stands at a kitchen");
    zone.0.restart();
}

#[test]
fn a_courier_whose_shift_ends_at_the_door_gets_nothing_more() {
    let off_at = Some(T0 + Millis::from_mins(21));
    for (leave_min, sent) in [(2, 0), (0, 1)] {
        let mut zone = waiting(0);
        zone.2.dropoff_leave_ms = Millis::from_mins(leave_min);
        zone.told(put(0, CourierConfig { off_at, ..at(north(0)) }));
        zone.told(send(0, &[1]));
        zone.1 = T0 + Millis::from_mins(20);
        zone.told(complete(1));
        assert_eq!(zone.told(send(0, &[2])).1.len(), sent, "it takes {leave_min} min");
    }
}

/// Rows of before say nothing of when a courier can leave.
#[test]
fn a_drop_off_that_an_earlier_version_stored_holds_nobody_up() {
    let mut zone = waiting(1);
    zone.told(send(0, &[1]));
    zone.told(complete(1));
    let (at, row) = zone.0.rows.pop().expect("it is over");
    let mut events: Vec<Value> = serde_json::from_str(&row).expect("JSON");
    for event in events.iter_mut().filter_map(Value::as_object_mut) {
        event.remove("leaves_at");
    }
    zone.0.rows.push((at, serde_json::to_string(&events).expect("JSON")));
    zone.0 = Journalled::from_log(zone.0.rows);
    let courier = zone.0.state().couriers[&courier_id(0)].clone();
    assert_eq!((courier.location, courier.free_at(zone.1)), (north(50), zone.1));
    let arrival = zone.1 + courier.travel_ms(north(3));
    assert_eq!(zone.told(send(0, &[4])), (DONE, vec![assigned(4, 0, arrival)]));
}

#[test]
fn a_zone_without_its_planner_helps_itself_in_the_end() {
    let mut zone = waiting(1);
    let due = zone.wake_at().expect("jobs wait");
    assert_eq!(due, T0 + Millis::from_mins(25), "a planner has had its time");
    zone.1 = due - Millis(1);
    assert!(zone.wake().is_empty());
    zone.1 = due;
    assert_eq!(zone.wake().len(), 1);
    assert_eq!(trip(&zone, 0).len(), 1);
}

#[test]
fn a_courier_that_an_earlier_version_stored_has_its_job() {
    let mut zone = waiting(1);
    zone.told(send(0, &[1]));
    let courier = &zone.0.state().couriers[&courier_id(0)];
    let mut stored = serde_json::to_value(courier).expect("JSON");
    let fields = stored.as_object_mut().expect("an object");
    fields.remove("trip");
    fields.insert("job".to_owned(), serde_json::json!(key_of(1)));
    let read: Courier = serde_json::from_value(stored.clone()).expect("it is read");
    assert_eq!(read.trip, keys(&[1]));
    stored["job"] = Value::Null;
    let read: Courier = serde_json::from_value(stored).expect("it is read");
    assert!(read.trip.is_empty());
    let zone: Zone = zone.0.state().clone();
    let text = serde_json::to_string(&zone).expect("JSON");
    assert_eq!(serde_json::from_str::<Zone>(&text).expect("it is read"), zone);
    assert!(!zone.resume(&Policy::default()).is_empty());
}
