//! Runs UOOP under faults and checks that it kept its promises
