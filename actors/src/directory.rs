//! What everybody may know of channels and zones: their last committed state, by id. Written by their actors after each
//! commit; reading it asks nobody.

use crate::ask::Versioned;
use dashmap::DashMap;
use domain::channel::Channel;
use domain::ids::{ChannelId, CourierId, RestaurantId, ZoneId};
use domain::zone::Zone;
use std::collections::BTreeSet;

/// The channels and zones of the platform.
#[derive(Debug, Default)]
pub struct Directory {
    channels: DashMap<ChannelId, Versioned<Channel>>,
    serving: DashMap<RestaurantId, BTreeSet<ChannelId>>,
    zones: DashMap<ZoneId, Versioned<Zone>>,
    couriers: DashMap<CourierId, ZoneId>,
}

impl Directory {
    /// A channel.
    pub fn channel(&self, id: &ChannelId) -> Option<Versioned<Channel>> {
        self.channels.get(id).map(|entry| entry.clone())
    }

    /// All channels, by id.
    pub fn channels(&self) -> Vec<Versioned<Channel>> {
        let mut all: Vec<_> = self.channels.iter().map(|entry| entry.clone()).collect();
        all.sort_by(|a, b| a.state.id.cmp(&b.state.id));
        all
    }

    /// The channels that serve a restaurant, by id.
    pub fn serving(&self, restaurant: &RestaurantId) -> Vec<Versioned<Channel>> {
        let ids = self.serving.get(restaurant).map(|ids| ids.clone()).unwrap_or_default();
        ids.iter().filter_map(|id| self.channel(id)).collect()
    }

    /// All zones, by id.
    pub fn zones(&self) -> Vec<Versioned<Zone>> {
        let mut all: Vec<_> = self.zones.iter().map(|entry| entry.clone()).collect();
        all.sort_by(|a, b| a.state.id.cmp(&b.state.id));
        all
    }

    /// A zone.
    pub fn zone(&self, id: &ZoneId) -> Option<Versioned<Zone>> {
        self.zones.get(id).map(|entry| entry.clone())
    }

    /// The zone a courier works in.
    pub fn courier_zone(&self, id: &CourierId) -> Option<ZoneId> {
        self.couriers.get(id).map(|zone| zone.clone())
    }

    pub(crate) fn put_channel(&self, channel: &Versioned<Channel>) {
        let state = &channel.state;
        let before = self.channels.insert(state.id.clone(), channel.clone());
        if before
            .as_ref()
            .is_some_and(|before| before.state.config.serves == state.config.serves)
        {
            return;
        }
        for gone in before.iter().flat_map(|before| &before.state.config.serves) {
            if let Some(mut ids) = self.serving.get_mut(gone) {
                ids.remove(&state.id);
            }
        }
        for restaurant in &state.config.serves {
            self.serving
                .entry(restaurant.clone())
                .or_default()
                .insert(state.id.clone());
        }
    }

    /// Takes a channel in unless as much or more is known of it.
    pub(crate) fn offer_channel(&self, channel: &Versioned<Channel>) {
        let says_more = |known: Versioned<Channel>| {
            known.seq < channel.seq || (known.seq == channel.seq && known.state.ledger.is_outline())
        };
        if self.channel(&channel.state.id).is_none_or(says_more) {
            self.put_channel(channel);
        }
    }

    /// Takes a zone in unless something newer is known of it.
    pub(crate) fn offer_zone(&self, zone: &Versioned<Zone>) {
        if self.zone(&zone.state.id).is_none_or(|known| known.seq < zone.seq) {
            self.put_zone(zone);
        }
    }

    pub(crate) fn put_zone(&self, zone: &Versioned<Zone>) {
        let known = self.zones.insert(zone.state.id.clone(), zone.clone());
        if known.is_none_or(|known| known.state.couriers.len() != zone.state.couriers.len()) {
            for courier in zone.state.couriers.keys() {
                self.couriers.insert(courier.clone(), zone.state.id.clone());
            }
        }
    }
}
