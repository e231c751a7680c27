//! What was written is read, whatever became of the file since.

use std::sync::Arc;

use super::*;
use crate::packed::PARTS_MAX;
use crate::timeline::{Timeline, Value};

fn timeline(seq: u64) -> Timeline {
    let mut timeline = Timeline { seq, ..crate::timeline::sample() };
    // Words that come later than others.
    timeline.nodes[2].attrs.push((format!("key {}", seq / 2).into(), Value::Text("again".into())));
    timeline
}

fn recording(timelines: u64, header: &Header) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header).expect("a vector takes all");
    for seq in 1..=timelines {
        writer.write(&timeline(seq)).expect("a vector takes all");
    }
    writer.finish().expect("a vector takes all")
}

fn packed(timelines: u64) -> Vec<u8> {
    recording(timelines, &Header::new("gw-1", 5))
}

fn lines(timelines: u64) -> Vec<u8> {
    recording(timelines, &Header::new("gw-1", 5).in_lines())
}

/// Where the header and each timeline end.
fn ends(bytes: &[u8], timelines: u64) -> Vec<usize> {
    let whole = bytes.len();
    let ends: Vec<usize> = (0..=timelines).map(|n| packed(n).len()).collect();
    assert_eq!(ends.last(), Some(&whole));
    ends
}

