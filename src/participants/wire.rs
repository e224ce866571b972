//! The answers of participants on the wire: a status and a small JSON object.
//!
//! | status | body | means |
//! | --- | --- | --- |
//! | 200 | `{"result":"done","receipt":{"until":ms?,"ready_at":ms?}?}` | done, now or the first time |
//! | 202 | `{"result":"pending"}` | taken; the decision follows as a callback |
//! | 402, 409, 422 | `{"result":"refused","code":"…","detail":"…"}` | no: it did not and will not happen |
//! | anything else | | nobody knows whether it happened |

use domain::saga::{Answer, Receipt, Refused};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::ask::Verb;

/// Most bytes of a participant's text that go into an error or a record.
const QUOTED_BYTES_MAX: usize = 200;

/// What a participant says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Said {
    /// It is done.
    Done {
        /// What came of it.
        #[serde(default)]
        receipt: SaidReceipt,
    },
    /// It is taken.
    Pending,
    /// No.
    Refused(Refused),
}

/// What came of it, as far as the participant says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidReceipt {
    /// Until when an authorization lasts, business time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When the kitchen expects to be done, business time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
}

impl Said {
    /// The status that goes with it. Payments are refused with 402, everything else with 409.
    pub const fn status(&self, verb: Verb) -> u16 {
        match (self, verb) {
            (Self::Done { .. }, _) => 200,
            (Self::Pending, _) => 202,
            (Self::Refused(_), Verb::Authorize | Verb::Capture) => 402,
            (Self::Refused(_), _) => 409,
        }
    }
}

/// What a response means. Only a status and a body that agree count; everything else is a failure, never a refusal.
pub fn interpret(verb: Verb, status: u16, body: &[u8]) -> Answer {
    let said: Said = match serde_json::from_slice(body) {
        Ok(said) => said,
        Err(_) => return Answer::Failed(format!("answered {status} with '{}'", quoted(body))),
    };
    match (status, said) {
        (200, Said::Done { receipt }) => Answer::Done(receipt_of(verb, receipt)),
        (202, Said::Pending) => Answer::Pending,
        (402 | 409 | 422, Said::Refused(refused)) => {
            Answer::Refused(Refused::new(cut(&refused.code), cut(&refused.detail)))
        }
        (status, _) => Answer::Failed(format!(
            "answered {status} with '{}', which does not go together",
            quoted(body)
        )),
    }
}

const fn receipt_of(verb: Verb, said: SaidReceipt) -> Receipt {
    match verb {
        Verb::Authorize => Receipt::Authorized { until: said.until },
        Verb::Place => Receipt::Accepted {
            ready_at: said.ready_at,
        },
        Verb::Void | Verb::Capture | Verb::Refund | Verb::Cancel => Receipt::Empty,
    }
}

fn cut(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(QUOTED_BYTES_MAX)
        .collect()
}

fn quoted(body: &[u8]) -> String {
    cut(&String::from_utf8_lossy(&body[..body.len().min(QUOTED_BYTES_MAX)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_bodies_that_agree_are_believed() {
        let done = |verb, body: &str| interpret(verb, 200, body.as_bytes());
        let until = Receipt::Authorized {
            until: Some(Timestamp(7)),
        };
        assert_eq!(
            done(Verb::Authorize, r#"{"result":"done","receipt":{"until":7}}"#),
            Answer::Done(until)
        );
        let unsaid = Receipt::Accepted { ready_at: None };
        assert_eq!(
            done(Verb::Place, r#"{"result":"done","receipt":{}}"#),
            Answer::Done(unsaid)
        );
        assert_eq!(done(Verb::Void, r#"{"result":"done"}"#), Answer::Done(Receipt::Empty));
        assert_eq!(interpret(Verb::Place, 202, br#"{"result":"pending"}"#), Answer::Pending);
        for status in [402, 409, 422] {
            let said = interpret(
                Verb::Place,
                status,
                br#"{"result":"refused","code":"sold_out","detail":"none left"}"#,
            );
            assert_eq!(said, Answer::Refused(Refused::new("sold_out", "none left")));
        }
    }

    #[test]
    fn everything_else_is_a_failure_and_never_a_refusal() {
        let refused = r#"{"result":"refused","code":"x","detail":"y"}"#;
        let cases = [
            (200, ""),
            (200, "<html>"),
            (200, refused),
            (200, r#"{"result":"pending"}"#),
            (202, r#"{"result":"done"}"#),
            (402, r#"{"result":"done"}"#),
            (409, r#"{"result":"refused"}"#),
            (400, refused),
            (404, refused),
            (429, refused),
            (500, refused),
            (503, "busy"),
            (302, ""),
        ];
        for (status, body) in cases {
            let answer = interpret(Verb::Place, status, body.as_bytes());
            assert!(matches!(answer, Answer::Failed(_)), "{status} {body}: {answer:?}");
        }
    }

    #[test]
    fn what_the_wire_says_comes_back_as_it_was_meant() {
        let refused = Said::Refused(Refused::new("declined", "no funds"));
        for said in [
            Said::Done {
                receipt: SaidReceipt::default(),
            },
            Said::Pending,
            refused,
        ] {
            let body = serde_json::to_vec(&said).expect("serializable");
            let answer = interpret(Verb::Place, said.status(Verb::Place), &body);
            assert!(!matches!(answer, Answer::Failed(_)), "{said:?}: {answer:?}");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let body = format!(r#"{{"result":"refused","code":"x","detail":"{}"}}"#, "y".repeat(10_000));
        match interpret(Verb::Place, 409, body.as_bytes()) {
            Answer::Refused(refused) => assert_eq!(refused.detail.len(), QUOTED_BYTES_MAX),
            other => panic!("{other:?}"),
        }
    }
}
