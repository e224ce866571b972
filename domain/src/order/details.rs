//! What a customer asks for: the draft as it arrives, and the details once they are known to be valid.

use crate::geo::Location;
use crate::ids::{CustomerId, RestaurantId};
use crate::money::{Currency, Money};
use crate::rejection::FieldError;
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// Limits on what a draft may hold.
pub mod limits {
    /// Most lines of an order.
    pub const ITEMS_MAX: usize = 100;
    /// Most pieces of one line.
    pub const QUANTITY_MAX: i64 = 1_000;
    /// Highest total, in minor units.
    pub const TOTAL_MINOR_MAX: i64 = 100_000_000;
    /// Longest text of a field, in bytes.
    pub const TEXT_BYTES_MAX: usize = 500;
    /// Furthest ahead an order may be asked for, in days.
    pub const DAYS_AHEAD_MAX: u64 = 7;
}

/// An order as somebody submits it, not yet checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Who orders.
    pub customer_id: String,
    /// From which restaurant.
    pub restaurant_id: String,
    /// What.
    pub items: Vec<DraftItem>,
    /// In which currency the prices are.
    pub currency: String,
    /// Where to.
    pub delivery_location: DeliveryLocation,
    /// When it should be there, in milliseconds since the Unix epoch; as soon as possible when absent.
    #[serde(default)]
    pub requested_for: Option<i64>,
    /// The payment provider's token for the customer's means of payment.
    pub payment_token: String,
    /// A word to the kitchen or the courier.
    #[serde(default)]
    pub notes: Option<String>,
}

/// One line of a draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftItem {
    /// The article.
    pub sku: String,
    /// Its name as the customer saw it.
    pub name: String,
    /// How many.
    pub quantity: i64,
    /// What one costs, in minor units of the order's currency.
    pub unit_price_minor: i64,
}

/// Where to deliver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryLocation {
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lng: f64,
    /// The address as people write it.
    #[serde(default)]
    pub address: String,
}

impl DeliveryLocation {
    /// The place on the map.
    pub const fn place(&self) -> Location {
        Location {
            lat: self.lat,
            lng: self.lng,
        }
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The article.
    pub sku: String,
    /// Its name as the customer saw it.
    pub name: String,
    /// How many; at least 1.
    pub quantity: u32,
    /// What one costs, in minor units.
    pub unit_price_minor: i64,
}

/// A valid order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Who ordered.
    pub customer_id: CustomerId,
    /// From which restaurant.
    pub restaurant_id: RestaurantId,
    /// What; at least one line.
    pub items: Vec<Item>,
    /// The sum of the lines.
    pub total: Money,
    /// Where to.
    pub delivery_location: DeliveryLocation,
    /// When it should be there; as soon as possible when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_for: Option<Timestamp>,
    /// The payment provider's token. Never shown.
    pub payment_token: String,
    /// A word to the kitchen or the courier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

struct Checker(Vec<FieldError>);

impl Checker {
    fn check(&mut self, fine: bool, pointer: &str, detail: impl FnOnce() -> String) {
        if !fine {
            self.0.push(FieldError::new(pointer, detail()));
        }
    }

    fn parse<T: std::str::FromStr<Err: ToString>>(&mut self, text: &str, pointer: &str) -> Option<T> {
        text.parse()
            .map_err(|e: T::Err| self.0.push(FieldError::new(pointer, e.to_string())))
            .ok()
    }

