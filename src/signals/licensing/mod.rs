//! Licence files → under which licence a picture is, and whose it is: the three forms of REUSE 3.3 with their order,
//! and Debian's copyright files. Facts, never states.

mod debian;
mod glob;
mod notice;
mod reuse;
#[cfg(test)]
mod tests;

use super::Metadata;
use debian::Debian;
use reuse::{Annotation, Precedence, ReuseToml, Terms};

/// A licence file that speaks about the files of its folder and below it.
#[derive(Debug)]
pub struct LicenseFile(File);

#[derive(Debug)]
enum File {
    Toml(ReuseToml),
    Dep5(Debian),
    Debian(Debian),
}

/// Which licence file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LicenseFileKind {
    /// `REUSE.toml`.
    ReuseToml,
    /// `.reuse/dep5`, which speaks of the folder that holds `.reuse`.
    Dep5,
    /// `debian/copyright`, which speaks of the folder that holds `debian`.
    Debian,
}

impl LicenseFile {
    /// Parses a file; what is not understood is told for the pictures that it speaks about.
    pub fn parse(kind: LicenseFileKind, bytes: &[u8]) -> Self {
        LicenseFile(match kind {
            LicenseFileKind::ReuseToml => File::Toml(ReuseToml::parse(bytes)),
            LicenseFileKind::Dep5 => File::Dep5(Debian::parse(bytes)),
            LicenseFileKind::Debian => File::Debian(Debian::parse(bytes)),
        })
    }
}

/// A licence file above a picture, with the picture's path below its folder, `/` between the parts.
#[derive(Debug, Clone)]
pub struct Covering<'a> {
    /// The file.
    pub file: &'a LicenseFile,
    /// The path.
    pub path: String,
}

/// Adds what the sidecar `NAME.license` and the licence files above, nearest first, say about a picture.
pub(super) fn read(sidecar: Option<&[u8]>, above: &[Covering], found: &mut Metadata) {
    let sidecar = sidecar.map(reuse::sidecar);
    read_reuse(sidecar.as_ref(), above, found);
    if sidecar.is_some_and(|own| own.licenses.is_empty() && own.problems.is_empty()) && found.licenses.is_empty() {
        found.add_review("the REUSE sidecar names no licence".to_string());
    }
    for covering in above {
        let (file, source) = match &covering.file.0 {
            File::Dep5(file) => (file, "reuse"),
            File::Debian(file) => (file, "debian"),
            File::Toml(_) => continue,
        };
        add_problems(found, &file.problems);
        let Some(paragraph) = file.paragraph(&covering.path) else {
            continue;
        };
        add_notices(found, &paragraph.notices);
        match &paragraph.license {
            Ok(license) => found.add_license(license.clone(), source),
            Err(name) => found.add_review(format!("a copyright file names the unknown licence `{name}`")),
        }
    }
}

/// The sidecar and the `REUSE.toml` files, by their precedence.
fn read_reuse(sidecar: Option<&Terms>, above: &[Covering], found: &mut Metadata) {
    let mut tables: Vec<&Annotation> = Vec::new();
    for covering in above {
        if let File::Toml(file) = &covering.file.0 {
            add_problems(found, &file.problems);
            tables.extend(file.annotation(&covering.path));
        }
    }
    // What is closer than the outermost that overrides is not heard.
    let overriding = tables
        .iter()
        .rposition(|table| table.precedence == Precedence::Override);
    tables.drain(..overriding.unwrap_or(0));
    let own = sidecar.filter(|_| overriding.is_none());
    let (closest, others): (Vec<&Annotation>, Vec<_>) = tables
        .into_iter()
        .partition(|table| table.precedence == Precedence::Closest);
    for terms in own.into_iter().chain(others.iter().map(|table| &table.terms)) {
        add_notices(found, &terms.notices);
        add_licenses(found, terms);
    }
    if overriding.is_some() {
        return;
    }
    // Copyright and licence fall back each by itself.
    if own.is_none_or(|own| own.notices.is_empty())
        && let Some(table) = closest.iter().find(|table| !table.terms.notices.is_empty())
    {
        add_notices(found, &table.terms.notices);
    }
    if own.is_none_or(|own| own.licenses.is_empty())
        && let Some(table) = closest.iter().find(|table| table.terms.licensed())
    {
        add_licenses(found, &table.terms);
    }
}

fn add_problems(found: &mut Metadata, problems: &[String]) {
    problems.iter().for_each(|problem| found.add_review(problem.clone()));
}

fn add_licenses(found: &mut Metadata, terms: &Terms) {
    for license in &terms.licenses {
        found.add_license(license.clone(), "reuse");
    }
    add_problems(found, &terms.problems);
}

fn add_notices(found: &mut Metadata, notices: &[String]) {
    for notice in notices {
        if let Some(holder) = notice::holder(notice) {
            found.add_artist(&holder);
        }
        if !found.notices.contains(notice) {
            found.notices.push(notice.clone());
        }
    }
}
