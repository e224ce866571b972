//! Signatures as Standard Webhooks 1.0 has them: `webhook-signature: v1,base64(HMAC-SHA256(secret, id.timestamp.body))`,
//! several separated by spaces while a secret is rotated.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use std::str::FromStr;

/// The header with the message's id.
pub const ID: &str = "webhook-id";
/// The header with the time of sending, in seconds since the Unix epoch.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";

/// How far a message's time of sending may be from ours, in seconds of wall time.
pub const TOLERANCE_S: i64 = 300;

const PREFIX: &str = "whsec_";
const SECRET_BYTES_MIN: usize = 24;
const SECRET_BYTES_MAX: usize = 64;
const SIGNATURES_MAX: usize = 16;

/// A secret that both sides know: 24 to 64 bytes, written as they are or as `whsec_` and their base64. Never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(Vec<u8>);

/// A text that is no secret. Does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// What follows `whsec_` is not base64.
    #[error("what follows 'whsec_' is not base64")]
    NotBase64,
    /// Too short or too long.
    #[error("a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, not {0}")]
    Length(usize),
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let bytes = match text.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| InvalidSecret::NotBase64)?,
            None => text.as_bytes().to_vec(),
        };
        if (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            return Ok(Self(bytes));
        }
        Err(InvalidSecret::Length(bytes.len()))
    }
}

impl TryFrom<String> for Secret {
    type Error = InvalidSecret;

    fn try_from(text: String) -> Result<Self, InvalidSecret> {
        text.parse()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}

/// The secrets in force: all of them sign, and any of them verifies.
#[derive(Clone, Debug)]
pub struct Keyring(Vec<Hmac<Sha256>>);

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// A header is missing.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// The timestamp is no number of seconds.
    #[error("the header webhook-timestamp is not a number of seconds")]
    Timestamp,
    /// It was sent too long ago, or in the future.
    #[error("the message was sent more than {TOLERANCE_S} s from now")]
    Stale,
    /// No signature is by a secret that we know.
    #[error("no signature matches")]
    Forged,
}

impl Keyring {
    /// A ring of these secrets, newest first. None: nothing is believed.
    pub fn new(secrets: &[Secret]) -> Self {
        // An HMAC takes a key of any length: nothing is ever left out here.
        Self(
            secrets
                .iter()
                .filter_map(|secret| Hmac::new_from_slice(&secret.0).ok())
                .collect(),
        )
    }

