//! Static quality: the optimiser on Li and Lim's instances, each for the same time on one thread.
//!
//! `cargo bench -p routing --bench lilim -- DIR [--seconds S] [--seed N] [--only PREFIX] [--json]`; DIR holds the instances and
//! `best-known.csv` (instance, vehicles, distance). Every plan is checked from the instance's text before it is printed.

use routing::Budget;
use routing::pdptw::{Problem, check, solve};
use std::time::Instant;
use std::{env, fs, process};

fn main() {
    let args: Vec<String> = env::args().collect();
    let get = |k: &str| args.iter().position(|a| a == k).map(|i| args[i + 1].clone());
    let dir = args[1].clone();
    let seconds: f64 = get("--seconds").map_or(0.5, |s| s.parse().unwrap());
    let seed: u64 = get("--seed").map_or(1, |s| s.parse().unwrap());
    let only = get("--only").unwrap_or_default();
    let best = fs::read_to_string(format!("{dir}/best-known.csv")).unwrap();
    let (mut total, mut known_total, mut same, mut gaps) = (0, 0, 0, 0.0);
    let mut moves_all = 0;
    for line in best.lines().skip(1) {
        let f: Vec<&str> = line.split(',').collect();
        if !f[0].starts_with(&only) { continue; }
        let (kv, kd): (usize, f64) = (f[1].parse().unwrap(), f[2].parse().unwrap());
        let text = fs::read_to_string(format!("{dir}/{}.txt", f[0])).unwrap();
        let problem: Problem = text.parse().unwrap();
        let start = Instant::now();
        let used = || start.elapsed().as_secs_f64() / seconds;
        let s = solve(&problem, Budget { moves_max: u64::MAX, time_used: Some(&used) }, seed);
        let s = match s { Ok(s) => s, Err(e) => { println!("{} {e}", f[0]); process::exit(1) } };
        let v = check(&text, &s.plan.routes).unwrap();
        total += v.vehicles; known_total += kv;
        let gap = (v.distance / kd - 1.0) * 100.0;
        if v.vehicles == kv { same += 1; gaps += gap; }
        moves_all += s.effort.moves + s.effort.fleet_moves;
        println!("{:7} {:3} {:3} {:9.2} {:6.2}% {} fleet {} moves {}", f[0], v.vehicles, kv, v.distance, gap, if v.vehicles == kv { ' ' } else { '*' }, s.effort.fleet_moves, s.effort.moves);
    }
    println!("total {total} known {known_total} same {same} gap {:.3}% moves {moves_all}", gaps / same as f64);
}
