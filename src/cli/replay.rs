//! `uoop replay DIR`: a recorded day of orders, played over HTTP.

use super::{answer, warn};
use crate::mdrp;
use crate::replay::{Against, ORIGIN, Options, Outcome, Replay, Wishes, replay};
use clap::Args;
use domain::geo::Location;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "\
Examples:
  uoop replay data/0o100t100s1p100                     against a server of its own, 240 times as fast as life
  uoop replay data/7o100t100s1p100 --store postgres://user@localhost/uoop
  uoop replay data/0o100t100s1p100 --cancel-pct 5 --duplicate-pct 5 --seed 7
  uoop serve --time-scale 600 & uoop replay data/0o100t100s1p100 --url http://127.0.0.1:8080 --speed 600
  uoop replay data/0o100t100s1p100 --poll              tells the status cache's hit ratio
  uoop replay data/0o100t100s1p100 --limit-orders 50 --json | tail -n 1 | jq .click_to_door_min

DIR holds orders.txt, restaurants.txt, couriers.txt and instance_parameters.txt of a Meal Delivery Routing Problem
instance (github.com/grubhub/mdrplib). Names in the server carry the run's name, so replays do not mix.

Exit codes: 0 every order is delivered, failed or cancelled; 1 something is missing, or the day could not be played.";

/// Play a recorded day of orders over HTTP and sum up how it went.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// The directory of the instance
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// A server that runs already; without it, the replay starts one of its own and stops it at the end
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The Postgres store of the replay's own server; without it, a temporary embedded one
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    store: Option<String>,
    /// How many times as fast as the wall clock business time runs; the server's time scale must be the same
    #[arg(long, value_name = "N", default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    speed: u64,
    /// What draws start from: which orders are cancelled or repeated
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many of a hundred orders are cancelled, 1 to 30 minutes after their placement
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = percentage)]
    cancel_pct: f64,
    /// How many of a hundred orders are submitted a second time under the same Idempotency-Key
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = percentage)]
    duplicate_pct: f64,
    /// Play only the first N orders
    #[arg(long, value_name = "N")]
    limit_orders: Option<usize>,
    /// Let each customer look at the status of its live order every 10 seconds of business time
    #[arg(long)]
    poll: bool,
    /// Where the instance's origin lies on the map
    #[arg(long, value_name = "LAT,LNG", default_value_t = Place(ORIGIN), value_parser = place, allow_hyphen_values = true)]
    origin: Place,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    /// Write what came of each order to a file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// A place as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place(Location);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{}", self.0.lat, self.0.lng)
    }
}

/// Why a replay came to nothing.
#[derive(Debug, thiserror::Error)]
enum ReplayFailure {
    #[error("cannot write the report {}", path.display())]
    Report {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("interrupted: the replay's orders are left as they are")]
    Interrupted,
}

impl ReplayArgs {
    /// Runs the command: exit code 1 when an order is missing.
    ///
    /// # Errors
    /// The instance cannot be read, the server is not there or of another pace, or the report cannot be written.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let instance = mdrp::read(&self.directory)?;
        let report = self.report.as_deref().map(Report::create).transpose()?;
        let options = self.options();
        let played = tokio::select! {
            played = replay(&instance, &options) => played?,
            () = interrupted()? => return Err(ReplayFailure::Interrupted.into()),
        };
        if let Some(report) = report {
            report.write(&played.outcomes)?;
        }
        tell_kept(&played);
        let text = if self.json {
            serde_json::to_string(&played.summary)?
        } else {
            played.summary.to_string()
        };
        answer(&(text + "\n"))?;
        Ok(if played.summary.is_complete() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn options(&self) -> Options {
        let against = match &self.url {
            Some(url) => Against::Running { url: url.clone() },
            None => Against::Own {
                store: self.store.clone(),
            },
        };
        Options {
            against,
            speed: self.speed,
            wishes: Wishes {
                seed: self.seed,
                cancel_pct: self.cancel_pct,
                duplicate_pct: self.duplicate_pct,
                orders_max: self.limit_orders,
            },
            origin: self.origin.0,
            poll: self.poll,
        }
    }
}

fn tell_kept(played: &Replay) {
    if let Some(path) = &played.kept {
        warn(&format!(
            "orders are missing: the server's data and log are kept in {}",
            path.display()
        ));
    }
}

/// Ends at the first SIGINT or SIGTERM, so that the replay's own server is stopped and its directory removed.
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
        }
    })
}

/// A report to write. Its file is created before the day begins, so that a wrong path costs no day.
struct Report {
    path: PathBuf,
    file: File,
}

impl Report {
    fn create(path: &Path) -> Result<Self, ReplayFailure> {
        let path = path.to_owned();
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(ReplayFailure::Report { path, source }),
        }
    }

    fn write(self, outcomes: &[Outcome]) -> Result<(), ReplayFailure> {
        let mut file = BufWriter::new(self.file);
        let written = outcomes.iter().try_for_each(|outcome| {
            serde_json::to_writer(&mut file, &outcome.report())?;
            file.write_all(b"\n")
        });
        let path = self.path;
        written
            .and_then(|()| file.flush())
            .map_err(|source| ReplayFailure::Report { path, source })
    }
}

fn percentage(text: &str) -> Result<f64, String> {
    let percentage = text
        .parse::<f64>()
        .ok()
        .filter(|percentage| (0.0..=100.0).contains(percentage));
    percentage.ok_or_else(|| "must be a number from 0 to 100".to_owned())
}

fn place(text: &str) -> Result<Place, String> {
    super::order::parse_place(text).map(Place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ReplayArgs,
    }

    fn parse(words: &[&str]) -> Result<ReplayArgs, String> {
        let line = Line::try_parse_from(std::iter::once("replay").chain(words.iter().copied()));
        line.map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn a_day_is_played_by_a_server_of_its_own_unless_one_is_named() {
        let options = parse(&["day"]).expect("fine").options();
        assert_eq!(
            (options.against, options.speed, options.origin),
            (Against::Own { store: None }, 240, ORIGIN)
        );
        let options = parse(&["day", "--store", "postgres://x"]).expect("fine").options();
        assert_eq!(
            options.against,
            Against::Own {
                store: Some("postgres://x".into())
            }
        );
        let options = parse(&["day", "--url", "http://x", "--speed", "60", "--origin", "-1.5,2"])
            .expect("fine")
            .options();
        assert_eq!(options.against, Against::Running { url: "http://x".into() });
        assert_eq!((options.speed, options.origin), (60, Location { lat: -1.5, lng: 2.0 }));
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            &[][..],
            &["day", "--url", "http://x", "--store", "postgres://x"],
            &["day", "--speed", "0"],
            &["day", "--cancel-pct", "101"],
            &["day", "--cancel-pct", "NaN"],
            &["day", "--origin", "91,0"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
