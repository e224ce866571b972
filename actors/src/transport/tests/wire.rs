use crate::transport::wire::{Head, Item, Taken, Versions, decode_head, decode_items, encode};

fn head() -> Head {
    Head {
        versions: Versions { min: 1, max: 3 },
        link: 7,
        taken: Taken {
            link: 5,
            frames: 1 << 40,
        },
        from: "node-ü".to_owned(),
    }
}

fn items() -> Vec<Item> {
    vec![
        Item::Notice(b"a word".to_vec()),
        Item::Request {
            id: u64::MAX,
            body: Vec::new(),
        },
        Item::Answer {
            id: 3,
            body: vec![0; 70_000],
        },
        Item::Overloaded { id: 4 },
        Item::Failed { id: 5 },
    ]
}

#[test]
fn a_frame_reads_as_it_was_written() {
    let frame = encode(&head(), &items());
    let (read, rest) = decode_head(&frame).expect("it is well formed");
    assert_eq!(read, head());
    assert_eq!(decode_items(rest).expect("they are well formed"), items());
}

#[test]
fn no_part_of_a_frame_reads_as_another() {
    let whole = encode(&head(), &items()[..2]);
    let alone = encode(&head(), &items()[..1]);
    let greeting = encode(&head(), &[]);
    for end in 0..whole.len() {
        let part = &whole[..end];
        let read = decode_head(part).and_then(|(_, rest)| decode_items(rest));
        match read {
            Ok(read) if end == alone.len() => assert_eq!(read, items()[..1]),
            Ok(read) => assert!(end == greeting.len() && read.is_empty(), "{end} bytes read as {read:?}"),
            Err(_) => {}
        }
    }
}

#[test]
fn another_format_an_unknown_kind_and_a_length_beyond_the_bound_are_refused() {
    let mut frame = encode(&head(), &items()[..1]);
    let kind = encode(&head(), &[]).len();
    frame[kind] = 99;
    let (_, rest) = decode_head(&frame).expect("the head is well formed");
    assert!(decode_items(rest).is_err());
    frame[kind] = 1;
    frame[kind + 9] = 0xff;
    let (_, rest) = decode_head(&frame).expect("the head is well formed");
    assert!(decode_items(rest).is_err());
    frame[0] = 2;
    assert!(decode_head(&frame).is_err());
}

#[test]
fn the_highest_common_version_is_spoken() {
    let versions = |min, max| Versions { min, max };
    assert_eq!(versions(1, 3).common(versions(2, 5)), Some(3));
    assert_eq!(versions(2, 5).common(versions(1, 3)), Some(3));
    assert_eq!(versions(1, 1).common(versions(1, 2)), Some(1));
    assert_eq!(versions(1, 2).common(versions(3, 4)), None);
}
