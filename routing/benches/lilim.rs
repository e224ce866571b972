//! Static quality: the optimiser on Li and Lim's instances, one after the other on one thread.
//!
//! `cargo bench -p routing --bench lilim -- DIR [--seconds S] [--clock wall|cpu] [--moves N] [--seed N] [--only PREFIX]`
//!
//! DIR holds the instances (`lc101.txt` …) in Li and Lim's format. Prints one JSON object a line: instance, vehicles,
//! distance, moves, seconds, routes. Every plan is checked from the instance's text first. With `--clock cpu` (Linux) a second is one that
//! the thread ran, whatever else the machine does. `routing/benches/lilim` runs this beside OR-Tools and makes the table.

use routing::Budget;
use routing::pdptw::{Problem, Solution, Verdict, check, solve};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, error, fs};

type Failure = Box<dyn error::Error>;

struct Options {
    dir: PathBuf,
    seconds: f64,
    cpu: bool,
    moves_max: u64,
    seed: u64,
    only: String,
}

fn main() -> Result<(), Failure> {
    let Some(options) = options(env::args().skip(1))? else {
        println!(
            "usage: cargo bench -p routing --bench lilim -- DIR [--seconds S] [--clock wall|cpu] [--moves N] [--seed N] [--only PREFIX]"
        );
        return Ok(());
    };
    let mut paths = fs::read_dir(&options.dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, Failure>>()?;
    paths.retain(|path| {
        path.extension().is_some_and(|extension| extension == "txt") && name(path).starts_with(&options.only)
    });
    paths.sort();
    for path in paths {
        run(&path, &options).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Absent when there is no directory, as when cargo runs every bench there is.
fn options(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, Failure> {
    let mut options = Options {
        dir: PathBuf::new(),
        seconds: 0.5,
        cpu: false,
        moves_max: u64::MAX,
        seed: 1,
        only: String::new(),
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--seconds" => options.seconds = value()?.parse()?,
            "--clock" => options.cpu = value()? == "cpu",
            "--moves" => options.moves_max = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--only" => options.only = value()?,
            // What cargo itself adds.
            "--bench" | "--test" => {}
            dir => options.dir = dir.into(),
        }
    }
    Ok((!options.dir.as_os_str().is_empty()).then_some(options))
}

fn name(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

fn run(path: &Path, options: &Options) -> Result<(), Failure> {
    let text = fs::read_to_string(path)?;
    let clock = clock(options.cpu);
    let problem: Problem = text.parse()?;
    let used = || clock() / options.seconds;
    let budget = Budget {
        moves_max: options.moves_max,
        time_used: (options.moves_max == u64::MAX).then_some(&used),
    };
    let Solution { plan, effort } = solve(&problem, budget, options.seed)?;
    let seconds = clock();
    let Verdict { vehicles, distance } = check(&text, &plan.routes)?;
    let line = json!({
        "instance": name(path), "vehicles": vehicles, "distance": distance, "seconds": seconds,
        "moves": effort.fleet_moves + effort.moves, "routes": plan.routes,
    });
    println!("{line}");
    Ok(())
}

/// Seconds since now: those that passed, or those that this thread ran.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
fn clock(cpu: bool) -> Box<dyn Fn() -> f64> {
    if cpu {
        let before = ran_s();
        return Box::new(move || ran_s() - before);
    }
    let before = Instant::now();
    Box::new(move || before.elapsed().as_secs_f64())
}

/// The first field is nanoseconds on a processor.
fn ran_s() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = stat.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    ns.map_or(f64::INFINITY, |ns| ns / 1e9)
}
