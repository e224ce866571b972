//! Rules that hold for any channels and any order.

use super::*;
use domain::channel::is_open;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) struct Site {
    config: ChannelConfig,
    availability: Availability,
    menu: Vec<MenuItem>,
    sold_out: BTreeSet<String>,
    taken: Vec<u32>,
}

fn availability() -> impl Strategy<Value = Availability> {
    prop_oneof![
        4 => Just(Availability::Online),
        1 => (0..90_u64).prop_map(|minutes| Availability::Busy { delay_ms: Millis::from_mins(minutes) }),
        1 => Just(Availability::Paused),
    ]
}

fn hours() -> impl Strategy<Value = Vec<OpeningHours>> {
    let stretch = (0..1_400_u16, 1..600_u16).prop_map(|(from_min, length)| {
        let days = vec![Weekday::Thu, Weekday::Fri, Weekday::Sat];
        OpeningHours {
            days,
            from_min,
            to_min: (from_min + length).min(1_440),
        }
    });
    prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(stretch, 1..3)]
}

fn menu() -> impl Strategy<Value = Vec<MenuItem>> {
    let soup = (
        prop_oneof![3 => Just(500), 1 => Just(600)],
        proptest::option::of(1..60_u64),
    );
    let soup = soup.prop_map(|(price, prep)| vec![article("soup", price, prep), article("bread", 300, None)]);
    prop_oneof![1 => Just(Vec::new()), 2 => soup, 1 => Just(vec![article("bread", 300, None)])]
}

prop_compose! {
    pub(super) fn site()(
        availability in availability(),
        hours in hours(),
        menu in menu(),
        out in proptest::bool::weighted(0.1),
        euro in proptest::bool::weighted(0.1),
        elsewhere in proptest::bool::weighted(0.1),
        prep in 1..90_u64,
        capacity_per_slot in 1..4_u32,
        taken in proptest::collection::vec(0..5_u32, 12),
        cost_minor in 0..1_000_i64,
        radius_m in 500..8_000_u32,
        offset in -600..600_i16,
        lat in 40.97..41.05_f64,
    ) -> Site {
        let currency = if euro { "EUR" } else { "USD" };
        let restaurant = if elsewhere { "restaurant-2" } else { "restaurant-1" };
        let config = ChannelConfig {
            serves: vec![restaurant.parse().expect("a name")],
            location: Location { lat, lng: -87.0 },
            currency: currency.parse().expect("a currency"),
            hours,
            utc_offset_min: offset,
            prep_ms: Millis::from_mins(prep),
            capacity_per_slot,
            cost_minor,
            radius_m,
            ..config()
        };
        let sold_out = if out { BTreeSet::from(["soup".to_owned()]) } else { BTreeSet::new() };
        Site { config, availability, menu, sold_out, taken }
    }
}

impl Site {
    pub(super) fn build(&self, n: usize) -> Channel {
        let mut channel = channel(&format!("channel-{n}"), self.config.clone());
        let slot_ms = Policy::default().slot_ms;
        let mut holds = 0;
        for (slot, taken) in (0..).zip(&self.taken) {
            let slot = slot_of(NOW, slot_ms) + slot_ms.times(slot);
            for _ in 0..(*taken).min(self.config.capacity_per_slot) {
                holds += 1;
                let expires_at = slot + Millis::from_mins(600);
                let request = CapacityRequest::Hold {
                    key: key(holds),
                    slot,
                    slots_ahead_max: 0,
                    units: 1,
                    expires_at,
                    asked_before: false,
                };
                channel = told(channel, Command::Capacity(request));
            }
        }
        channel = told(channel, Command::SetMenu(self.menu.clone()));
        channel = told(channel, Command::SetSoldOut(self.sold_out.clone()));
        told(channel, Command::SetAvailability(self.availability))
    }
}

pub(super) fn build(sites: &[Site]) -> Vec<Channel> {
    sites.iter().enumerate().map(|(n, site)| site.build(n)).collect()
}

pub(super) fn order() -> impl Strategy<Value = Details> {
    let later = proptest::option::weighted(0.3, 0..600_u64);
    later.prop_map(|minutes| Details {
        requested_for: minutes.map(|minutes| NOW + Millis::from_mins(minutes)),
        ..details()
    })
}

