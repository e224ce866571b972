//! A small day of orders, generated: what replays run on where the real data is not.

use std::fmt::Write;
use std::path::Path;

/// The four files of an instance.
pub(crate) struct DayFiles {
    /// `orders.txt`.
    pub(crate) orders: String,
    /// `restaurants.txt`.
    pub(crate) restaurants: String,
    /// `couriers.txt`.
    pub(crate) couriers: String,
    /// `instance_parameters.txt`.
    pub(crate) parameters: String,
}

/// A day of so many orders from five restaurants, carried by a courier for every four orders: placed over two hours,
/// cooked in 5 to 20 minutes, all within 3 km. The same number gives the same day.
pub(crate) fn small_day(orders: u32) -> DayFiles {
    let mut restaurants = "restaurant\tx\ty\n".to_owned();
    for n in 1..=5 {
        let _ = writeln!(restaurants, "r{n}\t{}\t{}", 400 * n, 300 * (n * 7 % 5));
    }
    let mut lines = "order\tx\ty\tplacement_time\trestaurant\tready_time\n".to_owned();
    for n in 1..=orders {
        let placed = 600 + n * 7919 % 120;
        let (x, y) = (n * 611 % 2_000, n * 397 % 1_500);
        let _ = writeln!(
            lines,
            "o{n}\t{x}\t{y}\t{placed}\tr{}\t{}",
            n % 5 + 1,
            placed + 5 + n * 31 % 16
        );
    }
    let mut couriers = "courier\tx\ty\ton_time\toff_time\n".to_owned();
    for n in 1..=orders.div_ceil(4) {
        let _ = writeln!(couriers, "c{n}\t{}\t{}\t540\t1080", n * 733 % 2_000, n * 271 % 1_500);
    }
    let parameters = "meters_per_minute\tpickup service minutes\tdropoff service minutes\ttarget click-to-door\t\
                      maximum click-to-door\tpay per order\tguaranteed pay per hour\n320\t4\t4\t40\t90\t10\t15\n";
    DayFiles {
        orders: lines,
        restaurants,
        couriers,
        parameters: parameters.to_owned(),
    }
}

impl DayFiles {
    /// Writes the files into a directory.
    pub(crate) fn write(&self, directory: &Path) {
        for (name, text) in [
            ("orders.txt", &self.orders),
            ("restaurants.txt", &self.restaurants),
            ("couriers.txt", &self.couriers),
            ("instance_parameters.txt", &self.parameters),
        ] {
            std::fs::write(directory.join(name), text).expect("a file of the day is written");
        }
    }
}
