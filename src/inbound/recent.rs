//! What couriers said of themselves lately, so that the same event does not count twice while this process lives.
//!
//! It is not durable, and need not be: after a crash all events since the last commit come again from where they stood, and
//! the zone passes over those about `online` and `offline` by their places. What is kept here is for an event that its
//! producer sends once more, at another place: within a process, it must not undo a later one. A `position` that comes
//! again is where the courier was a moment ago, until the next one.

use dashmap::DashMap;
use std::collections::VecDeque;

/// How many ids are kept for each courier: more than it can say between two commits.
const IDS_MAX: usize = 64;

/// The ids of each courier's last events. Only couriers that are known are noted, so they bound it.
#[derive(Default)]
pub(super) struct Recent(DashMap<String, VecDeque<String>>);

impl Recent {
    /// Whether the event was noted before.
    pub(super) fn knows(&self, courier: &str, id: &str) -> bool {
        let ids = self.0.get(courier);
        ids.is_some_and(|ids| ids.iter().any(|known| known == id))
    }

    /// Notes that an event was taken.
    pub(super) fn note(&self, courier: &str, id: String) {
        let mut ids = self.0.entry(courier.to_owned()).or_default();
        if ids.len() == IDS_MAX {
            ids.pop_front();
        }
        ids.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ids_of_each_courier_are_known() {
        let recent = Recent::default();
        assert!(!recent.knows("c", "0"));
        for id in 0..=IDS_MAX {
            recent.note("c", id.to_string());
        }
        assert!(!recent.knows("c", "0") && recent.knows("c", "1") && recent.knows("c", "64"));
        assert!(!recent.knows("d", "1"), "somebody else's");
    }
}
