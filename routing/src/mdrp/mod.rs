//! The files of the Meal Delivery Routing Problem library (Reyes, Erera, Savelsbergh, Sahasrabudhe, O'Neil 2018):
//! instances, which are read, and solutions, which its evaluator reads. Texts only; the files are the caller's.

mod day;
mod files;
mod instance;
mod table;
#[cfg(test)]
mod tests;

pub use files::{SOLUTION_FILES, solution_texts};
pub use instance::{COURIERS, Courier, Instance, ORDERS, Order, PARAMETERS, Parameters, RESTAURANTS, Restaurant};
pub use table::InstanceError;
