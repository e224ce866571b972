//! The suite of the search projection: run against memory, SQLite and Postgres.
//!
//! Postgres needs `UOOP_TEST_POSTGRES_URL`, the address of a server on which databases may be created; without it those
//! tests say *skipped* and pass.

#[path = "../contract/fixture.rs"]
#[allow(dead_code, reason = "the contract of the stores uses the rest")]
mod fixture;

mod feeding;
mod history;
mod lists;
mod random;
mod rebuilding;
mod rig;
mod sqlite;
mod sweeping;

/// Runs each function against all three projections.
macro_rules! suite {
    ($($module:ident :: $name:ident),* $(,)?) => {
        suite!(@projection memory, Memory, $($module::$name),*);
        suite!(@projection on_sqlite, Sqlite, $($module::$name),*);
        suite!(@projection on_postgres, Postgres, $($module::$name),*);
    };
    (@projection $projection:ident, $kind:ident, $($module:ident :: $name:ident),*) => {
        mod $projection {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::rig::run(crate::fixture::Kind::$kind, crate::$module::$name).await;
                }
            )*
        }
    };
}

suite!(
    random::random_histories_are_listed_as_they_are,
    lists::pages_hold_each_order_once_whatever_is_placed_meanwhile,
    lists::bounds_in_time_are_exact,
    lists::an_order_is_found_by_what_it_is,
    lists::older_versions_and_unknown_orders_change_nothing,
    lists::a_batch_that_begins_elsewhere_writes_nothing,
    lists::two_who_feed_the_same_lines_do_no_harm,
    feeding::what_is_appended_is_found_and_a_restart_goes_on,
    feeding::a_projection_that_is_emptied_is_filled_again,
    feeding::an_order_that_is_refused_is_passed_over_and_its_neighbours_are_in,
    feeding::nodes_feed_the_lines_that_they_own,
    rebuilding::a_rebuild_is_the_same_as_what_grew,
    rebuilding::a_rebuild_and_a_server_fill_it_together,
    sweeping::what_everybody_has_passed_leaves_store_and_list,
    sweeping::keys_go_whosever_shards_they_belong_to,
    sweeping::gaps_trip_up_nobody_who_begins_at_the_beginning,
    sweeping::a_pass_removes_what_an_interrupted_one_left_in_the_list,
);
