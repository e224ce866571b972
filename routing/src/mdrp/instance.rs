//! Instances of the Meal Delivery Routing Problem (Reyes, Erera, Savelsbergh, Sahasrabudhe, O'Neil 2018): a day of
//! orders, restaurants and couriers in four tab-separated files, in whole metres and minutes.

use super::table::{Column, InstanceError, Row, Table};
use domain::ids::RestaurantId;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// Longest id of an order, a restaurant or a courier, in bytes: what a name of the platform leaves behind a run's prefix.
const ID_BYTES_MAX: usize = 32;

/// Latest minute of a day: instances may run past midnight, but not for a week.
const MINUTE_MAX: u32 = 7 * 24 * 60;

/// The file of orders.
pub const ORDERS: &str = "orders.txt";
/// The file of restaurants.
pub const RESTAURANTS: &str = "restaurants.txt";
/// The file of couriers.
pub const COURIERS: &str = "couriers.txt";
/// The file of rules.
pub const PARAMETERS: &str = "instance_parameters.txt";

/// A day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its orders, as the file has them.
    pub orders: Vec<Order>,
    /// Its restaurants.
    pub restaurants: Vec<Restaurant>,
    /// Its couriers.
    pub couriers: Vec<Courier>,
    /// Its rules.
    pub parameters: Parameters,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its id in the instance.
    pub id: String,
    /// Where to: metres east of the origin.
    pub x: i32,
    /// Where to: metres north of the origin.
    pub y: i32,
    /// When it is placed.
    pub placed_minute: u32,
    /// When its food is ready; not before it is placed.
    pub ready_minute: u32,
    /// From which restaurant of the instance.
    pub restaurant: String,
}

impl Order {
    /// How long it takes to cook.
    pub const fn prep_minutes(&self) -> u32 {
        self.ready_minute.saturating_sub(self.placed_minute)
    }
}

/// A restaurant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restaurant {
    /// Its id in the instance.
    pub id: String,
    /// Metres east of the origin.
    pub x: i32,
    /// Metres north of the origin.
    pub y: i32,
}

/// A courier and its shift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Courier {
    /// Its id in the instance.
    pub id: String,
    /// Where its shift begins: metres east of the origin.
    pub x: i32,
    /// Where its shift begins: metres north of the origin.
    pub y: i32,
    /// When its shift begins.
    pub on_minute: u32,
    /// When its shift ends; later than it begins.
    pub off_minute: u32,
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// How fast couriers are.
    pub metres_per_min: u32,
    /// How long picking up takes: half of it before the food is in the bag, half after. Even.
    pub pickup_service_min: u32,
    /// How long dropping off takes: half of it before the food is handed over, half after. Even.
    pub dropoff_service_min: u32,
    /// How long an order should take from the click to the door.
    pub click_to_door_target_min: u32,
    /// How long it may take at most; not less than it should.
    pub click_to_door_limit_min: u32,
    /// What a courier earns with an order, in minor units.
    pub pay_per_order_minor: u32,
    /// What a courier earns in an hour of its shift at least, in minor units.
    pub pay_per_hour_minor: u32,
}

impl Instance {
    /// Reads the texts of the four files.
    ///
    /// # Errors
    /// [`InstanceError`], with file, line and column where there is one.
    pub fn parse(orders: &str, restaurants: &str, couriers: &str, parameters: &str) -> Result<Self, InstanceError> {
        let restaurants = parse_restaurants(&Table::parse(RESTAURANTS, restaurants)?)?;
        Ok(Self {
            orders: parse_orders(&Table::parse(ORDERS, orders)?, &restaurants)?,
            restaurants,
            couriers: parse_couriers(&Table::parse(COURIERS, couriers)?)?,
            parameters: parse_parameters(&Table::parse(PARAMETERS, parameters)?)?,
        })
    }

    /// Reads what is known of a day ahead: its restaurants and rules. It has no orders and no couriers yet.
    ///
    /// # Errors
    /// [`InstanceError`], with file, line and column where there is one.
    pub fn parse_ahead(restaurants: &str, parameters: &str) -> Result<Self, InstanceError> {
        Ok(Self {
            orders: Vec::new(),
            restaurants: parse_restaurants(&Table::parse(RESTAURANTS, restaurants)?)?,
            couriers: Vec::new(),
            parameters: parse_parameters(&Table::parse(PARAMETERS, parameters)?)?,
        })
    }

    /// The text of a file of couriers.
    pub fn couriers_text(couriers: &[Courier]) -> String {
        let mut text = "courier\tx\ty\ton_time\toff_time\n".to_owned();
        for Courier {
            id,
            x,
            y,
            on_minute,
            off_minute,
        } in couriers
        {
            let _ = writeln!(text, "{id}\t{x}\t{y}\t{on_minute}\t{off_minute}");
        }
        text
    }

    /// The minute of the last thing the files tell of an order.
    pub fn last_minute(&self) -> u32 {
        self.orders.iter().map(|order| order.ready_minute).max().unwrap_or(0)
    }
}

/// The ids of a file: each a name of the platform, and there once.
#[derive(Default)]
struct Ids<'a>(HashMap<&'a str, usize>);

impl<'a> Ids<'a> {
    fn take(&mut self, row: &Row<'a>, column: Column) -> Result<String, InstanceError> {
        let id = row.text(column);
        if id.parse::<RestaurantId>().is_err() || id.len() > ID_BYTES_MAX {
            let allowed = format!("1 to {ID_BYTES_MAX} characters of a-z, A-Z, 0-9, '-', '_', '.' and ':'");
            return Err(row.wrong(column, format!("'{id}' is not an id: it must be {allowed}")));
        }
        if let Some(line) = self.0.insert(id, row.line) {
            return Err(row.wrong(column, format!("'{id}' is in line {line} already")));
        }
        Ok(id.to_owned())
    }
}

