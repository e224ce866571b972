//! Throttling: how many requests one client may make. Beyond that the answer is 429 (`RateLimit` and `RateLimit-Policy`
//! of the IETF's draft-09 tell how much is left).
//!
//! A client is the address that a connection comes from; of IPv6 the network (/64), which is what one subscriber has.
//! Headers such as `X-Forwarded-For` are not believed: anybody can write them. Each client has a bucket that holds
//! [`HttpLimits::throttle_limit`] requests and is filled evenly within [`HttpLimits::throttle_ttl_s`]. Buckets that are
//! full again are forgotten, and only so many are kept: clients beyond that share one.

use super::connection::Peer;
use super::problem::{Kind, Problem};
use super::{Gateway, HttpLimits};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dashmap::DashMap;
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::state::{InMemoryState, StateStore};
use governor::{Quota, RateLimiter};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Longest period that is counted over, in seconds.
const TTL_S_MAX: u64 = 86_400;

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    /// Those of this address, or of this IPv6 network.
    At(IpAddr),
    /// Those of all for whom there was no room.
    Others,
}

impl Client {
    fn of(address: IpAddr) -> Self {
        Self::At(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The buckets, so many at most.
struct Buckets {
    buckets: DashMap<Client, InMemoryState>,
    clients_max: usize,
}

impl StateStore for Buckets {
    type Key = Client;

    fn measure_and_replace<T, F, E>(&self, client: &Client, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // Requests that come at the same moment may each find the last place free; that is few beyond the bound.
        let has_room = self.buckets.contains_key(client) || self.buckets.len() < self.clients_max;
        let client = if has_room { client } else { &Client::Others };
        self.buckets.measure_and_replace(client, decide)
    }
}

impl ShrinkableKeyedStateStore<Client> for Buckets {
    fn retain_recent(&self, drop_below: Nanos) {
        self.buckets.retain_recent(drop_below);
    }

    fn shrink_to_fit(&self) {
        self.buckets.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.buckets.len()
    }

    fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

/// How a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// Whether this request may pass.
    passes: bool,
    /// How many more may pass at once.
    remaining: u32,
    /// In how many seconds its bucket is full again; for one that may not pass, when the next may.
    reset_s: u32,
}

/// The bound on the requests of each client.
pub(super) struct Throttle<C: Clock = MonotonicClock> {
    limiter: RateLimiter<Client, Buckets, C, StateInformationMiddleware>,
    clock: C,
    quota: Quota,
    ttl: Duration,
    policy: HeaderValue,
}

impl Throttle {
    /// The bound that the limits set, if they set one.
    pub(super) fn new(limits: &HttpLimits) -> Option<Self> {
        Self::with_clock(limits, MonotonicClock)
    }
}

impl<C: Clock + Clone> Throttle<C> {
    fn with_clock(limits: &HttpLimits, clock: C) -> Option<Self> {
        let limit = NonZeroU32::new(limits.throttle_limit)?;
        let ttl_s = limits.throttle_ttl_s.min(TTL_S_MAX);
        let ttl = Duration::from_secs(ttl_s);
        let quota = Quota::with_period(ttl / limit.get())?.allow_burst(limit);
        let buckets = Buckets {
            buckets: DashMap::new(),
            clients_max: limits.throttle_clients_max,
        };
        Some(Self {
            limiter: RateLimiter::new(quota, buckets, clock.clone()),
            clock,
            quota,
            ttl,
            policy: HeaderValue::from_str(&format!("\"client\";q={limit};w={ttl_s}")).ok()?,
        })
    }

    /// Counts a request of a client.
    fn count(&self, address: IpAddr) -> Standing {
        match self.limiter.check_key(&Client::of(address)) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let taken = self.quota.burst_size().get().saturating_sub(remaining);
                Standing {
                    passes: true,
                    remaining,
                    reset_s: seconds(self.quota.replenish_interval().saturating_mul(taken)),
                }
            }
            Err(until) => Standing {
                passes: false,
                remaining: 0,
                reset_s: seconds(until.wait_time_from(self.clock.now())).max(1),
            },
        }
    }

    /// Forgets, once in a period, the buckets that are full again. Never ends.
    pub(super) async fn forget(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.ttl).await;
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
    }

    fn tell(&self, standing: Standing, headers: &mut HeaderMap) {
        let Standing { remaining, reset_s, .. } = standing;
        headers.insert(RATE_LIMIT_POLICY, self.policy.clone());
        if let Ok(value) = HeaderValue::from_str(&format!("\"client\";r={remaining};t={reset_s}")) {
            headers.insert(RATE_LIMIT, value);
        }
    }
}

/// Whole seconds, rounded up: who waits so long has waited long enough.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

