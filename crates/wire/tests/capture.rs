//! Captures: both formats, both byte orders, cut and hostile ones.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::time::Duration;

use proptest::prelude::*;
use stockade_wire::capture::{CaptureFault, Decoder, Frame, LinkType, MAX_FRAME, Reader};

/// Numbers in the order of the machine that wrote the capture.
#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, number: u16) -> [u8; 2] {
        match self {
            Self::Big => number.to_be_bytes(),
            Self::Little => number.to_le_bytes(),
        }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        match self {
            Self::Big => number.to_be_bytes(),
            Self::Little => number.to_le_bytes(),
        }
    }
}

fn pcap(order: Order, magic: u32, frames: &[&[u8]]) -> Vec<u8> {
    let mut file = order.u32(magic).to_vec();
    file.extend([order.u16(2), order.u16(4)].concat());
    file.extend([0; 8]);
    file.extend(order.u32(65_535));
    file.extend(order.u32(1));
    for (index, frame) in frames.iter().enumerate() {
        let length = order.u32(frame.len().try_into().unwrap());
        let seconds = order.u32(100 + u32::try_from(index).unwrap());
        file.extend([seconds, order.u32(7), length, length].concat());
        file.extend(*frame);
    }
    file
}

fn block(order: Order, kind: u32, content: &[u8]) -> Vec<u8> {
    let padding = content.len().wrapping_neg() % 4;
    let length = order.u32(u32::try_from(content.len() + padding + 12).unwrap());
    let mut block = [order.u32(kind), length].concat();
    block.extend(content);
    block.extend(std::iter::repeat_n(0, padding));
    block.extend(length);
    block
}

fn section(order: Order) -> Vec<u8> {
    let mut content = order.u32(0x1a2b_3c4d).to_vec();
    content.extend([order.u16(1), order.u16(0)].concat());
    content.extend([0xff; 8]);
    block(order, 0x0a0d_0d0a, &content)
}

fn interface(order: Order, link: u16, options: &[u8]) -> Vec<u8> {
    let mut content = [order.u16(link), order.u16(0)].concat();
    content.extend(order.u32(0));
    content.extend(options);
    block(order, 1, &content)
}

fn enhanced(order: Order, interface: u32, stamp: u64, frame: &[u8]) -> Vec<u8> {
    let length = order.u32(frame.len().try_into().unwrap());
    let high = order.u32(u32::try_from(stamp >> 32).unwrap());
    let low = order.u32(u32::try_from(stamp & 0xffff_ffff).unwrap());
    let mut content = [order.u32(interface), high, low, length, length].concat();
    content.extend(frame);
    block(order, 6, &content)
}

fn frames(file: &[u8]) -> Vec<Frame> {
    Reader::new(file).map(|frame| frame.unwrap()).collect()
}

#[test]
fn pcap_is_read_in_both_orders_and_both_units_of_time() {
    for order in [Order::Big, Order::Little] {
        for (magic, nanos) in [(0xa1b2_c3d4, 7_000), (0xa1b2_3c4d, 7)] {
            let read = frames(&pcap(order, magic, &[b"one", b"", b"three"]));
            let bytes: Vec<&[u8]> = read.iter().map(|frame| &*frame.bytes).collect();
            assert_eq!(bytes, [&b"one"[..], b"", b"three"]);
            assert_eq!(read[2].time, Duration::new(102, nanos));
            assert_eq!(read[0].link, LinkType::Ethernet);
        }
    }
}

#[test]
fn pcapng_is_read_with_its_interfaces_sections_and_clocks() {
    let mut file = Vec::new();
    for order in [Order::Little, Order::Big] {
        file.extend(section(order));
        file.extend(interface(order, 1, b""));
        // Nanoseconds (if_tsresol 9), and times that begin 1000 seconds later (if_tsoffset).
        let mut options = [order.u16(9), order.u16(1)].concat();
        options.extend([9, 0, 0, 0]);
        options.extend([order.u16(14), order.u16(8)].concat());
        options.extend(match order {
            Order::Big => 1000_i64.to_be_bytes(),
            Order::Little => 1000_i64.to_le_bytes(),
        });
        options.extend([0; 4]);
        file.extend(interface(order, 101, &options));
        file.extend(enhanced(order, 0, 5_000_001, b"micro"));
        // A block nobody knows is passed over.
        file.extend(block(order, 0x0bad_0bad, &[1; 30]));
        file.extend(enhanced(order, 1, 5_000_000_001, b"nano"));
        file.extend(block(order, 3, &[&order.u32(6)[..], b"simple"].concat()));
    }
    let read = frames(&file);
    let seen: Vec<_> = read
        .iter()
        .map(|frame| (&*frame.bytes, frame.link, frame.time))
        .collect();
    let section = [
        (&b"micro"[..], LinkType::Ethernet, Duration::new(5, 1000)),
        (b"nano", LinkType::Raw, Duration::new(1005, 1)),
        (b"simple", LinkType::Ethernet, Duration::ZERO),
    ];
    assert_eq!(seen, [section, section].concat());
}

