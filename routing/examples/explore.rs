//! Experiment: play instances.
use routing::dispatch::*;
use std::collections::HashMap;
fn read(dir: &str) -> Day {
    let t = |f: &str| -> Vec<Vec<String>> { std::fs::read_to_string(format!("{dir}/{f}.txt")).unwrap().lines().skip(1).map(|l| l.split('\t').map(str::to_owned).collect()).collect() };
    let n = |s: &str| -> i32 { s.trim().parse::<f64>().unwrap() as i32 };
    let p = &t("instance_parameters")[0];
    let r = t("restaurants");
    let names: HashMap<String, u32> = r.iter().zip(0u32..).map(|(r, i)| (r[0].clone(), i)).collect();
    Day {
        rules: Rules { pickup_service_s: 60 * n(&p[1]), dropoff_service_s: 60 * n(&p[2]), target_s: 60 * n(&p[3]), limit_s: 60 * n(&p[4]), pay_per_order_minor: 100 * n(&p[5]) as i64, pay_per_hour_minor: 100 * n(&p[6]) as i64 },
        metres_per_min: n(&p[0]) as u32,
        orders: t("orders").iter().map(|o| PlacedOrder { restaurant: RestaurantKey(names[&o[4]]), dropoff: Place { x: n(&o[1]), y: n(&o[2]) }, placed_minute: n(&o[3]), ready_minute: n(&o[5]) }).collect(),
        restaurants: r.iter().map(|r| Place { x: n(&r[1]), y: n(&r[2]) }).collect(),
        couriers: t("couriers").iter().map(|c| Shift { start: Place { x: n(&c[1]), y: n(&c[2]) }, on_minute: n(&c[3]), off_minute: n(&c[4]) }).collect(),
    }
}
#[derive(Default, Clone)]
struct Sum { n: f64, ctd: f64, und: f64, orders: f64, over: f64, rtp: f64, pay: f64, bundles: f64, delivered: f64 , undn: f64}
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let get = |k: &str| args.iter().find_map(|a| a.strip_prefix(&format!("{k}=")).map(str::to_owned));
    let num = |k: &str, d: f64| get(k).map_or(d, |v| v.parse().unwrap());
    let mut s = Settings::default();
    s.policy = match get("policy").as_deref() { Some("nearest") => Policy::Nearest, Some("rolling") => Policy::Rolling, _ => Policy::Anneal };
    if num("est", 0.0) > 0.0 { s.knowledge = Knowledge::Estimated; }
    s.moves_max = num("moves", 500.0) as u64;
    s.seed = num("seed", 1.0) as u64;
    let t = &mut s.tuning;
    t.warm_s = num("warm", t.warm_s); t.cold_s = num("cold", t.cold_s);
    t.moves_per_order = num("mpo", t.moves_per_order as f64) as u64;
    t.ruin.orders_mean = num("ruin", t.ruin.orders_mean); t.ruin.string_max = num("string", t.ruin.string_max as f64) as usize; t.ruin.blink = num("blink", t.ruin.blink);
    let o = &mut t.objective;
    o.per_overdue_s = num("overdue", o.per_overdue_s as f64) as i64; o.per_work_s = num("work", o.per_work_s as f64) as i64;
    o.off_per_guaranteed_order = (num("guar", o.off_per_guaranteed_order as f64 / 6000.0) * 6000.0) as i64;
    o.per_unassigned_order = (num("unass", o.per_unassigned_order as f64 / 6000.0) * 6000.0) as i64;
    let root = "/work/shared/data/mdrp";
    let mut dirs: Vec<String> = std::fs::read_dir(root).unwrap().map(|d| d.unwrap().file_name().into_string().unwrap()).filter(|d| d.as_bytes()[0].is_ascii_digit()).collect();
    dirs.sort();
    if let Some(f) = get("set") { dirs.retain(|d| f == "all" || f.split(',').any(|f| if f == "sample" { d.contains("t100s1p100") || d.contains("t75s2p125") } else if f == "16" { d.starts_with("0o50") || d.starts_with("0r50") } else { d.contains(f) })); }
    let start = std::time::Instant::now();
    let clock = move || start.elapsed().as_nanos() as u64;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let out = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|sc| { for _ in 0..num("threads", 1.0) as usize { sc.spawn(|| loop {
        let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Some(d) = dirs.get(i) else { return };
        let day = read(&format!("{root}/{d}"));
        let began = std::time::Instant::now();
        let p = play(&day, &s, &clock);
        let took = began.elapsed().as_secs_f64();
        let v = verify(&day, &p.solution);
        if !v.is_empty() { println!("{d} INFEASIBLE {:?}", &v[..v.len().min(5)]); }
        let mut m = Sum { n: 1.0, orders: day.orders.len() as f64, ..Sum::default() };
        let mut taken = vec![0; day.couriers.len()];
        for c in &p.solution.carried { m.bundles += 1.0; for &(o, at) in &c.orders { let o = &day.orders[o.0 as usize]; let ctd = f64::from(at - o.placed_minute); m.ctd += ctd; m.over += (ctd - 40.0).max(0.0); m.rtp += f64::from(c.pickup_minute - o.ready_minute); m.delivered += 1.0; taken[c.courier.0 as usize] += 1; } }
        for (c, n) in day.couriers.iter().zip(&taken) { m.pay += (10.0 * f64::from(*n)).max(0.25 * f64::from(c.off_minute - c.on_minute)); }
        out.lock().unwrap().push((d.clone(), m, p.replan_ns, p.insertion_ns, p.open_orders_max, took));
    }); } });
    let mut out = out.into_inner().unwrap(); out.sort_by(|a, b| a.0.cmp(&b.0));
    let verbose = num("v", 0.0) > 0.0;
    let mut groups: std::collections::BTreeMap<String, Sum> = Default::default();
    let (mut re, mut ins, mut open) = (vec![], vec![], 0);
    for (d, m, r, i, op, took) in out {
        re.extend(r); ins.extend(i); open = open.max(op);
        if verbose { println!("{d} ctd {:.3} und {} over {:.3} rtp {:.3} cpo {:.3} {took:.2}s", m.ctd / m.delivered, m.orders - m.delivered, m.over / m.delivered, m.rtp / m.delivered, m.pay / m.delivered); }
        let keys = [" all".to_owned(), format!("day {}", &d[..1]), if d.starts_with("0o50") || d.starts_with("0r50") { "16".to_owned() } else { continue_key(&d) }];
        for k in keys { let g = groups.entry(k).or_default(); g.n += 1.0; g.ctd += m.ctd / m.delivered; g.und += 100.0 * (m.orders - m.delivered) / m.orders; g.over += m.over / m.delivered; g.rtp += m.rtp / m.delivered; g.pay += m.pay / m.delivered; g.bundles += m.delivered / m.bundles; g.undn += m.orders - m.delivered; }
    }
    for (k, g) in groups { if k.starts_with('~') { continue; } println!("{k:6} n {} ctd {:.3} und% {:.4} ({}) over {:.3} rtp {:.3} cost/order {:.3} per bundle {:.3}", g.n, g.ctd / g.n, g.und / g.n, g.undn, g.over / g.n, g.rtp / g.n, g.pay / g.n, g.bundles / g.n); }
    re.sort_unstable(); ins.sort_unstable();
    let q = |v: &Vec<u64>, p: f64| v.get(((v.len() as f64 * p) as usize).min(v.len().max(1) - 1)).copied().unwrap_or(0) as f64 / 1e3;
    println!("replan µs p50 {:.0} p99 {:.0} max {:.0}  insertion µs p50 {:.2} p99 {:.2} max {:.1}  open max {open}  {:.1} s", q(&re, 0.5), q(&re, 0.99), q(&re, 1.0), q(&ins, 0.5), q(&ins, 0.99), q(&ins, 1.0), start.elapsed().as_secs_f64());
}
fn continue_key(_: &str) -> String { "~".to_owned() }
