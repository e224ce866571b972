//! The router against rules it must never break, and against the cases people ask about.

use crate::{Promised, check_menu, choose, choose_batch};
use domain::channel::{
    Availability, Channel, ChannelConfig, ChannelKind, Command, Cooked, MenuItem, OpeningHours, Weekday, slot_of,
};
use domain::entity::{Context, Entity, fold};
use domain::geo::Location;
use domain::ids::{HashSlot, OrderId};
use domain::money::Money;
use domain::order::{DeliveryLocation, Details, Item};
use domain::policy::Policy;
use domain::saga::{Candidate, CapacityRequest, Direction, Drawbacks, EffectKey, Step};
use domain::time::{Millis, Timestamp};
use std::sync::Arc;

mod batch;
mod cases;
mod properties;

/// A Friday, 08:00 UTC.
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn details() -> Details {
    Details {
        customer_id: "customer-1".parse().expect("a name"),
        restaurant_id: "restaurant-1".parse().expect("a name"),
        items: vec![item("soup", 500)],
        total: Money {
            minor: 500,
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

fn item(sku: &str, unit_price_minor: i64) -> Item {
    Item {
        sku: sku.into(),
        name: sku.to_uppercase(),
        quantity: 1,
        unit_price_minor,
    }
}

fn article(sku: &str, price_minor: i64, prep_min: Option<u64>) -> MenuItem {
    MenuItem {
        sku: sku.into(),
        name: sku.to_uppercase(),
        price_minor,
        prep_ms: prep_min.map(Millis::from_mins),
    }
}

fn config() -> ChannelConfig {
    ChannelConfig {
        name: "Kitchen".into(),
        kind: ChannelKind::Kitchen,
        serves: vec!["restaurant-1".parse().expect("a name")],
        location: Location { lat: 41.0, lng: -87.0 },
        zone: "centre".parse().expect("a name"),
        currency: "USD".parse().expect("a currency"),
        hours: Vec::new(),
        utc_offset_min: 0,
        prep_ms: Millis::from_mins(10),
        capacity_per_slot: 5,
        cost_minor: 100,
        radius_m: 5_000,
    }
}

/// A channel as its own commands make it.
fn channel(name: &str, config: ChannelConfig) -> Channel {
    let id = name.parse().expect("a name");
    let command = Command::Configure {
        id,
        config: Box::new(config),
    };
    step(None, command).expect("the configuration is valid")
}

fn step(channel: Option<Channel>, command: Command) -> Option<Channel> {
    let context = Context {
        now: NOW,
        policy: &Policy::default(),
    };
    let decision = Channel::decide(channel.as_ref(), command, &context).expect("the command is valid");
    fold(channel, &decision.events, NOW).expect("its own events can follow")
}

fn told(channel: Channel, command: Command) -> Channel {
    step(Some(channel), command).expect("it exists")
}

fn key(n: u64) -> EffectKey {
    let order = OrderId::mint(NOW, HashSlot::of(&[b"routing"]), n);
    EffectKey {
        order,
        step: Step::HoldCapacity,
        round: 0,
        direction: Direction::Forward,
    }
}

/// A hold on the slot in which the food of an order of now is ready.
fn hold(n: u64) -> CapacityRequest {
    let slot = slot_of(NOW + Millis::from_mins(10), Policy::default().slot_ms);
    CapacityRequest::Hold {
        key: key(n),
        slot,
        slots_ahead_max: 0,
        units: 1,
        expires_at: slot + Millis::from_mins(600),
        asked_before: false,
    }
}

fn held(channel: Channel, units: u64) -> Channel {
    (0..units).fold(channel, |channel, n| told(channel, Command::Capacity(hold(n))))
}

/// A ticket from its hold to its end.
fn served(channel: Channel, n: u64, cooked: Option<Cooked>) -> Channel {
    let channel = told(channel, Command::Capacity(hold(n)));
    let key = key(n);
    told(channel, Command::Capacity(CapacityRequest::Close { key, cooked }))
}

struct Found {
    candidates: Vec<Candidate>,
    infeasible: Vec<(String, String)>,
}

impl Found {
    fn names(&self) -> Vec<String> {
        self.candidates
            .iter()
            .map(|candidate| candidate.channel.to_string())
            .collect()
    }

    fn why(&self, channel: &str) -> &str {
        let found = self.infeasible.iter().find(|(name, _)| name == channel);
        found.map_or_else(|| panic!("{channel} is feasible"), |(_, why)| why)
    }
}

fn route(details: &Details, channels: &[Channel]) -> Found {
    let channels: Vec<_> = channels.iter().cloned().map(Arc::new).collect();
    let choice = choose(
        details,
        &channels,
        &Context {
            now: NOW,
            policy: &Policy::default(),
        },
    );
    let infeasible = choice
        .infeasible
        .into_iter()
        .map(|no| (no.channel.to_string(), no.why))
        .collect();
    Found {
        candidates: choice.candidates,
        infeasible,
    }
}

fn menu_errors(details: &Details, channels: &[Channel]) -> Vec<(String, String)> {
    let channels: Vec<_> = channels.iter().cloned().map(Arc::new).collect();
    check_menu(details, &channels)
        .into_iter()
        .map(|error| (error.pointer, error.detail))
        .collect()
}