    /// The value of [`SIGNATURE`] for a message: one signature for each secret.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let timestamp = timestamp_s.to_string();
        let signatures = self.0.iter().map(|mac| {
            let mac = message(mac.clone(), id, &timestamp, body).finalize();
            format!("v1,{}", STANDARD.encode(mac.into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }

    /// Whether a message is by someone who knows a secret, and is fresh. `header` looks a header up; `now_ms` is wall time.
    ///
    /// # Errors
    /// It is not to be believed.
    pub fn verify<'a>(
        &self,
        header: impl Fn(&str) -> Option<&'a str>,
        body: &[u8],
        now_ms: i64,
    ) -> Result<(), Untrusted> {
        let required = |name| header(name).ok_or(Untrusted::Missing(name));
        let (id, timestamp, signatures) = (required(ID)?, required(TIMESTAMP)?, required(SIGNATURE)?);
        let sent_s: i64 = timestamp.parse().map_err(|_| Untrusted::Timestamp)?;
        if now_ms.div_euclid(1_000).abs_diff(sent_s) > TOLERANCE_S.unsigned_abs() {
            return Err(Untrusted::Stale);
        }
        let claimed = signatures.split_ascii_whitespace().take(SIGNATURES_MAX);
        let mut claimed = claimed
            .filter_map(|one| one.strip_prefix("v1,"))
            .filter_map(|one| STANDARD.decode(one).ok());
        let genuine = |claim: Vec<u8>| {
            self.0
                .iter()
                .any(|mac| message(mac.clone(), id, timestamp, body).verify_slice(&claim).is_ok())
        };
        if claimed.any(genuine) {
            Ok(())
        } else {
            Err(Untrusted::Forged)
        }
    }
}

fn message(mut mac: Hmac<Sha256>, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
    const ID_1: &str = "msg_1";
    const SENT_S: i64 = 1_700_000_000;
    const BODY: &[u8] = br#"{"type":"ready"}"#;
    // printf 'msg_1.1700000000.{"type":"ready"}' | openssl dgst -sha256 -hmac 0123456789abcdef01234567 -binary | base64
    const BY_OPENSSL: &str = "v1,9JMrg1R0Dhaeztml0q3QHED4VUto/BkaSt9JWu3IGFM=";

    fn ring(secrets: &[&str]) -> Keyring {
        Keyring::new(
            &secrets
                .iter()
                .map(|text| text.parse().expect("a secret"))
                .collect::<Vec<_>>(),
        )
    }

    fn verify(ring: &Keyring, id: &str, sent: &str, signature: &str, body: &[u8], now_s: i64) -> Result<(), Untrusted> {
        let header = |name: &str| match name {
            ID => Some(id),
            TIMESTAMP => Some(sent),
            SIGNATURE => Some(signature),
            _ => None,
        };
        ring.verify(header, body, now_s * 1_000)
    }

    #[test]
    fn a_signature_is_what_openssl_computes() {
        assert_eq!(ring(&[SECRET]).sign(ID_1, SENT_S, BODY), BY_OPENSSL);
        assert_eq!(
            ring(&["0123456789abcdef01234567"]).sign(ID_1, SENT_S, BODY),
            BY_OPENSSL,
            "the same bytes"
        );
        assert_eq!(
            verify(&ring(&[SECRET]), ID_1, "1700000000", BY_OPENSSL, BODY, SENT_S),
            Ok(())
        );
    }

    #[test]
    fn anything_changed_is_a_forgery() {
        let ring = ring(&[SECRET]);
        let sent = "1700000000";
        assert_eq!(
            verify(&ring, "msg_2", sent, BY_OPENSSL, BODY, SENT_S),
            Err(Untrusted::Forged)
        );
        assert_eq!(
            verify(&ring, ID_1, "1700000001", BY_OPENSSL, BODY, SENT_S),
            Err(Untrusted::Forged)
        );
        assert_eq!(
            verify(&ring, ID_1, sent, BY_OPENSSL, b"{}", SENT_S),
            Err(Untrusted::Forged)
        );
        for signature in ["", "v1,", "v1,AAAA", "v1a,x", &BY_OPENSSL[3..]] {
            assert_eq!(
                verify(&ring, ID_1, sent, signature, BODY, SENT_S),
                Err(Untrusted::Forged),
                "{signature}"
            );
        }
        let nobody = Keyring::new(&[]);
        assert_eq!(
            verify(&nobody, ID_1, sent, BY_OPENSSL, BODY, SENT_S),
            Err(Untrusted::Forged)
        );
    }

    #[test]
    fn a_message_is_fresh_for_five_minutes_both_ways() {
        let ring = ring(&[SECRET]);
        for (now_s, fresh) in [(-300, true), (300, true), (-301, false), (301, false)] {
            let verified = verify(&ring, ID_1, "1700000000", BY_OPENSSL, BODY, SENT_S + now_s);
            assert_eq!(verified, if fresh { Ok(()) } else { Err(Untrusted::Stale) }, "{now_s}");
        }
        assert_eq!(
            verify(&ring, ID_1, "soon", BY_OPENSSL, BODY, SENT_S),
            Err(Untrusted::Timestamp)
        );
        assert_eq!(ring.verify(|_| None, BODY, 0), Err(Untrusted::Missing(ID)));
    }

    #[test]
    fn secrets_rotate_without_a_gap() {
        const NEXT: &str = "a second secret of thirty bytes";
        let (old, both, new) = (ring(&[SECRET]), ring(&[NEXT, SECRET]), ring(&[NEXT]));
        for (signer, verifier, believed) in [
            (&old, &both, true),
            (&both, &old, true),
            (&both, &new, true),
            (&new, &both, true),
            (&old, &new, false),
        ] {
            let signature = signer.sign(ID_1, SENT_S, BODY);
            assert_eq!(
                verify(verifier, ID_1, "1700000000", &signature, BODY, SENT_S).is_ok(),
                believed
            );
        }
    }

    #[test]
    fn secrets_are_checked_and_not_shown() {
        assert_eq!("short".parse::<Secret>(), Err(InvalidSecret::Length(5)));
        assert_eq!("whsec_!!".parse::<Secret>(), Err(InvalidSecret::NotBase64));
        let secret: Secret = SECRET.parse().expect("a secret");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(serde_json::to_string(&secret).expect("serializable"), "\"…\"");
    }
}
