-- What of an order waits for an operator, such as 'place_ticket:1:undo,capture:0:do'; NULL: nothing does, as for nearly all.
-- Orders that became stuck before, or while a program of the version before still feeds the projection, are known as such
-- once it has been built again (`uoop migrate rebuild-projection`).
--
-- The index is built under a lock that keeps batches of the projection out for as long as it takes to read the table once;
-- no order waits for those. CONCURRENTLY would deadlock with any other node that starts: it waits for all snapshots, and
-- who waits to migrate holds one.
SET lock_timeout = '2s';
ALTER TABLE order_search ADD COLUMN stuck text COLLATE "C";
CREATE INDEX order_search_stuck ON order_search (stream) WHERE stuck IS NOT NULL;
