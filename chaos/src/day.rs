//! A small day of orders: generated from a seed, in the files of the Meal Delivery Routing Problem; and what the runner
//! needs to know of any day.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// The file that says what is ordered.
const ORDERS: &str = "orders.txt";
const RESTAURANTS: u32 = 5;
/// How large the city is, in metres each way.
const CITY_M: u32 = 2_500;
/// When the day begins, and how long orders come, in minutes.
const FIRST_MINUTE: u32 = 600;
const ORDERING_MINUTES: u32 = 75;
/// How long restaurants cook, in minutes.
const COOKING_MINUTES: std::ops::RangeInclusive<u32> = 5..=20;

/// Writes a day of so many orders into a directory: from five restaurants within an hour and a quarter, with a courier
/// for every three orders. The same seed gives the same day.
///
/// # Errors
/// A file cannot be written.
pub fn generate(directory: &Path, seed: u64, orders: u32) -> io::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut place = move || (random.random_range(0..CITY_M), random.random_range(0..CITY_M));
    let mut random = StdRng::seed_from_u64(seed.wrapping_add(1));
    let mut restaurants = "restaurant\tx\ty\n".to_owned();
    for n in 1..=RESTAURANTS {
        let (x, y) = place();
        let _ = writeln!(restaurants, "r{n}\t{x}\t{y}");
    }
    let mut minutes: Vec<u32> = (0..orders)
        .map(|_| FIRST_MINUTE + random.random_range(0..ORDERING_MINUTES))
        .collect();
    minutes.sort_unstable();
    let mut lines = "order\tx\ty\tplacement_time\trestaurant\tready_time\n".to_owned();
    for (n, placed) in (1..).zip(minutes) {
        let ((x, y), restaurant) = (place(), random.random_range(1..=RESTAURANTS));
        let ready = placed + random.random_range(COOKING_MINUTES);
        let _ = writeln!(lines, "o{n}\t{x}\t{y}\t{placed}\tr{restaurant}\t{ready}");
    }
    let mut couriers = "courier\tx\ty\ton_time\toff_time\n".to_owned();
    for n in 1..=orders.div_ceil(3) {
        let (x, y) = place();
        let off = FIRST_MINUTE + ORDERING_MINUTES + 24 * 60;
        let _ = writeln!(couriers, "c{n}\t{x}\t{y}\t{FIRST_MINUTE}\t{off}");
    }
    let parameters = "meters_per_minute\tpickup service minutes\tdropoff service minutes\ttarget click-to-door\t\
                      maximum click-to-door\tpay per order\tguaranteed pay per hour\n320\t4\t4\t40\t90\t10\t15\n";
    std::fs::create_dir_all(directory)?;
    let write = |file: &str, text: &str| std::fs::write(directory.join(file), text);
    write(ORDERS, &lines)?;
    write("restaurants.txt", &restaurants)?;
    write("couriers.txt", &couriers)?;
    write("instance_parameters.txt", parameters)
}

/// The minutes at which the orders of a day are placed: of its first `limit`, in the file's order, sorted.
///
/// # Errors
/// The file of orders cannot be read, or has no such column of whole numbers.
pub fn placement_minutes(directory: &Path, limit: Option<usize>) -> io::Result<Vec<u32>> {
    let path = directory.join(ORDERS);
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split('\t').position(|name| name.trim() == "placement_time");
    let column = column.ok_or_else(|| wrong("no column placement_time".to_owned()))?;
    let minute = |line: &str| {
        let field = line.split('\t').nth(column).unwrap_or_default().trim();
        field
            .parse::<u32>()
            .map_err(|_| wrong(format!("'{field}' is not a minute")))
    };
    let lines = lines.filter(|line| !line.trim().is_empty()).map(minute);
    let mut minutes = lines.collect::<io::Result<Vec<u32>>>()?;
    minutes.sort_unstable();
    // The replay plays the earliest.
    minutes.truncate(limit.unwrap_or(usize::MAX));
    Ok(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_day_and_another_seed_another() {
        let day = |seed| {
            let directory = tempfile::tempdir().expect("a directory");
            generate(directory.path(), seed, 40).expect("written");
            let minutes = placement_minutes(directory.path(), None).expect("readable");
            (
                std::fs::read_to_string(directory.path().join(ORDERS)).expect("a file"),
                minutes,
            )
        };
        let (text, minutes) = day(1);
        assert_eq!(minutes.len(), 40);
        assert!(minutes.is_sorted() && minutes[0] >= FIRST_MINUTE && minutes[39] < FIRST_MINUTE + ORDERING_MINUTES);
        assert_eq!(text, day(1).0);
        assert_ne!(text, day(2).0);
    }

    #[test]
    fn only_the_first_orders_count_and_a_wrong_file_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = placement_minutes(directory.path(), None)
            .expect_err("nothing there")
            .to_string();
        assert!(error.contains(ORDERS), "{error}");
        let write = |text: &str| std::fs::write(directory.path().join(ORDERS), text).expect("written");
        write("order\tplacement_time\na\t9\nb\t3\n\nc\t5\n");
        assert_eq!(placement_minutes(directory.path(), Some(2)).expect("readable"), [3, 5]);
        write("order\tplacement_time\na\tnoon\n");
        let error = placement_minutes(directory.path(), None)
            .expect_err("no minute")
            .to_string();
        assert!(error.contains("noon"), "{error}");
        write("order\n");
        assert!(placement_minutes(directory.path(), None).is_err());
    }
}
