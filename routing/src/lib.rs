//! Channel choice and courier dispatch: pure decisions that explain themselves
