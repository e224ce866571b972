//! What the tests of this crate are about: an order, two or three kitchens that can make it, a zone with couriers.

use crate::channel::{self, Channel, ChannelConfig, ChannelKind};
use crate::entity::{Context, Entity, fold};
use crate::geo::Location;
use crate::ids::{ChannelId, CourierId, HashSlot, OrderId, ZoneId};
use crate::money::Money;
use crate::order::{DeliveryLocation, Details, Draft, DraftItem, Item};
use crate::policy::Policy;
use crate::saga::{Candidate, Direction, EffectKey, Step};
use crate::time::{Millis, Timestamp};
use crate::zone::CourierConfig;

/// When the tests begin.
pub(crate) const T0: Timestamp = Timestamp(1_800_000_000_000);

/// What the order costs.
pub(crate) const TOTAL_MINOR: i64 = 2_500;

pub(crate) fn order_id(n: u64) -> OrderId {
    OrderId::mint(T0, HashSlot::of(&[b"tests"]), n)
}

pub(crate) fn key(n: u64, step: Step, round: u32) -> EffectKey {
    EffectKey {
        order: order_id(n),
        step,
        round,
        direction: Direction::Forward,
    }
}

pub(crate) fn channel_id(n: usize) -> ChannelId {
    format!("kitchen-{n}").parse().expect("a valid name")
}

pub(crate) fn zone_id() -> ZoneId {
    "centre".parse().expect("a valid name")
}

pub(crate) fn courier_id(n: usize) -> CourierId {
    format!("courier-{n}").parse().expect("a valid name")
}

/// So many hundredths of a degree (about 1.1 km each) north of the first kitchen.
pub(crate) fn north(hundredths: i32) -> Location {
    Location {
        lat: 41.0 + f64::from(hundredths) / 100.0,
        lng: -87.0,
    }
}

pub(crate) fn draft() -> Draft {
    Draft {
        customer_id: "customer-1".into(),
        restaurant_id: "restaurant-1".into(),
        items: vec![DraftItem {
            sku: "soup".into(),
            name: "Soup".into(),
            quantity: 5,
            unit_price_minor: 500,
        }],
        currency: "USD".into(),
        delivery_location: DeliveryLocation {
            lat: 41.02,
            lng: -87.0,
            address: "1 Main Street".into(),
        },
        requested_for: None,
        payment_token: "tok-1".into(),
        notes: None,
    }
}

pub(crate) fn details() -> Details {
    Details {
        customer_id: "customer-1".parse().expect("a valid name"),
        restaurant_id: "restaurant-1".parse().expect("a valid name"),
        items: vec![Item {
            sku: "soup".into(),
            name: "Soup".into(),
            quantity: 5,
            unit_price_minor: 500,
        }],
        total: Money {
            minor: TOTAL_MINOR,
            currency: "USD".parse().expect("a currency"),
        },
        delivery_location: DeliveryLocation {
            lat: 41.02,
            lng: -87.0,
            address: "1 Main Street".into(),
        },
        requested_for: None,
        payment_token: "tok-1".into(),
        notes: None,
    }
}

/// When candidate `n` has the food ready: soon enough that a courier is asked for at once.
pub(crate) fn ready_at(n: usize) -> Timestamp {
    T0 + Millis::from_mins(5 + n as u64)
}

pub(crate) fn candidate(n: usize) -> Candidate {
    Candidate {
        channel: channel_id(n),
        zone: zone_id(),
        pickup: north(0),
        slot: channel::slot_of(T0, Policy::default().slot_ms),
        units: 1,
        prep_ms: Millis::from_mins(5),
        ready_at: ready_at(n),
        delivered_at: ready_at(n) + Millis::from_mins(20),
        cost_minor: 100,
        menu_prep_ms: None,
        drawbacks: crate::saga::Drawbacks::default(),
    }
}

pub(crate) fn channel_config() -> ChannelConfig {
    ChannelConfig {
        name: "Kitchen".into(),
        kind: ChannelKind::Kitchen,
        serves: vec!["restaurant-1".parse().expect("a valid name")],
        location: north(0),
        zone: zone_id(),
        currency: "USD".parse().expect("a currency"),
        hours: Vec::new(),
        utc_offset_min: 0,
        prep_ms: Millis::from_mins(5),
        capacity_per_slot: 3,
        cost_minor: 0,
        radius_m: 20_000,
    }
}

