//! With a real Redis: the one at `UOOP_TEST_REDIS_URL`, or one of the test's own that can be killed. Without the variable
//! these tests say *skipped* and pass.

use super::*;
use fred::interfaces::KeysInterface;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::time::sleep;

/// How often something that must come is looked for: a bound, so that what does not come fails the test.
const LOOKS_MAX: usize = 6_000;
const LOOK: Duration = Duration::from_millis(10);

/// More patient than a server: other tests keep the machine busy.
const PATIENT: RedisOptions = RedisOptions {
    timeout: Duration::from_secs(10),
    pause: Duration::from_millis(20),
    authority: None,
};

fn url() -> Option<String> {
    let url = std::env::var("UOOP_TEST_REDIS_URL").ok();
    if url.is_none() {
        eprintln!("skipped: UOOP_TEST_REDIS_URL is not set");
    }
    url
}

/// Connects and waits until it has.
async fn connect(url: &str, options: RedisOptions) -> Arc<Redis> {
    let redis = Redis::connect(url, &options).expect("an address");
    until("redis answers", async || redis.now_ms().await.is_ok()).await;
    redis
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if holds().await {
            return;
        }
        sleep(LOOK).await;
    }
    panic!("it does not come to pass that {what}");
}

/// An order that no other run of this test has used.
async fn fresh(redis: &Redis, number: u64) -> OrderId {
    let now = redis.now_ms().await.expect("redis answers");
    order(now, u64::from(std::process::id()) << 16 | number)
}

async fn version_in(redis: &Redis, id: OrderId) -> Option<u64> {
    redis.find(id).await.map(|found| found.entry.version.0)
}

