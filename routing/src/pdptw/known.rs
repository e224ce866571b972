//! What is already known of the cheapest places: most routes stay as they are from move to move.

use super::insertion::Insertion;

/// For each route and request what was found when somebody looked, twice: for the route as it was when the move began, and as
/// the move changed it, so that a move that is taken back does not forget the former.
#[derive(Default)]
pub(super) struct Known {
    requests: usize,
    places: Vec<[Looked; 2]>,
    /// Memory for the routes in which a request is still to be looked for.
    pub(super) unknown: Vec<u16>,
}

/// What was found in one version of a route.
#[derive(Clone, Copy, Debug)]
struct Looked {
    version: u64,
    /// How much longer it gets; when there is no place, less than this is not to be had.
    longer: f64,
    ends: Option<(u16, u16)>,
}

const NEVER: Looked = Looked {
    version: u64::MAX,
    longer: 0.0,
    ends: None,
};

impl Known {
    pub(super) const fn new(requests: usize) -> Self {
        Self {
            requests,
            places: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Makes room for so many routes.
    pub(super) fn grow(&mut self, routes: usize) {
        self.places.resize(routes * self.requests, [NEVER; 2]);
    }

    /// The cheapest place, if that is known and below the bound; `Err` when it is not known whether there is one.
    #[inline]
    pub(super) fn place(&self, slot: usize, request: u16, version: u64, bound: f64) -> Result<Option<Insertion>, ()> {
        let [settled, tried] = &self.places[slot * self.requests + usize::from(request)];
        let looked = if settled.version == version { settled } else { tried };
        if looked.version != version {
            return Err(());
        }
        if looked.longer >= bound {
            return Ok(None);
        }
        let (pickup_after, delivery_after) = looked.ends.ok_or(())?;
        Ok(Some(Insertion {
            longer: looked.longer,
            pickup_after,
            delivery_after,
        }))
    }

    /// Remembers what was found below the bound.
    pub(super) fn learn(
        &mut self,
        slot: usize,
        request: u16,
        version: u64,
        tried: bool,
        bound: f64,
        place: Option<Insertion>,
    ) {
        self.places[slot * self.requests + usize::from(request)][usize::from(tried)] = Looked {
            version,
            longer: place.map_or(bound, |place| place.longer),
            ends: place.map(|place| (place.pickup_after, place.delivery_after)),
        };
    }
}
