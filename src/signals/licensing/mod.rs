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
use reuse::{Precedence, ReuseToml, Terms};

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
    let mut tables = Vec::new();
    for covering in above {
        match &covering.file.0 {
            File::Toml(file) => {
                file.problems
                    .iter()
                    .for_each(|problem| found.add_review(problem.clone()));
                tables.extend(file.annotation(&covering.path));
            }
            File::Dep5(_) | File::Debian(_) => {}
        }
    }
    // What is closer than the outermost that overrides is not heard.
    let overriding = tables
        .iter()
        .rposition(|table| table.precedence == Precedence::Override);
    tables.drain(..overriding.unwrap_or(0));
    let own = sidecar.filter(|_| overriding.is_none());
    let mut heard: Vec<&Terms> = own.iter().collect();
    heard.extend(
        tables
            .iter()
            .filter(|table| table.precedence != Precedence::Closest)
            .map(|table| &table.terms),
    );
    for terms in &heard {
        add(found, &terms.notices, &terms.licenses);
        terms
            .problems
            .iter()
            .for_each(|problem| found.add_review(problem.clone()));
    }
    if overriding.is_none() {
        // Copyright and licence fall back each by itself.
        let lacking = |has: fn(&Terms) -> bool| !own.as_ref().is_some_and(has);
        let closest = |has: fn(&Terms) -> bool| {
            let mut closest = tables.iter().filter(|table| table.precedence == Precedence::Closest);
            closest.find(|table| has(&table.terms)).map(|table| &table.terms)
        };
        let (copyright, licence): (fn(&Terms) -> bool, fn(&Terms) -> bool) = (
            |terms| !terms.notices.is_empty(),
            |terms| !(terms.licenses.is_empty() && terms.problems.is_empty()),
        );
        if let Some(terms) = closest(copyright).filter(|_| lacking(copyright)) {
            add(found, &terms.notices, &[]);
        }
        if let Some(terms) = closest(licence).filter(|_| lacking(|terms| !terms.licenses.is_empty())) {
            add(found, &[], &terms.licenses);
            terms
                .problems
                .iter()
                .for_each(|problem| found.add_review(problem.clone()));
        }
    }
    let silent = own
        .as_ref()
        .is_some_and(|own| own.licenses.is_empty() && own.problems.is_empty());
    if silent && found.licenses.is_empty() {
        found.add_review("the REUSE sidecar names no licence".to_string());
    }
    for covering in above {
        let (file, source) = match &covering.file.0 {
            File::Dep5(file) => (file, "reuse"),
            File::Debian(file) => (file, "debian"),
            File::Toml(_) => continue,
        };
        file.problems
            .iter()
            .for_each(|problem| found.add_review(problem.clone()));
        let Some(paragraph) = file.paragraph(&covering.path) else {
            continue;
        };
        add(found, &paragraph.notices, &[]);
        match &paragraph.license {
            Ok(license) => found.add_license(license.clone(), source),
            Err(name) => found.add_review(format!("a copyright file names the unknown licence `{name}`")),
        }
    }
}

fn add(found: &mut Metadata, notices: &[String], licenses: &[String]) {
    for notice in notices {
        if let Some(holder) = notice::holder(notice) {
            found.add_artist(&holder);
        }
        if !found.notices.contains(notice) {
            found.notices.push(notice.clone());
        }
    }
    for license in licenses {
        found.add_license(license.clone(), "reuse");
    }
}
