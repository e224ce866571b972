//! The order to submit: from flags, a file or standard input.

use crate::api::{DeliveryPlace, ItemBody, OrderBody};
use clap::Args;
use domain::geo::Location;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest order that is read, in bytes; the server takes less.
const ORDER_BYTES_MAX: u64 = 4 << 20;

/// Why there is no order to submit.
#[derive(Debug, thiserror::Error)]
pub(super) enum DraftError {
    #[error("cannot read the order from {from}")]
    Read {
        from: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the order needs --restaurant, --item and --to, or --file")]
    Incomplete,
    #[error("{from} holds no order: {problem}")]
    Json { from: String, problem: String },
}

/// The order, by its parts or in a file.
#[derive(Debug, Args)]
pub(super) struct DraftArgs {
    /// A file with the order as JSON; `-`: standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "restaurant", "items", "to", "address", "customer", "currency", "payment_token", "notes", "requested_for",
    ])]
    file: Option<PathBuf>,
    /// From which restaurant
    #[arg(long, value_name = "ID", required_unless_present = "file")]
    restaurant: Option<String>,
    /// What: article, quantity and price of one in minor units (cents), and a name if it is not the article's; repeatable
    #[arg(long = "item", id = "items", value_name = "SKU:QUANTITY:PRICE[:NAME]", required_unless_present = "file",
        value_parser = item)]
    items: Vec<ItemBody>,
    /// Where to
    #[arg(long, value_name = "LAT,LNG", required_unless_present = "file", value_parser = parse_place,
        allow_hyphen_values = true)]
    to: Option<Location>,
    /// The address there
    #[arg(long, value_name = "TEXT", default_value = "")]
    address: String,
    /// Who orders
    #[arg(long, value_name = "ID", default_value = "command-line")]
    customer: String,
    /// The currency of the prices
    #[arg(long, value_name = "CODE", default_value = "USD")]
    currency: String,
    /// The payment provider's token for the customer's means of payment
    #[arg(long, value_name = "TOKEN", default_value = "tok_visa")]
    payment_token: String,
    /// A word to the kitchen or the courier
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// When it should be there, in milliseconds since the Unix epoch; as soon as possible without it
    #[arg(long, value_name = "MS")]
    requested_for: Option<i64>,
}

impl DraftArgs {
    /// The order.
    ///
    /// # Errors
    /// The file cannot be read or holds something else.
    pub(super) fn read(self) -> Result<OrderBody, DraftError> {
        match (&self.file, self.to) {
            (Some(file), _) => read_file(file),
            (None, Some(to)) => Ok(self.into_order(to)),
            (None, None) => Err(DraftError::Incomplete),
        }
    }

    fn into_order(self, to: Location) -> OrderBody {
        OrderBody {
            customer_id: self.customer,
            restaurant_id: self.restaurant.unwrap_or_default(),
            items: self.items,
            currency: self.currency,
            delivery_location: DeliveryPlace {
                lat: to.lat,
                lng: to.lng,
                address: self.address,
            },
            requested_for: self.requested_for,
            payment_token: self.payment_token,
            notes: self.notes,
        }
    }
}

fn read_file(file: &Path) -> Result<OrderBody, DraftError> {
    let mut text = String::new();
    let (from, read) = if file == Path::new("-") {
        (
            "standard input".to_owned(),
            std::io::stdin().lock().take(ORDER_BYTES_MAX).read_to_string(&mut text),
        )
    } else {
        let opened = std::fs::File::open(file);
        (
            file.display().to_string(),
            opened.and_then(|file| file.take(ORDER_BYTES_MAX).read_to_string(&mut text)),
        )
    };
    match read {
        Err(source) => Err(DraftError::Read { from, source }),
        Ok(_) => serde_json::from_str(&text).map_err(|error| DraftError::Json {
            from,
            problem: error.to_string(),
        }),
    }
}

