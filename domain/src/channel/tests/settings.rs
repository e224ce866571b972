//! Settings, availability, menu, hours, storage format.

use crate::channel::{
    Availability, Channel, ChannelConfig, Command, Event, MenuItem, OpeningHours, Weekday, is_open, slot_of,
};
use crate::fixtures::{Journalled, T0, channel_config, channel_id, kitchen, north};
use crate::policy::Policy;
use crate::rejection::Rejection;
use crate::time::{Millis, Timestamp};

fn tell(channel: &mut Journalled<Channel>, command: Command) -> Result<usize, Rejection> {
    channel
        .tell(command, T0, &Policy::default())
        .map(|told| told.events.len())
}

fn configure(config: ChannelConfig) -> Command {
    Command::Configure {
        id: channel_id(0),
        config: Box::new(config),
    }
}

fn article(sku: &str, prep_min: Option<u64>) -> MenuItem {
    MenuItem {
        sku: sku.into(),
        name: sku.into(),
        price_minor: 500,
        prep_ms: prep_min.map(Millis::from_mins),
    }
}

fn pointers(result: Result<usize, Rejection>) -> Vec<String> {
    match result {
        Err(Rejection::Invalid(errors)) => errors.into_iter().map(|error| error.pointer).collect(),
        other => panic!("not invalid: {other:?}"),
    }
}

#[test]
fn a_channel_must_be_configured_first() {
    let mut channel = Journalled::new();
    assert_eq!(tell(&mut channel, Command::Wake), Err(Rejection::NotFound("channel")));
    assert_eq!(
        tell(&mut channel, Command::SetMenu(Vec::new())),
        Err(Rejection::NotFound("channel"))
    );
    assert_eq!(tell(&mut channel, configure(channel_config())), Ok(1));
    channel.restart();
}

#[test]
fn telling_it_the_same_twice_changes_nothing() {
    let commands = [
        configure(ChannelConfig {
            capacity_per_slot: 7,
            ..channel_config()
        }),
        Command::SetAvailability(Availability::Busy {
            delay_ms: Millis::from_mins(10),
        }),
        Command::SetAvailability(Availability::Paused),
        Command::SetMenu(vec![article("soup", None)]),
        Command::SetSoldOut(["soup".to_owned()].into()),
    ];
    let mut channel = kitchen(0, 3);
    for command in commands {
        assert_eq!(tell(&mut channel, command.clone()), Ok(1), "{command:?}");
        assert_eq!(tell(&mut channel, command.clone()), Ok(0), "{command:?}");
    }
    channel.restart();
    assert_eq!(channel.state().config.capacity_per_slot, 7);
}

type Change = fn(&mut ChannelConfig);

fn monday(from_min: u16, to_min: u16) -> OpeningHours {
    OpeningHours {
        days: vec![Weekday::Mon],
        from_min,
        to_min,
    }
}

#[test]
fn each_wrong_setting_is_named() {
    let wrong: [(&str, Change); 12] = [
        ("/name", |config| config.name = " ".into()),
        ("/name", |config| config.name = "x".repeat(201)),
        ("/serves", |config| config.serves.clear()),
        ("/serves", |config| {
            config.serves = vec![config.serves[0].clone(); 1_001];
        }),
        ("/location", |config| config.location.lat = 91.0),
        ("/prep_ms", |config| config.prep_ms = Millis(86_400_001)),
        ("/capacity_per_slot", |config| config.capacity_per_slot = 0),
        ("/utc_offset_min", |config| config.utc_offset_min = 841),
        ("/cost_minor", |config| config.cost_minor = -1),
        ("/hours/0", |config| config.hours = vec![monday(600, 600)]),
        ("/hours/1", |config| {
            config.hours = vec![monday(0, 1_440), monday(0, 1_441)];
        }),
        ("/hours/0", |config| {
            config.hours = vec![OpeningHours {
                days: Vec::new(),
                ..monday(0, 1)
            }];
        }),
    ];
    for (n, (pointer, change)) in wrong.into_iter().enumerate() {
        let mut config = channel_config();
        change(&mut config);
        let mut channel = kitchen(0, 3);
        assert_eq!(pointers(tell(&mut channel, configure(config))), [pointer], "row {n}");
        assert_eq!(channel.rows.len(), 1, "nothing is left behind");
    }
}

