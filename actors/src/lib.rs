//! The actor shells: orders, channels and zones under shards under a region
