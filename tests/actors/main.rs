//! The actor shells, through the platform's own interface: a memory store and a real journal that can be made to fail, and
//! participants that follow a script and keep books. Time stands still except when everybody waits, so that hours pass in
//! milliseconds and nothing depends on the machine's pace.

mod admission;
mod bursts;
mod capacity;
mod crash;
mod dispatch;
mod fakes;
mod introspect;
mod keys;
mod late;
mod life;
mod load;
mod member;
mod rig;
mod store;
mod store_away;
mod submissions;
mod timers;
mod together;
