use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0_u8; 256];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer);
    writer.finish().unwrap().to_vec()
}

#[test]
fn integers_are_written_as_rfc_8949_appendix_a_does() {
    let examples: [(i64, &[u8]); 12] = [
        (0, &[0x00]),
        (23, &[0x17]),
        (24, &[0x18, 0x18]),
        (255, &[0x18, 0xff]),
        (1000, &[0x19, 0x03, 0xe8]),
        (1_000_000, &[0x1a, 0x00, 0x0f, 0x42, 0x40]),
        (
            1_000_000_000_000,
            &[0x1b, 0x00, 0x00, 0x00, 0xe8, 0xd4, 0xa5, 0x10, 0x00],
        ),
        (-1, &[0x20]),
        (-10, &[0x29]),
        (-100, &[0x38, 0x63]),
        (-1000, &[0x39, 0x03, 0xe7]),
        (
            i64::MIN,
            &[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
    ];
    for (number, bytes) in examples {
        assert_eq!(
            written(|writer| {
                writer.int(number);
            }),
            bytes
        );
        assert_eq!(Reader::new(bytes).int(), Ok(number));
    }
}

#[test]
fn a_full_buffer_stays_full() {
    let mut buffer = [0_u8; 3];
    let mut writer = Writer::new(&mut buffer);
    writer.uint(1).bytes(&[1, 2, 3]).uint(2);
    assert_eq!(writer.finish(), Err(Full));
}

#[test]
fn longer_and_indefinite_encodings_are_refused() {
    for bytes in [
        [0x18, 0x17].as_slice(),
        &[0x19, 0x00, 0xff],
        &[0x1a, 0x00, 0x00, 0xff, 0xff],
        &[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x5f, 0x41, 0x00, 0xff],
        &[0x58, 0x01, 0x00],
        &[0x9f, 0xff],
        &[0xbf, 0xff],
    ] {
        assert_eq!(
            Reader::new(bytes).skip(),
            Err(Error::NotDeterministic),
            "{bytes:02x?}"
        );
    }
    for bytes in [
        [0xf9, 0x3c, 0x00].as_slice(),
        &[0xf7],
        &[0xf8, 0x20],
        &[0x1c],
    ] {
        assert_eq!(
            Reader::new(bytes).skip(),
            Err(Error::Unexpected),
            "{bytes:02x?}"
        );
    }
}

#[test]
fn what_cannot_be_there_is_not_counted() {
    for bytes in [
        [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff].as_slice(),
        &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x82, 0x01],
        &[0xa2, 0x01, 0x02, 0x03],
    ] {
        assert_eq!(
            Reader::new(bytes).skip(),
            Err(Error::Truncated),
            "{bytes:02x?}"
        );
    }
}

#[test]
fn a_million_arrays_in_each_other_are_skipped_without_a_stack() {
    let mut bytes = std::vec![0x81; 1_000_000];
    bytes.push(0x00);
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.skip().map(<[u8]>::len), Ok(1_000_001));
    assert!(reader.is_empty());
}

#[test]
fn keys_come_in_order_and_once() {
    for (keys, right) in [
        ([1, 2, -1].as_slice(), true),
        (&[1, 24, -1, -2], true),
        (&[2, 1], false),
        (&[1, 1], false),
        (&[-1, 1], false),
        (&[-2, -1], false),
    ] {
        let bytes = written(|writer| {
            for &key in keys {
                writer.int(key);
            }
        });
        let mut reader = Reader::new(&bytes);
        let mut last = None;
        let read = keys.iter().try_for_each(|&key| {
            assert_eq!(reader.key(&mut last)?, key);
            Ok::<(), Error>(())
        });
        assert_eq!(read.is_ok(), right, "{keys:?}");
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(number: i64, unsigned: u64, bytes: Vec<u8>, text: String, truth: bool) {
        let mut buffer = [bytes.as_slice(), text.as_bytes(), &[0; 64]].concat();
        let mut writer = Writer::new(&mut buffer);
        writer.array(6).int(number).uint(unsigned).bytes(&bytes).text(&text).bool(truth).null();
        let written = writer.finish().unwrap();
        let mut reader = Reader::new(written);
        prop_assert_eq!(reader.skip(), Ok(written));
        let mut reader = Reader::new(written);
        prop_assert_eq!(reader.array(), Ok(6));
        prop_assert_eq!(reader.int(), Ok(number));
        prop_assert_eq!(reader.uint(), Ok(unsigned));
        prop_assert_eq!(reader.bytes(), Ok(bytes.as_slice()));
        prop_assert_eq!(reader.text(), Ok(text.as_str()));
        prop_assert_eq!(reader.bool(), Ok(truth));
        prop_assert_eq!(reader.null(), Ok(()));
        prop_assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn any_bytes_are_skipped_or_refused(bytes: Vec<u8>) {
        let mut reader = Reader::new(&bytes);
        if let Ok(item) = reader.skip() {
            prop_assert_eq!([item, reader.rest()].concat(), bytes);
        }
    }
}
