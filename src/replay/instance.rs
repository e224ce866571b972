//! Instances of the Meal Delivery Routing Problem (Reyes, Erera, Savelsbergh, Sahasrabudhe, O'Neil 2018): a day of
//! orders, restaurants and couriers in four tab-separated files, in whole metres and minutes.

use super::table::{Column, InstanceError, Row, Table};
use domain::ids::RestaurantId;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Longest id of an order, a restaurant or a courier, in bytes: what a name of the platform leaves behind a run's prefix.
const ID_BYTES_MAX: usize = 32;

/// Latest minute of a day: instances may run past midnight, but not for a week.
const MINUTE_MAX: u32 = 7 * 24 * 60;

const ORDERS: &str = "orders.txt";
const RESTAURANTS: &str = "restaurants.txt";
const COURIERS: &str = "couriers.txt";
const PARAMETERS: &str = "instance_parameters.txt";

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
    /// How long an order should take from the click to the door.
    pub click_to_door_target_min: u32,
}

impl Instance {
    /// Reads the four files of a directory.
    ///
    /// # Errors
    /// [`InstanceError`], with file, line and column where there is one.
    pub fn read(directory: &Path) -> Result<Self, InstanceError> {
        let read = |file: &str| {
            let path = directory.join(file);
            std::fs::read_to_string(&path).map_err(|source| InstanceError::Read { path, source })
        };
        Self::parse(
            &read(ORDERS)?,
            &read(RESTAURANTS)?,
            &read(COURIERS)?,
            &read(PARAMETERS)?,
        )
    }

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
    let (speed, target) = (
        table.column("meters_per_minute")?,
        table.column("target click-to-door")?,
    );
    let mut parameters = None;
    for row in table.rows() {
        let metres_per_min = row.number(speed)?;
        if metres_per_min == 0 {
            return Err(row.wrong(speed, "must be at least 1".to_owned()));
        }
        if parameters.is_some() {
            return Err(row.wrong(speed, "there is a line of parameters already".to_owned()));
        }
        let click_to_door_target_min = row.number(target)?;
        parameters = Some(Parameters {
            metres_per_min,
            click_to_door_target_min,
        });
    }
    parameters.ok_or(InstanceError::Empty { file: PARAMETERS })
}
