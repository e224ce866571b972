//! A database of our own on the Postgres of `UOOP_TEST_POSTGRES_URL`.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A database. It goes when this is dropped.
pub(crate) struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    /// Creates an empty one; `None`, and a word about it, when there is no server for it.
    pub(crate) fn create() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let Ok(url) = std::env::var("UOOP_TEST_POSTGRES_URL") else {
            println!("skipped: UOOP_TEST_POSTGRES_URL is not set");
            return None;
        };
        let (server, _) = url.rsplit_once('/').expect("an address with a database");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("load_faults_{}_{number}", std::process::id());
        let database = Self {
            server: server.to_owned(),
            url: format!("{server}/{name}"),
            name,
        };
        // One that an earlier process with the same number left behind.
        assert!(database.drop_it(), "psql reaches the server of UOOP_TEST_POSTGRES_URL");
        assert!(
            database.run(&format!("CREATE DATABASE {}", database.name)),
            "a database"
        );
        Some(database)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Runs a statement in the database; whether it went well.
    #[allow(dead_code, reason = "not every test that has a database changes it")]
    pub(crate) fn execute(&self, statement: &str) -> bool {
        Self::run_in(&self.url, statement)
    }

    /// Drops the database under those who use it; whether it went well.
    #[allow(dead_code, reason = "not every test that has a database loses it")]
    pub(crate) fn vanish(&self) -> bool {
        self.drop_it()
    }

    fn drop_it(&self) -> bool {
        self.run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name))
    }

    fn run(&self, statement: &str) -> bool {
        Self::run_in(&format!("{}/postgres", self.server), statement)
    }

    fn run_in(url: &str, statement: &str) -> bool {
        let mut psql = Command::new("psql");
        psql.args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-d", url]);
        let psql = psql.args(["-c", "SET client_min_messages = error", "-c", statement]);
        psql.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.drop_it() {
            eprintln!("the database {} is left behind", self.name);
        }
    }
}