/// Lets a request through while its client has not made too many, and tells how many more it may make.
pub(super) async fn throttle(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let Some(throttle) = &gateway.throttle else {
        return next.run(request).await;
    };
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    // Only who calls the router in this process has no address.
    let address = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(Peer(address))| address.ip());
    let standing = throttle.count(address);
    let mut response = if standing.passes {
        next.run(request).await
    } else {
        metrics::counter!("http_requests_refused_total", "bound" => "throttle").increment(1);
        let (limit, ttl_s) = (throttle.quota.burst_size(), throttle.ttl.as_secs());
        let text = format!("a client may make {limit} requests in {ttl_s} s and this one made more; nothing was done");
        Problem::new(Kind::TooManyRequests, text)
            .retry_after(standing.reset_s)
            .into_response()
    };
    throttle.tell(standing, response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    const ALICE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn throttle(limit: u32, ttl_s: u64, clients_max: usize) -> (Throttle<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        // A clock that stands at zero is none that ever is.
        clock.advance(Duration::from_secs(1));
        let limits = HttpLimits {
            throttle_limit: limit,
            throttle_ttl_s: ttl_s,
            throttle_clients_max: clients_max,
            ..HttpLimits::default()
        };
        (Throttle::with_clock(&limits, clock.clone()).expect("a limit"), clock)
    }

    fn passes(remaining: u32, reset_s: u32) -> Standing {
        Standing {
            passes: true,
            remaining,
            reset_s,
        }
    }

    fn refused(reset_s: u32) -> Standing {
        Standing {
            passes: false,
            remaining: 0,
            reset_s,
        }
    }

    #[test]
    fn each_client_may_make_so_many_requests_and_gets_them_back_evenly() {
        let (throttle, clock) = throttle(3, 60, 10);
        let ask = || throttle.count(ALICE);
        assert_eq!([ask(), ask(), ask()], [passes(2, 20), passes(1, 40), passes(0, 60)]);
        assert_eq!(
            [ask(), ask()],
            [refused(20), refused(20)],
            "asking in vain costs nothing"
        );
        assert_eq!(throttle.count(BOB), passes(2, 20), "others are not concerned");
        clock.advance(Duration::from_millis(19_001));
        assert_eq!(ask(), refused(1));
        clock.advance(Duration::from_millis(999));
        assert_eq!(
            [ask(), ask()],
            [passes(0, 60), refused(20)],
            "who waits as told passes, once"
        );
        clock.advance(Duration::from_mins(10));
        assert_eq!([ask(), ask()], [passes(2, 20), passes(1, 40)], "nothing is saved up");
    }

    #[test]
    fn what_is_left_is_told_as_the_draft_has_it() {
        let (throttle, _clock) = throttle(100, 60, 10);
        let mut headers = HeaderMap::new();
        throttle.tell(throttle.count(ALICE), &mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"client\";q=100;w=60");
        assert_eq!(headers["ratelimit"], "\"client\";r=99;t=1");
    }

    #[test]
    fn the_extremes_of_the_settings_can_be_told_and_counted() {
        for (limit, ttl_s) in [
            (1, 1),
            (1_000_000_000, 1),
            (1, 86_400),
            (1_000_000_000, 86_400),
            (u32::MAX, u64::MAX),
        ] {
            let (throttle, _clock) = throttle(limit, ttl_s, 1);
            assert_eq!(throttle.count(ALICE).remaining, limit - 1, "{limit} in {ttl_s} s");
        }
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_a_mapped_address_is_that_of_ipv4() {
        let of = |text: &str| Client::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn clients_beyond_the_bound_share_a_bucket_until_others_are_forgotten() {
        let (throttle, clock) = throttle(2, 60, 1);
        let stranger = |n: u8| throttle.count(IpAddr::V4(Ipv4Addr::new(198, 51, 100, n)));
        assert_eq!(throttle.count(ALICE), passes(1, 30));
        assert_eq!(
            [stranger(1), stranger(2), stranger(3)],
            [passes(1, 30), passes(0, 60), refused(30)]
        );
        assert_eq!(throttle.count(ALICE), passes(0, 60), "who is known keeps its own");
        assert_eq!(throttle.limiter.len(), 2, "one known, and the others");
        clock.advance(Duration::from_mins(10));
        throttle.limiter.retain_recent();
        assert_eq!(throttle.limiter.len(), 0, "full buckets are forgotten");
        assert_eq!([stranger(4), throttle.count(ALICE)], [passes(1, 30), passes(1, 30)]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_period_the_buckets_that_are_full_again_are_forgotten() {
        let (throttle, clock) = throttle(2, 60, 10);
        throttle.count(ALICE);
        clock.advance(Duration::from_mins(1));
        throttle.count(BOB);
        let forgetting = tokio::time::timeout(Duration::from_secs(59), throttle.forget());
        assert!(forgetting.await.is_err(), "it never ends");
        assert_eq!(throttle.limiter.len(), 2, "the period is not over");
        let forgetting = tokio::time::timeout(Duration::from_secs(61), throttle.forget());
        assert!(forgetting.await.is_err(), "it never ends");
        assert_eq!(throttle.limiter.len(), 1, "one was full again");
        assert_eq!(throttle.count(BOB).remaining, 0, "the other is kept");
    }

    #[test]
    fn a_limit_of_nothing_is_none() {
        let limits = |throttle_limit, throttle_ttl_s| HttpLimits {
            throttle_limit,
            throttle_ttl_s,
            ..HttpLimits::default()
        };
        assert!(Throttle::new(&limits(0, 60)).is_none());
        assert!(
            Throttle::new(&limits(5, 0)).is_none(),
            "a period of nothing counts nothing"
        );
        assert!(Throttle::new(&limits(5, 60)).is_some());
    }
}
