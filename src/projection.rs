//! Where the search projection is kept: beside the orders, on the embedded store in a file of its own.

use crate::settings::{Settings, StorePlace};
use domain::ports::{Store, StoreError};
use persistence::projection::{MemoryProjection, PostgresProjection, Projection, SqliteProjection};
use std::sync::Arc;

/// The file beside that of the embedded store.
const FILE: &str = "search.db";

/// Opens the projection of a store that is open, as the settings say where.
///
/// # Errors
/// It cannot be opened, or the store cannot be read.
pub(crate) async fn open(settings: &Settings, store: &dyn Store) -> Result<Arc<dyn Projection>, StoreError> {
    Ok(match settings.store.place() {
        StorePlace::Memory => Arc::new(MemoryProjection::default()),
        StorePlace::Sqlite(path) => Arc::new(SqliteProjection::open(&path.with_file_name(FILE), store).await?),
        StorePlace::Postgres(url) => Arc::new(PostgresProjection::new(url.expose(), &settings.projection.postgres())?),
    })
}
