//! Couriers' settings and the storage format.

use super::assignment::{at, put};
use crate::fixtures::{Journalled, T0, courier_config, courier_id, north};
use crate::geo::Location;
use crate::policy::Policy;
use crate::rejection::Rejection;
use crate::zone::{Command, CourierConfig, Event, Zone, travel_ms};

#[test]
fn each_wrong_setting_is_named_and_leaves_nothing_behind() {
    let wrong = [
        ("/location", at(Location { lat: 0.0, lng: 200.0 })),
        (
            "/metres_per_min",
            CourierConfig {
                metres_per_min: 0,
                ..courier_config()
            },
        ),
        (
            "/off_at",
            CourierConfig {
                on_at: Some(T0),
                off_at: Some(T0),
                ..courier_config()
            },
        ),
    ];
    for (pointer, config) in wrong {
        let mut zone = Journalled::<Zone>::new();
        match zone.tell(put(0, config), T0, &Policy::default()) {
            Err(Rejection::Invalid(errors)) => assert_eq!(errors[0].pointer, pointer),
            other => panic!("{pointer}: {other:?}"),
        }
        assert!(zone.rows.is_empty());
    }
}

#[test]
fn telling_it_the_same_twice_changes_nothing() {
    let mut zone = Journalled::<Zone>::new();
    let online = |online| Command::SetOnline {
        id: courier_id(0),
        online,
        said: None,
    };
    let commands = [put(0, at(north(0))), put(0, at(north(5))), online(false), online(true)];
    for command in commands {
        let mut events = || {
            zone.tell(command.clone(), T0, &Policy::default())
                .expect("valid")
                .events
                .len()
        };
        assert!(events() > 0, "{command:?}");
        assert_eq!(events(), 0, "{command:?}");
    }
    assert_eq!(
        zone.state().couriers[&courier_id(0)].location,
        north(0),
        "new settings do not move a courier"
    );
    zone.restart();
}

#[test]
fn travel_takes_whole_minutes() {
    let minutes = |metres_per_min| travel_ms(north(0), north(1), metres_per_min).0 / 60_000;
    assert_eq!(
        [minutes(1_112), minutes(1_111), minutes(320), minutes(1)],
        [1, 2, 4, 1_112]
    );
    assert_eq!(travel_ms(north(0), north(0), 0).0, 0);
}

/// What was once written must be read for ever.
#[test]
fn every_event_is_read_and_written_as_ever() {
    let texts = [
        r#"{"type":"ZoneOpened","id":"centre"}"#,
        r#"{"type":"CourierPut","id":"courier-1","config":{"zone":"centre","location":{"lat":41.0,"lng":-87.0},"on_at":1800000000000,"off_at":null,"metres_per_min":320}}"#,
        r#"{"type":"CourierOnline","id":"courier-1","online":false}"#,
        r#"{"type":"CourierOnline","id":"courier-1","online":true,"said":{"line":"couriers/3","place":7,"at":1800000000000}}"#,
        r#"{"type":"CourierLocated","id":"courier-1","location":{"lat":41.0,"lng":-87.0}}"#,
        r#"{"type":"JobQueued","key":"01a3185c-5000-893d-8000-000000000001:dispatch:0:do","job":{"pickup":{"lat":41.0,"lng":-87.0},"dropoff":{"lat":41.02,"lng":-87.0},"ready_at":1800000300000}}"#,
        r#"{"type":"JobAssigned","key":"01a3185c-5000-893d-8000-000000000001:dispatch:0:do","courier":"courier-1","pickup_at":1800000300000}"#,
        r#"{"type":"JobLost","key":"01a3185c-5000-893d-8000-000000000001:dispatch:0:do"}"#,
        r#"{"type":"JobOver","key":"01a3185c-5000-893d-8000-000000000001:dispatch:0:do","delivered":true,"until":1800000300000}"#,
        r#"{"type":"JobOver","key":"01a3185c-5000-893d-8000-000000000001:dispatch:0:do","delivered":true,"until":1800000300000,"leaves_at":1800000120000}"#,
        r#"{"type":"JobForgotten","key":"01a3185c-5000-893d-8000-000000000001:dispatch:0:do"}"#,
    ];
    for text in texts {
        let event: Event = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(serde_json::to_string(&event).expect("JSON"), text);
    }
}