    fn text(&mut self, text: &str, pointer: &str, required: bool) {
        self.check(!required || !text.trim().is_empty(), pointer, || {
            "must not be empty".into()
        });
        self.check(text.len() <= limits::TEXT_BYTES_MAX, pointer, || {
            format!(
                "is {} bytes long; at most {} are allowed",
                text.len(),
                limits::TEXT_BYTES_MAX
            )
        });
        self.check(!text.contains('\0'), pointer, || {
            "must not contain the character NUL".into()
        });
    }
}

impl Draft {
    /// Checks everything that can be checked without knowing the restaurant.
    ///
    /// # Errors
    /// Everything that is wrong, each with its pointer.
    pub fn check(self, now: Timestamp) -> Result<Details, Vec<FieldError>> {
        let mut checker = Checker(Vec::new());
        let customer_id = checker.parse::<CustomerId>(&self.customer_id, "/customer_id");
        let restaurant_id = checker.parse::<RestaurantId>(&self.restaurant_id, "/restaurant_id");
        let currency = checker.parse::<Currency>(&self.currency, "/currency");
        checker.check(self.delivery_location.place().is_valid(), "/delivery_location", || {
            format!(
                "({}, {}) is off the map: lat must be from -90 to 90 and lng from -180 to 180",
                self.delivery_location.lat, self.delivery_location.lng
            )
        });
        checker.text(&self.delivery_location.address, "/delivery_location/address", false);
        checker.text(&self.payment_token, "/payment_token", true);
        checker.text(self.notes.as_deref().unwrap_or_default(), "/notes", false);
        let (items, total_minor) = check_items(&mut checker, self.items);
        let requested_for = self.requested_for.map(Timestamp);
        check_requested_for(&mut checker, requested_for, now);
        match (customer_id, restaurant_id, currency) {
            (Some(customer_id), Some(restaurant_id), Some(currency)) if checker.0.is_empty() => Ok(Details {
                customer_id,
                restaurant_id,
                items,
                total: Money {
                    minor: total_minor,
                    currency,
                },
                delivery_location: self.delivery_location,
                requested_for,
                payment_token: self.payment_token,
                notes: self.notes,
            }),
            _ => Err(checker.0),
        }
    }
}

fn check_requested_for(checker: &mut Checker, requested_for: Option<Timestamp>, now: Timestamp) {
    let Some(at) = requested_for else { return };
    checker.check(at >= now, "/requested_for", || {
        format!("is {} ms in the past", now.ms_since(at))
    });
    checker.check(
        at <= now + Millis::from_mins(limits::DAYS_AHEAD_MAX * 24 * 60),
        "/requested_for",
        || format!("is more than {} days ahead", limits::DAYS_AHEAD_MAX),
    );
}

fn check_items(checker: &mut Checker, drafts: Vec<DraftItem>) -> (Vec<Item>, i64) {
    checker.check(!drafts.is_empty(), "/items", || "must have at least one item".into());
    checker.check(drafts.len() <= limits::ITEMS_MAX, "/items", || {
        format!("has {} items; at most {} are allowed", drafts.len(), limits::ITEMS_MAX)
    });
    let mut total = Some(0_i64);
    let mut items = Vec::with_capacity(drafts.len().min(limits::ITEMS_MAX));
    for (n, item) in drafts.into_iter().take(limits::ITEMS_MAX).enumerate() {
        checker.text(&item.sku, &format!("/items/{n}/sku"), true);
        checker.text(&item.name, &format!("/items/{n}/name"), true);
        checker.check(
            (1..=limits::QUANTITY_MAX).contains(&item.quantity),
            &format!("/items/{n}/quantity"),
            || format!("is {}; it must be from 1 to {}", item.quantity, limits::QUANTITY_MAX),
        );
        checker.check(
            item.unit_price_minor >= 0,
            &format!("/items/{n}/unit_price_minor"),
            || format!("is {}; it must not be negative", item.unit_price_minor),
        );
        total = total
            .zip(item.unit_price_minor.checked_mul(item.quantity))
            .and_then(|(sum, line)| sum.checked_add(line));
        let quantity = u32::try_from(item.quantity).unwrap_or(0);
        items.push(Item {
            sku: item.sku,
            name: item.name,
            quantity,
            unit_price_minor: item.unit_price_minor,
        });
    }
    checker.check(total.is_some_and(|t| t <= limits::TOTAL_MINOR_MAX), "/items", || {
        format!("the total is more than {} minor units", limits::TOTAL_MINOR_MAX)
    });
    (items, total.unwrap_or(0))
}
