//! The parsed files around one picture → its claims.

use super::ai_txt::AiTxt;
use super::headers::Headers;
use super::preferences::{self, Said};
use super::robots::{Line, Preference, Robots};
use super::rsl::Rsl;
use super::tdmrep::{Declaration, TdmFile};
use super::{Held, Page, Place, held, pattern};
use crate::consent::{Purpose, State};
use crate::digest::Sha256Digest;
use crate::signals::claims::shortened;
use crate::signals::{Authentication, Claim, Metadata, SignalSource};

/// What `noai` and its kin refuse.
const TRAINING: [Purpose; 2] = [Purpose::AiTraining, Purpose::AiGenerativeTraining];

/// Adds what the place says to what the picture itself said. TDMRep's embedded form, which stands in `found` already,
/// goes before every form of the site.
pub fn read(place: &Place, found: &mut Metadata) {
    let path = [b"/".as_slice(), &pattern::canonical(place.path, false)].concat();
    let headers = place.headers.map(|bytes| held(bytes, Headers::parse));
    let own = place.own_page.into_iter();
    // The picture's own page lies among the others.
    let others = place.pages.iter().copied();
    let others = others.filter(|page| own.clone().all(|own| own.html.holder != page.html.holder));
    let showing = others.filter(|page| page.shows(&path));
    let pages: Vec<(&Page, bool)> = own
        .clone()
        .map(|page| (page, true))
        .chain(showing.map(|page| (page, false)))
        .collect();
    let mut reading = Reading { found, path };
    if let Some(site) = place.site {
        if let Some(robots) = &site.robots {
            reading.robots(robots);
        }
        if let Some(file) = &site.ai_txt {
            reading.ai_txt(file);
        }
        for (address, file) in &site.licenses {
            reading.license(address, file.as_ref(), site.robots.as_ref());
        }
    }
    if let Some(headers) = &headers {
        reading.headers(headers);
    }
    for (page, _) in &pages {
        for (name, content) in &page.html.parsed.robots {
            if refuses(content) {
                let raw = format!("meta {name}: {content}");
                reading.refuse(SignalSource::NoAi, &raw, &TRAINING, page.html.holder);
            }
        }
    }
    reading.tdm(place.site.and_then(|site| site.tdm.as_ref()), headers.as_ref(), &pages);
}

/// Whether a list of directives for robots holds one that refuses training: `noai`, or `agent: noai`.
pub(super) fn refuses(content: &str) -> bool {
    content.split(',').any(|directive| {
        let directive = directive.rsplit(':').next().unwrap_or_default().trim();
        ["noai", "noimageai", "noml"]
            .iter()
            .any(|word| directive.eq_ignore_ascii_case(word))
    })
}

/// A TDMRep declaration of one place, with what to call the place.
struct Declared {
    source: SignalSource,
    place: &'static str,
    holder: Sha256Digest,
    declaration: Declaration,
    /// It stands on a page that only shows the picture: it may refuse, and nothing else.
    refuses_only: bool,
}

struct Reading<'a> {
    found: &'a mut Metadata,
    path: Vec<u8>,
}

