//! What others published about the library's instances: Reyes, Erera, Savelsbergh, Sahasrabudhe, O'Neil, "The Meal Delivery
//! Routing Problem" (2018): means over all 240 instances, and its table 4.

use super::report::Figures;
use routing::dispatch::Knowledge;

/// How many instances table 4 is about.
pub(super) const TABLE_4_INSTANCES: usize = 16;
/// The rolling horizon's mean click-to-door in table 4, in minutes.
pub(super) const TABLE_4_CLICK_TO_DOOR_MIN: f64 = 31.88;
/// The same for couriers who know the whole day beforehand: nobody can be quicker.
pub(super) const TABLE_4_CLAIRVOYANT_MIN: f64 = 30.67;

/// Whether an instance is among those of table 4.
pub(super) fn in_table_4(name: &str) -> bool {
    is_of_library(name) && (name.starts_with("0o50") || name.starts_with("0r50"))
}

/// Whether a name is that of an instance of the library, such as `0o100t75s2p125`.
pub(super) fn is_of_library(name: &str) -> bool {
    let digits = name.split(|letter: char| letter.is_ascii_alphabetic());
    let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect();
    let fine = digits
        .clone()
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    fine && matches!(letters.as_str(), "otsp" | "rtsp")
}

/// The means over all 240 instances, by what is known of preparation times.
pub(super) fn means(knowledge: Knowledge) -> Figures {
    let [click_to_door, undelivered_pct, overdue, ready_to_pickup, cost_per_order] = match knowledge {
        Knowledge::Exact => [32.74, 0.25, 2.77, 1.93, 11.42],
        Knowledge::Estimated => [34.03, 0.62, 3.40, 2.90, 11.32],
    };
    Figures {
        click_to_door: Some(click_to_door),
        undelivered_pct: Some(undelivered_pct),
        overdue: Some(overdue),
        ready_to_pickup: Some(ready_to_pickup),
        cost_per_order: Some(cost_per_order),
        orders_per_bundle: None,
    }
}
