//! What is looked up once for orders that come together: their articles on each menu, and how long each channel cooks.

use super::offer::likely_prep_ms;
use crate::menu::{Obstacle, article};
use domain::channel::Channel;
use domain::entity::Context;
use domain::order::{Details, Item};
use domain::time::{Millis, Timestamp};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// How long an article takes by the menu, if that says anything, or why it is not sold.
type Found = Result<Option<Millis>, Obstacle>;

/// How long cooking takes that by the menu takes so long and begins at that moment.
type Likely = (Millis, Timestamp, Millis);

/// What is known already. Without orders nothing is kept: a single one asks everything once anyway.
pub(super) struct Memo<'a> {
    /// The number of each article at its price.
    kinds: HashMap<(&'a str, i64), usize>,
    /// By channel and kind.
    found: RefCell<Vec<Option<Found>>>,
    /// By channel.
    likely: Vec<Cell<Option<Likely>>>,
}

impl<'a> Memo<'a> {
    /// For so many channels and these orders.
    pub(super) fn new(channels: usize, orders: &[&'a Details]) -> Self {
        let mut kinds = HashMap::new();
        for item in orders.iter().flat_map(|details| &details.items) {
            let next = kinds.len();
            kinds.entry(kind(item)).or_insert(next);
        }
        Self {
            found: RefCell::new(vec![None; channels * kinds.len()]),
            likely: vec![Cell::new(None); if orders.is_empty() { 0 } else { channels }],
            kinds,
        }
    }

    /// With what is known of an order's articles.
    pub(super) fn of(&self, details: &Details) -> Look<'_> {
        let known = details.items.iter().map(|item| self.kinds.get(&kind(item)).copied());
        Look {
            memo: self,
            kinds: known.collect(),
        }
    }

    /// How long the channel with number `n` takes for what takes so long by its menu, from a moment on.
    pub(super) fn likely_prep_ms(
        &self,
        n: usize,
        channel: &Channel,
        expected_ms: Millis,
        begins_at: Timestamp,
        context: &Context<'_>,
    ) -> Millis {
        let look = || likely_prep_ms(channel, expected_ms, begins_at, context);
        let Some(last) = self.likely.get(n) else {
            return look();
        };
        match last.get() {
            Some((expected, begins, likely)) if (expected, begins) == (expected_ms, begins_at) => likely,
            _ => {
                let likely = look();
                last.set(Some((expected_ms, begins_at, likely)));
                likely
            }
        }
    }
}

/// What is known already, for one order.
pub(super) struct Look<'a> {
    pub(super) memo: &'a Memo<'a>,
    /// Of the order's items, as far as they are known.
    kinds: Vec<Option<usize>>,
}

impl Look<'_> {
    /// What the channel with number `n` has of the order's items, one after the other.
    pub(super) fn articles<'b>(
        &'b self,
        n: usize,
        channel: &'b Channel,
        details: &'b Details,
    ) -> impl Iterator<Item = (&'b Item, Found)> {
        let prep_ms = |item| article(channel, item).map(|article| article.and_then(|article| article.prep_ms));
        let items = details.items.iter().zip(&self.kinds);
        items.map(move |(item, kind)| {
            let Some(kind) = kind else { return (item, prep_ms(item)) };
            let mut found = self.memo.found.borrow_mut();
            match found.get_mut(n * self.memo.kinds.len() + kind) {
                Some(found) => (item, *found.get_or_insert_with(|| prep_ms(item))),
                None => (item, prep_ms(item)),
            }
        })
    }
}

fn kind(item: &Item) -> (&str, i64) {
    (&item.sku, item.unit_price_minor)
}
