//! The cases people ask about.

use super::*;
use std::collections::BTreeSet;

fn paused(name: &str) -> Channel {
    told(channel(name, config()), Command::SetAvailability(Availability::Paused))
}

fn sold_out(channel: Channel, sku: &str) -> Channel {
    told(channel, Command::SetSoldOut(BTreeSet::from([sku.to_owned()])))
}

fn with_menu(name: &str, menu: Vec<MenuItem>) -> Channel {
    told(channel(name, config()), Command::SetMenu(menu))
}

#[test]
fn the_least_in_all_wins() {
    let of = |cost_minor, prep_min| ChannelConfig {
        cost_minor,
        prep_ms: Millis::from_mins(prep_min),
        ..config()
    };
    // Two minutes of waiting are worth sixty.
    let channels = [
        channel("slow", of(0, 12)),
        channel("dear", of(900, 10)),
        channel("cheap", of(50, 10)),
        channel("dearer", of(61, 10)),
    ];
    let found = route(&details(), &channels);
    assert_eq!(found.names(), ["cheap", "slow", "dearer", "dear"]);
    assert!(found.infeasible.is_empty());
    let [cheap, slow, ..] = found.candidates.as_slice() else {
        panic!("four")
    };
    assert_eq!(
        slow.drawbacks.wait_minor - cheap.drawbacks.wait_minor,
        60,
        "thirty for a minute"
    );
    for candidate in &found.candidates {
        let Drawbacks {
            wait_minor,
            load_minor,
            risk_minor,
        } = candidate.drawbacks;
        let parts = candidate.cost_minor + wait_minor + load_minor + risk_minor;
        assert_eq!(candidate.total_minor(), parts, "the number explains itself");
    }
}

#[test]
fn at_the_same_sum_the_earlier_wins_and_then_the_name() {
    let of = |cost_minor, prep_min| ChannelConfig {
        cost_minor,
        prep_ms: Millis::from_mins(prep_min),
        ..config()
    };
    let channels = [
        channel("z-slow", of(0, 12)),
        channel("b-quick", of(60, 10)),
        channel("a-quick", of(60, 10)),
    ];
    let found = route(&details(), &channels);
    assert_eq!(found.names(), ["a-quick", "b-quick", "z-slow"]);
}

#[test]
fn a_nearly_full_slot_gives_way_to_an_empty_one() {
    // The next slot is a quarter of an hour away.
    let quick = ChannelConfig {
        prep_ms: Millis(0),
        ..config()
    };
    let full = held(channel("full", quick.clone()), 4);
    let empty = channel(
        "empty",
        ChannelConfig {
            cost_minor: 250,
            ..quick
        },
    );
    let found = route(&details(), &[full, empty]);
    assert_eq!(found.names(), ["empty", "full"]);
    let loads: Vec<_> = found.candidates.iter().map(|c| c.drawbacks.load_minor).collect();
    assert_eq!(loads, [1, 200], "a fifth, and all, of a slot to the third power");
}

#[test]
fn the_last_unit_is_left_when_the_next_slot_is_about_to_begin() {
    let soon = ChannelConfig {
        prep_ms: Millis::from_mins(14),
        ..config()
    };
    let found = route(&details(), &[held(channel("kitchen", soon), 4)]);
    let candidate = &found.candidates[0];
    assert_eq!(
        candidate.ready_at,
        NOW + Millis::from_mins(15),
        "a minute is worth less than the last unit"
    );
    assert_eq!(candidate.slot, candidate.ready_at);
}

#[test]
fn a_channel_that_drops_tickets_counts_as_dearer_until_it_keeps_them_again() {
    let mut bad = channel("bad", config());
    let good = channel(
        "good",
        ChannelConfig {
            cost_minor: 150,
            ..config()
        },
    );
    assert_eq!(route(&details(), &[bad.clone(), good.clone()]).names(), ["bad", "good"]);
    for n in 0..20 {
        let request = CapacityRequest::Release {
            key: key(n),
            lost: true,
        };
        bad = told(bad, Command::Capacity(request));
    }
    let found = route(&details(), &[bad.clone(), good.clone()]);
    assert_eq!(found.names(), ["good", "bad"]);
    assert_eq!(
        found.candidates[1].drawbacks.risk_minor, 250,
        "half of the tickets, 500 each"
    );
    for n in 100..400 {
        bad = served(bad, n, None);
    }
    assert_eq!(route(&details(), &[bad, good]).names(), ["bad", "good"]);
}

