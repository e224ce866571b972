//! Into how many shards a store is divided, which is fixed when it is created.

use domain::ports::StoreError;
use domain::shard::ShardMap;

/// Into how many shards a store is to be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharding {
    /// Into so many; one that was created with another number is refused.
    Exactly(ShardMap),
    /// As it was created; a new one into so many.
    AsCreated(ShardMap),
}

impl Sharding {
    /// The shards of a store that is created now.
    pub const fn of_a_new_store(self) -> ShardMap {
        let (Self::Exactly(map) | Self::AsCreated(map)) = self;
        map
    }

    /// The shards of the store whose settings have kept this.
    ///
    /// # Errors
    /// It was created with another number than is asked for, or what is kept is no number of shards.
    pub(crate) fn of(self, kept: &str) -> Result<ShardMap, StoreError> {
        let map = kept.parse().ok().and_then(|shards| ShardMap::new(shards).ok());
        let map =
            map.ok_or_else(|| StoreError::Mismatch(format!("the store has a wrong number of shards: {kept:?}")))?;
        match self {
            Self::Exactly(wanted) if wanted != map => Err(StoreError::Mismatch(format!(
                "the store was created with {kept} shards and {} are configured: the number is fixed when a store is created, \
                 so configure {kept}, or 0 for what the store has",
                wanted.len()
            ))),
            _ => Ok(map),
        }
    }
}

impl From<ShardMap> for Sharding {
    fn from(map: ShardMap) -> Self {
        Self::Exactly(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(shards: u16) -> ShardMap {
        ShardMap::new(shards).expect("a power of two")
    }

    #[test]
    fn a_store_keeps_the_number_it_was_created_with() {
        let either = Sharding::AsCreated(map(4));
        assert_eq!(either.of_a_new_store(), map(4));
        assert_eq!(either.of("256").expect("any number"), map(256));
        assert_eq!(Sharding::from(map(256)).of("256").expect("the same"), map(256));
        let refused = Sharding::from(map(4)).of("256").expect_err("another number");
        assert!(
            refused
                .to_string()
                .contains("created with 256 shards and 4 are configured"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_no_number_of_shards_is_refused() {
        for kept in ["", "0", "3", "8192", "-1"] {
            let refused = Sharding::AsCreated(map(4)).of(kept).expect_err(kept);
            assert!(matches!(refused, StoreError::Mismatch(_)), "{refused}");
        }
    }
}
