//! The sample art: who draws what in which style, and the files each picture becomes.
//!
//! The artists are invented; any likeness to a person's name is chance. Beside their pictures, the folder `unsorted`
//! holds the cases that a collection from the internet has: a picture without a licence, one made by a machine, and a
//! cropped and re-encoded copy of somebody else's picture posted as CC0.

mod encode;
mod raster;
mod rng;
mod styles;
mod subjects;

use rng::Rng;
use std::error::Error;
use styles::Style;
use subjects::SUBJECTS;

/// Width and height of every picture but the cropped copy, in pixels.
const SIZE: u32 = 128;

/// An invented artist.
pub struct Artist {
    slug: &'static str,
    name: &'static str,
    license: &'static str,
    /// The words that name the style in every caption.
    phrase: &'static str,
    style: Style,
    /// Pictures of each subject.
    variants: u64,
    /// The PLUS `DataMining` value written into each file, if the artist embeds one.
    data_mining: Option<&'static str>,
}

const ARTISTS: [Artist; 6] = [
    Artist {
        slug: "lumen-okafor",
        name: "Lumen Okafor",
        license: "CC0-1.0",
        phrase: "glowing night rings",
        style: Style::NightRings,
        variants: 3,
        data_mining: None,
    },
    Artist {
        slug: "pia-brandvold",
        name: "Pia Brandvold",
        license: "CC0-1.0",
        phrase: "bold black outline",
        style: Style::Outline,
        variants: 2,
        data_mining: None,
    },
    Artist {
        slug: "tessa-quill",
        name: "Tessa Quill",
        license: "CC0-1.0",
        phrase: "square mosaic tiles",
        style: Style::Mosaic,
        variants: 2,
        data_mining: None,
    },
    Artist {
        slug: "bexley-odum",
        name: "Bexley Odum",
        license: "CC-BY-4.0",
        phrase: "pink halftone dots",
        style: Style::Dots,
        variants: 2,
        data_mining: None,
    },
    // Opts out through the ledger: nothing in the files says so.
    Artist {
        slug: "mirek-sowa",
        name: "Mirek Sowa",
        license: "CC0-1.0",
        phrase: "soft pastel watercolor",
        style: Style::Watercolour,
        variants: 2,
        data_mining: None,
    },
    // Refuses inside every file.
    Artist {
        slug: "ansel-rooke",
        name: "Ansel Rooke",
        license: "CC0-1.0",
        phrase: "red woodcut print",
        style: Style::Woodcut,
        variants: 2,
        data_mining: Some("http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING"),
    },
];

/// How a picture came to be in the sample.
enum Case {
    /// In its artist's own folder.
    Own,
    /// Somebody's picture without any licence.
    NoLicense,
    /// Declared as made by a generative model.
    MadeByMachine,
    /// A cropped JPEG of the artist's own picture of this subject, posted as CC0 by somebody else.
    Repost,
}

/// One picture of the sample.
pub struct Entry {
    artist: &'static Artist,
    subject: &'static str,
    variant: u64,
    case: Case,
}

/// Every picture of the sample, in a fixed order.
pub fn plan() -> Vec<Entry> {
    let mut plan = Vec::new();
    for artist in &ARTISTS {
        for variant in 0..artist.variants {
            for subject in SUBJECTS {
                plan.push(Entry {
                    artist,
                    subject,
                    variant,
                    case: Case::Own,
                });
            }
        }
    }
    plan.push(Entry {
        artist: &ARTISTS[2],
        subject: "house",
        variant: 7,
        case: Case::NoLicense,
    });
    plan.push(Entry {
        artist: &ARTISTS[1],
        subject: "star",
        variant: 7,
        case: Case::MadeByMachine,
    });
    plan.push(Entry {
        artist: &ARTISTS[4],
        subject: "boat",
        variant: 0,
        case: Case::Repost,
    });
    plan
}

/// A file's path below the sample folder, and its content.
type File = (String, Vec<u8>);

/// The picture's files: the picture, its caption, its licence sidecar.
pub fn files(entry: &Entry) -> Result<Vec<File>, Box<dyn Error>> {
    let Entry {
        artist,
        subject,
        variant,
        case,
    } = entry;
    let mut rng = Rng::new(&[artist.slug, subject], *variant);
    let pixels = artist.style.draw(&subjects::draw(subject, &mut rng), SIZE, &mut rng);
    let article = if subject.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    let own = format!("{}/{subject}-{}.png", artist.slug, variant + 1);

    let (path, picture, license) = match case {
        Case::Own => {
            let xmp = artist.data_mining.map(|value| {
                let mining = encode::Property {
                    prefix: "plus",
                    namespace: "http://ns.useplus.org/ldf/xmp/1.0/",
                    name: "DataMining",
                    value,
                };
                encode::xmp(Some(artist.name), Some(&mining))
            });
            (
                own,
                encode::png(SIZE, &pixels, xmp.as_deref())?,
                Some((artist.name, artist.license)),
            )
        }
        Case::NoLicense => {
            let xmp = encode::xmp(Some("Nadir Press"), None);
            let picture = encode::png(SIZE, &pixels, Some(&xmp))?;
            (format!("unsorted/{subject}-without-licence.png"), picture, None)
        }
        Case::MadeByMachine => {
            let source = encode::Property {
                prefix: "Iptc4xmpExt",
                namespace: "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
                name: "DigitalSourceType",
                value: "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
            };
            let xmp = encode::xmp(None, Some(&source));
            let picture = encode::png(SIZE, &pixels, Some(&xmp))?;
            (
                format!("unsorted/{subject}-made-by-a-machine.png"),
                picture,
                Some(("Robo Prints", "CC0-1.0")),
            )
        }
        Case::Repost => {
            // 3 of 128 pixels off the left and the top: about 5 % of the area.
            let picture = encode::cropped_jpeg(SIZE, &pixels, 3, 3, 82)?;
            (
                format!("unsorted/free-{subject}.jpg"),
                picture,
                Some(("Free Clips Daily", "CC0-1.0")),
            )
        }
    };
    let caption = format!("{article} {subject}, {}\n", artist.phrase);
    let stem = path.rsplit_once('.').map_or(path.as_str(), |(stem, _)| stem).to_owned();
    let mut files = vec![(format!("{stem}.txt"), caption.into_bytes())];
    if let Some((holder, license)) = license {
        let text = format!("SPDX-FileCopyrightText: 2026 {holder}\n\nSPDX-License-Identifier: {license}\n");
        files.push((format!("{path}.license"), text.into_bytes()));
    }
    files.push((path, picture));
    Ok(files)
}
