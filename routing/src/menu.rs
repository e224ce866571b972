//! What an order asks for against what the channels of its restaurant sell.

use domain::channel::{Channel, MenuItem};
use domain::order::{Details, Item};
use domain::rejection::FieldError;
use std::sync::Arc;

/// What stops a channel from selling an item, from the gravest to the slightest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Obstacle {
    /// It is not on the menu.
    Unknown,
    /// It is on the menu at another price.
    Price(i64),
    /// It is sold out.
    SoldOut,
}

/// The article that this channel sells for this item, or what stops it. A channel without a menu sells everything, as no
/// article.
pub(crate) fn article<'a>(channel: &'a Channel, item: &Item) -> Result<Option<&'a MenuItem>, Obstacle> {
    if channel.sold_out.contains(&item.sku) {
        return Err(Obstacle::SoldOut);
    }
    if channel.menu.is_empty() {
        return Ok(None);
    }
    match channel.article(&item.sku) {
        None => Err(Obstacle::Unknown),
        Some(article) if article.price_minor != item.unit_price_minor => Err(Obstacle::Price(article.price_minor)),
        found => Ok(found),
    }
}

/// What no channel that serves the restaurant can sell: an unknown restaurant, another currency, and, item by item, what
/// is unknown, priced differently or sold out everywhere. Empty: the order may be placed.
pub fn check_menu(details: &Details, channels: &[Arc<Channel>]) -> Vec<FieldError> {
    let serving: Vec<&Arc<Channel>> = channels
        .iter()
        .filter(|channel| channel.config.serves.contains(&details.restaurant_id))
        .collect();
    if serving.is_empty() {
        let detail = format!("no channel serves restaurant '{}'", details.restaurant_id);
        return vec![FieldError::new("/restaurant_id", detail)];
    }
    let currency = details.total.currency;
    if serving.iter().all(|channel| channel.config.currency != currency) {
        let theirs = serving[0].config.currency;
        let detail = format!(
            "restaurant '{}' sells in {theirs}, not in {currency}",
            details.restaurant_id
        );
        return vec![FieldError::new("/currency", detail)];
    }
    // A channel that trades in something else cannot make the order, whatever it sells.
    let serving: Vec<_> = serving
        .into_iter()
        .filter(|channel| channel.config.currency == currency)
        .collect();
    let wrong = |(n, item): (usize, &Item)| {
        let obstacles: Option<Vec<Obstacle>> = serving.iter().map(|channel| article(channel, item).err()).collect();
        Some(match obstacles?.into_iter().max()? {
            Obstacle::Unknown => FieldError::new(
                format!("/items/{n}/sku"),
                format!("'{}' is on no menu of the restaurant", item.sku),
            ),
            Obstacle::Price(price) => FieldError::new(
                format!("/items/{n}/unit_price_minor"),
                format!("'{}' costs {price}, not {}", item.sku, item.unit_price_minor),
            ),
            Obstacle::SoldOut => FieldError::new(format!("/items/{n}/sku"), format!("'{}' is sold out", item.sku)),
        })
    };
    details.items.iter().enumerate().filter_map(wrong).collect()
}