#[test]
fn what_was_written_is_read_in_either_form() {
    for (bytes, form) in [(packed(5), 2), (lines(5), 1)] {
        assert!(bytes.starts_with(format!(r#"{{"zrec":{form},"zerver":""#).as_bytes()));
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        assert_eq!((reader.header().gateway.as_str(), reader.header().written_unix_ns), ("gw-1", 5));
        let read: Vec<Timeline> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(read, (1..=5).map(timeline).collect::<Vec<_>>());
        assert!(!reader.torn());
    }
    assert!(packed(50).len() * 6 < lines(50).len());
}

#[test]
fn cut_off_anywhere_it_reads_what_is_whole() {
    let bytes = packed(3);
    let ends = ends(&bytes, 3);
    for cut in ends[0]..=bytes.len() {
        let mut reader = Reader::new(&bytes[..cut]).unwrap();
        let read = reader.by_ref().inspect(|timeline| assert!(timeline.is_ok(), "a cut is no error")).count();
        let whole = ends[1..].iter().filter(|end| **end <= cut).count();
        assert_eq!(read, whole, "cut at {cut}");
        // Between words and the timeline that they are for nothing is torn, though that timeline is missing.
        assert!(!ends.contains(&cut) || !reader.torn(), "cut at {cut}");
        let zeros = [&bytes[..cut], &[0; 5_000]].concat();
        if ends.contains(&cut) {
            let mut reader = Reader::new(zeros.as_slice()).unwrap();
            assert_eq!((reader.by_ref().filter_map(Result::ok).count(), reader.torn()), (whole, true));
        }
    }
    let bytes = lines(2);
    let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(n, _)| n + 1).collect();
    for cut in (ends[0]..bytes.len()).step_by(37).chain([ends[1], ends[2]]) {
        let mut reader = Reader::new(&bytes[..cut]).unwrap();
        let read = reader.by_ref().inspect(|timeline| assert!(timeline.is_ok(), "a cut is no error")).count();
        // A line that lacks only its end is whole.
        let whole = ends[1..].iter().filter(|end| **end <= cut + 1).count();
        assert_eq!(read, whole, "cut at {cut}");
        assert_eq!(reader.torn(), !ends.contains(&cut) && !ends.contains(&(cut + 1)), "cut at {cut}");
    }
}

#[test]
fn damage_is_named_with_its_line() {
    let text = String::from_utf8(lines(3)).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[2] = "{\"seq\":2}";
    let damaged = lines.join("\n") + "\n";
    let results: Vec<_> = Reader::new(damaged.as_bytes()).unwrap().collect();
    assert_eq!(results.len(), 2, "it ends at the damage");
    let error = results[1].as_ref().unwrap_err().to_string();
    assert!(error.starts_with("line 3 of the recording: "), "{error}");
    let rest: Vec<_> = Reader::new(damaged.as_bytes()).unwrap().past_damage().collect();
    assert!(rest.len() == 3 && rest[1].is_err() && rest[2].is_ok());
    // A timeline whose states do not tile is damage too.
    let untiled = text.replace("\"latency_ns\":48200000", "\"latency_ns\":48200001");
    assert!(Reader::new(untiled.as_bytes()).unwrap().next().unwrap().is_err());
}

#[test]
fn damage_is_named_with_its_frame() {
    let bytes = packed(4);
    let ends = ends(&bytes, 4);
    for at in ends[0]..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let results: Vec<_> = Reader::new(damaged.as_slice()).unwrap().collect();
        let sound = ends[1..].iter().filter(|end| **end <= at).count();
        assert_eq!(results.len(), sound + 1, "it ends at the damage, byte {at}");
        let error = results[sound].as_ref().unwrap_err().to_string();
        let place: usize = error.split(' ').nth(4).and_then(|number| number.parse().ok()).expect("it says where");
        assert!(error.starts_with("the frame at byte ") && (ends[sound]..=at).contains(&place), "{at}: {error}");
        // What can be read after it is as it was written, or says what of it was lost.
        for read in Reader::new(damaged.as_slice()).unwrap().past_damage().flatten() {
            assert!(read == timeline(read.seq) || format!("{read:?}").contains("(lost)"), "byte {at}: {read:?}");
        }
    }
    // The second timeline has no words of its own: the frames around it are whole.
    let mut damaged = bytes.clone();
    damaged[ends[2] - 20] ^= 1;
    let passed: Vec<_> =
        Reader::new(damaged.as_slice()).unwrap().past_damage().map(|read| read.map(|t| t.seq).ok()).collect();
    assert!(passed.len() == 4 && passed.iter().flatten().count() == 3, "{passed:?}");
}

#[test]
fn a_timeline_that_does_not_tile_is_damage_in_either_form() {
    let untiled = Timeline { latency_ns: 1, ..timeline(1) };
    for header in [Header::new("gw-1", 5), Header::new("gw-1", 5).in_lines()] {
        let mut writer = Writer::new(Vec::new(), &header).unwrap();
        writer.write(&untiled).unwrap();
        let bytes = writer.finish().unwrap();
        let error = Reader::new(bytes.as_slice()).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(error.ends_with("the request's own node does not span the latency"), "{error}");
    }
}

#[test]
fn what_nobody_could_read_is_not_written() {
    let mut large = timeline(1);
    large.nodes[0].attrs = vec![(Arc::from("x"), Value::Bool(true)); PARTS_MAX];
    let mut writer = Writer::new(Vec::new(), &Header::new("gw-1", 5)).unwrap();
    assert_eq!(writer.write(&large).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    writer.write(&timeline(2)).unwrap();
    let bytes = writer.finish().unwrap();
    let read: Vec<Timeline> = Reader::new(bytes.as_slice()).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, [timeline(2)]);
}

#[test]
fn frames_of_a_later_zerver_are_passed_over() {
    let mut bytes = packed(1);
    frame::put(&mut bytes, b'?', b"what we do not know");
    bytes.extend_from_slice(&packed(2)[ends(&packed(2), 2)[1]..]);
    let read: Vec<u64> = Reader::new(bytes.as_slice()).unwrap().map(|read| read.unwrap().seq).collect();
    assert_eq!(read, [1, 2]);
}

#[test]
fn other_files_are_refused() {
    for (bytes, expected) in [
        (&b""[..], "not a recording"),
        (b"{\"seq\":1}\n", "not a recording"),
        (b"\x7fELF", "not a recording"),
        (b"{\"zrec\":3}\n", "this recording has form 3"),
    ] {
        let error = Reader::new(bytes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
