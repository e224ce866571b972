//! Demonstration data: a few kitchens, a partner and couriers, so that a fresh server can serve an order at once.

use actors::{CallError, Platform};
use domain::channel::{self, ChannelConfig, ChannelKind, MenuItem};
use domain::geo::Location;
use domain::ids::{ChannelId, CourierId, InvalidId, RestaurantId, ZoneId};
use domain::money::{Currency, InvalidCurrency};
use domain::time::Millis;
use domain::zone::{self, CourierConfig};

/// Why there is no demonstration data.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The platform does not take it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A name in this file is no name.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// A currency in this file is none.
    #[error(transparent)]
    Currency(#[from] InvalidCurrency),
}

const ZONE: &str = "default";
const COURIERS: u32 = 6;

struct Site {
    id: &'static str,
    name: &'static str,
    kind: ChannelKind,
    serves: &'static [&'static str],
    at: Location,
    prep_min: u64,
    capacity_per_slot: u32,
    cost_minor: i64,
}

const SITES: [Site; 3] = [
    Site {
        id: "downtown-kitchen",
        name: "Downtown kitchen",
        kind: ChannelKind::Kitchen,
        serves: &["demo-burgers", "demo-noodles"],
        at: Location {
            lat: 41.881,
            lng: -87.629,
        },
        prep_min: 12,
        capacity_per_slot: 20,
        cost_minor: 450,
    },
    Site {
        id: "riverside-kitchen",
        name: "Riverside kitchen",
        kind: ChannelKind::Kitchen,
        serves: &["demo-noodles"],
        at: Location {
            lat: 41.889,
            lng: -87.635,
        },
        prep_min: 10,
        capacity_per_slot: 12,
        cost_minor: 480,
    },
    Site {
        id: "partner-express",
        name: "Partner express",
        kind: ChannelKind::Partner,
        serves: &["demo-burgers"],
        at: Location {
            lat: 41.894,
            lng: -87.624,
        },
        prep_min: 15,
        capacity_per_slot: 40,
        cost_minor: 700,
    },
];

/// `(sku, name, price in minor units, minutes)`
const MENU: [(&str, &str, i64, u64); 4] = [
    ("cheeseburger", "Cheeseburger", 950, 12),
    ("fries", "Fries", 350, 6),
    ("ramen", "Ramen", 1_250, 10),
    ("lemonade", "Lemonade", 300, 1),
];

/// Creates the demonstration data. Idempotent: what is there stays as it is.
///
/// # Errors
/// The platform does not take it.
pub async fn create(platform: &Platform) -> Result<(), DemoError> {
    for site in &SITES {
        let id: ChannelId = site.id.parse()?;
        if platform.directory().channel(&id).is_some() {
            continue;
        }
        let config = Box::new(config(site)?);
        platform
            .channel(channel::Command::Configure { id: id.clone(), config }, &id, None)
            .await?;
        let item = |(sku, name, price_minor, minutes): (&str, &str, i64, u64)| MenuItem {
            sku: sku.to_owned(),
            name: name.to_owned(),
            price_minor,
            prep_ms: Some(Millis::from_mins(minutes)),
        };
        platform
            .channel(channel::Command::SetMenu(MENU.map(item).to_vec()), &id, None)
            .await?;
    }
    let zone: ZoneId = ZONE.parse()?;
    for n in 1..=COURIERS {
        let id: CourierId = format!("demo-courier-{n}").parse()?;
        if platform.directory().courier_zone(&id).is_some() {
            continue;
        }
        let location = Location {
            lat: 41.878 + 0.003 * f64::from(n),
            lng: -87.629,
        };
        let config = CourierConfig {
            zone: zone.clone(),
            location,
            on_at: None,
            off_at: None,
            metres_per_min: 320,
        };
        let command = zone::Command::PutCourier {
            zone: zone.clone(),
            id,
            config: Box::new(config),
        };
        platform.zone(command, &zone).await?;
    }
    Ok(())
}

fn config(site: &Site) -> Result<ChannelConfig, DemoError> {
    Ok(ChannelConfig {
        name: site.name.to_owned(),
        kind: site.kind,
        serves: site
            .serves
            .iter()
            .map(|name| name.parse::<RestaurantId>())
            .collect::<Result<_, _>>()?,
        location: site.at,
        zone: ZONE.parse()?,
        currency: "USD".parse::<Currency>()?,
        hours: Vec::new(),
        utc_offset_min: 0,
        prep_ms: Millis::from_mins(site.prep_min),
        capacity_per_slot: site.capacity_per_slot,
        cost_minor: site.cost_minor,
        radius_m: 20_000,
    })
}