pub(crate) fn courier_config() -> CourierConfig {
    CourierConfig {
        zone: zone_id(),
        location: north(0),
        on_at: None,
        off_at: None,
        metres_per_min: 320,
    }
}

/// A journalled thing as its shell keeps it: what happens to it is written as rows of JSON, and read back from them.
#[derive(Debug)]
pub(crate) struct Journalled<E: Entity> {
    pub(crate) state: Option<E>,
    pub(crate) rows: Vec<(Timestamp, String)>,
}

/// What a turn brought: what was written, what is to be done, what is answered.
#[derive(Debug)]
pub(crate) struct Told<E: Entity> {
    pub(crate) events: Vec<E::Event>,
    pub(crate) effects: Vec<E::Effect>,
    pub(crate) reply: E::Reply,
}

impl<E: Entity> Journalled<E> {
    pub(crate) const fn new() -> Self {
        Self {
            state: None,
            rows: Vec::new(),
        }
    }

    /// A thing as its rows make it, whoever wrote them.
    pub(crate) fn from_log(rows: Vec<(Timestamp, String)>) -> Self {
        let mut read = Self { state: None, rows };
        for (at, events) in read.read_back() {
            read.state = fold(read.state.take(), &events, at).expect("the rows can be folded");
        }
        read
    }

    /// One turn: decide, append, evolve. A command that changes nothing must leave nothing behind, and waking must not
    /// ask to be woken again at once.
    pub(crate) fn tell(
        &mut self,
        command: E::Command,
        now: Timestamp,
        policy: &Policy,
    ) -> Result<Told<E>, crate::rejection::Rejection> {
        let context = Context { now, policy };
        let decision = E::decide(self.state.as_ref(), command, &context)?;
        if !decision.events.is_empty() {
            self.rows
                .push((now, serde_json::to_string(&decision.events).expect("events are JSON")));
            self.state = fold(self.state.take(), &decision.events, now).expect("its own events can follow");
        }
        Ok(Told {
            events: decision.events,
            effects: decision.effects,
            reply: decision.reply,
        })
    }

    /// Wakes it; EV-1 and the promise that a wake-up that changes nothing is not wanted again at once (in the shell that
    /// would be a loop without a pause).
    pub(crate) fn wake(&mut self, now: Timestamp, policy: &Policy) -> Told<E> {
        let told = self.tell(E::wake(), now, policy).expect("waking is always allowed");
        let again = self.wake_at(now, policy);
        if told.events.is_empty() {
            assert!(
                again.is_none_or(|at| at > now),
                "woken for nothing at {now:?}, and wants it again at {again:?}"
            );
        }
        told
    }

    pub(crate) fn wake_at(&self, now: Timestamp, policy: &Policy) -> Option<Timestamp> {
        self.state.as_ref()?.wake_at(&Context { now, policy })
    }

    pub(crate) fn state(&self) -> &E {
        self.state.as_ref().expect("it exists")
    }

    /// The rows as they are read back.
    pub(crate) fn read_back(&self) -> Vec<(Timestamp, Vec<E::Event>)> {
        let parse = |json: &str| serde_json::from_str(json).expect("events are read back");
        self.rows.iter().map(|(at, json)| (*at, parse(json))).collect()
    }

    /// Forgets the state and folds it from its rows again (EV-1); the snapshot's JSON must say the same.
    pub(crate) fn restart(&mut self) {
        crate::invariants::replays(&self.read_back(), self.state()).unwrap_or_else(|violation| panic!("{violation}"));
        let snapshot = serde_json::to_string(self.state()).expect("the state is JSON");
        let state: E = serde_json::from_str(&snapshot).expect("the snapshot is read back");
        assert_eq!(state, *self.state(), "the snapshot loses something");
        self.state = Some(state);
    }
}

/// A kitchen with so many units in each slot.
pub(crate) fn kitchen(n: usize, capacity_per_slot: u32) -> Journalled<Channel> {
    let mut kitchen = Journalled::new();
    let config = Box::new(ChannelConfig {
        capacity_per_slot,
        ..channel_config()
    });
    let configure = channel::Command::Configure {
        id: channel_id(n),
        config,
    };
    kitchen
        .tell(configure, T0, &Policy::default())
        .expect("the configuration is valid");
    kitchen
}