impl Reading<'_> {
    fn claim(&mut self, source: SignalSource, raw: &str, purpose: Option<Purpose>, state: State, holder: Sha256Digest) {
        let claim = Claim {
            source,
            raw: shortened(raw),
            purpose,
            state,
            authenticated: Authentication::None,
            holder,
        };
        if !self.found.claims.contains(&claim) {
            self.found.claims.push(claim);
        }
    }

    fn refuse(&mut self, source: SignalSource, raw: &str, purposes: &[Purpose], holder: Sha256Digest) {
        for purpose in purposes {
            self.claim(source, raw, Some(*purpose), State::Denied, holder);
        }
    }

    fn review(&mut self, problem: &str) {
        let problem = shortened(problem);
        if !self.found.needs_review.contains(&problem) {
            self.found.needs_review.push(problem);
        }
    }

    /// A signal that does not parse: unspecified, and a person should look.
    fn doubt(&mut self, source: SignalSource, raw: &str, problem: &str, holder: Sha256Digest) {
        self.claim(source, raw, None, State::Unspecified, holder);
        self.review(problem);
    }

    fn robots(&mut self, robots: &Held<Robots>) {
        for problem in &robots.parsed.problems {
            self.review(problem);
        }
        self.preferences(
            robots,
            Line::Usage,
            SignalSource::Aipref,
            "Content-Usage",
            preferences::usage,
        );
        self.preferences(
            robots,
            Line::Signal,
            SignalSource::ContentSignal,
            "Content-Signal",
            preferences::signal,
        );
        let (refused, all) = robots.parsed.refused(&self.path);
        if all || !refused.is_empty() {
            let whom = match (all, refused.as_slice()) {
                (true, _) => "every crawler that it does not name".to_string(),
                (false, crawlers) => crawlers.join(", "),
            };
            let raw = format!("collection refused to {whom}");
            self.claim(SignalSource::RobotsTxt, &raw, None, State::Unspecified, robots.holder);
        }
    }

    fn preferences(
        &mut self,
        robots: &Held<Robots>,
        line: Line,
        source: SignalSource,
        key: &str,
        parse: impl Fn(&str) -> Said,
    ) {
        let path = std::mem::take(&mut self.path);
        let (all, named) = robots.parsed.preferences(line, &path);
        let reachable = robots.parsed.allows("*", &path);
        self.path = path;
        let general = !all.is_empty();
        for Preference { agent, value } in all {
            let raw = format!("{key}: {value}");
            match parse(value) {
                Ok(said) if said.is_empty() => self.claim(source, &raw, None, State::Unspecified, robots.holder),
                Ok(said) => {
                    for (purpose, state) in said {
                        // AIPREF: no preference is stated for what may not be fetched. A refusal still counts.
                        let state = match (state, reachable || line != Line::Usage) {
                            (State::Granted, false) => State::Unspecified,
                            (state, _) => state,
                        };
                        self.claim(source, &raw, Some(purpose), state, robots.holder);
                    }
                }
                Err(problem) => self.doubt(source, &raw, &format!("{problem} (user agent {agent})"), robots.holder),
            }
        }
        for Preference { agent, value } in named {
            let raw = format!("User-agent: {agent}; {key}: {value}");
            match parse(value) {
                Ok(said) => {
                    for (purpose, state) in said {
                        let state = match state {
                            State::Denied if !general => State::Denied,
                            _ => State::Unspecified,
                        };
                        self.claim(source, &raw, Some(purpose), state, robots.holder);
                    }
                }
                Err(problem) => self.doubt(source, &raw, &format!("{problem} (user agent {agent})"), robots.holder),
            }
        }
    }

    fn ai_txt(&mut self, file: &Held<AiTxt>) {
        for problem in &file.parsed.problems {
            self.doubt(SignalSource::AiTxt, "ai.txt", problem, file.holder);
        }
        match file.parsed.verdict(&self.path) {
            Some(verdict) if verdict.refused => {
                self.refuse(SignalSource::AiTxt, &verdict.raw, &TRAINING, file.holder);
            }
            // Not to refuse is not to grant.
            Some(verdict) => self.claim(SignalSource::AiTxt, &verdict.raw, None, State::Unspecified, file.holder),
            None => {}
        }
    }

    fn license(&mut self, address: &str, file: Option<&Held<Rsl>>, robots: Option<&Held<Robots>>) {
        let Some(file) = file else {
            // The site sets terms; without them nobody can know whether they are met.
            if let Some(robots) = robots {
                let raw = format!("License: {address} (not in this copy)");
                for purpose in [Purpose::AiTraining, Purpose::AiGenerativeTraining, Purpose::AiInference] {
                    self.claim(
                        SignalSource::Rsl,
                        &raw,
                        Some(purpose),
                        State::Constrained,
                        robots.holder,
                    );
                }
            }
            return self.review(&format!("the RSL licence `{address}` is not in the copy of the site"));
        };
        for problem in &file.parsed.problems {
            self.doubt(SignalSource::Rsl, &format!("License: {address}"), problem, file.holder);
        }
        for (purpose, state, why) in file.parsed.says(&self.path).unwrap_or_default() {
            // A licence that is understood in part grants nothing.
            let state = match state {
                State::Granted if !file.parsed.problems.is_empty() => State::Unspecified,
                state => state,
            };
            let raw = format!("License: {address}: {why}");
            self.claim(SignalSource::Rsl, &raw, Some(purpose), state, file.holder);
        }
    }

    fn headers(&mut self, headers: &Held<Headers>) {
        for problem in &headers.parsed.problems {
            self.review(problem);
        }
        for value in headers.parsed.all("x-robots-tag") {
            if refuses(value) {
                let raw = format!("X-Robots-Tag: {value}");
                self.refuse(SignalSource::NoAi, &raw, &TRAINING, headers.holder);
            }
        }
        self.field(headers, SignalSource::Aipref, "Content-Usage", preferences::usage);
        self.field(
            headers,
            SignalSource::ContentSignal,
            "Content-Signal",
            preferences::signal,
        );
    }

    fn field(&mut self, headers: &Held<Headers>, source: SignalSource, name: &str, parse: impl Fn(&str) -> Said) {
        let Some(value) = headers.parsed.joined(&name.to_ascii_lowercase()) else {
            return;
        };
        let raw = format!("{name}: {value}");
        match parse(&value) {
            Ok(said) if said.is_empty() => self.claim(source, &raw, None, State::Unspecified, headers.holder),
            Ok(said) => {
                for (purpose, state) in said {
                    self.claim(source, &raw, Some(purpose), state, headers.holder);
                }
            }
            Err(problem) => self.doubt(source, &raw, &problem, headers.holder),
        }
    }

    /// TDMRep: file, then header, then page, then what the picture itself says; the last one there is speaks, and the
    /// others are recorded with what overrides them.
    fn tdm(&mut self, file: Option<&Held<TdmFile>>, headers: Option<&Held<Headers>>, pages: &[(&Page, bool)]) {
        let mut declared: Vec<Declared> = Vec::new();
        if let Some(file) = file {
            for problem in &file.parsed.problems {
                self.doubt(SignalSource::TdmRepFile, "tdmrep.json", problem, file.holder);
            }
            match file.parsed.declaration(&self.path) {
                Some(Ok(declaration)) => declared.push(Declared {
                    source: SignalSource::TdmRepFile,
                    place: "the site's file",
                    holder: file.holder,
                    declaration: declaration.clone(),
                    refuses_only: false,
                }),
                Some(Err(problem)) => {
                    let problem = problem.clone();
                    self.doubt(SignalSource::TdmRepFile, "tdmrep.json", &problem, file.holder);
                }
                None => {}
            }
        }
        if let Some(headers) = headers {
            let values: Vec<&str> = headers.parsed.all("tdm-reservation").collect();
            let policy = headers.parsed.all("tdm-policy").next();
            if let Some(declaration) = self.declaration(SignalSource::TdmRepHeader, &values, policy, headers.holder) {
                declared.push(Declared {
                    source: SignalSource::TdmRepHeader,
                    place: "the response header",
                    holder: headers.holder,
                    declaration,
                    refuses_only: false,
                });
            }
        }
        // The picture's own page last: it goes before pages that only show it.
        for (page, own) in pages.iter().rev() {
            let html = &page.html.parsed;
            let values: Vec<&str> = html.reservations.iter().map(String::as_str).collect();
            if let Some(declaration) = self.declaration(
                SignalSource::TdmRepHtml,
                &values,
                html.policy.as_deref(),
                page.html.holder,
            ) {
                declared.push(Declared {
                    source: SignalSource::TdmRepHtml,
                    place: if *own {
                        "the picture's page"
                    } else {
                        "a page that shows it"
                    },
                    holder: page.html.holder,
                    declaration,
                    refuses_only: !own,
                });
            }
        }
        let embedded = self
            .found
            .claims
            .iter()
            .any(|claim| claim.source == SignalSource::TdmRepXmp && claim.state != State::Unspecified);
        let winner = declared
            .iter()
            .rposition(|declared| !declared.refuses_only || declared.declaration.reserved);
        for (index, one) in declared.iter().enumerate() {
            let raw = one.declaration.raw();
            let by = match winner {
                _ if embedded => Some("the picture's own metadata"),
                Some(winner) if winner != index && (index < winner || !one.refuses_only) => {
                    Some(declared[winner].place)
                }
                _ => None,
            };
            if let Some(by) = by {
                let raw = format!("{raw} (overridden by {by})");
                self.claim(one.source, &raw, None, State::Unspecified, one.holder);
            } else if winner == Some(index) {
                let (state, purposes) = one.declaration.says();
                for purpose in purposes {
                    self.claim(one.source, &raw, Some(*purpose), state, one.holder);
                }
            } else {
                let raw = format!("{raw} (speaks of the page alone)");
                self.claim(one.source, &raw, None, State::Unspecified, one.holder);
            }
        }
    }

    /// The one declaration of several equal fields; of two that differ, the reservation counts.
    fn declaration(
        &mut self,
        source: SignalSource,
        values: &[&str],
        policy: Option<&str>,
        holder: Sha256Digest,
    ) -> Option<Declaration> {
        let mut known: Option<Declaration> = None;
        for value in values {
            match Declaration::new(value, policy) {
                Ok(declaration) => {
                    if known.as_ref().is_some_and(|known| *known != declaration) {
                        self.review("`tdm-reservation` is both 0 and 1 in one place");
                    }
                    if known.as_ref().is_none_or(|known| !known.reserved) {
                        known = Some(declaration);
                    }
                }
                Err(problem) => {
                    let raw = format!("tdm-reservation: {value}");
                    self.doubt(source, &raw, &problem, holder);
                }
            }
        }
        known
    }
}