#[test]
fn a_quote_follows_what_the_channel_has_shown() {
    let mut slow = channel("slow", config());
    for n in 0..30 {
        let cooked = Cooked {
            began_at: NOW - Millis::from_mins(30),
            took_ms: Millis::from_mins(20),
            expected_ms: Millis::from_mins(10),
            late_ms: Millis::from_mins(4),
        };
        slow = served(slow, n, Some(cooked));
    }
    let found = route(&details(), &[slow]);
    let candidate = &found.candidates[0];
    assert_eq!(candidate.menu_prep_ms, Some(Millis::from_mins(10)));
    let minutes = candidate.prep_ms.0.div_euclid(60_000);
    assert!((19..=21).contains(&minutes), "{minutes} min");
    assert_eq!(candidate.drawbacks.risk_minor, 0, "four minutes are not late");
}

#[test]
fn who_could_but_ranks_low_is_told_so() {
    let channels: Vec<_> = (0..7)
        .map(|n| {
            let cost_minor = 100 * n;
            channel(&format!("channel-{n}"), ChannelConfig { cost_minor, ..config() })
        })
        .collect();
    let found = route(&details(), &channels);
    assert_eq!(found.candidates.len(), 5);
    let best = found.candidates[0].total_minor();
    for n in [5, 6] {
        let wanted = format!("could make it, but counts {} against {best}", best + 100 * n);
        assert_eq!(found.why(&format!("channel-{n}")), wanted);
    }
}

#[test]
fn a_paused_channel_is_infeasible_and_a_busy_one_is_later() {
    let busy = Availability::Busy {
        delay_ms: Millis::from_mins(30),
    };
    let busy = told(channel("busy", config()), Command::SetAvailability(busy));
    let found = route(&details(), &[paused("paused"), busy, channel("online", config())]);
    assert_eq!(found.names(), ["online", "busy"]);
    assert_eq!(found.why("paused"), "takes no orders at present");
    let (online, busy) = (&found.candidates[0], &found.candidates[1]);
    assert_eq!(busy.prep_ms, online.prep_ms + Millis::from_mins(30));
    assert!(busy.ready_at >= NOW + Millis::from_mins(40));
}

#[test]
fn another_currency_or_a_customer_too_far_away_is_infeasible() {
    let euro = channel(
        "euro",
        ChannelConfig {
            currency: "EUR".parse().expect("a currency"),
            ..config()
        },
    );
    let near = channel(
        "near",
        ChannelConfig {
            radius_m: 2_000,
            ..config()
        },
    );
    let found = route(&details(), &[euro, near]);
    assert!(found.candidates.is_empty());
    assert_eq!(found.why("euro"), "trades in EUR");
    assert!(
        found.why("near").starts_with("delivers within 2000 m"),
        "{}",
        found.why("near")
    );
}

#[test]
fn what_is_sold_out_unknown_or_priced_differently_is_infeasible() {
    let channels = [
        sold_out(channel("out", config()), "soup"),
        with_menu("other", vec![article("bread", 300, None)]),
        with_menu("dear", vec![article("soup", 600, None)]),
        with_menu("fine", vec![article("soup", 500, Some(25))]),
    ];
    let found = route(&details(), &channels);
    assert_eq!(found.names(), ["fine"]);
    assert_eq!(
        found.candidates[0].prep_ms,
        Millis::from_mins(25),
        "the menu knows better"
    );
    assert_eq!(found.why("out"), "has sold out of 'soup'");
    assert_eq!(found.why("other"), "does not sell 'soup'");
    assert_eq!(found.why("dear"), "sells 'soup' at 600");
}

#[test]
fn the_kitchen_must_be_open_from_the_first_stir_to_the_last() {
    let hours = |from_min, to_min| {
        let days = vec![Weekday::Fri];
        ChannelConfig {
            hours: vec![OpeningHours { days, from_min, to_min }],
            ..config()
        }
    };
    // It is 08:00; the food takes ten minutes.
    let channels = [
        channel("open", hours(480, 600)),
        channel("later", hours(481, 600)),
        channel("closing", hours(400, 490)),
        channel("just", hours(400, 491)),
        channel(
            "elsewhere",
            ChannelConfig {
                utc_offset_min: -120,
                ..hours(480, 600)
            },
        ),
    ];
    let found = route(&details(), &channels);
    assert_eq!(found.names(), ["just", "open"]);
    for closed in ["later", "closing", "elsewhere"] {
        assert_eq!(found.why(closed), "is closed at that time");
    }
}

