//! Orders to units of capacity at least cost in all.
//!
//! The shortest augmenting paths of Jonker and Volgenant ("A shortest augmenting path algorithm for dense and sparse linear
//! assignment problems", 1987), rectangular (Crouse, "On implementing 2D rectangular assignment algorithms", 2016), and over
//! lanes instead of single units: the units of a lane differ by nothing but their price, which only grows, so a lane is one
//! column with room for many (a flow of least convex cost; Ahuja, Magnanti and Orlin, *Network Flows*, 1993, chapter 14).
//! Whole numbers, so that equal is equal.

/// What it costs to have nothing: more than anything that can be saved by it.
const NOTHING: i64 = 1_000_000_000_000;
/// What costs more, or less, is taken to cost this.
const COST_MAX: i64 = 10_000_000_000;
/// Farther than anything.
const FAR: i64 = i64::MAX;
/// Nobody's number.
const NOBODY: usize = usize::MAX;

/// The lane of each order, or none, so that together they cost least. `wishes` has what each order can have: lanes, and what
/// they cost it without their price; `prices` the price of each unit of each lane, none below the one before it. Of orders
/// that are alike the first is served first. Time grows with orders × all wishes at most, mostly far less.
pub(super) fn assign(wishes: &[Vec<(usize, i64)>], prices: &[Vec<i64>]) -> Vec<Option<usize>> {
    let nothing = prices.len();
    let clamped = |(lane, cost): &(usize, i64)| (*lane, (*cost).clamp(-COST_MAX, COST_MAX));
    let wish = |wishes: &Vec<(usize, i64)>| wishes.iter().map(clamped).chain([(nothing, NOTHING)]).collect();
    let mut flow = Flow {
        wishes: wishes.iter().map(wish).collect(),
        prices,
        lane_of: vec![NOBODY; wishes.len()],
        orders_of: vec![Vec::new(); nothing + 1],
        order_potential: vec![0; wishes.len()],
        lane_potential: vec![0; nothing + 1],
        search: Search::default(),
    };
    for order in 0..wishes.len() {
        flow.add(order);
    }
    let lane = |lane: usize| (lane < nothing).then_some(lane);
    flow.lane_of.into_iter().map(lane).collect()
}

/// Who has what so far, at least cost among those who were added.
struct Flow<'a> {
    /// The last of each is to have nothing.
    wishes: Vec<Vec<(usize, i64)>>,
    prices: &'a [Vec<i64>],
    lane_of: Vec<usize>,
    orders_of: Vec<Vec<usize>>,
    /// With them no step from an order to a lane, from a lane to one of its orders, or from a lane to its next unit costs less
    /// than nothing.
    order_potential: Vec<i64>,
    lane_potential: Vec<i64>,
    search: Search,
}

/// What is known on the way to a free unit; kept from one order to the next, so that it allocates only once.
#[derive(Default)]
struct Search {
    /// How far each lane is, and the order from which it was reached.
    distance: Vec<i64>,
    reached_from: Vec<usize>,
    is_settled: Vec<bool>,
    /// The lanes that were reached.
    reached: Vec<usize>,
    /// The orders that were looked at, and how far they are.
    seen: Vec<(usize, i64)>,
}

impl Flow<'_> {
    /// Gives an order its cheapest way to a free unit, which may push others on.
    fn add(&mut self, order: usize) {
        let highest = self.wishes[order]
            .iter()
            .map(|(lane, cost)| self.lane_potential[*lane] - cost)
            .max();
        self.order_potential[order] = highest.unwrap_or(0);
        let (distance, lane) = self.shortest_way(order);
        self.raise(distance);
        self.push_on(lane);
    }

    /// The nearest lane with a free unit, and how far that unit is.
    fn shortest_way(&mut self, order: usize) -> (i64, usize) {
        let lanes = self.lane_potential.len();
        self.search.distance.clear();
        self.search.distance.resize(lanes, FAR);
        self.search.reached_from.resize(lanes, NOBODY);
        self.search.is_settled.clear();
        self.search.is_settled.resize(lanes, false);
        self.search.reached.clear();
        self.search.seen.clear();
        self.look_from(order, 0);
        let mut nearest = (FAR, NOBODY);
        while let Some(lane) = self.search.next_lane() {
            let distance = self.search.distance[lane];
            if distance >= nearest.0 {
                break;
            }
            self.search.is_settled[lane] = true;
            if let Some(price) = self.next_price(lane) {
                nearest = nearest.min((distance + price + self.lane_potential[lane], lane));
            }
            for at in 0..self.orders_of[lane].len() {
                self.look_from(self.orders_of[lane][at], distance);
            }
        }
        nearest
    }

    /// What the next unit of a lane costs; `None`: there is none.
    fn next_price(&self, lane: usize) -> Option<i64> {
        let taken = self.orders_of[lane].len();
        self.prices
            .get(lane)
            .map_or(Some(0), |prices| prices.get(taken).copied())
    }

    /// Reaches what an order could have instead.
    fn look_from(&mut self, order: usize, distance: i64) {
        let search = &mut self.search;
        search.seen.push((order, distance));
        for &(lane, cost) in &self.wishes[order] {
            let farther = distance + cost + self.order_potential[order] - self.lane_potential[lane];
            if farther >= search.distance[lane] {
                continue;
            }
            if search.distance[lane] == FAR {
                search.reached.push(lane);
            }
            search.distance[lane] = farther;
            search.reached_from[lane] = order;
        }
    }

    /// Changes the potentials by what was found, so that the shortest way costs nothing.
    fn raise(&mut self, distance: i64) {
        for &(order, order_distance) in &self.search.seen {
            self.order_potential[order] -= distance - order_distance;
        }
        for &lane in &self.search.reached {
            if self.search.is_settled[lane] {
                self.lane_potential[lane] -= distance - self.search.distance[lane];
            }
        }
    }

    /// Gives a lane's free unit to who reached it, that order's former lane to who reached that, and so on.
    fn push_on(&mut self, mut lane: usize) {
        loop {
            let order = self.search.reached_from[lane];
            let former = std::mem::replace(&mut self.lane_of[order], lane);
            self.orders_of[lane].push(order);
            if former == NOBODY {
                return;
            }
            self.orders_of[former].retain(|other| *other != order);
            lane = former;
        }
    }
}

