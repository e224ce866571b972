//! What travels between gateways: frames of items.
//!
//! All numbers are big-endian. A frame is a head and then items until its end:
//!
//! ```text
//! head: format u8 (1) | versions min u16, max u16 | link u64 | acknowledged link u64, frames u64 | name length u8, name
//! item: kind u8 | id u64 | length u32 | payload
//! ```
//!
//! The head stands as it is for ever, so that nodes of any two versions can tell each other which ones they speak; what
//! follows it is in the highest version common to both. What their payloads mean is said in `cluster::wire`. A frame without
//! items is a greeting, a heartbeat and an acknowledgement in one.

use std::fmt;

/// The versions this build speaks.
pub(super) const VERSIONS: Versions = Versions { min: 3, max: 4 };

/// The longest payload of one item. With it a frame stays well under the 16 MiB at which a session is cut.
pub(super) const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What an item takes beside its payload.
pub(super) const ITEM_HEAD_BYTES: usize = 1 + 8 + 4;

const FORMAT: u8 = 1;
const NOTICE: u8 = 1;
const REQUEST: u8 = 2;
const ANSWER: u8 = 3;
const OVERLOADED: u8 = 4;
const FAILED: u8 = 5;

/// A range of wire versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) min: u16,
    pub(super) max: u16,
}

impl Versions {
    /// The highest version that both speak.
    pub(super) fn common(self, other: Self) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// How many frames of one of the reader's links the sender has taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The link's number, as the reader counts its own.
    pub(super) link: u64,
    pub(super) frames: u64,
}

/// What each frame begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) versions: Versions,
    /// The sender's number of the link, higher with each one it makes.
    pub(super) link: u64,
    pub(super) taken: Taken,
    /// The sender's name.
    pub(super) from: String,
}

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Notice(Vec<u8>),
    Request {
        id: u64,
        body: Vec<u8>,
    },
    Answer {
        id: u64,
        body: Vec<u8>,
    },
    /// The request was not carried out: there is too much to do.
    Overloaded {
        id: u64,
    },
    /// The request may have been carried out, but has no answer.
    Failed {
        id: u64,
    },
}

impl Item {
    /// The bytes it takes in a frame.
    pub(super) fn bytes(&self) -> usize {
        ITEM_HEAD_BYTES + self.body().len()
    }

    fn body(&self) -> &[u8] {
        match self {
            Self::Notice(body) | Self::Request { body, .. } | Self::Answer { body, .. } => body,
            Self::Overloaded { .. } | Self::Failed { .. } => &[],
        }
    }

    fn kind_and_id(&self) -> (u8, u64) {
        match self {
            Self::Notice(_) => (NOTICE, 0),
            Self::Request { id, .. } => (REQUEST, *id),
            Self::Answer { id, .. } => (ANSWER, *id),
            Self::Overloaded { id } => (OVERLOADED, *id),
            Self::Failed { id } => (FAILED, *id),
        }
    }
}

/// A frame that cannot be read, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame: {0}")]
pub(super) struct Malformed(&'static str);

/// Writes a frame. Names are at most 255 bytes and payloads at most [`PAYLOAD_BYTES_MAX`]; both are checked where they
/// come in.
pub(super) fn encode(head: &Head, items: &[Item]) -> Vec<u8> {
    let bytes: usize = items.iter().map(Item::bytes).sum();
    let mut frame = Vec::with_capacity(30 + head.from.len() + bytes);
    frame.push(FORMAT);
    frame.extend_from_slice(&head.versions.min.to_be_bytes());
    frame.extend_from_slice(&head.versions.max.to_be_bytes());
    frame.extend_from_slice(&head.link.to_be_bytes());
    frame.extend_from_slice(&head.taken.link.to_be_bytes());
    frame.extend_from_slice(&head.taken.frames.to_be_bytes());
    frame.push(u8::try_from(head.from.len()).unwrap_or(u8::MAX));
    frame.extend_from_slice(head.from.as_bytes());
    for item in items {
        let (kind, id) = item.kind_and_id();
        let body = item.body();
        frame.push(kind);
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend_from_slice(body);
    }
    frame
}

/// Reads the head of a frame; what is left are its items.
pub(super) fn decode_head(frame: &[u8]) -> Result<(Head, &[u8]), Malformed> {
    let mut rest = Rest(frame);
    if rest.u8()? != FORMAT {
        return Err(Malformed("another format"));
    }
    let versions = Versions {
        min: rest.u16()?,
        max: rest.u16()?,
    };
    let link = rest.u64()?;
    let taken = Taken {
        link: rest.u64()?,
        frames: rest.u64()?,
    };
    let length = usize::from(rest.u8()?);
    let from = std::str::from_utf8(rest.take(length)?).map_err(|_| Malformed("the name is not UTF-8"))?;
    let head = Head {
        versions,
        link,
        taken,
        from: from.to_owned(),
    };
    Ok((head, rest.0))
}

/// Reads the items of a frame: all of them, or none.
pub(super) fn decode_items(items: &[u8]) -> Result<Vec<Item>, Malformed> {
    let mut rest = Rest(items);
    let mut read = Vec::new();
    while !rest.0.is_empty() {
        let kind = rest.u8()?;
        let id = rest.u64()?;
        let length = rest.u32()? as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(Malformed("a payload is too long"));
        }
        let body = rest.take(length)?.to_vec();
        read.push(match kind {
            NOTICE => Item::Notice(body),
            REQUEST => Item::Request { id, body },
            ANSWER => Item::Answer { id, body },
            OVERLOADED => Item::Overloaded { id },
            FAILED => Item::Failed { id },
            _ => return Err(Malformed("an item of an unknown kind")),
        });
    }
    Ok(read)
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }
}
