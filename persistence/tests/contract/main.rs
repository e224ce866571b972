//! The contract of all stores and of the journal over them: one suite, run against memory, SQLite and Postgres.
//!
//! Postgres needs `UOOP_TEST_POSTGRES_URL`, the address of a server on which databases may be created; without it those
//! tests say *skipped* and pass.

mod cluster;
mod crash;
mod faults;
mod fixture;
mod handover;
mod journal;
mod membership;
mod model;
mod postgres;
mod retention;
mod sqlite;
mod stores;
mod webhooks;

/// Runs each function against all three stores.
macro_rules! contract {
    ($($module:ident :: $name:ident),* $(,)?) => {
        contract!(@store memory, Memory, $($module::$name),*);
        contract!(@store on_sqlite, Sqlite, $($module::$name),*);
        contract!(@store on_postgres, Postgres, $($module::$name),*);
    };
    (@store $store:ident, $kind:ident, $($module:ident :: $name:ident),*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::fixture::run(crate::fixture::Kind::$kind, crate::$module::$name).await;
                }
            )*
        }
    };
}

/// Runs each function against the stores that nodes can share.
macro_rules! cluster_contract {
    ($($module:ident :: $name:ident),* $(,)?) => {
        contract!(@store cluster_in_memory, Memory, $($module::$name),*);
        contract!(@store cluster_on_postgres, Postgres, $($module::$name),*);
    };
}

cluster_contract!(
    membership::who_joins_is_seen_until_it_is_removed,
    membership::a_lease_lapses_unless_it_is_renewed,
    membership::a_lifeline_ends_with_its_process_or_its_connection,
    membership::shards_are_taken_at_the_epoch_that_was_seen,
    membership::what_is_released_is_nobodys,
    membership::who_is_removed_takes_nothing,
    membership::of_those_who_take_a_shard_one_wins,
    membership::takes_and_removals_do_not_cross,
);

contract!(
    stores::what_is_written_comes_back,
    stores::limits_and_bounds_of_reads,
    stores::snapshots_only_move_forward,
    stores::a_mark_is_recovered_and_holds_no_state,
    stores::recovery_brings_live_streams_of_the_shards,
    stores::recovery_brings_the_kinds_asked_for,
    stores::settings_are_kept_once,
    stores::a_store_that_many_share_tells_the_time,
    stores::shards_are_acquired_in_the_order_asked,
    stores::shards_are_reacquired_by_their_owner_only,
    stores::a_stale_epoch_is_fenced_and_neighbours_commit,
    stores::a_duplicate_version_refuses_the_batch,
    stores::a_used_key_refuses_the_batch,
    stores::a_key_is_unique_where_it_belongs_whatever_shard_uses_it,
    stores::keys_that_two_use_at_a_time_are_used_once,
    stores::a_taken_position_is_not_a_refusal,
    stores::poison_is_refused_and_named,
    stores::no_commit_under_an_old_epoch,
    stores::a_cancelled_commit_leaves_the_store_usable,
    retention::settled_orders_go_as_a_whole_and_nothing_else,
    retention::positions_are_never_used_again,
    retention::orders_are_looked_at_page_by_page,
    retention::keys_go_when_they_are_old,
    model::random_batches_do_the_same_as_in_memory,
    journal::concurrent_appends_are_gapless,
    journal::what_waits_is_one_batch,
    journal::poison_fails_alone,
    journal::a_fenced_shard_is_dropped_and_reported,
    journal::a_lost_answer_of_a_commit_that_happened,
    journal::a_lost_answer_of_a_commit_that_did_not,
    journal::a_row_that_is_always_lost_fails_alone,
    journal::finding_out_waits_for_the_store,
    journal::a_shard_that_was_taken_meanwhile_is_not_taken_back,
    journal::unavailable_gives_its_numbers_back,
    journal::a_stale_view_of_the_line_mends_itself,
    journal::a_full_queue_makes_appends_wait,
    journal::closing_commits_what_is_queued,
    journal::random_faults_neither_lose_nor_double_rows,
    handover::what_was_appended_before_a_release_is_written,
    handover::a_journal_begins_with_nothing_and_adopts,
    handover::each_loss_is_reported,
    handover::giving_up_waits_until_it_is_known_what_was_committed,
    handover::a_journal_that_is_closed_neither_adopts_nor_waits,
    handover::shards_that_wander_neither_lose_nor_double_rows,
    webhooks::subscriptions_change_at_the_version_that_was_seen,
    webhooks::of_concurrent_changes_one_is_made_and_the_limit_holds,
    webhooks::what_is_kept_is_claimed_when_it_is_due,
    webhooks::attempts_are_recorded_and_what_is_gone_stays_gone,
    webhooks::who_comes_back_after_its_claim_has_passed_changes_nothing,
    webhooks::dead_letters_are_listed_page_by_page_and_replayed,
    webhooks::claims_of_two_nodes_do_not_overlap,
);