fn minute(row: &Row<'_>, column: Column) -> Result<u32, InstanceError> {
    let minute = row.number::<u32>(column)?;
    if minute > MINUTE_MAX {
        return Err(row.wrong(column, format!("minute {minute} is more than a week ahead")));
    }
    Ok(minute)
}

fn parse_orders(table: &Table<'_>, restaurants: &[Restaurant]) -> Result<Vec<Order>, InstanceError> {
    let (id, x, y) = (table.column("order")?, table.column("x")?, table.column("y")?);
    let (placed, ready) = (table.column("placement_time")?, table.column("ready_time")?);
    let restaurant = table.column("restaurant")?;
    let known: HashSet<&str> = restaurants.iter().map(|restaurant| restaurant.id.as_str()).collect();
    let mut ids = Ids::default();
    let mut orders = Vec::new();
    for row in table.rows() {
        let order = Order {
            id: ids.take(&row, id)?,
            x: row.number(x)?,
            y: row.number(y)?,
            placed_minute: minute(&row, placed)?,
            ready_minute: minute(&row, ready)?,
            restaurant: row.text(restaurant).to_owned(),
        };
        if !known.contains(order.restaurant.as_str()) {
            return Err(row.wrong(restaurant, format!("'{}' is not in {RESTAURANTS}", order.restaurant)));
        }
        if order.ready_minute < order.placed_minute {
            let problem = format!(
                "{} is before the placement at {}",
                order.ready_minute, order.placed_minute
            );
            return Err(row.wrong(ready, problem));
        }
        orders.push(order);
    }
    Ok(orders)
}

fn parse_restaurants(table: &Table<'_>) -> Result<Vec<Restaurant>, InstanceError> {
    let (id, x, y) = (table.column("restaurant")?, table.column("x")?, table.column("y")?);
    let mut ids = Ids::default();
    let mut restaurants = Vec::new();
    for row in table.rows() {
        restaurants.push(Restaurant {
            id: ids.take(&row, id)?,
            x: row.number(x)?,
            y: row.number(y)?,
        });
    }
    Ok(restaurants)
}

fn parse_couriers(table: &Table<'_>) -> Result<Vec<Courier>, InstanceError> {
    let (id, x, y) = (table.column("courier")?, table.column("x")?, table.column("y")?);
    let (on, off) = (table.column("on_time")?, table.column("off_time")?);
    let mut ids = Ids::default();
    let mut couriers = Vec::new();
    for row in table.rows() {
        let courier = Courier {
            id: ids.take(&row, id)?,
            x: row.number(x)?,
            y: row.number(y)?,
            on_minute: minute(&row, on)?,
            off_minute: minute(&row, off)?,
        };
        if courier.off_minute <= courier.on_minute {
            let problem = format!(
                "{} is not after the shift's begin at {}",
                courier.off_minute, courier.on_minute
            );
            return Err(row.wrong(off, problem));
        }
        couriers.push(courier);
    }
    Ok(couriers)
}

fn parse_parameters(table: &Table<'_>) -> Result<Parameters, InstanceError> {
    let speed = table.column("meters_per_minute")?;
    let (target, limit) = (
        table.column("target click-to-door")?,
        table.column("maximum click-to-door")?,
    );
    let (pickup, dropoff) = (
        table.column("pickup service minutes")?,
        table.column("dropoff service minutes")?,
    );
    let (per_order, per_hour) = (table.column("pay per order")?, table.column("guaranteed pay per hour")?);
    let mut parameters = None;
    for row in table.rows() {
        if parameters.is_some() {
            return Err(row.wrong(speed, "there is a line of parameters already".to_owned()));
        }
        let read = Parameters {
            metres_per_min: row.number(speed)?,
            pickup_service_min: service(&row, pickup)?,
            dropoff_service_min: service(&row, dropoff)?,
            click_to_door_target_min: minute(&row, target)?,
            click_to_door_limit_min: minute(&row, limit)?,
            pay_per_order_minor: pay(&row, per_order)?,
            pay_per_hour_minor: pay(&row, per_hour)?,
        };
        if read.metres_per_min == 0 {
            return Err(row.wrong(speed, "must be at least 1".to_owned()));
        }
        if read.click_to_door_limit_min < read.click_to_door_target_min {
            let problem = format!(
                "{} is less than the target of {}",
                read.click_to_door_limit_min, read.click_to_door_target_min
            );
            return Err(row.wrong(limit, problem));
        }
        parameters = Some(read);
    }
    parameters.ok_or(InstanceError::Empty { file: PARAMETERS })
}

/// Service minutes. Solutions are in whole minutes, and half of a service lies on either side of the hand-over.
fn service(row: &Row<'_>, column: Column) -> Result<u32, InstanceError> {
    let minutes = minute(row, column)?;
    if !minutes.is_multiple_of(2) {
        let problem =
            format!("{minutes} is odd: half of it comes before the hand-over and half after, in whole minutes");
        return Err(row.wrong(column, problem));
    }
    Ok(minutes)
}

/// An amount with up to two decimal places, in minor units.
fn pay(row: &Row<'_>, column: Column) -> Result<u32, InstanceError> {
    let text = row.text(column);
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let fine = !whole.is_empty() && digits(whole) && digits(decimals) && decimals.len() <= 2;
    let minor = fine.then(|| format!("{whole}{decimals:0<2}").parse().ok()).flatten();
    let problem = || format!("'{text}' is not an amount: it must be digits, with up to two decimal places");
    minor.ok_or_else(|| row.wrong(column, problem()))
}
