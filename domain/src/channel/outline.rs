//! What nodes that do not own a channel keep of it: everything that orders are routed by. Of its capacity they know how much
//! is taken of which slot, and not by whom, so what they are told costs the same however many orders there were.

use super::{Availability, Channel, ChannelConfig, Demand, Learned, Ledger, MenuItem};
use crate::ids::ChannelId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is new of a channel since another state of it. What seldom changes is left out when it has not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    /// Which channel.
    pub id: ChannelId,
    /// Whether it takes orders.
    pub availability: Availability,
    /// Units taken, by slot; slots that nobody uses are left out.
    pub used: Vec<(Timestamp, u32)>,
    /// What its operator set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Arc<ChannelConfig>>,
    /// Its articles and prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub menu: Option<Arc<[MenuItem]>>,
    /// What it has run out of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sold_out: Option<Arc<BTreeSet<String>>>,
    /// What it has shown of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Arc<Learned>>,
    /// What was asked of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demand: Option<Arc<Demand>>,
}

/// The second, unless it is the very same as the first. Two that are equal by chance count as different: that costs bytes.
fn news<T: ?Sized>(known: Option<&Arc<T>>, now: &Arc<T>) -> Option<Arc<T>> {
    let is_known = known.is_some_and(|known| Arc::ptr_eq(known, now));
    (!is_known).then(|| Arc::clone(now))
}

impl Outline {
    /// What leads from a state of a channel to a later one; from nothing, everything.
    pub fn between(known: Option<&Channel>, now: &Channel) -> Self {
        Self {
            id: now.id.clone(),
            availability: now.availability,
            used: now.ledger.slots().collect(),
            config: news(known.map(|known| &known.config), &now.config),
            menu: news(known.map(|known| &known.menu), &now.menu),
            sold_out: news(known.map(|known| &known.sold_out), &now.sold_out),
            learned: news(known.map(|known| &known.learned), &now.learned),
            demand: news(known.map(|known| &known.demand), &now.demand),
        }
    }

    /// The channel as it is with this news; `None` if something is neither known nor told. What is known may be of any state
    /// from the one on that the outline leads from. Idempotent.
    pub fn onto(self, known: Option<&Channel>) -> Option<Channel> {
        Some(Channel {
            id: self.id,
            availability: self.availability,
            ledger: Ledger::outline(self.used),
            config: self.config.or_else(|| Some(Arc::clone(&known?.config)))?,
            menu: self.menu.or_else(|| Some(Arc::clone(&known?.menu)))?,
            sold_out: self.sold_out.or_else(|| Some(Arc::clone(&known?.sold_out)))?,
            learned: self.learned.or_else(|| Some(Arc::clone(&known?.learned)))?,
            demand: self.demand.or_else(|| Some(Arc::clone(&known?.demand)))?,
        })
    }
}

impl Channel {
    /// Whether those who route by an earlier state should know of this one soon: an operator has changed something, or a slot
    /// has less than so many of a hundred units left.
    pub fn matters_soon(&self, before: &Self, scarce_pct: u8) -> bool {
        let is_set_anew = self.availability != before.availability
            || !Arc::ptr_eq(&self.config, &before.config)
            || !Arc::ptr_eq(&self.menu, &before.menu)
            || !Arc::ptr_eq(&self.sold_out, &before.sold_out);
        let is_scarce = |(_, taken)| self.leaves_little(u64::from(taken), scarce_pct);
        is_set_anew || self.ledger.slots().any(is_scarce)
    }

    /// This state, with what another one has shown of itself and was asked for: both are long, and change with every order.
    #[must_use]
    pub fn with_history_of(&self, other: &Self) -> Self {
        Self {
            learned: Arc::clone(&other.learned),
            demand: Arc::clone(&other.demand),
            ..self.clone()
        }
    }
}
