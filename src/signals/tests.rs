use proptest::prelude::*;

use super::container::blocks;
use super::*;
use crate::consent::State;

const PLUS: &str = "http://ns.useplus.org/ldf/xmp/1.0/";
static TRUST: std::sync::LazyLock<Trust> = std::sync::LazyLock::new(Trust::default);
const VALUE: &str = "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING";

fn packet(inside: &str) -> String {
    format!(
        r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" {inside}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"#
    )
}

fn sources(picture: &[u8]) -> Sources<'_> {
    Sources {
        picture,
        digest: Sha256Digest::of_bytes(picture),
        reuse: None,
        licensing: &[],
        xmp: None,
        caption: None,
        drawing: None,
        trust: &TRUST,
    }
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    // Readers of metadata look at no checksum.
    [&(data.len() as u32).to_be_bytes(), kind.as_slice(), data, &[0; 4]].concat()
}

fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &[0; 13]),
        chunks.concat(),
        chunk(b"IEND", &[]),
    ]
    .concat()
}

fn png_with_xmp(xmp: &str) -> Vec<u8> {
    png(&[chunk(
        b"iTXt",
        &[b"XML:com.adobe.xmp\0\0\0\0\0", xmp.as_bytes()].concat(),
    )])
}

fn jpeg_segment(data: &[u8]) -> Vec<u8> {
    [&[0xff, 0xe1], ((data.len() + 2) as u16).to_be_bytes().as_slice(), data].concat()
}

/// The same packet in every container that is read.
fn containers(xmp: &str) -> Vec<(&'static str, Vec<u8>)> {
    let xmp = xmp.as_bytes();
    let packed = miniz_oxide::deflate::compress_to_vec_zlib(xmp, 6);
    let jpeg = [
        b"\xff\xd8".as_slice(),
        &jpeg_segment(b"Exif\0\0garbage"),
        &jpeg_segment(&[b"http://ns.adobe.com/xap/1.0/\0", xmp].concat()),
        b"\xff\xda\0\x02",
    ]
    .concat();
    let webp = [
        b"RIFF\0\0\0\0WEBPVP8X\x03\0\0\0abc\0XMP ",
        (xmp.len() as u32).to_le_bytes().as_slice(),
        xmp,
    ]
    .concat();
    let magic: Vec<u8> = std::iter::once(1).chain((0..=255).rev()).collect();
    let gif = [
        b"GIF89a\x01\0\x01\0\x80\0\0abcdef\x21\xfe\x02hi\0\x21\xff\x0bXMP DataXMP".as_slice(),
        xmp,
        &magic,
        b"\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3b",
    ]
    .concat();
    let tiff = [
        b"II\x2a\0\x08\0\0\0\x01\0".as_slice(),
        &[0xbc, 0x02, 1, 0],
        &(xmp.len() as u32).to_le_bytes(),
        &26u32.to_le_bytes(),
        &[0; 4],
        xmp,
    ]
    .concat();
    vec![
        ("png", png_with_xmp(std::str::from_utf8(xmp).unwrap())),
        (
            "png, compressed",
            png(&[chunk(
                b"iTXt",
                &[b"XML:com.adobe.xmp\0\x01\0\0\0".as_slice(), &packed].concat(),
            )]),
        ),
        (
            "png, zTXt",
            png(&[chunk(b"zTXt", &[b"XML:com.adobe.xmp\0\0".as_slice(), &packed].concat())]),
        ),
        ("jpeg", jpeg),
        ("webp", webp),
        ("gif", gif),
        ("tiff", tiff),
    ]
}

