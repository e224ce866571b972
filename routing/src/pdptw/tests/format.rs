//! Reading, and what is wrong where.

use super::*;
use crate::pdptw::{Fault, PdptwError};

const GOOD: &str = "2 10 1\n0 0 0 0 0 100 0 0 0\n1 3 4 5 0 50 1 0 2\n2 3 0 -5 0 50 1 1 0\n";

fn fault(text: &str) -> (usize, usize, Fault) {
    match text.parse::<Problem>() {
        Err(PdptwError::Text { line, column, fault }) => (line, column, fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_text_is_read() {
    let problem: Problem = GOOD.parse().expect("it is well formed");
    assert_eq!((problem.vehicles_max(), problem.requests()), (2, 1));
    let spaced = GOOD.replace(' ', "\t").replace('\n', "\r\n\r\n");
    assert!(spaced.parse::<Problem>().is_ok());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        ("", "", (1, 1, Fault::Missing)),
        ("2 10 1\n", "2 10\n", (1, 5, Fault::Missing)),
        ("2 10 1\n", "2 -10 1\n", (1, 3, Fault::OutOfRange)),
        ("1 3 4 5", "1 3 x 5", (3, 5, Fault::NotANumber)),
        ("1 3 4 5", "1 3 inf 5", (3, 5, Fault::NotANumber)),
        ("1 3 4 5", "1 3 4 5.5", (3, 7, Fault::OutOfRange)),
        ("1 3 4 5", "7 3 4 5", (3, 1, Fault::Number)),
        ("1 1 0\n", "1 1\n", (4, 18, Fault::Missing)),
        ("1 1 0\n", "1 1 0 9\n", (4, 21, Fault::Surplus)),
        ("1 0 2\n", "1 0 0\n", (3, 16, Fault::Partner)),
        ("1 0 2\n", "1 2 2\n", (3, 18, Fault::Partner)),
        ("1 0 2\n", "1 0 9\n", (3, 16, Fault::Partner)),
        ("1 1 0\n", "1 0 1\n", (3, 16, Fault::Partner)),
        ("3 0 -5", "3 0 -4", (3, 7, Fault::Demand)),
        ("0 50 1 0", "60 50 1 0", (3, 9, Fault::Window)),
        ("0 50 1 0", "0 4 1 0", (3, 9, Fault::Unservable)),
        ("2 10 1\n", "2 4 1\n", (3, 9, Fault::Unservable)),
    ];
    for (from, to, expected) in cases {
        let text = if from.is_empty() {
            String::new()
        } else {
            GOOD.replacen(from, to, 1)
        };
        assert_eq!(fault(&text), expected, "{text}");
    }
    let said = GOOD
        .replacen("1 3 4 5", "1 3 x 5", 1)
        .parse::<Problem>()
        .expect_err("x is no number");
    assert_eq!(said.to_string(), "line 3, column 5: a number was expected");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[0-9 .\\-\n\tx]{0,200}") {
        let _ = text.parse::<Problem>();
    }
}
