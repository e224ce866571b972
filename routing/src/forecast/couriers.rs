//! Where couriers begin.

use super::demand::Forecast;
use super::past::SLOT_MIN;
use super::shifts::Span;
use crate::mdrp::{Courier, Restaurant};
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;

/// Couriers for shifts, in their sequence, named `c1`, `c2` and so on. Each begins at a restaurant, drawn by what is expected
/// of it during the shift; a seed draws the same again. Without restaurants there are none.
pub fn place_couriers(shifts: &[Span], restaurants: &[Restaurant], forecast: &Forecast, seed: u64) -> Vec<Courier> {
    let mut random = StdRng::seed_from_u64(seed);
    let minute = |slot: usize| u32::try_from(slot).unwrap_or(u32::MAX).saturating_mul(SLOT_MIN);
    let mut couriers = Vec::with_capacity(shifts.len());
    for (number, shift) in (1..).zip(shifts) {
        let during = |slots: &Vec<f64>| slots.iter().skip(shift.start).take(shift.slots).sum::<f64>();
        // Where nothing is expected, all are alike.
        let by_demand = WeightedIndex::new(forecast.restaurants.iter().map(during));
        let Ok(draw) = by_demand.or_else(|_| WeightedIndex::new(restaurants.iter().map(|_| 1.0))) else {
            return couriers;
        };
        let restaurant = &restaurants[draw.sample(&mut random)];
        couriers.push(Courier {
            id: format!("c{number}"),
            x: restaurant.x,
            y: restaurant.y,
            on_minute: minute(shift.start),
            off_minute: minute(shift.start + shift.slots),
        });
    }
    couriers
}
