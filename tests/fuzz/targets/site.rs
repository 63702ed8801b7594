//! What stands beside a picture: the first byte says which file it is, the rest is the file.
#![no_main]

use std::sync::LazyLock;

use assent_fuzz::consent::State;
use assent_fuzz::digest::Sha256Digest;
use assent_fuzz::signals::licensing::{Covering, LicenseFile, LicenseFileKind};
use assent_fuzz::signals::site::{self, Page, Place, Site};
use assent_fuzz::signals::{Metadata, Sources, Trust, read};
use libfuzzer_sys::fuzz_target;

static TRUST: LazyLock<Trust> = LazyLock::new(Trust::default);
const PATH: &str = "art/a b.png";

fuzz_target!(|data: &[u8]| {
    let Some((kind, file)) = data.split_first() else {
        return;
    };
    let found = match kind {
        b'0'..=b'5' => around(*kind, file),
        b'6' => licences(Some(LicenseFileKind::ReuseToml), file),
        b'7' => licences(Some(LicenseFileKind::Dep5), file),
        b'8' => licences(Some(LicenseFileKind::Debian), file),
        b'9' => licences(None, file),
        b'a' => drawing(file),
        _ => return,
    };
    // Whatever it is, it is short enough to be kept, and what is in doubt about it is told.
    for claim in &found.claims {
        assert!(claim.raw.chars().count() <= 2001);
        assert!(claim.purpose.is_some() || claim.state == State::Unspecified);
    }
    assert!(found.claims.len() + found.needs_review.len() < 100_000);
});

fn around(kind: u8, file: &[u8]) -> Metadata {
    let one = |wanted: u8| (kind == wanted).then_some(file);
    let robots = match kind {
        b'5' => Some(b"License: https://example.org/license.xml".as_slice()),
        _ => one(b'0'),
    };
    let site = Site::parse(robots, one(b'1'), one(b'2'), |_| one(b'5').map(<[u8]>::to_vec));
    let page = one(b'4').map(|bytes| Page::parse(bytes, b"art"));
    let pages: Vec<&Page> = page.iter().collect();
    let mut found = Metadata::default();
    for own_page in [None, page.as_ref()] {
        let place = Place {
            site: Some(&site),
            path: PATH.as_bytes(),
            headers: one(b'3'),
            own_page,
            pages: &pages,
        };
        site::read(&place, &mut found);
    }
    found
}

fn licences(kind: Option<LicenseFileKind>, file: &[u8]) -> Metadata {
    let parsed = kind.map(|kind| LicenseFile::parse(kind, file));
    let covering: Vec<Covering> = parsed
        .iter()
        .map(|file| Covering {
            file,
            path: PATH.to_string(),
        })
        .collect();
    read(&Sources {
        reuse: kind.is_none().then_some(file),
        licensing: &covering,
        ..nothing()
    })
}

fn drawing(file: &[u8]) -> Metadata {
    read(&Sources {
        drawing: Some(file),
        ..nothing()
    })
}

fn nothing() -> Sources<'static> {
    Sources {
        picture: b"",
        digest: Sha256Digest::of_bytes(b""),
        reuse: None,
        licensing: &[],
        xmp: None,
        caption: None,
        drawing: None,
        trust: &TRUST,
    }
}