#[test]
fn a_menu_names_each_article_once_at_a_price() {
    let mut channel = kitchen(0, 3);
    let menu = |items: Vec<MenuItem>| Command::SetMenu(items);
    let free_of_charge = MenuItem {
        price_minor: -1,
        ..article("soup", None)
    };
    assert_eq!(
        pointers(tell(&mut channel, menu(vec![free_of_charge]))),
        ["/0/price_minor"]
    );
    assert_eq!(pointers(tell(&mut channel, menu(vec![article("", None)]))), ["/0/sku"]);
    assert_eq!(
        pointers(tell(
            &mut channel,
            menu(vec![article("soup", None), article("soup", None)])
        )),
        ["/1/sku"]
    );
    let long: Vec<_> = (0..2_001).map(|n| article(&n.to_string(), None)).collect();
    assert_eq!(pointers(tell(&mut channel, menu(long))), [""]);
    let sold_out = Command::SetSoldOut((0..2_001).map(|n| n.to_string()).collect());
    assert_eq!(pointers(tell(&mut channel, sold_out)), ["/sold_out"]);
}

#[test]
fn an_order_takes_as_long_as_its_slowest_article_and_the_present_delay() {
    let mut channel = kitchen(0, 3);
    let menu = vec![
        article("soup", Some(3)),
        article("roast", Some(40)),
        article("bread", None),
    ];
    tell(&mut channel, Command::SetMenu(menu)).expect("a menu");
    let prep = |channel: &Journalled<Channel>, skus: &[&str]| {
        let articles = skus.iter().filter_map(|sku| channel.state().article(sku));
        channel
            .state()
            .prep_ms_of(articles.filter_map(|article| article.prep_ms).max())
    };
    assert_eq!(prep(&channel, &["soup", "roast"]), Millis::from_mins(40));
    assert_eq!(prep(&channel, &["soup"]), Millis::from_mins(3));
    assert_eq!(
        prep(&channel, &["bread"]),
        Millis::from_mins(5),
        "the channel's own estimate"
    );
    let busy = Availability::Busy {
        delay_ms: Millis::from_mins(10),
    };
    tell(&mut channel, Command::SetAvailability(busy)).expect("busy");
    assert_eq!(prep(&channel, &["soup"]), Millis::from_mins(13));
}

#[test]
fn hours_have_edges_and_days() {
    let monday = Timestamp(1_795_392_000_000); // 2026-11-23 00:00 UTC
    let at = |minutes: u64| monday + Millis::from_mins(minutes);
    let hours = [
        OpeningHours {
            days: vec![Weekday::Mon, Weekday::Tue],
            from_min: 660,
            to_min: 840,
        },
        OpeningHours {
            days: vec![Weekday::Mon],
            from_min: 1_080,
            to_min: 1_440,
        },
    ];
    let open: Vec<bool> = [659, 660, 839, 840, 1_080, 1_439, 1_440, 1_440 + 700, 2 * 1_440 + 700]
        .map(|minutes| is_open(&hours, 0, at(minutes)))
        .into();
    assert_eq!(open, [false, true, true, false, true, true, false, true, false]);
    assert!(is_open(&hours, 60, at(600)), "an hour east it is later");
    assert!(is_open(&hours, -60, at(1_440)), "an hour west it is still Monday");
    assert!(!is_open(&hours, 0, Timestamp(-1)), "a Wednesday, before the epoch");
}

#[test]
fn a_slot_holds_its_start_and_not_its_end() {
    let quarter = Millis::from_mins(15);
    assert_eq!(slot_of(Timestamp(900_000), quarter), Timestamp(900_000));
    assert_eq!(slot_of(Timestamp(1_799_999), quarter), Timestamp(900_000));
    assert_eq!(slot_of(Timestamp(-1), quarter), Timestamp(-900_000));
    assert_eq!(slot_of(Timestamp(7), Millis(0)), Timestamp(7), "no division by zero");
}

