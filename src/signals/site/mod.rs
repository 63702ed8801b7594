//! A local copy of a site → what it says about one of its pictures.
//!
//! The files of a site are parsed once ([`Site`], [`Page`]); [`Place`] is where one picture stands among them. Nothing
//! here looks for files or follows an address: `ingest` finds them and hands over their bytes. Only the digest of what
//! held a statement goes along with it.
//!
//! Each specification's own order holds inside it. What is addressed to all user agents decides; where that is silent,
//! a refusal addressed to any one of them counts, and a permission does not.

mod ai_txt;
mod headers;
mod html;
mod pattern;
mod preferences;
mod read;
mod robots;
mod rsl;
mod tdmrep;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::digest::Sha256Digest;

use ai_txt::AiTxt;
use html::Html;
use robots::Robots;
use rsl::Rsl;
use tdmrep::TdmFile;

pub use read::read;

/// Bytes of `robots.txt` that are read: what RFC 9309 asks of every parser.
pub const MOST_ROBOTS: u64 = robots::MOST as u64;

/// Something that was parsed, with the digest of the bytes that held it.
#[derive(Debug)]
struct Held<T> {
    parsed: T,
    holder: Sha256Digest,
}

fn held<T>(bytes: &[u8], parse: impl FnOnce(&[u8]) -> T) -> Held<T> {
    Held {
        parsed: parse(bytes),
        holder: Sha256Digest::of_bytes(bytes),
    }
}

/// The files at the root of a site.
#[derive(Debug, Default)]
pub struct Site {
    robots: Option<Held<Robots>>,
    ai_txt: Option<Held<AiTxt>>,
    tdm: Option<Held<TdmFile>>,
    /// The addresses of the RSL licences that `robots.txt` names, each with the file where the copy holds it.
    licenses: Vec<(String, Option<Held<Rsl>>)>,
}

/// Licences of one `robots.txt` that are looked for.
const MOST_LICENSES: usize = 16;

impl Site {
    /// Parses the files there are. `find` gives the bytes of the file at a path of the site, if the copy holds it; the
    /// path has no leading `/` and no part that leads upwards.
    pub fn parse(
        robots: Option<&[u8]>,
        ai_txt: Option<&[u8]>,
        tdmrep: Option<&[u8]>,
        mut find: impl FnMut(&str) -> Option<Vec<u8>>,
    ) -> Self {
        let robots = robots.map(|bytes| held(bytes, Robots::parse));
        let licenses = robots.iter().flat_map(|robots| robots.parsed.licenses());
        let licenses = licenses
            .take(MOST_LICENSES)
            .map(|address| {
                let file = local(address).and_then(|path| find(&path));
                (address.to_string(), file.map(|bytes| held(&bytes, Rsl::parse)))
            })
            .collect();
        Site {
            licenses,
            robots,
            ai_txt: ai_txt.map(|bytes| held(bytes, AiTxt::parse)),
            tdm: tdmrep.map(|bytes| held(bytes, TdmFile::parse)),
        }
    }
}

/// The path of an address inside a copy of its site; none when it would lead out of it.
fn local(address: &str) -> Option<String> {
    let path = pattern::path_of(address).split(['?', '#']).next()?;
    let path = path.trim_start_matches('/');
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0', ':']);
    (path.len() <= 1024 && path.split('/').all(plain)).then(|| path.to_string())
}

/// A page of the site.
#[derive(Debug)]
pub struct Page {
    html: Held<Html>,
    /// The paths of the pictures that it shows, in canonical form.
    pictures: HashSet<Vec<u8>>,
}

impl Page {
    /// Parses a page. `folder` is where it lies: the path below the root of the site, with `/` between the parts and
    /// none at the ends.
    pub fn parse(bytes: &[u8], folder: &[u8]) -> Self {
        let html = held(bytes, Html::parse);
        let pictures = html
            .parsed
            .pictures
            .iter()
            .filter_map(|source| resolved(source, folder))
            .collect();
        Page { html, pictures }
    }

    /// Whether it says anything about any picture.
    pub fn speaks(&self) -> bool {
        let Html {
            robots, reservations, ..
        } = &self.html.parsed;
        !reservations.is_empty() || robots.iter().any(|(_, content)| read::refuses(content))
    }

    /// Whether it shows the picture at this path in canonical form.
    fn shows(&self, path: &[u8]) -> bool {
        self.pictures.contains(path)
    }
}

/// The path that an address on a page in `folder` stands for, in canonical form. The host is not compared: a copy does
/// not know its own.
fn resolved(address: &str, folder: &[u8]) -> Option<Vec<u8>> {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    if address.starts_with("data:") {
        return None;
    }
    let (absolute, path) = match address.strip_prefix("//") {
        Some(rest) => (true, rest.find('/').map(|at| &rest[at..])?),
        None if address.contains("://") => (true, pattern::path_of(address)),
        None => (address.starts_with('/'), address),
    };
    let folder = pattern::canonical(folder, false);
    let path = pattern::canonical(path.as_bytes(), true);
    let mut parts: Vec<&[u8]> = Vec::new();
    let base: &[u8] = if absolute { b"" } else { &folder };
    for part in base.split(|&b| b == b'/').chain(path.split(|&b| b == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut path = Vec::new();
    for part in parts {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    Some(path)
}

/// Where one picture stands, with everything around it that speaks about it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The site it is part of.
    pub site: Option<&'a Site>,
    /// Its path below the root of the site as the file system has it, with `/` between the parts and none in front.
    pub path: &'a [u8],
    /// The response headers it came with: `NAME.headers`.
    pub headers: Option<&'a [u8]>,
    /// The page saved as its own: `NAME.html`.
    pub own_page: Option<&'a Page>,
    /// The other pages of the site that may show it.
    pub pages: &'a [&'a Page],
}
