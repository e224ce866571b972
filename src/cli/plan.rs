//! `uoop plan DIR…`: capacity ahead of time.

use super::{answer, chain};
use crate::plan::{Days, PlanOptions, PlanReport, write_day};
use clap::Args;
use routing::forecast::{ForecastError, SLOT_MIN, ShiftLengths};
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  uoop plan data/0o100t100s1p100 data/1o100t100s1p100      each day from the others, and how good that was
  uoop plan history --for tomorrow                         a day ahead, of which only restaurants and rules are known
  uoop plan history --for tomorrow --growth-rate 0.2       a fifth more orders than the history shows
  uoop plan days --out planned && uoop dispatch planned    dispatch the days with the suggested shifts

DIR holds orders.txt, restaurants.txt, couriers.txt and instance_parameters.txt of a Meal Delivery Routing Problem
instance (github.com/grubhub/mdrplib), or directories that do. No day is learned from itself, or from one whose orders
are placed at the same minutes. Variants that move them in time are other days: leave them out.

Exit codes: 0 planned; 1 something could not be read, planned or written; 2 wrong command line.";

/// Forecast days from other days, and suggest kitchen capacity and courier shifts.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    /// Days that are over: directories of instances, or directories that hold some
    #[arg(value_name = "DIR", required = true)]
    directories: Vec<PathBuf>,
    /// Plan this day from all DIR, instead of each DIR from the others; its orders and couriers may be missing
    #[arg(long = "for", value_name = "DAY")]
    ahead: Option<PathBuf>,
    /// How much more demand to plan for than the history shows: 0.2 for a fifth more
    #[arg(long, value_name = "RATE", default_value_t = 0.0, allow_negative_numbers = true)]
    growth_rate: f64,
    /// The share of slots in which a kitchen's suggested capacity is to suffice
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    service_level: f64,
    /// The share of their time that couriers are to be at work
    #[arg(long, value_name = "SHARE", default_value_t = 0.7)]
    utilisation: f64,
    /// Plan couriers for the orders that this share of slots does not exceed, instead of what is expected
    #[arg(long, value_name = "SHARE")]
    courier_level: Option<f64>,
    /// Shortest shift in minutes: whole slots of 15
    #[arg(long, value_name = "MINUTES", default_value_t = 120, value_parser = whole_slots)]
    shift_min: u32,
    /// Longest shift in minutes: whole slots of 15
    #[arg(long, value_name = "MINUTES", default_value_t = 360, value_parser = whole_slots)]
    shift_max: u32,
    /// What the draws of couriers' places start from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write each planned day into OUT/DAY, with the suggested couriers in couriers.txt
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,
    /// How many days are worked on at once; as many as there are processors unless given
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print the plan as one JSON object
    #[arg(long)]
    json: bool,
}

fn whole_slots(text: &str) -> Result<u32, String> {
    let minutes: u32 = text.parse().map_err(|_| "must be a number of minutes".to_owned())?;
    if minutes > 0 && minutes.is_multiple_of(SLOT_MIN) {
        Ok(minutes)
    } else {
        Err(format!("must be a multiple of {SLOT_MIN}, and more than nothing"))
    }
}

impl PlanArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// A day cannot be read or planned, or a file cannot be written.
    pub async fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        // Threads of its own, and nothing to wait for.
        let planned = tokio::task::spawn_blocking(move || self.plan().map_err(|error| chain(error.as_ref())));
        answer(&(planned.await?? + "\n"))?;
        Ok(ExitCode::SUCCESS)
    }

    /// What there is to tell.
    fn plan(&self) -> Result<String, Box<dyn Error>> {
        let options = self.options()?;
        let days = Days::read(&self.directories, self.ahead.as_deref())?;
        let planned = days.plan(&options)?;
        if let Some(out) = &self.out {
            for day in &planned {
                write_day(out, day)?;
            }
        }
        let report = PlanReport::new(&planned, &options);
        Ok(if self.json {
            serde_json::to_string(&report)?
        } else {
            report.to_string()
        })
    }

    fn options(&self) -> Result<PlanOptions, ForecastError> {
        let slots = |minutes: u32| (minutes / SLOT_MIN) as usize;
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok());
        Ok(PlanOptions {
            growth_rate: self.growth_rate,
            service_level: self.service_level,
            utilisation: self.utilisation,
            courier_level: self.courier_level,
            lengths: ShiftLengths::new(slots(self.shift_min), slots(self.shift_max))?,
            seed: self.seed,
            threads: threads.map_or(1, NonZeroUsize::get),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: PlanArgs,
    }

    fn parse(words: &[&str]) -> Result<PlanArgs, String> {
        let line = Line::try_parse_from(std::iter::once("plan").chain(words.iter().copied()));
        line.map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn shifts_last_two_to_six_hours_unless_told_otherwise() {
        let lengths = |words: &[&str]| parse(words).expect("fine").options().map(|options| options.lengths);
        assert_eq!(lengths(&["day"]), ShiftLengths::new(8, 24));
        assert_eq!(
            lengths(&["day", "--shift-min", "60", "--shift-max", "75"]),
            ShiftLengths::new(4, 5)
        );
        let wrong = lengths(&["day", "--shift-min", "480"]);
        assert!(matches!(
            wrong,
            Err(ForecastError::Lengths {
                min_slots: 32,
                max_slots: 24
            })
        ));
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            &[][..],
            &["day", "--shift-min", "0"],
            &["day", "--shift-max", "100"],
            &["day", "--growth-rate", "much"],
            &["day", "--threads", "0"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse(&["day", "--growth-rate", "-0.2"]).is_ok());
    }
}