fn ttl_ms() -> i64 {
    i64::try_from(TTL.as_millis()).expect("small")
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_newest_version_and_its_age() {
    let Some(url) = url() else { return };
    let redis = connect(&url, PATIENT).await;
    let (id, other) = (fresh(&redis, 1).await, fresh(&redis, 2).await);
    let now = redis.now_ms().await.expect("redis answers");
    let put = async |version, as_of_ms: i64| {
        let entries = [(id, entry(id, version, false)), (other, entry(other, 1, true))];
        redis.put(&entries, as_of_ms + ttl_ms()).await.expect("redis answers");
        let found = redis.find(id).await;
        found.map(|found| (found.entry.version.0, found.age))
    };
    let old = now - 5_000;
    let (version, age) = put(2, old).await.expect("there");
    assert!(version == 2 && age >= Duration::from_secs(5), "{version}, {age:?}");
    assert!(!is_acceptable(&redis.find(id).await.expect("there"), Standing::Other));
    assert!(
        is_acceptable(&redis.find(other).await.expect("there"), Standing::Owner),
        "settled"
    );
    assert_eq!(put(1, now).await.expect("there").0, 2, "an older version is left out");
    let later = put(2, now).await.expect("there");
    assert!(
        later.1 < age + Duration::from_secs(5) && later.0 == 2,
        "seen to be current once more: {later:?}"
    );
    let earlier = put(2, old).await.expect("there");
    assert!(
        earlier.1 < Duration::from_secs(5) + age,
        "what is newer is not made old: {earlier:?}"
    );
    assert_eq!(put(10, old).await.expect("there").0, 10, "by number, not by letters");
    assert_eq!(put(11, now - ttl_ms()).await.expect("there").0, 10, "it came too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_left_under_the_key_is_no_entry_and_is_replaced() {
    let Some(url) = url() else { return };
    let redis = connect(&url, PATIENT).await;
    for (number, left) in ["CONFIRMED", "{\"version\":\"x\"}", "{", "[99]"]
        .into_iter()
        .enumerate()
    {
        let id = fresh(&redis, 10 + u64::try_from(number).expect("small")).await;
        let set: Result<(), _> = redis.client.set(key_of(id), left, None, None, false).await;
        set.expect("redis answers");
        assert!(redis.find(id).await.is_none(), "{left}");
        let now = redis.now_ms().await.expect("redis answers");
        redis
            .put(&[(id, entry(id, 1, false))], now + ttl_ms())
            .await
            .expect("redis answers");
        assert_eq!(version_in(&redis, id).await, Some(1), "{left}");
    }
}

fn key_of(id: OrderId) -> String {
    format!("order:{id}:status")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_publishes_what_is_read_and_another_node_reads_it() {
    let Some(url) = url() else { return };
    let redis = connect(&url, PATIENT).await;
    let owner = StatusCache::start(100, Some(Arc::clone(&redis)));
    let (unread, id) = (fresh(&redis, 20).await, fresh(&redis, 21).await);
    owner.changed(unread, || panic!("nobody reads it"));
    let read = owner
        .read(id, || Standing::Owner, NOBODY, loaded(entry(id, 1, false)))
        .await;
    assert_eq!(read.expect("infallible").version, Seq(1));
    until("the first version is there", async || {
        version_in(&redis, id).await == Some(1)
    })
    .await;
    for version in 2..=9 {
        owner.changed(id, || entry(id, version, false));
    }
    owner.changed(id, || entry(id, 10, true));
    until("the last version is there", async || {
        version_in(&redis, id).await == Some(10)
    })
    .await;

    // It is settled, so however old it is another node needs nobody else, and neither does an owner that starts anew.
    for standing in [Standing::Other, Standing::Owner] {
        let node = StatusCache::start(100, Some(connect(&url, PATIENT).await));
        let read = node.read(id, || standing, NOBODY, never()).await;
        assert_eq!(read.expect("infallible"), entry(id, 10, true), "{standing:?}");
    }
    // An owner believes nothing of what may still change.
    let open = fresh(&redis, 22).await;
    let now = redis.now_ms().await.expect("redis answers");
    redis
        .put(&[(open, entry(open, 3, false))], now + ttl_ms())
        .await
        .expect("redis answers");
    let read = owner
        .read(open, || Standing::Owner, NOBODY, loaded(entry(open, 4, false)))
        .await;
    assert_eq!(read.expect("infallible").version, Seq(4));
}

/// A Redis of our own, on a port that nobody else has.
struct Own {
    process: Child,
    port: u16,
}

impl Own {
    /// `None`: nobody said that there is a Redis to test with.
    fn start() -> Option<Self> {
        url()?;
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        Some(Self {
            process: Self::spawn(port),
            port,
        })
    }

    fn spawn(port: u16) -> Child {
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir", "/tmp"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed")
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.process.kill().expect("it ran");
        self.process.wait().expect("it ran");
    }

    fn restart(&mut self) {
        self.process = Self::spawn(self.port);
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_reads_notices_that_redis_is_killed_and_it_is_used_again_when_it_is_back() {
    let Some(mut server) = Own::start() else { return };
    let options = RedisOptions {
        timeout: Duration::from_millis(500),
        ..PATIENT
    };
    let redis = connect(&server.url(), options.clone()).await;
    let id = fresh(&redis, 1).await;
    let owner = Arc::new(StatusCache::start(100, Some(Arc::clone(&redis))));
    let other = Arc::new(StatusCache::start(100, Some(connect(&server.url(), options).await)));
    // What the store has, and what of it the cache was told: an actor commits, tells the cache, and only then answers.
    let (committed, told) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
    let over = Arc::new(AtomicBool::new(false));
    let reading = {
        let (committed, told, over) = (Arc::clone(&committed), Arc::clone(&told), Arc::clone(&over));
        let (owner, other) = (Arc::clone(&owner), Arc::clone(&other));
        tokio::spawn(async move {
            let load = async || Ok::<_, Infallible>(entry(id, committed.load(Ordering::Acquire), false));
            let mut reads = 0_u64;
            while !over.load(Ordering::Acquire) {
                let known = told.load(Ordering::Acquire);
                let seen = owner.read(id, || Standing::Owner, NOBODY, load()).await;
                assert!(
                    seen.expect("infallible").version.0 >= known,
                    "the owner reads its writes"
                );
                let seen = other.read(id, || Standing::Other, NOBODY, load()).await;
                assert!(seen.expect("infallible").version.0 >= 1);
                reads += 1;
                tokio::task::yield_now().await;
            }
            reads
        })
    };
    let change = || {
        let version = committed.fetch_add(1, Ordering::AcqRel) + 1;
        owner.changed(id, || entry(id, version, false));
        told.store(version, Ordering::Release);
        version
    };
    let version = change();
    until("redis has it", async || version_in(&redis, id).await >= Some(version)).await;
    server.kill();
    until("redis is away", async || redis.now_ms().await.is_err()).await;
    let missed = change();
    assert_eq!(version_in(&redis, id).await, None);
    server.restart();
    until("redis got what it missed", async || {
        version_in(&redis, id).await == Some(missed)
    })
    .await;
    over.store(true, Ordering::Release);
    assert!(reading.await.expect("no read failed") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_paused_redis_takes_late_is_not_taken_for_new() {
    let Some(server) = Own::start() else { return };
    let options = RedisOptions {
        timeout: Duration::from_millis(100),
        ..PATIENT
    };
    let redis = connect(&server.url(), options).await;
    let id = fresh(&redis, 1).await;
    let now = redis.now_ms().await.expect("redis answers");
    server.signal("-STOP");
    let late = redis.put(&[(id, entry(id, 1, false))], now + ttl_ms()).await;
    assert_eq!(late, Err(Away), "given up in time");
    sleep(AGE_MAX).await;
    server.signal("-CONT");
    until("redis answers", async || redis.now_ms().await.is_ok()).await;
    // It found the call among what had come meanwhile, and carried it out after all.
    until("it is there", async || redis.find(id).await.is_some()).await;
    let found = redis.find(id).await.expect("redis answers");
    assert!(found.age > AGE_MAX, "{:?}", found.age);
}

#[tokio::test]
async fn without_redis_everything_is_read_as_if_there_were_none() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = format!("redis://:s3cret@{}", free.local_addr().expect("an address"));
    drop(free);
    let redis = Redis::connect(&nobody, &RedisOptions::default()).expect("an address");
    let cache = StatusCache::start(10, Some(Arc::clone(&redis)));
    let id = order(1, 1);
    let read = cache
        .read(id, || Standing::Other, NOBODY, loaded(entry(id, 1, false)))
        .await;
    assert_eq!(read.expect("infallible").version, Seq(1));
    let read = cache
        .read(id, || Standing::Owner, NOBODY, loaded(entry(id, 1, false)))
        .await;
    assert_eq!(read.expect("infallible").version, Seq(1));
    assert_eq!(held(&cache, id).await, 1);
    assert_eq!(redis.score("set", vec![(0.5, "a".into())], TTL).await, Err(Away));
}

/// An authority, and a certificate of it for this machine, as files.
fn certify(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("it signs itself");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("it is signed");
    for (name, text) in [
        ("authority.pem", issuer.pem()),
        ("redis.pem", certificate.pem()),
        ("redis.key", key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).expect("it is written");
    }
}

/// A Redis of our own that speaks nothing but TLS.
fn start_over_tls(folder: &Path) -> Option<Own> {
    url()?;
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let file = |name: &str| folder.join(name).display().to_string();
    let process = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", "0", "--tls-port", &port.to_string()])
        .args([
            "--tls-cert-file",
            &file("redis.pem"),
            "--tls-key-file",
            &file("redis.key"),
        ])
        .args(["--tls-ca-cert-file", &file("authority.pem"), "--tls-auth-clients", "no"])
        .args([
            "--requirepass",
            "s3cret",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            "/tmp",
        ])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    Some(Own { process, port })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_redis_must_show_a_certificate_of_the_authority() {
    let (folder, other) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    certify(folder.path());
    certify(other.path());
    let Some(server) = start_over_tls(folder.path()) else {
        return;
    };
    let trusting = |folder: &Path| RedisOptions {
        authority: Some(folder.join("authority.pem")),
        ..PATIENT
    };
    let address = format!("rediss://:s3cret@localhost:{}/1", server.port);
    let redis = connect(&address, trusting(folder.path())).await;
    let id = fresh(&redis, 1).await;
    let now = redis.now_ms().await.expect("redis answers");
    redis
        .put(&[(id, entry(id, 7, false))], now + ttl_ms())
        .await
        .expect("redis answers");
    assert_eq!(version_in(&redis, id).await, Some(7));

    // Neither without TLS, nor signed by somebody else, nor under a name that is not in the certificate.
    let hasty = |options: RedisOptions| RedisOptions {
        timeout: Duration::from_millis(100),
        ..options
    };
    for (address, options) in [
        (format!("redis://:s3cret@localhost:{}", server.port), PATIENT),
        (address.clone(), trusting(other.path())),
        (
            format!("rediss://:s3cret@127.0.0.1:{}", server.port),
            trusting(folder.path()),
        ),
    ] {
        let strange = Redis::connect(&address, &hasty(options)).expect("an address");
        // Several attempts to connect, one after the other.
        for _ in 0..10 {
            assert_eq!(strange.now_ms().await.ok(), None, "{address}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn over_tls_there_must_be_authorities() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("authority.pem");
    for (content, said) in [(None, "authority.pem"), (Some(""), "there is no certificate in it")] {
        if let Some(content) = content {
            std::fs::write(&file, content).expect("written");
        }
        let options = RedisOptions {
            authority: Some(file.clone()),
            ..PATIENT
        };
        let error = Redis::connect("rediss://u:s3cret@localhost", &options)
            .err()
            .expect("no authority");
        let error = error.to_string();
        assert!(error.contains(said) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn an_address_is_refused_without_being_shown() {
    let wrong = Redis::connect("redis://u:s3cret@host:port", &RedisOptions::default());
    let error = wrong.err().expect("no port").to_string();
    assert!(!error.contains("s3cret"), "{error}");
}