impl Search {
    /// The nearest lane that is not settled; of several the one that was reached first.
    fn next_lane(&self) -> Option<usize> {
        let open = self.reached.iter().copied().filter(|lane| !self.is_settled[*lane]);
        open.min_by_key(|lane| self.distance[*lane])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapjv::{Matrix, lapjv};
    use proptest::prelude::*;

    /// How many have nothing, and what the others cost, each next unit of a lane at its own price.
    fn cost(wishes: &[Vec<(usize, i64)>], prices: &[Vec<i64>], lanes: &[Option<usize>]) -> (usize, i64) {
        let mut taken = vec![0; prices.len()];
        let mut sum = 0;
        for (wishes, lane) in wishes.iter().zip(lanes) {
            let Some(lane) = *lane else { continue };
            let (_, own) = wishes.iter().find(|(wished, _)| *wished == lane).expect("a wish");
            sum += own + prices[lane][taken[lane]];
            taken[lane] += 1;
        }
        (lanes.iter().filter(|lane| lane.is_none()).count(), sum)
    }

    /// The same by another's solver: a square of single units, and of nothings.
    fn by_units(wishes: &[Vec<(usize, i64)>], prices: &[Vec<i64>]) -> (usize, i64) {
        const NONE: f64 = 1e7;
        const NEVER: f64 = 1e9;
        let units: Vec<(usize, i64)> = prices
            .iter()
            .enumerate()
            .flat_map(|(lane, prices)| prices.iter().map(move |price| (lane, *price)))
            .collect();
        let size = units.len() + wishes.len();
        let mut costs = Matrix::zeros((size, size));
        for (row, wishes) in wishes.iter().enumerate() {
            for column in 0..size {
                let unit = units.get(column).map(|(lane, price)| {
                    let own = wishes.iter().find(|(wished, _)| wished == lane);
                    own.map_or(NEVER, |(_, own)| f64::from(i32::try_from(own + price).expect("small")))
                });
                costs[(row, column)] = unit.unwrap_or(NONE);
            }
        }
        let (columns, _) = lapjv(&costs).expect("a solution");
        let found = columns
            .iter()
            .take(wishes.len())
            .zip(wishes)
            .filter_map(|(column, wishes)| {
                let (lane, price) = units.get(*column)?;
                let (_, own) = wishes.iter().find(|(wished, _)| wished == lane)?;
                Some(own + price)
            });
        let found: Vec<i64> = found.collect();
        (wishes.len() - found.len(), found.iter().sum())
    }

    #[test]
    fn the_first_gives_way_when_the_second_needs_it_more() {
        let wishes = [vec![(0, 10), (1, 12)], vec![(0, 10), (1, 90)]];
        assert_eq!(assign(&wishes, &[vec![0], vec![0]]), [Some(1), Some(0)]);
        let alike = [vec![(0, 5)], vec![(0, 5)], vec![(0, 5)]];
        assert_eq!(
            assign(&alike, &[vec![0, 0]]),
            [Some(0), Some(0), None],
            "the first are served first"
        );
        assert_eq!(assign(&[vec![]], &[]), [None]);
        assert_eq!(assign(&[], &[vec![1]]), []);
    }

    proptest! {
        #[test]
        fn nothing_costs_less(
            prices in proptest::collection::vec(proptest::collection::vec(0..60_i64, 0..4), 1..7),
            wishes in proptest::collection::vec(proptest::collection::btree_map(0..7_usize, 0..200_i64, 0..7), 1..12),
        ) {
            let mut prices = prices;
            for of_lane in &mut prices {
                of_lane.sort_unstable();
            }
            let lanes = prices.len();
            let wishes: Vec<Vec<(usize, i64)>> = wishes
                .into_iter()
                .map(|wishes| wishes.into_iter().filter(|(lane, _)| *lane < lanes).collect())
                .collect();
            let found = assign(&wishes, &prices);
            prop_assert_eq!(cost(&wishes, &prices, &found), by_units(&wishes, &prices));
        }
    }
}
