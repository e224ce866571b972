//! Server-sent events, as the WHATWG's HTML standard defines them.

/// Longest line of a stream, in bytes.
const LINE_BYTES_MAX: usize = 4 << 20;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its id, for `Last-Event-ID`.
    pub(super) id: Option<String>,
    /// What it carries; lines joined by `\n`.
    pub(super) data: String,
}

/// A line grew beyond all reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Takes a stream's bytes as they come and gives its events.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    id: Option<String>,
    data: Option<String>,
}

impl Parser {
    /// The events that these bytes complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                return Err(TooLong);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                events.extend(self.end_of_line(line.trim_end_matches(['\n', '\r'])));
            }
        }
        Ok(events)
    }

    /// The event that an empty line completes. Comments (heartbeats) and unknown fields are skipped.
    fn end_of_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let id = self.id.take();
            return self.data.take().map(|data| Event { id, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, data: &str) -> Event {
        Event {
            id: Some(id.to_owned()),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_are_found_however_the_bytes_are_cut() {
        let stream = ": heartbeat\n\nid: 7\nevent: order\ndata: {\"a\":\ndata:  \"ü\"}\n\nretry: 5\nid:8\r\ndata:x\r\n\r\ndata: cut";
        let wanted = [event("7", "{\"a\":\n \"ü\"}"), event("8", "x")];
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let events: Vec<_> = stream
                .as_bytes()
                .chunks(size)
                .flat_map(|bytes| parser.feed(bytes).unwrap())
                .collect();
            assert_eq!(events, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; LINE_BYTES_MAX / 2 + 1];
        assert_eq!(parser.feed(&piece), Ok(Vec::new()));
        assert_eq!(parser.feed(&piece), Err(TooLong));
    }
}
