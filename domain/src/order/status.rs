//! The states of an order that the outside sees, and which may follow which (SG-4).

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where an order is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// Accepted; the saga has not passed its pivot.
    Pending,
    /// A kitchen or partner makes it.
    Confirmed,
    /// It is being cooked.
    Preparing,
    /// It waits for its courier.
    ReadyForPickup,
    /// The courier has it.
    PickedUp,
    /// The courier is on the way to the customer.
    InTransit,
    /// The customer has it.
    Delivered,
    /// Cancelled, and everything done is undone.
    Cancelled,
    /// Failed for a reason the order carries, and everything done is undone.
    Failed,
}

impl OrderStatus {
    /// All states, in order.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Confirmed,
        Self::Preparing,
        Self::ReadyForPickup,
        Self::PickedUp,
        Self::InTransit,
        Self::Delivered,
        Self::Cancelled,
        Self::Failed,
    ];

    /// Whether no other state follows.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Delivered | Self::Cancelled | Self::Failed)
    }

    /// Whether the courier has, or had, the food.
    pub const fn is_picked_up(self) -> bool {
        matches!(self, Self::PickedUp | Self::InTransit | Self::Delivered)
    }

    /// Whether `next` may follow directly.
    pub const fn may_become(self, next: Self) -> bool {
        use OrderStatus::{
            Cancelled, Confirmed, Delivered, Failed, InTransit, Pending, PickedUp, Preparing, ReadyForPickup,
        };
        matches!(
            (self, next),
            (Pending | Preparing | ReadyForPickup, Confirmed)
                | (Confirmed, Preparing)
                | (Preparing, ReadyForPickup)
                | (ReadyForPickup, PickedUp)
                | (PickedUp, InTransit)
                | (InTransit, Delivered)
                | (Pending | Confirmed | Preparing | ReadyForPickup, Cancelled)
                | (
                    Pending | Confirmed | Preparing | ReadyForPickup | PickedUp | InTransit,
                    Failed
                )
        )
    }

    /// The name the outside sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::Preparing => "PREPARING",
            Self::ReadyForPickup => "READY_FOR_PICKUP",
            Self::PickedUp => "PICKED_UP",
            Self::InTransit => "IN_TRANSIT",
            Self::Delivered => "DELIVERED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an order failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureCode {
    /// No channel can make it, or each one that could refused.
    NoAvailableChannel,
    /// The payment provider says no.
    PaymentDeclined,
    /// The payment provider could not be asked.
    PaymentUnavailable,
    /// The kitchen dropped the ticket and no other took it.
    KitchenCancelled,
    /// No courier in time.
    NoCourier,
    /// The courier lost it on the way.
    DeliveryFailed,
}

impl FailureCode {
    /// The name the outside sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAvailableChannel => "NO_AVAILABLE_CHANNEL",
            Self::PaymentDeclined => "PAYMENT_DECLINED",
            Self::PaymentUnavailable => "PAYMENT_UNAVAILABLE",
            Self::KitchenCancelled => "KITCHEN_CANCELLED",
            Self::NoCourier => "NO_COURIER",
            Self::DeliveryFailed => "DELIVERY_FAILED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole transition table, as the specification draws it: rows are from, columns to, in the order of `ALL`.
    #[test]
    fn the_transition_table_is_exactly_this() {
        let table = [
            ".C.....XF", // PENDING
            "..P....XF", // CONFIRMED
            ".C.R...XF", // PREPARING (re-routed: CONFIRMED again)
            ".C..U..XF", // READY_FOR_PICKUP
            ".....T..F", // PICKED_UP
            "......D.F", // IN_TRANSIT
            ".........", // DELIVERED
            ".........", // CANCELLED
            ".........", // FAILED
        ];
        for (from, row) in OrderStatus::ALL.into_iter().zip(table) {
            for (to, mark) in OrderStatus::ALL.into_iter().zip(row.chars()) {
                assert_eq!(from.may_become(to), mark != '.', "{from} -> {to}");
            }
            assert_eq!(from.is_terminal(), row == ".........", "{from}");
        }
    }

    #[test]
    fn names_in_json_are_the_names_outside() {
        for status in OrderStatus::ALL {
            assert_eq!(serde_json::to_value(status).expect("serializes"), status.as_str());
        }
        assert_eq!(
            serde_json::to_value(FailureCode::NoCourier).expect("serializes"),
            "NO_COURIER"
        );
    }
}