/// Checked from the channel's own words, not by the router's.
pub(super) fn assert_feasible(channel: &Channel, order: &Details, candidate: &Candidate) {
    let slot_ms = Policy::default().slot_ms;
    assert_ne!(channel.availability, Availability::Paused);
    assert_eq!(channel.config.currency, order.total.currency);
    assert!(channel.config.serves.contains(&order.restaurant_id));
    let metres = channel.config.location.metres_to(order.delivery_location.place());
    assert!(metres <= f64::from(channel.config.radius_m), "{metres} m");
    for item in &order.items {
        assert!(!channel.sold_out.contains(&item.sku));
        let price = channel.article(&item.sku).map(|article| article.price_minor);
        assert!(channel.menu.is_empty() || price == Some(item.unit_price_minor));
    }
    let (from, to) = (candidate.ready_at - candidate.prep_ms, candidate.ready_at);
    for at in [from.max(NOW), to] {
        assert!(is_open(&channel.config.hours, channel.config.utc_offset_min, at));
    }
    assert!(from >= NOW, "cooking cannot have begun already");
    assert_eq!(
        candidate.slot,
        slot_of(candidate.ready_at, slot_ms),
        "the slot it is ready in"
    );
    assert!(channel.ledger.used(candidate.slot) + candidate.units <= channel.config.capacity_per_slot);
    assert!(candidate.delivered_at > candidate.ready_at);
    if let Some(at) = order.requested_for {
        assert!(candidate.delivered_at >= at, "not before it is wanted");
    }
}

proptest! {
    #[test]
    fn only_feasible_channels_are_candidates(sites in proptest::collection::vec(site(), 1..8), order in order()) {
        let channels = build(&sites);
        let found = route(&order, &channels);
        for candidate in &found.candidates {
            let channel = channels.iter().find(|channel| channel.id == candidate.channel).expect("one of them");
            assert_feasible(channel, &order, candidate);
        }
        let serving = channels.iter().filter(|c| c.config.serves.contains(&order.restaurant_id)).count();
        prop_assert_eq!(found.candidates.len() + found.infeasible.len(), serving, "each is a candidate or has a reason");
    }

    #[test]
    fn what_it_offers_is_taken_by_the_channel(site in site(), order in order()) {
        let channel = site.build(0);
        let found = route(&order, std::slice::from_ref(&channel));
        if let Some(candidate) = found.candidates.first() {
            let expires_at = NOW + Millis::from_mins(3);
            let request = CapacityRequest::Hold { key: key(0), slot: candidate.slot, slots_ahead_max: 0, units: candidate.units, expires_at, asked_before: false };
            let after = told(channel, Command::Capacity(request));
            prop_assert!(after.ledger.claim(&key(0)).is_some_and(|claim| claim.slot == candidate.slot));
        }
    }

    #[test]
    fn the_order_of_the_channels_does_not_matter(sites in proptest::collection::vec(site(), 1..8)) {
        let channels = build(&sites);
        let mut turned = channels.clone();
        turned.reverse();
        prop_assert_eq!(route(&details(), &channels).candidates, route(&details(), &turned).candidates);
    }

    /// A channel that becomes cheaper never falls behind, and changes nothing else.
    #[test]
    fn choice_is_monotone_in_cost(sites in proptest::collection::vec(site(), 2..8), n in 0..8_usize, less in 1..500_i64) {
        let mut channels = build(&sites);
        let n = n % channels.len();
        let before = route(&details(), &channels);
        let config = Arc::make_mut(&mut channels[n].config);
        config.cost_minor = (config.cost_minor - less).max(0);
        let after = route(&details(), &channels);
        let rank = |found: &Found| found.candidates.iter().position(|c| c.channel == channels[n].id);
        match (rank(&before), rank(&after)) {
            (Some(before), Some(after)) => prop_assert!(after <= before),
            (Some(_), None) => prop_assert!(false, "it fell out"),
            (None, _) => {}
        }
        let others = |found: &Found| found.names().into_iter().filter(|name| *name != channels[n].id.to_string()).collect::<Vec<_>>();
        let (before, after) = (others(&before), others(&after));
        let both = before.len().min(after.len());
        prop_assert_eq!(&before[..both.min(4)], &after[..both.min(4)]);
    }

    /// More capacity never makes the promise later.
    #[test]
    fn choice_is_monotone_in_capacity(site in site(), more in 1..5_u32) {
        let mut channel = site.build(0);
        let before = route(&details(), std::slice::from_ref(&channel));
        Arc::make_mut(&mut channel.config).capacity_per_slot += more;
        let after = route(&details(), std::slice::from_ref(&channel));
        if let (Some(before), Some(after)) = (before.candidates.first(), after.candidates.first()) {
            prop_assert!(after.delivered_at <= before.delivered_at);
        }
    }
}
