//! Solutions and their figures, beside what the library's evaluator makes of the same files. `evaluator/README.md` says how
//! its answers were recorded.

use routing::dispatch::{
    Carried, CourierKey, Day, Metrics, Move, OrderKey, Policy, RestaurantKey, Settings, Solution, Spot, play, verify,
};
use routing::mdrp::{COURIERS, Instance, ORDERS, PARAMETERS, RESTAURANTS, solution_texts};
use std::path::{Path, PathBuf};

const POLICIES: [(&str, Policy); 3] = [
    ("nearest", Policy::Nearest),
    ("rolling", Policy::Rolling),
    ("anneal", Policy::Anneal),
];

/// Real days of different sizes.
const REAL_DAYS: [&str; 3] = ["0o50t100s1p100", "4r50t75s2p125", "7o100t100s1p100"];

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn instance(directory: &Path) -> Instance {
    let [orders, restaurants, couriers, parameters] =
        [ORDERS, RESTAURANTS, COURIERS, PARAMETERS].map(|file| text(&directory.join(file)));
    Instance::parse(&orders, &restaurants, &couriers, &parameters).expect("an instance")
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evaluator")
}

/// The solution that files describe. They do not say when a courier was told: here, when the first of its orders was placed.
struct Reader<'a>(&'a Instance);

impl Reader<'_> {
    fn solution(&self, [assignments, orders, ways]: &[String; 3]) -> Solution {
        let moves = rows(ways).map(|row| {
            let courier = self.courier(row[0]);
            Move {
                courier,
                depart_minute: minute(row[1]),
                from: self.spot(courier, row[2]),
                to: self.spot(courier, row[3]),
            }
        });
        let dropoff = |id: &str| {
            let row = rows(orders).find(|row| row[0] == id).expect("delivered");
            (self.order(id), minute(row[4]))
        };
        let carried = rows(assignments).map(|row| Carried {
            courier: self.courier(row[2]),
            told_minute: row[3..]
                .iter()
                .map(|id| self.placed_minute(id))
                .min()
                .expect("an order"),
            assigned_minute: minute(row[0]),
            pickup_minute: minute(row[1]),
            orders: row[3..].iter().map(|id| dropoff(id)).collect(),
        });
        Solution {
            carried: carried.collect(),
            moves: moves.collect(),
        }
    }

    fn spot(&self, courier: CourierKey, id: &str) -> Spot {
        match id.as_bytes()[0] {
            b'0' => Spot::Start(courier),
            b'r' => Spot::Restaurant(RestaurantKey(place(&self.0.restaurants, |known| known.id == id))),
            _ => Spot::Dropoff(self.order(id)),
        }
    }

    fn placed_minute(&self, id: &str) -> i32 {
        let OrderKey(at) = self.order(id);
        i32::try_from(self.0.orders[at as usize].placed_minute).expect("within a week")
    }

    fn order(&self, id: &str) -> OrderKey {
        OrderKey(place(&self.0.orders, |known| known.id == id))
    }

    fn courier(&self, id: &str) -> CourierKey {
        CourierKey(place(&self.0.couriers, |known| known.id == id))
    }
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().skip(1).map(|line| line.split_whitespace().collect())
}

fn minute(text: &str) -> i32 {
    text.parse().expect("a minute")
}

fn place<T>(all: &[T], is_it: impl FnMut(&T) -> bool) -> u32 {
    let at = all.iter().position(is_it).expect("known");
    u32::try_from(at).expect("few")
}

#[test]
fn figures_are_the_evaluators_to_the_last_digit() {
    let instance = instance(&recorded());
    let day = Day::from(&instance);
    for (name, _) in POLICIES {
        let directory = recorded().join(name);
        let files = routing::mdrp::SOLUTION_FILES.map(|file| text(&directory.join(file)));
        let solution = Reader(&instance).solution(&files);
        assert_eq!(verify(&day, &solution), [], "{name}");
        let metrics = Metrics::new(&day, &solution);
        assert!(text(&directory.join("feasibility_check.txt")).ends_with("\nFEASIBLE\n"));
        assert_eq!(
            metrics.to_string(),
            text(&directory.join("solution_performance.txt")),
            "{name}"
        );
        assert_eq!(
            solution_texts(&instance, &solution),
            files,
            "{name}: what is read is written"
        );
    }
}

#[test]
fn real_days_are_feasible_and_survive_their_files() {
    let Some(directory) = std::env::var_os("UOOP_MDRP_DIR").map(PathBuf::from) else {
        println!("skipped: UOOP_MDRP_DIR does not say where the real days are");
        return;
    };
    for name in REAL_DAYS {
        let instance = instance(&directory.join(name));
        let day = Day::from(&instance);
        for (policy_name, policy) in POLICIES {
            let settings = Settings {
                policy,
                moves_max: 5,
                ..Settings::default()
            };
            let solution = play(&day, &settings, &|| 0).solution;
            assert_eq!(verify(&day, &solution), [], "{name}, {policy_name}");
            let metrics = Metrics::new(&day, &solution);
            assert!(metrics.feasible && metrics.delivered > 0, "{name}, {policy_name}");
            let files = solution_texts(&instance, &solution);
            let read = Reader(&instance).solution(&files);
            assert_eq!(
                Metrics {
                    feasible: true,
                    ..Metrics::new(&day, &read)
                },
                metrics,
                "{name}, {policy_name}"
            );
            assert_eq!(solution_texts(&instance, &read), files, "{name}, {policy_name}");
        }
    }
}
