//! Reading instances.

use super::{Instance, Parameters};

#[path = "../../../tests/support/replay_day.rs"]
#[allow(dead_code, reason = "writing the files is not for this crate")]
mod replay_day;

use replay_day::small_day;

/// What reading a day says when `file` has `text` instead.
fn problem_of(file: &str, text: &str) -> String {
    let mut day = small_day(4);
    *match file {
        "orders" => &mut day.orders,
        "restaurants" => &mut day.restaurants,
        "couriers" => &mut day.couriers,
        _ => &mut day.parameters,
    } = text.to_owned();
    let read = Instance::parse(&day.orders, &day.restaurants, &day.couriers, &day.parameters);
    read.expect_err(text).to_string()
}

#[test]
fn what_is_wrong_with_an_instance_is_said_with_file_line_and_column() {
    const ORDERS: &str = "order\tx\ty\tplacement_time\trestaurant\tready_time\n";
    for (rows, wanted) in [
        ("o1\t1\t2\t3\tr1\n", "orders.txt:2: has 5 columns, and the header has 6"),
        (
            "o1\t1\t2\t3\tr1\t9\n\no1\t1\t2\t3\tr1\t9\n",
            "orders.txt:4: column 'order': 'o1' is in line 2 already",
        ),
        (
            "o 1\t1\t2\t3\tr1\t9\n",
            "orders.txt:2: column 'order': 'o 1' is not an id: it must be 1 to 32 characters",
        ),
        (
            "o1\t1.5\t2\t3\tr1\t9\n",
            "orders.txt:2: column 'x': '1.5' is not a whole number in range",
        ),
        (
            "o1\t1\t2\t-3\tr1\t9\n",
            "orders.txt:2: column 'placement_time': '-3' is not a whole number in range",
        ),
        (
            "o1\t1\t2\t3\tr9\t9\n",
            "orders.txt:2: column 'restaurant': 'r9' is not in restaurants.txt",
        ),
        (
            "o1\t1\t2\t3\tr1\t2\n",
            "orders.txt:2: column 'ready_time': 2 is before the placement at 3",
        ),
        (
            "o1\t1\t2\t3\tr1\t99999\n",
            "orders.txt:2: column 'ready_time': minute 99999 is more than a week ahead",
        ),
        ("", "orders.txt: has no lines after its header"),
    ] {
        let problem = problem_of("orders", &format!("{ORDERS}{rows}"));
        assert!(problem.starts_with(wanted), "{problem}");
    }
    for (file, text, wanted) in [
        (
            "restaurants",
            "restaurant\tx\nr1\t1\n",
            "restaurants.txt:1: the header has no column 'y'; it has restaurant, x",
        ),
        ("restaurants", "", "restaurants.txt: has no lines after its header"),
        (
            "couriers",
            "courier\tx\ty\ton_time\toff_time\nc1\t1\t2\t60\t60\n",
            "couriers.txt:2: column 'off_time': 60 is not after the shift's begin at 60",
        ),
    ] {
        assert_eq!(problem_of(file, text), wanted);
    }
}

#[test]
fn every_parameter_is_read_and_checked() {
    let read = |values: &str| {
        let day = small_day(4);
        let header = day.parameters.lines().next().expect("a header");
        let parameters = format!("{header}\n{values}\n");
        Instance::parse(&day.orders, &day.restaurants, &day.couriers, &parameters)
            .map(|instance| instance.parameters)
            .map_err(|problem| problem.to_string())
    };
    let wanted = Parameters {
        metres_per_min: 320,
        pickup_service_min: 4,
        dropoff_service_min: 6,
        click_to_door_target_min: 40,
        click_to_door_limit_min: 90,
        pay_per_order_minor: 1_000,
        pay_per_hour_minor: 1_525,
    };
    assert_eq!(read("320\t4\t6\t40\t90\t10\t15.25"), Ok(wanted));
    for (values, problem) in [
        ("0\t4\t4\t40\t90\t10\t15", "'meters_per_minute': must be at least 1"),
        ("320\t3\t4\t40\t90\t10\t15", "'pickup service minutes': 3 is odd"),
        ("320\t4\t5\t40\t90\t10\t15", "'dropoff service minutes': 5 is odd"),
        (
            "320\t4\t4\t40\t39\t10\t15",
            "'maximum click-to-door': 39 is less than the target of 40",
        ),
        ("320\t4\t4\t40\t90\t-1\t15", "'pay per order': '-1' is not an amount"),
        (
            "320\t4\t4\t40\t90\t10\t1.555",
            "'guaranteed pay per hour': '1.555' is not an amount",
        ),
        (
            "320\t4\t4\t40\t90\t10\t.5",
            "'guaranteed pay per hour': '.5' is not an amount",
        ),
        (
            "1\t4\t4\t40\t90\t10\t15\n1\t4\t4\t40\t90\t10\t15",
            "there is a line of parameters already",
        ),
    ] {
        let found = read(values).expect_err(values);
        assert!(
            found.starts_with("instance_parameters.txt:") && found.contains(problem),
            "{found}"
        );
    }
}
