//! The city that the generated load is of: zones with couriers, kitchens in pairs that serve the same restaurants, and
//! orders that follow from the seed.

use super::super::RunError;
use futures::{StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// Kitchens to a zone.
const KITCHENS_PER_ZONE: u32 = 4;
/// How long the kitchens cook, in milliseconds of business time.
const PREP_MS: u64 = 4 * 60_000;
/// How long a slot of a kitchen's capacity is, likewise.
const SLOT_MS: u64 = 15 * 60_000;
/// For how long an order keeps a courier, likewise: from when one is asked for until the door.
const CARRYING_MS: u64 = 40 * 60_000;
/// Half the width of a zone, in degrees: about two kilometres.
const REACH_DEG: f64 = 0.01;
/// How many zones apart, in degrees.
const ZONE_DEG: f64 = 0.05;
/// How long setting up may take to be taken.
const PATIENCE: u32 = 100;

/// A city that can bear so many orders.
#[derive(Clone, Copy, Debug)]
pub(super) struct City {
    zones: u32,
    couriers: u32,
    capacity: u64,
    seed: u64,
}

/// An order and what its customer does with it.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// Its key, which is its customer's name, too.
    pub(super) key: String,
    /// What is submitted.
    pub(super) body: Value,
    /// Whether it is cancelled, and how long after it was taken.
    pub(super) cancel: Option<Duration>,
    /// Whether it is submitted once more.
    pub(super) repeat: bool,
}

impl City {
    /// The city for so many orders a second, in business time of this pace.
    pub(super) fn new(seed: u64, rate: u32, pace: u64) -> Self {
        let zones = (rate / 20).clamp(3, 24);
        let per_s = |business_ms: u64| u64::from(rate) * business_ms / 1_000 / pace.max(1);
        let couriers = u32::try_from(per_s(CARRYING_MS)).unwrap_or(u32::MAX).max(12);
        let kitchens = u64::from(zones * KITCHENS_PER_ZONE);
        Self {
            zones,
            couriers: couriers.div_ceil(zones),
            // What waits while nodes are down comes in one slot.
            capacity: (per_s(SLOT_MS) * 6 / kitchens).max(12),
            seed,
        }
    }

    fn kitchens(&self) -> u32 {
        self.zones * KITCHENS_PER_ZONE
    }

    fn place(zone: u32, random: &mut StdRng) -> (f64, f64) {
        let mut around = |at: f64| at + random.random_range(-REACH_DEG..REACH_DEG);
        (around(41.6 + ZONE_DEG * f64::from(zone)), around(-87.63))
    }

    /// Sets up the kitchens and the couriers.
    pub(super) async fn build(&self, http: &Client, url: &str) -> Result<(), RunError> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut puts = Vec::new();
        for n in 0..self.kitchens() {
            let zone = n / KITCHENS_PER_ZONE;
            let (lat, lng) = Self::place(zone, &mut random);
            // The neighbour's restaurant as well: an alternate.
            let serves = [restaurant(n), restaurant(n ^ 1)];
            let channel = json!({
                "name": format!("Kitchen {n}"), "kind": "kitchen", "serves": serves, "currency": "USD",
                "location": {"lat": lat, "lng": lng}, "zone": format!("zone-{zone}"), "prep_ms": PREP_MS,
                "capacity_per_slot": self.capacity, "radius_m": 20_000,
            });
            puts.push((format!("/v1/channels/kitchen-{n}"), channel));
            let menu = json!({"items": [{"sku": "soup", "name": "Soup", "price_minor": 950}]});
            puts.push((format!("/v1/channels/kitchen-{n}/menu"), menu));
        }
        for zone in 0..self.zones {
            for n in 0..self.couriers {
                let (lat, lng) = Self::place(zone, &mut random);
                let courier = json!({"zone": format!("zone-{zone}"), "location": {"lat": lat, "lng": lng}});
                puts.push((format!("/v1/couriers/courier-{zone}-{n}"), courier));
            }
        }
        // A menu needs its channel.
        let (first, rest): (Vec<_>, Vec<_>) = puts.into_iter().partition(|(path, _)| !path.ends_with("/menu"));
        for puts in [first, rest] {
            let puts = puts.into_iter().map(|(path, body)| put(http, url, path, body));
            futures::stream::iter(puts)
                .buffer_unordered(16)
                .try_collect::<()>()
                .await?;
        }
        Ok(())
    }

    /// The `n`-th order of the load; at one kitchen, if it is said which.
    pub(super) fn wish(&self, n: u64, at: Option<u32>, cancels: f64, duplicates: f64) -> Wish {
        let mut random = StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(n));
        let drawn = random.random_range(0..self.kitchens());
        let kitchen = at.map_or(drawn, |kitchen| kitchen % self.kitchens());
        let (lat, lng) = Self::place(kitchen / KITCHENS_PER_ZONE, &mut random);
        let key = format!("load-{n}");
        let quantity = random.random_range(1..4);
        let body = json!({
            "customer_id": key, "restaurant_id": restaurant(kitchen), "currency": "USD", "payment_token": "tok",
            "items": [{"sku": "soup", "name": "Soup", "quantity": quantity, "unit_price_minor": 950}],
            "delivery_location": {"lat": lat, "lng": lng, "address": ""},
        });
        let mut happens = |percent: f64| random.random_range(0.0..100.0) < percent;
        let (cancel, repeat) = (happens(cancels), happens(duplicates));
        let cancel = cancel.then(|| Duration::from_millis(random.random_range(0..2_500)));
        Wish {
            key,
            body,
            cancel,
            repeat,
        }
    }
}

fn restaurant(n: u32) -> String {
    format!("restaurant-{n}")
}

async fn put(http: &Client, url: &str, path: String, body: Value) -> Result<(), RunError> {
    let failed = |source| RunError::Http {
        path: path.clone(),
        source,
    };
    let mut last = None;
    for _ in 0..PATIENCE {
        match http.put(format!("{url}{path}")).json(&body).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) if answer.status() != StatusCode::SERVICE_UNAVAILABLE => {
                let status = answer.status();
                let said = answer.text().await.unwrap_or_default();
                return Err(RunError::Refused {
                    path,
                    said: format!("{status}: {said}"),
                });
            }
            Ok(answer) => last = answer.error_for_status().err(),
            Err(error) => last = Some(error),
        }
        sleep(Duration::from_millis(100)).await;
    }
    match last {
        Some(error) => Err(failed(error)),
        None => Err(RunError::NotRunning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_orders() {
        let wishes = |seed| {
            let city = City::new(seed, 50, 240);
            let wishes = (0..200).map(|n| city.wish(n, None, 10.0, 20.0)).collect::<Vec<_>>();
            let count = |of: fn(&Wish) -> bool| wishes.iter().filter(|wish| of(wish)).count();
            let counts = (count(|wish| wish.cancel.is_some()), count(|wish| wish.repeat));
            (wishes.into_iter().map(|wish| wish.body).collect::<Vec<_>>(), counts)
        };
        let (bodies, (cancelled, repeated)) = wishes(1);
        assert_eq!(bodies, wishes(1).0);
        assert_ne!(bodies, wishes(2).0);
        assert!((5..50).contains(&cancelled) && (15..80).contains(&repeated));
    }
}