#[test]
fn an_input_that_comes_byte_by_byte_reads_the_same() {
    let mut ng = section(Order::Little);
    ng.extend(interface(Order::Little, 1, b""));
    ng.extend(enhanced(Order::Little, 0, 1, &[3; 2000]));
    for file in [
        pcap(Order::Little, 0xa1b2_c3d4, &[&[1; 1500], &[2; 60]]),
        ng,
    ] {
        let (mut decoder, mut slow) = (Decoder::default(), Vec::new());
        for byte in &file {
            decoder.push(std::slice::from_ref(byte));
            slow.extend(decoder.next_frame().unwrap());
        }
        assert_eq!(decoder.finish().unwrap(), None);
        assert_eq!(slow, frames(&file));
    }
}

#[test]
fn frames_across_the_ends_of_what_is_read_at_a_time_stay_whole() {
    // Headers fall on every place around 65536, which is how much is asked for at a time.
    for first in 65_536 - 24 - 16 - 40..65_536 - 24 - 16 + 4 {
        let (long, short) = (vec![1; first], [2; 10]);
        let read = frames(&pcap(Order::Little, 0xa1b2_c3d4, &[&long, &short, b"end"]));
        assert_eq!(read[1].bytes, short);
        assert_eq!(read[2].bytes, b"end");
    }
}

#[test]
fn a_capture_cut_anywhere_gives_its_whole_frames_and_says_where_it_is_cut() {
    let mut ng = section(Order::Big);
    ng.extend(interface(Order::Big, 1, b""));
    let ng_header = ng.len();
    ng.extend(enhanced(Order::Big, 0, 1, b"one!"));
    let old = pcap(Order::Little, 0xa1b2_c3d4, &[b"one!"]);
    for (file, header) in [(old, 24), (ng, ng_header)] {
        for cut in 0..file.len() {
            let mut reader = Reader::new(&file[..cut]);
            // Between blocks, too.
            let whole = cut == header || (header > 28 && cut == 28);
            match reader.by_ref().last() {
                None => assert_eq!(reader.cut_at().is_some(), !whole, "cut at {cut}"),
                Some(Err(error)) => {
                    assert!(matches!(error.fault, CaptureFault::Empty), "cut at {cut}");
                    assert!(cut < 28);
                }
                Some(Ok(frame)) => panic!("cut at {cut}: {frame:?}"),
            }
            assert!(reader.next().is_none());
        }
    }
}

#[test]
fn lengths_that_lie_are_faults_with_their_place() {
    let mut huge = pcap(Order::Little, 0xa1b2_c3d4, &[b"fine"]);
    huge.extend([[0; 4], [0; 4], [0xff; 4], [0xff; 4]].concat());
    let mut reader = Reader::new(&huge);
    assert!(reader.next().unwrap().is_ok());
    let error = reader.next().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("at byte 44: a frame claims 4294967295 bytes; {MAX_FRAME} are the most")
    );
    assert!(reader.next().is_none(), "nothing follows a fault");

    for length in [0_u32, 4, 11, 13, 0xffff_fff0] {
        let mut file = section(Order::Little);
        file.extend([6_u32.to_le_bytes(), length.to_le_bytes()].concat());
        let fault = Reader::new(&file).next();
        let fault = fault.map(|frame| frame.unwrap_err().fault);
        assert!(matches!(fault, Some(CaptureFault::BlockLength(it)) if it == length));
    }

    let mut stranger = section(Order::Little);
    stranger.extend(enhanced(Order::Little, 3, 1, b"frame"));
    let fault = Reader::new(&stranger).next().unwrap();
    assert!(matches!(
        fault.unwrap_err().fault,
        CaptureFault::Interface(3)
    ));
}

#[test]
fn what_is_no_capture_is_told_as_what_it_is() {
    let told = |bytes: &[u8]| Reader::new(bytes).next().unwrap().unwrap_err().to_string();
    assert_eq!(
        told(b"<html>"),
        "at byte 0: neither pcap nor pcapng (it begins with 3c68746d)"
    );
    assert!(told(&[0x1f, 0x8b, 8, 0]).contains("compressed"));
    assert!(told(b"").contains("empty"));
}

proptest! {
    #[test]
    fn any_frames_come_back_as_they_were_written(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)
    ) {
        let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let file = pcap(Order::Big, 0xa1b2_c3d4, &slices);
        let read: Vec<Vec<u8>> = self::frames(&file).into_iter().map(|it| it.bytes).collect();
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        stockade_wire::fuzzing::capture_read(&bytes);
        let behind = [&section(Order::Little)[..], &bytes].concat();
        stockade_wire::fuzzing::capture_read(&behind);
    }
}

#[test]
fn a_long_block_that_nobody_knows_is_passed_over_without_being_kept() {
    let mut file = section(Order::Little);
    file.extend(interface(Order::Little, 1, b""));
    file.extend(block(Order::Little, 0x0bad_0bad, &vec![7; 3_000_000]));
    file.extend(enhanced(Order::Little, 0, 1, b"behind"));
    assert_eq!(frames(&file)[0].bytes, b"behind");
    // Cut within it: it began behind the two blocks before.
    let begun = 28 + 20;
    let mut reader = Reader::new(&file[..1_000_000]);
    assert!(reader.next().is_none());
    assert_eq!(reader.cut_at(), Some(begun));
}