#[test]
fn a_full_slot_moves_the_promise_and_a_full_evening_refuses() {
    let slot_ms = Policy::default().slot_ms;
    let first = slot_of(NOW + Millis::from_mins(10), slot_ms);
    let full = |name, slots: u64| {
        let small = channel(
            name,
            ChannelConfig {
                capacity_per_slot: 1,
                ..config()
            },
        );
        (0..slots).fold(small, |channel, n| {
            let slot = first + slot_ms.times(n);
            let request = CapacityRequest::Hold {
                key: key(n),
                slot,
                slots_ahead_max: 0,
                units: 1,
                expires_at: slot + Millis::from_mins(600),
                asked_before: false,
            };
            told(channel, Command::Capacity(request))
        })
    };
    let found = route(&details(), &[full("free", 0), full("one", 1), full("evening", 9)]);
    assert_eq!(found.names(), ["free", "one"]);
    assert_eq!(found.candidates[1].slot, first + slot_ms);
    assert_eq!(
        found.candidates[1].ready_at,
        first + slot_ms,
        "not before its slot begins"
    );
    assert_eq!(found.why("evening"), "has no capacity left");
}

#[test]
fn an_order_for_later_is_ready_in_time_and_not_much_too_early() {
    let at = NOW + Millis::from_mins(180);
    let later = Details {
        requested_for: Some(at),
        ..details()
    };
    let found = route(&later, &[channel("kitchen", config())]);
    assert_eq!(found.candidates[0].delivered_at, at);
    assert!(found.candidates[0].slot <= found.candidates[0].ready_at);
    let sooner_than_possible = Details {
        requested_for: Some(NOW + Millis(1)),
        ..details()
    };
    let soon = route(&sooner_than_possible, &[channel("kitchen", config())]);
    let at_once = route(&details(), &[channel("kitchen", config())]);
    let (soon, at_once) = (&soon.candidates[0], &at_once.candidates[0]);
    assert_eq!((soon.slot, soon.delivered_at), (at_once.slot, at_once.delivered_at));
}

#[test]
fn who_does_not_serve_the_restaurant_is_passed_over() {
    let other = ChannelConfig {
        serves: vec!["restaurant-2".parse().expect("a name")],
        ..config()
    };
    let found = route(&details(), &[channel("other", other)]);
    assert!(found.candidates.is_empty() && found.infeasible.is_empty());
}

#[test]
fn a_menu_that_any_channel_can_make_is_fine() {
    let channels = [
        with_menu("a", vec![article("bread", 300, None)]),
        with_menu("b", vec![article("soup", 500, None)]),
    ];
    assert_eq!(menu_errors(&details(), &channels), []);
    assert_eq!(menu_errors(&details(), &[channel("without-menu", config())]), []);
}

#[test]
fn what_no_channel_sells_is_pointed_at() {
    let order = Details {
        items: vec![item("soup", 400), item("caviar", 1), item("bread", 300)],
        ..details()
    };
    let menu = vec![article("soup", 500, None), article("bread", 300, None)];
    let errors = menu_errors(&order, &[sold_out(with_menu("a", menu), "bread")]);
    let expected = [
        ("/items/0/unit_price_minor", "'soup' costs 500, not 400"),
        ("/items/1/sku", "'caviar' is on no menu of the restaurant"),
        ("/items/2/sku", "'bread' is sold out"),
    ];
    assert_eq!(
        errors,
        expected.map(|(pointer, detail)| (pointer.to_owned(), detail.to_owned()))
    );
}

#[test]
fn an_unknown_restaurant_and_another_currency_are_pointed_at() {
    let errors = menu_errors(&details(), &[]);
    assert_eq!(
        errors,
        [(
            "/restaurant_id".to_owned(),
            "no channel serves restaurant 'restaurant-1'".to_owned()
        )]
    );
    let euro = ChannelConfig {
        currency: "EUR".parse().expect("a currency"),
        ..config()
    };
    let errors = menu_errors(&details(), &[channel("euro", euro)]);
    assert_eq!(
        errors,
        [(
            "/currency".to_owned(),
            "restaurant 'restaurant-1' sells in EUR, not in USD".to_owned()
        )]
    );
}

/// An item that only a channel of another currency sells can never be bought: better said now than by a failed order.
#[test]
fn what_only_a_channel_of_another_currency_sells_is_pointed_at() {
    let euro = ChannelConfig {
        currency: "EUR".parse().expect("a currency"),
        ..config()
    };
    let euro = told(
        channel("euro", euro),
        Command::SetMenu(vec![article("soup", 500, None)]),
    );
    let dollar = with_menu("dollar", vec![article("bread", 300, None)]);
    let errors = menu_errors(&details(), &[euro, dollar]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].0, "/items/0/sku");
}