/// A place as `LAT,LNG`.
pub(in crate::cli) fn parse_place(text: &str) -> Result<Location, String> {
    let degrees = |part: &str| part.trim().parse::<f64>().ok();
    let place = text.split_once(',').and_then(|(lat, lng)| {
        Some(Location {
            lat: degrees(lat)?,
            lng: degrees(lng)?,
        })
    });
    let place = place.ok_or("must be LAT,LNG in degrees, such as 41.89,-87.63")?;
    if place.is_valid() {
        Ok(place)
    } else {
        Err("is off the map: -90 to 90, and -180 to 180".to_owned())
    }
}

fn item(text: &str) -> Result<ItemBody, String> {
    let mut parts = text.splitn(4, ':');
    let (Some(sku), Some(quantity), Some(price)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("must be SKU:QUANTITY:PRICE, such as cheeseburger:2:950".to_owned());
    };
    let number = |what: &str, text: &str| {
        text.parse()
            .map_err(|_| format!("{what} '{text}' is not a whole number"))
    };
    Ok(ItemBody {
        sku: sku.to_owned(),
        name: parts.next().unwrap_or(sku).to_owned(),
        quantity: number("quantity", quantity)?,
        unit_price_minor: number("price", price)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        draft: DraftArgs,
    }

    fn parse(words: &[&str]) -> Result<DraftArgs, String> {
        let line = Line::try_parse_from(std::iter::once("submit").chain(words.iter().copied()));
        line.map(|line| line.draft).map_err(|error| error.to_string())
    }

    const FLAGS: [&str; 10] = [
        "--restaurant",
        "r",
        "--item",
        "soup:1:500",
        "--item",
        "fish:2:950:Fish: fresh",
        "--to",
        "-41.5,87",
        "--notes",
        "hi",
    ];

    #[test]
    fn an_order_can_be_made_of_flags() {
        let order = parse(&FLAGS).expect("fine").read().expect("an order");
        let item = |sku: &str, name: &str, quantity, unit_price_minor| ItemBody {
            sku: sku.into(),
            name: name.into(),
            quantity,
            unit_price_minor,
        };
        assert_eq!(
            order.items,
            [item("soup", "soup", 1, 500), item("fish", "Fish: fresh", 2, 950)]
        );
        let place = order.delivery_location;
        assert_eq!(
            (place.lat, place.lng, order.notes.as_deref()),
            (-41.5, 87.0, Some("hi"))
        );
    }

    #[test]
    fn an_order_can_be_read_from_a_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("order.json");
        let order = parse(&FLAGS).expect("fine").read().expect("an order");
        let file = path.to_str().expect("text");
        let read = || parse(&["--file", file]).expect("fine").read();
        assert!(read().expect_err("no file").to_string().contains("order.json"));
        std::fs::write(&path, serde_json::to_vec(&order).expect("JSON")).expect("written");
        assert_eq!(read().expect("an order"), order);
        std::fs::write(&path, "{\"customer_id\":\"c\",\"restaurant\":\"r\"}").expect("written");
        let error = read().expect_err("another shape").to_string();
        assert!(
            error.contains("order.json holds no order: unknown field `restaurant`"),
            "{error}"
        );
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        for (words, wanted) in [
            (&["--restaurant", "r", "--item", "a:1:1"][..], "--to"),
            (&["--to", "1,1", "--item", "a:1:1"], "--restaurant"),
            (&["--restaurant", "r", "--to", "1,1"], "--item"),
            (&["--restaurant", "r", "--to", "1", "--item", "a:1:1"], "LAT,LNG"),
            (
                &["--restaurant", "r", "--to", "1,181", "--item", "a:1:1"],
                "off the map",
            ),
            (
                &["--restaurant", "r", "--to", "1,1", "--item", "a:1"],
                "SKU:QUANTITY:PRICE",
            ),
            (
                &["--restaurant", "r", "--to", "1,1", "--item", "a:x:1"],
                "quantity 'x' is not a whole number",
            ),
            (&["--file", "f", "--restaurant", "r"], "cannot be used with"),
        ] {
            let error = parse(words).expect_err("refused");
            assert!(error.contains(wanted), "{words:?}: {error}");
        }
    }
}
