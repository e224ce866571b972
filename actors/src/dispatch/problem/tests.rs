//! What a planner sees of a zone: where and when its couriers are free.

use super::{Translator, travel_ms};
use domain::entity::{Context, Entity, fold};
use domain::geo::Location;
use domain::ids::{CourierId, OrderId, StreamId, ZoneId};
use domain::policy::{Assigning, Policy};
use domain::saga::{Direction, EffectKey, Job, JobRequest, Step};
use domain::time::{Millis, Timestamp};
use domain::zone::{Command, CourierConfig, Progress, Trip, Zone};
use routing::dispatch::{self, Rules, Seconds};

const T0: Timestamp = Timestamp(1_800_000_000_000);
const RULES: Rules = Rules {
    pickup_service_s: 180,
    dropoff_service_s: 240,
    target_s: 2_400,
    limit_s: 5_400,
    pay_per_order_minor: 1_000,
    pay_per_hour_minor: 1_500,
};
/// How long picking up takes once the food is in the bag, and dropping off once it is handed over.
const LEAVES_KITCHEN_S: Seconds = 90;
const LEAVES_DOOR_S: Seconds = 120;

/// A zone with one courier that was sent for jobs 1 and 2 at [`T0`].
struct Scene {
    zone: Option<Zone>,
    translator: Translator,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self {
            zone: None,
            translator: Translator::new(T0),
        };
        let config = CourierConfig {
            zone: zone_id(),
            location: north(0),
            on_at: None,
            off_at: None,
            metres_per_min: 320,
        };
        scene.tell(
            0,
            Command::PutCourier {
                zone: zone_id(),
                id: courier_id(),
                config: Box::new(config),
            },
        );
        for n in 1..=2 {
            let job = Job {
                pickup: north(1),
                dropoff: north(1 + 2 * i32::from(n)),
                ready_at: T0,
                placed_at: Some(T0),
                is_ready: true,
            };
            let request = JobRequest::Assign {
                key: key(n),
                job: Box::new(job),
            };
            scene.tell(
                0,
                Command::Job {
                    zone: zone_id(),
                    request,
                },
            );
        }
        let trip = Trip {
            courier: courier_id(),
            jobs: vec![key(1), key(2)],
        };
        scene.tell(0, Command::Dispatch { trips: vec![trip] });
        scene
    }

    fn tell(&mut self, at_s: u64, command: Command) {
        let policy = Policy {
            assigning: Assigning::Planned,
            dropoff_leave_ms: Millis::from_secs(u64::from(LEAVES_DOOR_S.unsigned_abs())),
            ..Policy::default()
        };
        let now = T0 + Millis::from_secs(at_s);
        let context = Context { now, policy: &policy };
        let decision = Zone::decide(self.zone.as_ref(), command, &context).expect("it is carried out");
        self.zone = fold(self.zone.take(), &decision.events, now).expect("it folds");
    }

    fn leaves_kitchen(&mut self, at_s: u64) {
        for n in 1..=2 {
            let progress = Progress {
                ready_at: None,
                is_ready: true,
                left_at: Some(T0 + Millis::from_secs(at_s)),
            };
            self.tell(at_s, Command::Progress { key: key(n), progress });
        }
    }

    fn delivers(&mut self, n: u8, at_s: u64) {
        let request = JobRequest::Complete { key: key(n) };
        self.tell(
            at_s,
            Command::Job {
                zone: zone_id(),
                request,
            },
        );
    }

    /// The courier as its planner sees it.
    fn courier(&mut self, at_s: u64) -> dispatch::Courier {
        let zone = self.zone.as_ref().expect("it exists");
        let problem = self.translator.problem(zone, &RULES, T0 + Millis::from_secs(at_s));
        let [courier] = &problem.couriers[..] else {
            panic!("{:?}", problem.couriers)
        };
        courier.clone()
    }

    fn free_at(&mut self, at_s: u64) -> Seconds {
        self.courier(at_s).free_at
    }
}

fn zone_id() -> ZoneId {
    "centre".parse().expect("a name")
}

fn courier_id() -> CourierId {
    "courier-1".parse().expect("a name")
}

fn key(n: u8) -> EffectKey {
    EffectKey {
        order: OrderId(StreamId(uuid::Uuid::from_u128(u128::from(n)))),
        step: Step::Dispatch,
        round: 0,
        direction: Direction::Forward,
    }
}

/// About 1.1 km each.
fn north(steps: i32) -> Location {
    Location {
        lat: 41.0 + 0.01 * f64::from(steps),
        lng: -87.0,
    }
}

/// The way between two places.
fn way_s(from: i32, to: i32) -> Seconds {
    Seconds::try_from(travel_ms(north(from), north(to), 320).0 / 1_000).expect("a short way")
}

#[test]
fn a_courier_that_waits_for_its_bundle_arrives_when_it_is_expected() {
    let courier = Scene::new().courier(60);
    let promise = courier.promise.expect("it was promised something");
    assert_eq!((promise.orders.len(), promise.arrives_at), (2, Some(way_s(0, 1))));
}

#[test]
fn each_stop_on_its_way_takes_a_courier_its_time() {
    let mut scene = Scene::new();
    scene.leaves_kitchen(600);
    let stop_s = 2 * LEAVES_DOOR_S;
    let end_s = 600 + LEAVES_KITCHEN_S + way_s(1, 3) + stop_s + way_s(3, 5) + stop_s;
    assert_eq!(scene.free_at(600), end_s);
    assert_eq!(scene.free_at(660), end_s, "a minute later as well");
    let delivered_s = 600 + LEAVES_KITCHEN_S + way_s(1, 3) + LEAVES_DOOR_S;
    scene.delivers(1, u64::from(delivered_s.unsigned_abs()));
    assert_eq!(scene.free_at(1_300), end_s, "as it was thought");
}

#[test]
fn a_courier_is_free_when_it_has_left_its_last_customer() {
    let mut scene = Scene::new();
    scene.leaves_kitchen(600);
    scene.delivers(1, 1_200);
    scene.delivers(2, 2_000);
    assert_eq!(scene.free_at(2_000), 2_000 + LEAVES_DOOR_S);
    assert_eq!(scene.free_at(2_060), 2_000 + LEAVES_DOOR_S);
    assert_eq!(scene.free_at(2_400), 2_400, "it has left long since");
}

#[test]
fn where_a_courier_says_that_it_is_it_has_left() {
    let mut scene = Scene::new();
    scene.leaves_kitchen(600);
    let locate = |steps| Command::Locate {
        id: courier_id(),
        location: north(steps),
    };
    let stop_s = 2 * LEAVES_DOOR_S;
    let rest_s = way_s(2, 3) + stop_s + way_s(3, 5) + stop_s;
    scene.tell(630, locate(2));
    assert_eq!(scene.free_at(630), 600 + LEAVES_KITCHEN_S + rest_s, "not before it can");
    scene.tell(900, locate(2));
    assert_eq!(scene.free_at(900), 900 + rest_s, "it leaves nothing any more");
}