/// What was once written must be read for ever.
#[test]
fn every_event_is_read_and_written_as_ever() {
    let texts = [
        r#"{"type":"ChannelConfigured","id":"kitchen-0","config":{"name":"Kitchen","kind":"kitchen","serves":["restaurant-1"],"location":{"lat":41.0,"lng":-87.0},"zone":"centre","currency":"USD","hours":[{"days":["mon","sun"],"from_min":600,"to_min":1320}],"utc_offset_min":-360,"prep_ms":300000,"capacity_per_slot":3,"cost_minor":100,"radius_m":20000}}"#,
        r#"{"type":"AvailabilityChanged","availability":{"state":"ONLINE"}}"#,
        r#"{"type":"AvailabilityChanged","availability":{"state":"BUSY","delay_ms":600000}}"#,
        r#"{"type":"AvailabilityChanged","availability":{"state":"PAUSED"}}"#,
        r#"{"type":"MenuChanged","menu":[{"sku":"soup","name":"Soup","price_minor":500,"prep_ms":60000},{"sku":"bread","name":"Bread","price_minor":100}]}"#,
        r#"{"type":"SoldOutChanged","sold_out":["soup"]}"#,
        r#"{"type":"ClaimChanged","key":"01a3185c-5000-893d-8000-000000000001:hold_capacity:0:do","claim":{"slot":1800000000000,"units":1,"state":{"held":{"until":1800000180000}}}}"#,
        r#"{"type":"ClaimChanged","key":"01a3185c-5000-893d-8000-000000000001:hold_capacity:0:do","claim":{"slot":1800000000000,"units":1,"state":"reserved"}}"#,
        r#"{"type":"ClaimChanged","key":"01a3185c-5000-893d-8000-000000000001:hold_capacity:0:do","claim":{"slot":1800000000000,"units":1,"state":{"lapsed":{"until":1800000180000}}}}"#,
        r#"{"type":"ClaimChanged","key":"01a3185c-5000-893d-8000-000000000001:hold_capacity:0:do","claim":{"slot":1800000000000,"units":1,"state":{"released":{"until":1800000180000}}}}"#,
        r#"{"type":"ClaimChanged","key":"01a3185c-5000-893d-8000-000000000001:hold_capacity:0:do","claim":{"slot":1800000000000,"units":1,"state":{"closed":{"until":1800000180000}}}}"#,
        r#"{"type":"ClaimChanged","key":"01a3185c-5000-893d-8000-000000000001:hold_capacity:0:do","claim":{"slot":1800000000000,"units":1,"state":{"closed":{"until":1800000180000}}},"outcome":{"served":{}}}"#,
        r#"{"type":"ClaimChanged","key":"01a3185c-5000-893d-8000-000000000001:hold_capacity:0:do","claim":{"slot":1800000000000,"units":1,"state":{"closed":{"until":1800000180000}}},"outcome":{"served":{"cooked":{"began_at":1800000000000,"took_ms":720000,"expected_ms":600000,"late_ms":0}}}}"#,
        r#"{"type":"ClaimChanged","key":"01a3185c-5000-893d-8000-000000000001:hold_capacity:0:do","claim":{"slot":1800000000000,"units":1,"state":{"released":{"until":1800000180000}}},"outcome":"lost"}"#,
        r#"{"type":"ClaimForgotten","key":"01a3185c-5000-893d-8000-000000000001:hold_capacity:0:do"}"#,
    ];
    for text in texts {
        let event: Event = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(serde_json::to_string(&event).expect("JSON"), text);
    }
    let config = r#"{"name":"K","kind":"partner","serves":["r"],"location":{"lat":41.0,"lng":-87.0},"zone":"z","currency":"USD","prep_ms":1,"capacity_per_slot":1}"#;
    let config: ChannelConfig = serde_json::from_str(config).expect("the rest has defaults");
    assert_eq!((config.radius_m, config.location), (20_000, north(0)));
    assert!(serde_json::from_str::<Availability>(r#"{"state":"BUSY","delay_ms":1,"colour":"red"}"#).is_err());
}
