//! Values that must not be shown: not in logs, not in `config print`, not in error messages.

use serde::Deserialize;
use std::fmt;

/// What is shown instead.
pub(super) const REDACTED: &str = "[redacted]";

/// An address that may hold a password; shown without it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// The whole address, password included.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A text that must not be shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", without_password(&self.0))
    }
}

/// The address with its password replaced. Rather too much is hidden than too little: a password with an unescaped `/`
/// or `@` in it goes too.
pub(super) fn without_password(address: &str) -> String {
    let (scheme, rest) = address.split_at(address.find("://").map_or(0, |at| at + 3));
    let (user, host) = match rest.rfind('@') {
        Some(at) => rest.split_at(at),
        None => ("", rest),
    };
    let user = match user.split_once(':') {
        Some((name, _)) => format!("{name}:{REDACTED}"),
        None => user.to_owned(),
    };
    let host = match host.split_once('?') {
        Some((before, query)) => format!("{before}?{}", without_password_parameters(query)),
        None => host.to_owned(),
    };
    format!("{scheme}{user}{host}")
}

fn without_password_parameters(query: &str) -> String {
    let shown = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("password") => format!("{name}={REDACTED}"),
        _ => parameter.to_owned(),
    });
    shown.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (address, shown) in [
            ("postgres://u:s3cret@h:5432/d", "postgres://u:[redacted]@h:5432/d"),
            ("postgres://u:s3/c?r@e:t@h/d", "postgres://u:[redacted]@h/d"),
            (
                "postgres://u@h/d?sslmode=off&password=s3cret",
                "postgres://u@h/d?sslmode=off&password=[redacted]",
            ),
            ("postgres://h/d", "postgres://h/d"),
            ("u:s3cret@h", "u:[redacted]@h"),
            ("memory:", "memory:"),
            ("", ""),
        ] {
            assert_eq!(Address(address.into()).to_string(), shown);
            assert!(!format!("{:?}", Address(address.into())).contains("s3"), "{address}");
        }
    }
}
