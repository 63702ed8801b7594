//! IPTC's Information Interchange Model (IIM 4.2): the records that news agencies put into pictures before XMP.

use super::container::text;

/// Data sets of one file; real ones have a few dozen.
const MOST: usize = 1024;
/// The escape sequence by which 1:90 announces UTF-8.
const UTF8: &[u8] = b"\x1b%G";

/// What the records say of the picture.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Iptc {
    /// 2:80, By-line.
    pub by_lines: Vec<String>,
    /// 2:116, Copyright Notice.
    pub copyright: Option<String>,
    /// 2:05, Object Name.
    pub title: Option<String>,
    /// 2:110, Credit.
    pub credit: Option<String>,
    /// What does not parse.
    pub problem: Option<String>,
}

/// Reads data sets: a marker, record and number, a length, the data. Text is UTF-8 when the records say so or when it
/// is that, else Latin-1.
pub(super) fn read(records: &[u8]) -> Iptc {
    let mut found = Iptc::default();
    let mut utf8 = false;
    let mut rest = records;
    for _ in 0..MOST {
        // Blocks are filled up with zero bytes.
        if rest.iter().all(|&byte| byte == 0) {
            return found;
        }
        let Some((record, number, data, next)) = data_set(rest) else {
            found.problem = Some("IPTC does not parse: a data set is cut off or has no marker".to_string());
            return found;
        };
        let text = || match utf8 {
            true => String::from_utf8_lossy(data).into_owned(),
            false => text(data),
        };
        match (record, number) {
            (1, 90) => utf8 = data == UTF8,
            (2, 80) => found.by_lines.push(text()),
            (2, 116) => found.copyright = Some(text()),
            (2, 5) => found.title = Some(text()),
            (2, 110) => found.credit = Some(text()),
            _ => {}
        }
        rest = next;
    }
    found.problem = Some(format!("IPTC has more than {MOST} data sets"));
    found
}

fn data_set(bytes: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let ([0x1c, record, number, high, low], rest) = bytes.split_first_chunk::<5>()? else {
        return None;
    };
    let mut length = usize::from(u16::from_be_bytes([*high, *low]));
    let mut rest = rest;
    // Beyond 32767 the field holds how many bytes the length has.
    if length >= 0x8000 {
        let (wide, after) = rest
            .split_at_checked(length & 0x7fff)
            .filter(|(wide, _)| wide.len() <= 4)?;
        length = wide.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = after;
    }
    let (data, rest) = rest.split_at_checked(length)?;
    Some((*record, *number, data, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(record: u8, number: u8, data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u16).to_be_bytes();
        [&[0x1c, record, number, length[0], length[1]], data].concat()
    }

    #[test]
    fn text_is_utf8_or_latin1() {
        let latin = [set(2, 80, b"J\xf6rg"), set(2, 80, "Zoë".as_bytes()), vec![0]].concat();
        assert_eq!(read(&latin).by_lines, ["Jörg", "Zoë"]);
        let marked = [set(1, 90, UTF8), set(2, 5, "Hafen".as_bytes()), set(2, 116, b"\xff")].concat();
        let found = read(&marked);
        assert_eq!(found.title.as_deref(), Some("Hafen"));
        assert_eq!(found.copyright.as_deref(), Some("\u{fffd}"));
        assert_eq!(found.problem, None);
    }

    #[test]
    fn long_data_sets_and_damage() {
        let mut long = vec![0x1c, 2, 80, 0x80, 4, 0, 0, 0x90, 0];
        long.extend(vec![b'a'; 0x9000]);
        assert_eq!(read(&long).by_lines[0].len(), 0x9000);
        for damaged in [
            &b"\x1c\x02\x50\x00\x09abc"[..],
            b"\x1c\x02\x50\xff\xffabc",
            b"\x1c\x02\x50\x80\x04\xff\xff\xff\xffa",
            b"abc",
        ] {
            let found = read(damaged);
            assert!(found.problem.is_some() && found.by_lines.is_empty(), "{damaged:?}");
        }
        assert!(read(&set(2, 25, b"").repeat(MOST + 1)).problem.is_some());
    }
}