#[test]
fn every_container_gives_its_packet() {
    let xmp = packet(&format!(
        r#"xmlns:q="{PLUS}" q:DataMining="{VALUE}"><dc:creator><rdf:Seq><rdf:li>Ann &amp; Bo</rdf:li></rdf:Seq></dc:creator>"#
    ));
    for (name, file) in containers(&xmp) {
        let found = read(&sources(&file));
        let states: Vec<_> = found.claims.iter().map(|claim| (claim.purpose, claim.state)).collect();
        let denied = [Purpose::AiTraining, Purpose::AiGenerativeTraining].map(|purpose| (Some(purpose), State::Denied));
        assert_eq!(states, denied, "{name}");
        assert_eq!(found.artists, ["Ann & Bo"], "{name}");
        assert!(
            found
                .claims
                .iter()
                .all(|claim| claim.holder == Sha256Digest::of_bytes(&file)),
            "{name}"
        );
    }
}

#[test]
fn data_mining_counts_in_every_spelling() {
    let spellings = [
        format!(r#"xmlns:plus="{PLUS}" plus:DataMining="{VALUE}">"#),
        format!(r#"xmlns:any="{PLUS}"><any:DataMining>{VALUE}</any:DataMining>"#),
        format!(r#"xmlns:any="{PLUS}"><any:DataMining rdf:resource="{VALUE}"/>"#),
        format!(r#"><DataMining xmlns="{PLUS}"> DMI-PROHIBITED-AIMLTRAINING </DataMining>"#),
        format!(r#"xmlns:p="{PLUS}"><p:DataMining><![CDATA[{VALUE}]]></p:DataMining>"#),
        format!(
            r#"xmlns:p="{PLUS}"><p:DataMining rdf:parseType="Resource"><rdf:value>{VALUE}</rdf:value></p:DataMining>"#
        ),
        r#"xmlns:p="https://ns.useplus.org/ldf/xmp/1.0" p:DataMining="DMI-PROHIBITED-AIMLTRAINING">"#.to_string(),
    ];
    for spelling in spellings {
        let found = read(&sources(&png_with_xmp(&packet(&spelling))));
        assert_eq!(found.claims.len(), 2, "{spelling}: {found:?}");
        assert!(
            found.claims.iter().all(|claim| claim.state == State::Denied),
            "{spelling}"
        );
    }
}

#[test]
fn each_value_says_what_the_vocabulary_says() {
    let cases = [
        ("DMI-UNSPECIFIED", State::Unspecified, 1),
        ("DMI-ALLOWED", State::Granted, 1),
        ("DMI-PROHIBITED-AIMLTRAINING", State::Denied, 2),
        ("DMI-PROHIBITED-GENAIMLTRAINING", State::Denied, 1),
        ("DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING", State::Denied, 1),
        ("DMI-PROHIBITED", State::Denied, 1),
        ("DMI-PROHIBITED-SEECONSTRAINT", State::Constrained, 1),
        ("DMI-PROHIBITED-SEEEMBEDDEDRIGHTSEXPR", State::Constrained, 1),
        ("DMI-PROHIBITED-SEELINKEDRIGHTSEXPR", State::Constrained, 1),
        ("DMI-ALLOWED-SOMETIMES", State::Unspecified, 1),
        ("http://elsewhere.example/DMI-ALLOWED", State::Unspecified, 1),
    ];
    for (value, state, claims) in cases {
        let xmp = packet(&format!(
            r#"xmlns:p="{PLUS}" p:DataMining="{value}" p:OtherConstraints="ask me">"#
        ));
        let found = read(&sources(&png_with_xmp(&xmp)));
        assert_eq!(found.claims.len(), claims, "{value}");
        assert!(found.claims.iter().all(|claim| claim.state == state), "{value}");
        assert_eq!(
            found.claims[0].raw.contains("ask me"),
            state == State::Constrained,
            "{value}"
        );
        assert_eq!(
            found.needs_review.is_empty(),
            !matches!(value, "DMI-ALLOWED-SOMETIMES") && !value.starts_with("http")
        );
    }
}

#[test]
fn a_broken_packet_keeps_what_was_read_and_is_for_review() {
    let whole = packet(&format!(
        r#"xmlns:p="{PLUS}" p:DataMining="{VALUE}"><dc:title>x</dc:title>"#
    ));
    let found = read(&sources(&png_with_xmp(&whole[..whole.len() - 60])));
    assert_eq!(found.claims.len(), 2);
    assert_eq!(found.needs_review.len(), 1);
    let entity = whole.replace("<dc:title>x", "<dc:title>&lol;");
    assert!(read(&sources(&png_with_xmp(&entity))).needs_review[0].contains("entity"));
    let deep = packet(&format!(">{}", "<dc:x>".repeat(500)));
    assert!(read(&sources(&png_with_xmp(&deep))).needs_review[0].contains("deeper"));
}

#[test]
fn a_text_chunk_that_unpacks_without_end_costs_a_line() {
    let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![b'a'; 64 << 20], 6);
    let file = png(&[chunk(b"zTXt", &[b"Comment\0\0".as_slice(), &bomb].concat())]);
    let found = read(&sources(&file));
    assert_eq!(found.needs_review.len(), 1, "{found:?}");
}

#[test]
fn sidecars_give_licence_artist_and_caption() {
    let reuse = [
        "SPDX-",
        "FileCopyrightText: © 2019-2021 Ann Other <ann@example.org>\nSPDX-",
        "License-Identifier: CC-BY-4.0\n",
    ]
    .concat();
    let found = read(&Sources {
        reuse: Some(reuse.as_bytes()),
        caption: Some(b"\xef\xbb\xbfa red\n apple \n"),
        ..sources(b"")
    });
    assert_eq!(found.artists, ["Ann Other"]);
    assert_eq!(found.licenses, [("CC-BY-4.0".to_string(), "reuse".to_string())]);
    assert_eq!(found.caption.as_deref(), Some("a red apple"));
    let wrong = ["SPDX-", "License-Identifier: do what you like"].concat();
    assert_eq!(
        read(&Sources {
            reuse: Some(wrong.as_bytes()),
            ..sources(b"")
        })
        .needs_review
        .len(),
        1
    );
}

#[test]
fn licences_are_facts_from_known_addresses_only() {
    let cases = [
        ("https://creativecommons.org/licenses/by-sa/4.0/", Some("CC-BY-SA-4.0")),
        (
            "http://creativecommons.org/publicdomain/zero/1.0/legalcode",
            Some("CC0-1.0"),
        ),
        ("https://creativecommons.org/licenses/by-xx/4.0/", None),
        ("All rights reserved", None),
        ("MIT OR Apache-2.0", Some("MIT OR Apache-2.0")),
    ];
    for (text, expected) in cases {
        assert_eq!(license::named(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn pictures_say_that_a_machine_made_them() {
    let iptc = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/";
    for (kind, expected) in [("trainedAlgorithmicMedia", true), ("digitalCapture", false)] {
        let xmp = packet(&format!(
            r#"xmlns:e="{iptc}" e:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{kind}">"#
        ));
        assert_eq!(read(&sources(&png_with_xmp(&xmp))).ai_generated, expected, "{kind}");
    }
    let parameters = chunk(b"tEXt", b"parameters\0a cat\nSteps: 20, Sampler: Euler a, Seed: 1");
    assert!(read(&sources(&png(&[parameters]))).ai_generated);
    assert!(!read(&sources(&png(&[chunk(b"tEXt", b"Comment\0Steps: up the hill")]))).ai_generated);
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(start in 0usize..6, bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let starts: [&[u8]; 6] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"II\x2a\0", b"MM\0\x2b"];
        let file = [starts[start], &bytes].concat();
        read(&Sources { reuse: Some(&bytes), xmp: Some(&bytes), caption: Some(&bytes), ..sources(&file) });
    }

    #[test]
    fn damage_to_a_real_file_never_panics(which in 0usize..7, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let xmp = packet(&format!(r#"xmlns:p="{PLUS}" p:DataMining="{VALUE}">"#));
        let (_, mut file) = containers(&xmp).swap_remove(which);
        let index = at.index(file.len());
        file[index] = byte;
        read(&sources(&file));
        file.truncate(cut.index(file.len()));
        read(&sources(&file));
        blocks(&file);
    }
}
