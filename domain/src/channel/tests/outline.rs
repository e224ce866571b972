//! What nodes keep of a channel that lives elsewhere: all that routing looks at, from whatever earlier state.

use crate::channel::{Availability, Channel, Command, Ledger, MenuItem, Outline};
use crate::fixtures::{Journalled, T0, channel_config, channel_id, key, kitchen};
use crate::policy::Policy;
use crate::saga::{CapacityRequest, Step};
use crate::time::Millis;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SCARCE_PCT: u8 = 25;

/// All of a channel but who took what.
fn outlined(channel: &Channel) -> Channel {
    Channel {
        ledger: Ledger::outline(channel.ledger.slots()),
        ..channel.clone()
    }
}

fn across(outline: &Outline) -> Outline {
    let said = serde_json::to_string(outline).expect("it is written");
    serde_json::from_str(&said).expect("it is read")
}

fn hold(n: u64, minutes: u64) -> Command {
    Command::Capacity(CapacityRequest::Hold {
        key: key(n, Step::HoldCapacity, 0),
        slot: T0 + Millis::from_mins(minutes),
        slots_ahead_max: 2,
        units: 1,
        expires_at: T0 + Millis::from_mins(60),
        asked_before: false,
    })
}

fn told(channel: &mut Journalled<Channel>, command: Command) {
    // What is refused changes nothing, and that is a case, too.
    let _ = channel.tell(command, T0, &Policy::default());
}

fn commands() -> impl Strategy<Value = Command> {
    let capacity = |request: fn(u64) -> CapacityRequest| (0..6_u64).prop_map(move |n| Command::Capacity(request(n)));
    let item = |n: i64| MenuItem {
        sku: format!("dish-{n}"),
        name: "Dish".into(),
        price_minor: n,
        prep_ms: None,
    };
    prop_oneof![
        4 => (0..6_u64, 0..3_u64).prop_map(|(n, quarters)| hold(n, 15 * quarters)),
        4 => capacity(|n| CapacityRequest::Confirm { key: key(n, Step::HoldCapacity, 0) }),
        2 => capacity(|n| CapacityRequest::Release { key: key(n, Step::HoldCapacity, 0), lost: n % 2 == 0 }),
        2 => capacity(|n| CapacityRequest::Close { key: key(n, Step::HoldCapacity, 0), cooked: None }),
        1 => Just(Command::SetAvailability(Availability::Paused)),
        1 => Just(Command::SetAvailability(Availability::Online)),
        1 => (0..3_i64).prop_map(move |n| Command::SetMenu(vec![item(n)])),
        1 => (0..3_i64).prop_map(|n| Command::SetSoldOut(BTreeSet::from([format!("dish-{n}")]))),
        1 => (3..5_u32).prop_map(|capacity_per_slot| Command::Configure {
            id: channel_id(0),
            config: Box::new(crate::channel::ChannelConfig { capacity_per_slot, ..channel_config() }),
        }),
    ]
}

proptest! {
    /// Every outline leads from the state that was told before, and from any between that and the new one, to the new one.
    #[test]
    fn an_outline_leads_to_the_state_that_it_is_of(rounds in prop::collection::vec(prop::collection::vec(commands(), 1..6), 1..8)) {
        let mut channel = kitchen(0, 3);
        let mut before = channel.state().clone();
        let first = across(&Outline::between(None, &before));
        let mut copy = first.onto(None).expect("it says everything");
        for round in rounds {
            let mut between = vec![copy];
            for command in round {
                told(&mut channel, command);
                between.push(channel.state().clone());
            }
            let now = channel.state().clone();
            let outline = across(&Outline::between(Some(&before), &now));
            for known in &between {
                prop_assert_eq!(outline.clone().onto(Some(known)), Some(outlined(&now)));
            }
            copy = outline.onto(between.first()).expect("the rest is known");
            before = now;
        }
    }
}

#[test]
fn what_has_not_changed_is_not_said() {
    let mut channel = kitchen(0, 3);
    let before = channel.state().clone();
    told(&mut channel, hold(1, 0));
    let outline = Outline::between(Some(&before), channel.state());
    let silent = outline.config.is_none() && outline.menu.is_none() && outline.sold_out.is_none();
    assert!(silent && outline.learned.is_none() && outline.demand.is_none());
    assert_eq!(outline.onto(None), None, "and must be known");
}

#[test]
fn what_a_channel_was_asked_for_may_be_said_later() {
    let mut channel = kitchen(0, 3);
    let before = channel.state().clone();
    told(&mut channel, hold(1, 0));
    let confirm = CapacityRequest::Confirm {
        key: key(1, Step::HoldCapacity, 0),
    };
    told(&mut channel, Command::Capacity(confirm));
    let now = channel.state();
    assert!(!now.demand.is_empty());
    let outline = Outline::between(Some(&before), &now.with_history_of(&before));
    assert!(outline.demand.is_none());
    assert_eq!(
        outline.onto(Some(&before)),
        Some(outlined(&now.with_history_of(&before)))
    );
}

#[test]
fn who_routes_must_soon_know_what_is_set_anew_and_what_is_scarce() {
    let mut channel = kitchen(0, 4);
    let mut soon = |command| {
        let before = channel.state().clone();
        told(&mut channel, command);
        channel.state().matters_soon(&before, SCARCE_PCT)
    };
    assert!(!soon(hold(1, 0)));
    assert!(!soon(hold(2, 0)), "half of the slot is left");
    assert!(!soon(hold(3, 0)), "a quarter is");
    assert!(soon(hold(4, 0)), "nothing is");
    let mut channel = kitchen(0, 4);
    for command in [
        Command::SetAvailability(Availability::Paused),
        Command::SetSoldOut(BTreeSet::from(["soup".to_owned()])),
    ] {
        let before = channel.state().clone();
        told(&mut channel, command);
        assert!(channel.state().matters_soon(&before, SCARCE_PCT));
    }
}
