//! What a courier is going to do.

/// Most orders of a courier's plan: beyond, nobody would get a meal in time.
pub(super) const STOPS_MAX: usize = 16;

/// What a courier is going to do: orders in the sequence of their drop-offs, cut into bundles. It is copied in place of
/// being undone, so it is small and holds nothing on the heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    /// What it costs.
    pub(super) cost: i64,
    /// Which content this is: no other content of the courier's route has the number.
    pub(super) version: u32,
    /// Bit i is set when the i-th order is the first of its bundle.
    heads: u32,
    stops: [u16; STOPS_MAX],
    len: u8,
}

/// Where an order is put into a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Before which order.
    pub(super) at: usize,
    /// As what.
    pub(super) entry: Entry,
}

/// As what an order is put into a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A bundle of its own.
    Alone,
    /// The first of the bundle that begins there.
    First,
    /// Another of the bundle that goes on, or ends, there.
    Further,
}

impl Route {
    pub(super) fn orders(&self) -> &[u16] {
        &self.stops[..usize::from(self.len)]
    }

    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len() == STOPS_MAX
    }

    /// Where the bundle that begins at `start` ends.
    pub(super) fn bundle_end(&self, start: usize) -> usize {
        let later = self.heads >> (start + 1);
        if later == 0 {
            self.len()
        } else {
            start + 1 + later.trailing_zeros() as usize
        }
    }

    /// Its bundles.
    pub(super) fn bundles(&self) -> impl Iterator<Item = &[u16]> {
        let mut start = 0;
        std::iter::from_fn(move || {
            if start >= self.len() {
                return None;
            }
            let end = self.bundle_end(start);
            let bundle = &self.stops[start..end];
            start = end;
            Some(bundle)
        })
    }

    /// Puts an order in. The route is not full.
    pub(super) fn insert(&mut self, order: u16, slot: Slot) {
        let Slot { at, entry } = slot;
        let len = self.len();
        self.stops.copy_within(at..len, at + 1);
        self.stops[at] = order;
        self.len += 1;
        let before = self.heads & ((1 << at) - 1);
        let after = (self.heads >> at) << (at + 1);
        self.heads = before | after;
        match entry {
            Entry::Alone => self.heads |= 1 << at,
            Entry::First => self.heads = (self.heads | 1 << at) & !(1 << (at + 1)),
            Entry::Further => {}
        }
    }

    /// Takes the order out that is at a position.
    pub(super) fn remove(&mut self, at: usize) {
        let len = self.len();
        self.stops.copy_within(at + 1..len, at);
        self.len -= 1;
        self.stops[self.len()] = 0;
        let before = self.heads & ((1 << at) - 1);
        let after = (self.heads >> (at + 1)) << at;
        let led = self.heads >> at & 1 == 1 && at < self.len();
        self.heads = before | after | u32::from(led) << at;
    }

    /// Appends a bundle, as far as there is room.
    pub(super) fn append(&mut self, bundle: impl Iterator<Item = u16>) {
        for (index, order) in bundle.enumerate() {
            if self.is_full() {
                return;
            }
            let entry = if index == 0 { Entry::Alone } else { Entry::Further };
            self.insert(order, Slot { at: self.len(), entry });
        }
    }

    /// Where an order is.
    pub(super) fn position(&self, order: u16) -> Option<usize> {
        self.orders().iter().position(|&stop| stop == order)
    }
}
